"""The checkpoint folder of a sweep; a killed sweep resumes from it."""

from regopt.sweep.checkpoint._errors import StoreError, StoreInUseError
from regopt.sweep.checkpoint._fingerprint import differences, digest, environment
from regopt.sweep.checkpoint._lock import alive, holder
from regopt.sweep.checkpoint._manifest import Snapshot, read
from regopt.sweep.checkpoint._store import Store, opened

__all__ = [
    "Snapshot",
    "Store",
    "StoreError",
    "StoreInUseError",
    "alive",
    "differences",
    "digest",
    "environment",
    "holder",
    "opened",
    "read",
]
