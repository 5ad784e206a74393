"""The writer's side of a store: after any crash it holds what was acknowledged, and never half a state.

A state appears by one rename. Two states are kept; if the newest is damaged, the one before it is used, and a line says
so.
"""

import contextlib
import functools
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from regopt._core.io import TEMPORARY, JsonObject, free_bytes, remove, replacing
from regopt._core.messages import one_line, reason
from regopt._core.types import Tree
from regopt.sweep.checkpoint import _arrays as arrays
from regopt.sweep.checkpoint import _manifest as manifest
from regopt.sweep.checkpoint._errors import StoreAccessError, StoreDamagedError, StoreMismatchError
from regopt.sweep.checkpoint._fingerprint import differences
from regopt.sweep.checkpoint._lock import held
from regopt.sweep.checkpoint._manifest import MANIFEST, STATES, Snapshot, damage, snapshot, state_folders

_LOG = logging.getLogger(__name__)
Say = Callable[[str], object]


def check_writable(folder: Path | str) -> None:
    """Check that a folder can be written, or created, without creating it.

    Args:
        folder: the folder, which need not exist.

    Raises:
        StoreAccessError: the folder, or the nearest one above it that exists, is not writable.
    """
    path = Path(folder).absolute()
    there = next(each for each in (path, *path.parents) if each.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise StoreAccessError(f"cannot write to {folder}: {there} is not writable; choose another folder")


@contextlib.contextmanager
def opened(
    folder: Path | str,
    identity: Mapping[str, object] | Callable[[], Mapping[str, object]],
    *,
    allow_different: bool = False,
    may_differ: Callable[[str], bool] | None = None,
    say: Say = _LOG.warning,
) -> "Iterator[Store]":
    """Open a store for one writer, and find the newest intact state of the same run.

    Args:
        folder: the folder of the store, which is made where there is none.
        identity: nested dictionaries of JSON values, with everything that the results of the run depend on; see
            ``environment``. A function is called when the identity is first needed: at once where a state was saved
            before, else in the first save.
        allow_different: go on from a state of another identity, and say so, instead of refusing.
        may_differ: for a run that extends the one in the folder: whether a difference belongs to the extension.
        say: called with one line for each unusual event, such as a damaged state.

    Yields:
        The store.

    Raises:
        StoreInUseError: another process has it open.
        StoreMismatchError: it holds another run, or one of another version.
        StoreDamagedError: all its states are damaged.
        StoreAccessError: the folder cannot be written.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with opened(folder, {"steps": 2}) as store:
        ...         store.save(1, {"w": np.ones(3)})
        ...     with opened(folder, {"steps": 2}) as store:
        ...         saved = store.load({"w": np.zeros(3)})
        >>> saved["w"].tolist()
        [1.0, 1.0, 1.0]
    """
    folder = Path(folder)
    try:
        (folder / STATES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreAccessError(f"cannot write to {folder}: {reason(error)}") from error

    def say_line(text: str) -> None:
        say(one_line(text))

    with held(folder, say_line) as check_ours:
        store = Store(folder, identity if callable(identity) else lambda: identity, say_line, check_ours)
        store.check_identity(allow_different, say_line, may_differ)
        yield store


class Store:
    """An open store; see ``opened``."""

    def __init__(
        self, folder: Path, identity: Callable[[], Mapping[str, object]], say: Say, check_ours: Callable[[], None]
    ):
        self._folder, self._ask_identity, self._check_ours = folder, identity, check_ours
        for place in (folder, folder / STATES):
            for rubbish in place.glob(f"{TEMPORARY}*"):  # of a process that was killed, on whatever host
                remove(rubbish)
        self._newest = _newest_intact(folder, say)
        self.differences: list[str] = []  # allowed differences between the saved run and this one
        self.extends = False  # whether the saved run has fewer settings, or other places for them

    @functools.cached_property
    def _identity(self) -> JsonObject:
        return json.loads(json.dumps(self._ask_identity(), allow_nan=False))

    @property
    def number(self) -> int | None:
        """The number of the newest intact state, as given to ``save``; None before the first."""
        return None if self._newest is None else self._newest.number

    @property
    def done(self) -> bool:
        """Whether the newest state was saved as the last one."""
        return self._newest is not None and self._newest.done

    @property
    def position(self) -> JsonObject | None:
        """Where an iterator over the data was in that state; None without one."""
        return None if self._newest is None else self._newest.position

    def load(self, like: Tree) -> Tree | None:
        """The newest intact state.

        Args:
            like: a tree of arrays or ``jax.ShapeDtypeStruct``, as it was saved. A leaf comes back as a NumPy array
                where this has one, else as a JAX array with the sharding that this has.

        Returns:
            The tree; None if nothing was saved.

        Raises:
            StoreMismatchError: the tree that was saved has other leaves, or other dtypes or shapes.
            StoreDamagedError: its files were changed since the store was opened.
        """
        if self._newest is None:
            return None
        path, files = self._newest.path, self._newest.files
        arrays.check_alike(self._newest.leaves, like, self._folder)
        try:
            return arrays.read(path, files, like)
        except OSError as error:
            raise StoreDamagedError(f"{path} cannot be read: {reason(error)}") from error

    def save(self, number: int, tree: Tree, *, done: bool = False, position: JsonObject | None = None) -> None:
        """Save a state. Once this returns, the state survives a crash; until then the one before it does.

        Args:
            number: how far the run is, such as segments done.
            tree: a tree of NumPy or JAX arrays, numbers, or random keys.
            done: nothing is left to do.
            position: where an iterator over the data is.

        Raises:
            StoreAccessError: the state could not be written; those before are as they were.
            StoreTakenOverError: another host took this process for gone; nothing was saved.
        """
        states = state_folders(self._folder)
        path = self._folder / STATES / f"{int(states[0].name) + 1 if states else 0:06d}"
        form, now = arrays.describe(tree), time.strftime("%Y-%m-%d %H:%M:%S")
        try:
            with replacing(path) as temporary:
                temporary.mkdir()
                files = arrays.write(temporary, tree)
                saved = Snapshot(path, int(number), done, now, self._identity, files, form, position)
                manifest.write(temporary, saved)
                self._check_ours()
        except OSError as error:
            raise StoreAccessError(
                f"cannot save to {self._folder}: {reason(error)}; this needs about {arrays.size(tree):,} bytes, "
                f"{free_bytes(self._folder)} are free; {self.left()}"
            ) from error
        before, self._newest = self._newest, saved
        self._keep([saved] if before is None else [saved, before])

    def left(self) -> str:
        """What a failed write has left on disk, in words for its error message."""
        if self._newest is None:
            return "no state was saved before"
        if not self._newest.path.exists():
            return f"the folder of state {self.number} was removed"
        return f"state {self.number} is {'intact' if damage(self._newest) is None else 'damaged'}"

    def check_identity(self, allow_different: bool, say: Say, may_differ: Callable[[str], bool] | None = None) -> None:
        """Refuse to go on from a state of another identity, or say in what it differs."""
        found = [] if self._newest is None else differences(self._newest.identity, self._identity)
        self.differences, self.extends = found, allow_different and any(map(_moves, found))
        if may_differ is not None:
            self.extends |= any(map(may_differ, found))
            found = [difference for difference in found if not may_differ(difference)]
        if not found:
            return
        if not allow_different:
            refuse_other(self._folder, found, may_extend=may_differ is None)
        say(f"going on in {self._folder} although {'; '.join(found)}: results may differ in their bits")

    def _keep(self, states: list[Snapshot]) -> None:
        """Remove all other states."""
        paths = {state.path for state in states}
        for path in state_folders(self._folder):
            if path not in paths:
                remove(path)


def refuse_other(folder: Path, found: Sequence[str], *, may_extend: bool) -> NoReturn:
    """Raise an error that names the differences of the run in a folder, and how to go on.

    Args:
        folder: the folder of the store.
        found: the differences, as ``differences`` returns them.
        may_extend: whether to suggest ``extend=True`` where the number of settings or steps differs.

    Raises:
        StoreMismatchError: always.
    """
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    if any(difference.startswith("versions.regopt ") for difference in found):
        more += "; the folder was written by another version of regopt, whose programs may differ"
    fix = "allow_different=True (--allow-different) to go on with results that may differ in their bits"
    if may_extend and any(map(_resizes, found)):
        fix = "extend=True to keep what it has trained and go on with other settings or more steps"
    raise StoreMismatchError(f"{folder} holds another run: {'; '.join(found[:3])}{more}: use another folder, or {fix}")


def _resizes(difference: str) -> bool:
    """Whether a difference changes the number of settings or evaluations, so that a state cannot simply go on."""
    added = difference.startswith("settings.") and ("was nothing" in difference or "is nothing" in difference)
    return added or difference.startswith("config.steps ")


def _moves(difference: str) -> bool:
    """Whether a difference changes the places of settings on the devices."""
    return difference.startswith(("device.count ", "config.mesh"))


def _newest_intact(folder: Path, say: Say) -> Snapshot | None:
    """The newest state whose files are all intact; one line reports each newer state that is damaged."""
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
        raise StoreDamagedError(
            f"{' and '.join(damaged)} {'are' if len(damaged) > 1 else 'is'} damaged, and there is no other: "
            "restore the files from a copy, or start in another folder"
        )
    return None
