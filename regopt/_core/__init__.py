"""The foundation of all other packages: types, numbers, trees, files, messages and protocols. Private."""
