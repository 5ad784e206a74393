"""The bytes of the values that a program needs at the same time, from its jaxpr: in its steps, and in all of it.

XLA tells only what a whole program needs. It keeps fewer values than a jaxpr has, in training as in evaluation, so the
share of the two is a better number than either.
"""

import math

import jax
from jax.core import ShapedArray
from jax.extend import core

from regopt.sweep.engine._work import inner_programs


def share_of_steps(traced: jax.stages.Traced, steps: int) -> float:
    """What the training steps need, as a share of what the whole program with its evaluation needs at its peak.

    Args:
        traced: the program, from ``jax.jit(...).trace(...)``.
        steps: training steps in it, the length of a loop.

    Returns:
        The share, at most 1; 1 too where no such loop is found.
    """
    whole, in_steps = _peaks(traced.jaxpr.jaxpr, steps, 0.0)
    return in_steps / whole if in_steps else 1.0


def _peaks(jaxpr: core.Jaxpr, steps: int, outside: float) -> tuple[float, float]:
    """The most bytes at a time, and the most in loops of so many turns, with ``outside`` bytes of values around it."""
    last = {variable: place for place, eqn in enumerate(jaxpr.eqns) for variable in eqn.invars if _is_value(variable)}
    last |= {variable: len(jaxpr.eqns) for variable in jaxpr.outvars if _is_value(variable)}
    live, whole, in_steps = outside, outside, 0.0
    made: dict[core.Var, float] = {}
    for place, eqn in enumerate(jaxpr.eqns):
        here = live + sum(_bytes(variable) for variable in eqn.outvars)
        inner = [_peaks(program, steps, live) for program in inner_programs(eqn)]
        peak = max([here, *(each for each, _ in inner)])
        is_loop = eqn.primitive.name == "scan" and eqn.params["length"] == steps
        in_steps = max([in_steps, peak if is_loop else 0.0, *(each for _, each in inner)])
        whole = max(whole, peak)
        made |= {variable: _bytes(variable) for variable in eqn.outvars if variable in last}
        live += sum(_bytes(variable) for variable in eqn.outvars if variable in last)
        live -= sum(
            made.pop(variable, 0.0) for variable in set(filter(_is_value, eqn.invars)) if last[variable] == place
        )
    return whole, in_steps


def _is_value(variable: core.Var | core.Literal) -> bool:
    return not isinstance(variable, core.Literal)


def _bytes(variable: core.Var) -> float:
    aval = variable.aval
    return math.prod(aval.shape) * aval.dtype.itemsize if isinstance(aval, ShapedArray) else 0.0
