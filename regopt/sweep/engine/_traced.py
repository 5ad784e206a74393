"""A task traced with a setting before anything compiles: the columns that it asks for, and what it draws from.

Not for the messages about it (``_mistakes.py``).
"""

import functools
from collections.abc import ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from typing import TypeAlias

import jax
from jax.extend import core

from regopt._core.types import Key, Setting, Tree
from regopt.data import Splits
from regopt.sweep.engine._config import SweepConfig

# the operations that draw numbers from a key; those that make and split keys are none of these
_DRAWS = {"random_bits", "random_gamma", "threefry2x32", "rng_bit_generator", "rng_uniform"}
# what a value depends on: "given" is any argument, "seed" the key or the seed, "fixed" a draw that has no argument
_Mark: TypeAlias = frozenset[str]
_NOTHING: _Mark = frozenset()


class NotOfSettingError(KeyError):
    """A task has asked a dict other than the setting for a name that the dict does not have."""


class Asked(Setting):
    """A setting that remembers which of its columns were asked for."""

    def __init__(self, values: Mapping[str, object], asked: set[str]):
        super().__init__(values)
        self.asked, self.is_copied = asked, False

    def __getitem__(self, name: str) -> object:
        self.asked.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return super().__contains__(name)

    def get(self, name: str, default: object = None) -> object:
        """The value of a column, or the default; the column counts as asked for."""
        self.asked.add(name)
        return super().get(name, default)

    def _all(self) -> None:
        self.is_copied = True
        self.asked.update(super().keys())

    def __iter__(self) -> Iterator[str]:
        self._all()
        return super().__iter__()

    def keys(self) -> KeysView[str]:
        """``dict.keys``; all columns count as asked for."""
        self._all()
        return super().keys()

    def values(self) -> ValuesView[object]:
        """``dict.values``; all columns count as asked for."""
        self._all()
        return super().values()

    def items(self) -> ItemsView[str, object]:
        """``dict.items``; all columns count as asked for."""
        self._all()
        return super().items()

    def copy(self) -> Setting:
        """``dict.copy``; all columns count as asked for."""
        self._all()
        return super().copy()

    def __or__(self, other: Setting) -> Setting:
        self._all()
        return super().__or__(other)

    def __ror__(self, other: Setting) -> Setting:
        self._all()
        return super().__ror__(other)


class Traced:
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
        return isinstance(other, Traced) and self._identity == other._identity


@functools.lru_cache(maxsize=32)  # a search trains many sweeps of one task
def asked_columns(traced: Traced) -> frozenset[str]:
    """The columns that the functions of a task ask for."""
    task, asked, given = traced.task, set[str](), list[Asked]()

    def both(key: Key, numbers: dict[str, jax.Array], data: Splits) -> Tree:
        h = Asked(traced.static | numbers, asked)
        given.append(h)
        state = task.init(key, h)
        after, metrics = task.step(state, data.train, jax.random.fold_in(key, 1), h)
        return after, metrics, task.evaluate(after, data, h)

    try:
        jax.eval_shape(both, jax.random.key(0), traced.numbers, traced.data)
    except KeyError as error:
        name = error.args[0] if error.args else None
        is_traced = not isinstance(name, str) or "Tracer" in name  # a number of the setting in the place of a name
        if not (is_traced or name in asked or any(h.is_copied for h in given)):
            raise NotOfSettingError(name) from error
        raise
    return frozenset(asked)


def take_batch(traced: Traced, batch_size: int | None) -> None:
    """Trace a step of a task on a batch of its training data; errors of the task are raised as they are.

    Args:
        traced: the task.
        batch_size: examples in the batch; None for all.
    """

    def first(key: Key, numbers: dict[str, jax.Array], train: Tree) -> Tree:
        h, batch = traced.static | numbers, jax.tree.map(lambda x: x[:batch_size], train)
        return traced.task.step(traced.task.init(key, h), batch, jax.random.fold_in(key, 1), h)

    jax.eval_shape(first, jax.random.key(0), traced.numbers, traced.data.train)


@functools.lru_cache(maxsize=32)
def starts_alike(traced: Traced) -> bool:
    """Whether initial parameters are drawn from no argument, and none depend on the key or the seed."""

    def start(key: Key, seed: jax.Array, others: dict[str, jax.Array]) -> Tree:
        state = traced.task.init(key, traced.static | others | {"seed": seed})
        return getattr(state, "params", state)

    others = {name: number for name, number in traced.numbers.items() if name != "seed"}
    program = jax.make_jaxpr(start)(jax.random.key(0), traced.numbers["seed"], others).jaxpr
    given = frozenset({"given"})
    marks = _flow(program, [given | {"seed"}] * 2 + [given] * len(others))
    return any("fixed" in mark for mark in marks) and not any("seed" in mark for mark in marks)


def _flow(program: core.Jaxpr, marks: Sequence[_Mark]) -> list[_Mark]:
    """The marks of the results of a program, from those of its arguments; what is drawn from no argument is "fixed"."""
    known: dict[core.Var | core.Literal, _Mark] = dict(zip(program.invars, marks, strict=True))

    def of(values: Sequence[core.Var | core.Literal]) -> list[_Mark]:
        return [_NOTHING if isinstance(value, core.Literal) else known.get(value, _NOTHING) for value in values]

    for eqn in program.eqns:
        its = of(eqn.invars)
        if eqn.primitive.name == "jit":
            results = _flow(eqn.params["jaxpr"].jaxpr, its)
        else:
            mark = _NOTHING.union(*its)
            if "given" not in mark and _draws(eqn):
                mark |= {"fixed"}
            results = [mark] * len(eqn.outvars)
        known.update(zip(eqn.outvars, results, strict=True))
    return of(program.outvars)


def _draws(eqn: core.JaxprEqn) -> bool:
    inner = core.jaxprs_in_params(eqn.params)
    return eqn.primitive.name in _DRAWS or any(_draws(each) for program in inner for each in program.eqns)
