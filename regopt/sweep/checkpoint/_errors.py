"""What a person is told when a store cannot be used."""

import os

from regopt._core.messages import one_line


class StoreError(Exception):
    """A store is in use, of another run, damaged, or cannot be written; the message is one line."""

    def __init__(self, message: str):
        super().__init__(one_line(message))


class StoreInUseError(StoreError):
    """Another process holds the store, or may hold it."""


def reason(error: OSError) -> str:
    """The cause of a failed write in a few words, without the path that the message around it names."""
    return os.strerror(error.errno) if error.errno else one_line(str(error))
