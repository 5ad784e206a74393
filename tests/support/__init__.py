"""Helpers of the tests: rows of the catalogue, laws, toy tasks, sweeps to kill."""
