"""The errors of a checkpoint folder: one class for each cause, so that no caller has to parse a message."""

from regopt._core.messages import one_line


class StoreError(Exception):
    """A checkpoint folder cannot be used; the message is one line."""

    def __init__(self, message: str):
        super().__init__(one_line(message))


class StoreInUseError(StoreError):
    """Another process has the folder open for writing."""


class StoreTakenOverError(StoreError):
    """Another process assumed that this one had ended, and now writes into the folder."""


class StoreDamagedError(StoreError):
    """Saved files are missing or are not as they were written."""


class StoreMismatchError(StoreError):
    """The folder holds another run: of other settings, data, leaves or versions."""


class StoreAccessError(StoreError):
    """The operating system refused to read, write or lock a file."""
