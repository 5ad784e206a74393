"""Checks of what a task does with its data and its settings, before a program is built."""

import functools
import logging
from collections.abc import Sequence

import jax

from regopt._core.types import Key, Setting, Tree
from regopt.data import Splits
from regopt.report import REPEATED
from regopt.sweep.engine._config import SweepConfig
from regopt.sweep.engine._mistakes import Asked
from regopt.sweep.space import Settings
from regopt.sweep.space._settings import BATCH_SIZE

_LOG = logging.getLogger(__name__)
_OF_THE_ENGINE = {*REPEATED, BATCH_SIZE}


def check_examples(config: SweepConfig, settings: Settings, firsts: Sequence[int]) -> None:
    """Let the task check the data with the first setting of each group.

    Args:
        config: the arguments of the sweep.
        settings: the settings of the sweep.
        firsts: the first row of each group.
    """
    check = getattr(config.task, "check", None)
    if check is not None and getattr(check, "init", config.task.init) is config.task.init:
        for row in firsts:
            check(config.sample, settings.row(row))


def warn_of_unused(config: SweepConfig, settings: Settings, firsts: Sequence[int]) -> None:
    """Say in one line which columns the task never asks for: they change nothing."""
    wanted = {name for name in settings.columns if name not in _OF_THE_ENGINE}
    changed = set() if config.scheduler is None else set(config.scheduler.changes)
    asked: set[str] = set()
    if callable(config.patience):
        config.patience(Asked(settings.row(firsts[0]), asked))
    for row in firsts:
        if wanted <= asked:
            return
        try:
            asked |= _asked(_Traced(config, settings.row(row)))
        except Exception:
            return  # the error of a task is raised where it trains
    if unused := sorted(wanted - asked):
        also = " although the scheduler changes it" if changed & set(unused) else ""
        _LOG.warning(
            "the task never asks for the column%s %s, so %s nothing%s",
            "s" if len(unused) > 1 else "",
            " and ".join(map(repr, unused)),
            "they change" if len(unused) > 1 else "it changes",
            also,
        )


class _Traced:
    """A task with a setting; equal to another one of the same functions, names and static values."""

    def __init__(self, config: SweepConfig, setting: Setting):
        self.task = config.task
        self.data = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), config.sample)
        self.numbers = {name: setting[name] for name in config.settings.numbers}
        self.static = {name: setting[name] for name in config.settings.static}
        functions = (config.task.init, config.task.step, config.task.evaluate)
        self._identity = functions, tuple(setting), tuple(self.static.items())

    def __hash__(self) -> int:
        return hash(self._identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Traced) and self._identity == other._identity


@functools.lru_cache(maxsize=32)  # a search trains many sweeps of one task
def _asked(traced: _Traced) -> frozenset[str]:
    """The columns that the functions of a task ask for."""
    task, asked = traced.task, set[str]()

    def both(key: Key, numbers: dict[str, jax.Array], data: Splits) -> Tree:
        h = Asked(traced.static | numbers, asked)
        state = task.init(key, h)
        after, metrics = task.step(state, data.train, jax.random.fold_in(key, 1), h)
        return after, metrics, task.evaluate(after, data, h)

    jax.eval_shape(both, jax.random.key(0), traced.numbers, traced.data)
    return frozenset(asked)
