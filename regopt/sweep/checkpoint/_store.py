"""The writer's side of a store: what was saved is there after any crash, and nothing else is taken for it.

A state appears by one rename. Two states are kept: if the newest turns out damaged, the one before is used, and that
is said.
"""

import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from regopt._core.types import Tree
from regopt.sweep.checkpoint import _arrays as leaves
from regopt.sweep.checkpoint._errors import StoreError, reason
from regopt.sweep.checkpoint._files import TEMPORARY, arriving, fingerprints, free_bytes, remove, write_json
from regopt.sweep.checkpoint._fingerprint import differences
from regopt.sweep.checkpoint._lock import held
from regopt.sweep.checkpoint._manifest import ARRAYS, MANIFEST, STATES, Snapshot, damage, snapshot, state_folders

_LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def opened(
    folder: Path | str,
    identity: Mapping[str, Any],
    *,
    allow_different: bool = False,
    say: Callable[[str], Any] = _LOG.warning,
) -> "Iterator[Store]":
    """Open a store for writing, alone, and find the newest intact state of the same run.

    Args:
        folder: where it is, or is to be.
        identity: nested dictionaries of JSON values, all that the run's bits depend on; see ``environment``.
        allow_different: go on from a state of another identity, and say so, instead of refusing.
        say: told in one line of everything that is not as usual.

    Yields:
        The store.

    Raises:
        StoreError: the folder is in use, holds another run, cannot be written, or all its states are damaged.
    """
    folder = Path(folder)
    try:
        (folder / STATES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {reason(error)}") from error
    with held(folder, say) as check_ours:
        store = Store(folder, json.loads(json.dumps(identity, allow_nan=False)), say, check_ours)
        store.check_identity(allow_different, say)
        yield store


class Store:
    """An open store; see ``opened``."""

    def __init__(
        self, folder: Path, identity: dict[str, Any], say: Callable[[str], Any], check_ours: Callable[[], None]
    ):
        self._folder, self._identity, self._check_ours = folder, identity, check_ours
        for rubbish in (folder / STATES).glob(f"{TEMPORARY}*"):
            remove(rubbish)
        self._newest = _newest_intact(folder, say)

    @property
    def number(self) -> int | None:
        """Of the newest intact state, as given to ``save``; None before the first."""
        return None if self._newest is None else self._newest.number

    @property
    def done(self) -> bool:
        """Whether the newest state was saved as the last one."""
        return self._newest is not None and self._newest.done

    def load(self, like: Tree) -> Tree | None:
        """The newest intact state.

        Args:
            like: a tree of arrays or ``jax.ShapeDtypeStruct``, as it was saved. A leaf comes back as a NumPy array
                where this has one, else as a JAX array with the sharding that this has.

        Returns:
            The tree; None if nothing was saved.

        Raises:
            StoreError: the tree that was saved has other leaves, or other dtypes or shapes.
        """
        if self._newest is None:
            return None
        leaves.check_alike(self._newest.leaves, like, self._folder)
        return leaves.unpack(leaves.read(self._newest.path / ARRAYS), like)

    def save(self, number: int, tree: Tree, *, done: bool = False) -> None:
        """Save a state; once this returns it survives a crash, and until then the one before does.

        Args:
            number: how far it is, such as segments done.
            tree: of NumPy or JAX arrays, numbers, or random keys.
            done: nothing is left to do.

        Raises:
            StoreError: it could not be written, or another host took this process for gone; the states before are as
                they were.
        """
        form, arrays = leaves.describe(tree), leaves.pack(tree)
        states = state_folders(self._folder)
        label = f"{int(states[0].name) + 1 if states else 0:06d}"
        try:
            with arriving(self._folder / STATES / label) as temporary:
                temporary.mkdir()
                leaves.write(temporary / ARRAYS, arrays)
                files = fingerprints(temporary)
                now = time.strftime("%Y-%m-%d %H:%M:%S")
                path = self._folder / STATES / label
                saved = Snapshot(path, int(number), done, now, self._identity, files, form)
                write_json(temporary / MANIFEST, saved.to_json())
                self._check_ours()
        except OSError as error:
            needed = sum(array.nbytes for array in arrays.values())
            raise StoreError(
                f"cannot save to {self._folder}: {reason(error)}; this needs about {needed:,} bytes, "
                f"{free_bytes(self._folder)} are free; "
                + (f"state {self.number} is intact" if self._newest else "no state was saved before")
            ) from error
        before, self._newest = self._newest, saved
        self._keep([saved] if before is None else [saved, before])

    def check_identity(self, allow_different: bool, say: Callable[[str], Any]) -> None:
        """Refuse to go on from a state of another identity, or say in what it differs."""
        found = [] if self._newest is None else differences(self._newest.identity, self._identity)
        if not found:
            return
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        if not allow_different:
            raise StoreError(
                f"{self._folder} holds another run: {'; '.join(found[:3])}{more}: use another folder, or "
                "allow_different=True (--allow-different) to go on with results that may differ in their bits"
            )
        say(f"going on in {self._folder} although {'; '.join(found)}: results may differ in their bits")

    def _keep(self, states: list[Snapshot]) -> None:
        """Remove all other states."""
        paths = {state.path for state in states}
        for path in state_folders(self._folder):
            if path not in paths:
                remove(path)


def _newest_intact(folder: Path, say: Callable[[str], Any]) -> Snapshot | None:
    """The newest state of which every file is as it was written; damaged ones are said and skipped."""
    damaged = []
    for path in state_folders(folder):
        found = snapshot(path)
        broken = MANIFEST if found is None else damage(found)
        if found is not None and broken is None:
            for before in damaged:
                say(f"{before} is damaged: going on from number {found.number}, saved {found.saved}")
            return found
        damaged.append(f"state {path} ({broken})")
    if damaged:
        raise StoreError(
            f"{' and '.join(damaged)} {'are' if len(damaged) > 1 else 'is'} damaged, and there is no other: "
            "restore the files from a copy, or start in another folder"
        )
    return None
