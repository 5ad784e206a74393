"""The recipe of a group of settings, and the trees of arrays that its program takes and gives.

What a call of the program gives is read on the host while the next call runs.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.keys import Keys
from regopt._core.numerics import as_float
from regopt._core.types import Mode, Number, Setting, Stopping, Task, Tree
from regopt.data import Splits
from regopt.sweep.engine._placement import Places
from regopt.training import early_stopping

Report = tuple[np.ndarray, np.ndarray, Tree]  # lanes, their seats in the call, and the results of each


class Lane(NamedTuple):
    """Everything that a setting in training has; the buffer holds lanes with a leading axis."""

    state: Tree  # the task's own
    stopping: Tree  # early-stopping state, () without early stopping
    infinite: jax.Array  # shape (), int32: entries of the first state that were not finite, as a mask of -inf has


class Shared(NamedTuple):
    """The arrays that all lanes read, once on each device, whatever the number of groups."""

    data: Splits
    keys: Keys
    resamples: jax.typing.ArrayLike | None  # [replicas, examples], int32: rows of data.train; None trains on all of it
    held_out: jax.typing.ArrayLike | None = None  # [folds, examples], int32: the rows that each fold is evaluated on
    frozen: Tree = None  # parameters that are not trained, the same for all settings of a group


class Constants(NamedTuple):
    """The constants of a lane, which training never changes."""

    numbers: dict[str, jax.Array]  # the traced part of the setting
    index: jax.Array  # shape (), int32: which setting of the sweep this is


class Held(NamedTuple):
    """The arrays on the devices, and the places of the lanes in them."""

    buffer: Tree  # a Lane, each leaf [entries, ...]
    constants: Tree  # a Constants, each leaf [entries, ...]
    places: Places


class StaticValue(NamedTuple):
    """A static value of a group, with its type: True, 1 and 1.0 are equal and make different programs."""

    name: str
    kind: type
    value: object


def static_values(values: Setting) -> tuple[StaticValue, ...]:
    """The static part of a setting as a recipe has it, in the order of the names."""
    return tuple(StaticValue(name, type(value), value) for name, value in sorted(values.items()))


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The recipe by which one group of settings trains; hashable where its static values and functions are."""

    task: Task
    static: tuple["StaticValue", ...]
    eval_every: int
    batch_size: int | None
    patience: Callable[[Setting], Number] | None
    monitor: str
    mode: Mode
    noise: Literal["shared", "per lane"]
    eval_batch_size: int | None = None
    default_matmul_precision: str | None = None
    apart: bool = False  # whether the evaluation follows the segment in programs of its own, as validation data stream

    def multiplying(self) -> contextlib.AbstractContextManager[object]:
        """Trace matrix products in the precision that was asked for."""
        precision = self.default_matmul_precision
        return contextlib.nullcontext() if precision is None else jax.default_matmul_precision(precision)

    def holding(self, frozen: Tree) -> contextlib.AbstractContextManager[None]:
        """Give the task its frozen parameters while it is traced."""
        holder = getattr(self.task, "frozen", None)
        return contextlib.nullcontext() if holder is None else holder.bound(frozen)

    @property
    def static_values(self) -> Setting:
        """The static part of the setting, by name."""
        return {name: value for name, _, value in self.static}

    def setting(self, constants: Constants) -> Setting:
        """The dict that the task sees: traced numbers and static values."""
        return {**constants.numbers, **self.static_values}

    def kept(self, lane: Lane) -> Tree:
        """The task's state that counts: the best one with early stopping, else the last."""
        return lane.state if self.patience is None else lane.stopping.best_params

    def stopping(self, h: Setting) -> Stopping | None:
        """The setting's early stopping, counting in training steps; None where there is none."""
        if self.patience is None:
            return None
        patience = self.patience(h)
        if jnp.shape(patience):
            raise ValueError(f"patience must be one number for each setting, got shape {jnp.shape(patience)}")
        return early_stopping(patience, self.eval_every, mode=self.mode)


def parameters_of(lane: Lane) -> Tree:
    """The parameters of a lane: ``state.params``, or a state without such a field."""
    return getattr(lane.state, "params", lane.state)


def as_number(column: np.ndarray) -> jax.Array:
    """A column of numbers as lanes have it."""
    is_integer = np.issubdtype(column.dtype, np.integer)
    return jnp.asarray(column, jnp.int32) if is_integer else as_float(column)


def one_behind(launched: Iterable[tuple[np.ndarray, Tree] | None], *, hears_signals: bool = True) -> Iterator[Report]:
    """Read the results of calls, each while the next call runs, and leave padding out.

    Args:
        launched: the owners of the seats of each call, and its results; None reads the call before at once.
        hears_signals: whether handlers of signals run while this waits, at the price of a little time.

    Yields:
        The report of each call.
    """
    waiting, waited = None, 0.0

    def read(owners: np.ndarray, outcome: Tree) -> Report:
        nonlocal waited
        if hears_signals:
            waited = _wait(outcome, waited)
        real = owners >= 0
        return owners[real], np.flatnonzero(real), jax.tree.map(lambda x: np.asarray(x)[real], outcome)

    for call in launched:
        if waiting is not None:
            yield read(*waiting)
        waiting = call
    if waiting is not None:
        yield read(*waiting)


def _wait(outcome: Tree, expected: float) -> float:
    """Wait until the arrays of a tree are there, so that handlers of signals run, and return the seconds that it took.

    Where JAX waits, Python hears no signal. Each look takes time from the devices of a CPU, so there are few of them if
    it takes about as long as expected.
    """
    began, waited = time.perf_counter(), 0.0
    pause, leaves = min(0.8 * expected, 0.05), jax.tree.leaves(outcome)
    while not all(leaf.is_ready() for leaf in leaves):
        time.sleep(max(pause, 5e-5))
        waited = time.perf_counter() - began
        pause = min(waited / 2, max(5e-3, waited / 32))
    return waited
