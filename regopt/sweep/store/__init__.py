"""A folder that a sweep can be killed over and go on from: trees of arrays, and who they belong to."""

from regopt.sweep.store.errors import StoreError
from regopt.sweep.store.folder import Store, opened
from regopt.sweep.store.identity import differences, digest, environment
from regopt.sweep.store.lock import alive, holder
from regopt.sweep.store.reading import Snapshot, read

__all__ = [
    "Snapshot",
    "Store",
    "StoreError",
    "alive",
    "differences",
    "digest",
    "environment",
    "holder",
    "opened",
    "read",
]
