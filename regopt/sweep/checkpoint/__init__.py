"""The checkpoint folder of a sweep; a killed sweep resumes from it."""

from regopt.sweep.checkpoint._errors import (
    StoreAccessError,
    StoreDamagedError,
    StoreError,
    StoreInUseError,
    StoreMismatchError,
    StoreTakenOverError,
)
from regopt.sweep.checkpoint._fingerprint import differences, digested, digested_arrays
from regopt.sweep.checkpoint._lock import alive, holder
from regopt.sweep.checkpoint._manifest import STATES, Snapshot, read, read_leaves
from regopt.sweep.checkpoint._store import Store, check_writable, opened, refuse_other

__all__ = [
    "STATES",
    "Snapshot",
    "Store",
    "StoreAccessError",
    "StoreDamagedError",
    "StoreError",
    "StoreInUseError",
    "StoreMismatchError",
    "StoreTakenOverError",
    "alive",
    "check_writable",
    "differences",
    "digested",
    "digested_arrays",
    "holder",
    "opened",
    "read",
    "read_leaves",
    "refuse_other",
]
