"""What every other package stands on: types, numbers, trees, files, messages and protocols. Private."""
