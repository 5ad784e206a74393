"""The catalogue of every public factory with its numbers, a file for each family."""
