"""The version, alone in a file so that nothing has to import the whole package to know it."""

__version__ = "0.3.0.dev0"
