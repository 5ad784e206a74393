"""The dependence of a value on the gradient: independent, linear coordinate by coordinate, or neither.

``_rules.py`` says how each operation combines these classes, and ``_program.py`` applies the rules to a program. With a
value goes, where the program is evaluated and not only classified, its *response*: what it would be if every gradient
so far had been one, with all factors as they are and everything else that is added left out.
"""

import enum
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Kind(enum.IntEnum):
    """The dependence of a value on the gradients so far."""

    FIXED = 0  # not at all, or only through a nonlinear memory such as Adam's nu, which counts as fixed
    LINEAR = 1  # each entry is a factor times an average of the gradient's own entry, plus what is fixed
    NONLINEAR = 2


# what may be added to a linear value, or what a fixed one is made of
PARAMS = "params"  # the parameters before the step, as in weight decay
POINTS = "points"  # a memory of parameters, which does not move when the parameters are moved
HELD = "held"  # a nonlinear memory of the gradient
VELOCITY = "velocity"  # the last move of the parameters

_roots = itertools.count()


class Value(NamedTuple):
    """The class of a value, and the value itself where the program is evaluated."""

    kind: Kind
    uniform: bool  # all entries are equal; of a linear value: those of its response are
    leaf: int = -1  # of a linear value: the leaf of the gradient whose coordinates it has
    sources: frozenset[str] = frozenset()  # of a linear value: those of what is added to it
    why: str = ""  # of a nonlinear value, or of one that is held: what made it so
    factor: str = ""  # of a linear value: the nonlinear function of the gradient that scales it as a whole
    roots: frozenset[int] = frozenset()  # the same where a value is only selected, cast or copied
    zero: bool = False  # known to be 0 everywhere
    kept: bool = False  # of a linear value: the optimizer remembers it, so that functions of it may be held
    key: int | None = None  # uniform values (of linear ones: responses) with the same key are equal; None: not known
    primal: jax.Array | None = None
    response: jax.Array | None = None

    @property
    def bare(self) -> "Value":
        """The class alone."""
        return self._replace(primal=None, response=None)


def fixed(uniform: bool, sources: Iterable[str] = (), primal: jax.Array | None = None) -> Value:
    """A value that does not depend on the gradient."""
    return Value(Kind.FIXED, uniform, sources=frozenset(sources), primal=primal)


def nonlinear(why: str, uniform: bool = False, sources: Iterable[str] = ()) -> Value:
    """A value that is no linear function of the gradient, coordinate by coordinate."""
    return Value(Kind.NONLINEAR, uniform, sources=frozenset(sources), why=why)


def linear(leaf: int, uniform: bool, sources: Iterable[str] = (), factor: str = "") -> Value:
    """A new linear value."""
    return Value(Kind.LINEAR, uniform, leaf, frozenset(sources), factor=factor, roots=frozenset([next(_roots)]))


def held(value: Value) -> Value:
    """A nonlinear value that the optimizer remembers, which stays as it is while the prox acts."""
    return fixed(value.uniform, {HELD}, value.primal)._replace(why=value.why)


def sources_of(values: Sequence[Value]) -> frozenset[str]:
    """Everything that the values are made of."""
    return frozenset().union(*(value.sources for value in values))


def reason(values: Sequence[Value], otherwise: str) -> str:
    """The reason of the first nonlinear value, else the given one."""
    return next((value.why for value in values if value.kind == Kind.NONLINEAR), otherwise)


def scalar(array: jax.Array) -> jax.Array:
    """The common entry of an array whose entries are equal."""
    return array[(0,) * jnp.ndim(array)]


def joined(cases: Sequence[Value], choosers: Sequence[Value]) -> Value:
    """The class of a value that is one of the cases; the choosers decide which, for the whole or for each entry."""
    everything = [*choosers, *cases]
    uniform = all(value.uniform for value in everything)
    # of a linear value and 0 the added part does not depend on which one is chosen
    bare = all(case.kind == Kind.LINEAR or case.zero for case in cases)
    sources = sources_of(cases if bare else everything)
    if all(value.kind == Kind.FIXED for value in everything):
        return fixed(uniform, sources_of(everything))
    # the responses to a gradient are equal for all its entries, functions of it are not
    uniform = uniform and not any(value.kind == Kind.LINEAR for value in everything)
    if why := reason(cases, ""):
        return nonlinear(why, uniform, sources)
    chosen = reason(choosers, "")
    lines = [case for case in cases if case.kind == Kind.LINEAR]
    if any(value.kind == Kind.LINEAR for value in choosers):
        return nonlinear("compares the gradient", uniform, sources)
    if len({line.leaf for line in lines}) != 1:
        return nonlinear(chosen or "adds entries of several leaves", uniform, sources)
    if chosen and not all(value.uniform for value in choosers):
        return nonlinear(chosen, uniform, sources)
    factor = chosen or next((line.factor for line in lines if line.factor), "")
    uniform = all(value.uniform for value in (*choosers, *lines))  # the response of a fixed case is 0
    return linear(lines[0].leaf, uniform, sources, factor)._replace(
        roots=frozenset().union(*(line.roots for line in lines))
    )
