"""Extending a sweep: the states and the history of a folder go into a sweep of more settings or more steps."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.io import JsonObject
from regopt._core.types import Tree
from regopt.sweep.checkpoint import StoreMismatchError, read_leaves
from regopt.sweep.engine._group import Group
from regopt.sweep.engine._state import SweepState
from regopt.sweep.results import Result, load
from regopt.sweep.results._history import SEATS, History
from regopt.sweep.results._io import word
from regopt.sweep.space import Settings

_MAY_DIFFER = (
    "settings",
    "config.steps ",
    "config.slots",
    "config.chunk",
    "config.mapping",
    "config.scheduler",
    "scheduler",
)
_PROGRAM = "task (compiled program) has changed"  # reported without its parts: only sizes of the sweep have changed


def may_differ(difference: str) -> bool:
    """Whether a sweep may differ in this way from the one in the folder that it extends."""
    return difference.startswith(_MAY_DIFFER) or difference == _PROGRAM


def take_over_folder(state: SweepState, folder: Path) -> None:
    """Put what a folder has trained into a sweep that has not begun.

    Args:
        state: the new sweep, with all its lanes on the devices; changed in place.
        folder: the folder of the sweep that it extends.

    Raises:
        StoreMismatchError: the folder cannot be read, the new sweep lacks a setting or steps of the old one, or a state
            is missing or has another form.
    """
    try:
        old = load(folder)
    except (OSError, ValueError) as error:
        raise StoreMismatchError(f"{folder} cannot be extended: {error}") from error
    leaves = read_leaves(folder)
    about = getattr(old.states, "about", None)
    if about is None:
        raise StoreMismatchError(f"{folder} cannot be extended: it was saved by another version of regopt")
    rows = _rows(old.history, state.history.settings, folder)
    if len(old.history.steps) > len(state.history.steps):
        steps = int(old.history.steps[-1])
        raise StoreMismatchError(
            f"{folder} was trained for {steps} steps: a sweep that extends it must have at least as many"
        )
    _take_history(state.history, leaves, rows, old)
    for group in state.groups:
        places = group.held.places
        group.start(places.admit(np.zeros(0, int)))
        if np.any(places.place < 0):
            raise StoreMismatchError(
                "a sweep that extends another one must have all settings on the devices: leave slots out"
            )
    state.history.seats[rows[~_have_seats(state, leaves, about, rows, old)]] = -1
    for number, part in enumerate(about):
        _take_lanes(state, leaves, f"groups.{number}", part, rows, folder)


def _rows(before: History, new: Settings, folder: Path) -> np.ndarray:
    """[old settings], int: the row of each in the new sweep."""
    old = before.settings
    changed = [name for name, used in before.used.items() if _has_changed(used, old.numbers[name])]
    if changed:
        raise StoreMismatchError(
            f"{folder} cannot be extended: its scheduler has changed {', '.join(changed)} in training, so that its "
            "settings are no longer those that it began with; start in another folder"
        )
    free: dict[Hashable, list[int]] = {}
    for row in range(len(new)):
        free.setdefault(_named(new, row), []).append(row)
    found = []
    for row in range(len(old)):
        rows = free.get(_named(old, row))
        if not rows:
            raise StoreMismatchError(
                f"{folder} has trained {old.row(row)}, which is missing from the settings of the sweep that extends it"
            )
        found.append(rows.pop(0))
    return np.array(found)


def _has_changed(used: np.ndarray, numbers: np.ndarray) -> bool:
    """Whether a segment was trained with another number, ``[settings, evaluations]``, than the current one."""
    return bool(np.any(~np.isnan(used) & (used != numbers[:, None])))


def _named(settings: Settings, row: int) -> Hashable:
    """A setting as a folder records it, in which a function is known by its name alone."""
    return tuple(sorted((name, repr(word(value))) for name, value in settings.row(row).items()))


def _take_history(history: History, leaves: Mapping[str, np.ndarray], rows: np.ndarray, old: Result) -> None:
    """Fill the history of the old settings."""
    count = len(old.history.steps)
    for name, curve in history.curves.items():
        curve[rows, :count] = leaves[f"history.curves.{name}"]
    for name in ("stopped", "pruned", "first_bad_step", "best_step", "last_step"):
        getattr(history, name)[rows] = leaves[f"history.{name}"]
    history.seats[rows, :count] = leaves[f"history.{SEATS}"]
    history.parents[rows, :count] = leaves["history.parents"]
    for name, kinds in history.places.items():
        kinds[rows] = leaves.get(f"history.places.{name}", b"")
    ended = history.stopped | history.pruned | history.diverged | (history.last_step >= history.steps[-1])
    history.training[rows] = ~ended[rows]


def _have_seats(
    state: SweepState, leaves: Mapping[str, np.ndarray], about: Sequence[JsonObject], rows: np.ndarray, old: Result
) -> np.ndarray:
    """[old settings], bool: whether a setting keeps its device, and calls have the seats that they had."""
    # the columns are the chunk, the number of devices and the device of each setting
    now, before = np.zeros((len(state.history.settings), 3), int), np.zeros((len(rows), 3), int)
    for group in state.groups:
        now[group.indices] = np.stack(np.broadcast_arrays(group.chunk, group.devices, group.held.places.device), 1)
    for number, (part, chunk, size) in enumerate(zip(about, old.config["chunk"], old.config["slots"], strict=True)):
        own = chunk, size // part["capacity"], leaves[f"groups.{number}.device"]
        before[part["indices"]] = np.stack(np.broadcast_arrays(*own), 1)
    return (before == now[rows]).all(axis=1)


def _take_lanes(
    state: SweepState,
    leaves: Mapping[str, np.ndarray],
    prefix: str,
    about: JsonObject,
    rows: np.ndarray,
    folder: Path,
) -> None:
    """Copy the lanes of one old group to where they lie in the new sweep."""
    device, place = leaves[f"{prefix}.device"], leaves[f"{prefix}.place"]
    buffer = [array for name, array in leaves.items() if name.startswith(f"{prefix}.buffer.")]
    wanted = rows[np.array(about["indices"], int)]
    lost = wanted[(place < 0) & state.history.training[wanted]]
    if len(lost):
        raise StoreMismatchError(
            f"{folder} does not have the state of setting {lost[0]}, which has yet to train: start in another folder"
        )
    entries = device * about["capacity"] + place
    for group in state.groups:
        lane_of = {int(row): lane for lane, row in enumerate(group.indices)}
        ours = [at for at, row in enumerate(wanted) if int(row) in lane_of and place[at] >= 0]
        if ours:
            lanes = np.array([lane_of[int(wanted[at])] for at in ours])
            _put(group, lanes, [array[entries[ours]] for array in buffer], folder)


def _put(group: Group, lanes: np.ndarray, arrays: list[np.ndarray], folder: Path) -> None:
    buffer, constants = group.collect()
    leaves, structure = jax.tree.flatten(buffer)
    if len(leaves) != len(arrays):
        raise StoreMismatchError(
            f"the states in {folder} have {len(arrays)} arrays, those of the sweep {len(leaves)}: extend with the same "
            "task"
        )
    places = group.held.places
    at = places.device[lanes] * group.capacity + places.place[lanes]
    placed = [_placed(leaf, at, array, folder) for leaf, array in zip(leaves, arrays, strict=True)]
    group.hold(jax.tree.unflatten(structure, placed), constants, places)


def _placed(leaf: jax.Array | np.ndarray, at: np.ndarray, array: np.ndarray, folder: Path) -> Tree:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        values = jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(leaf))
    else:
        values = jnp.asarray(array)
    if values.shape[1:] != leaf.shape[1:] or values.dtype != leaf.dtype:
        had, has = f"{values.dtype}{list(values.shape[1:])}", f"{leaf.dtype}{list(leaf.shape[1:])}"
        raise StoreMismatchError(
            f"an array of the states in {folder} is {had}, in the sweep that extends it {has}: extend with the same "
            "task"
        )
    if isinstance(leaf, jax.Array):
        return jax.device_put(leaf.at[at].set(values), leaf.sharding)
    leaf[at] = values
    return leaf
