"""The proximal gradient method with Nesterov's acceleration (FISTA), backtracking and adaptive restart.

Smooth problems, penalised problems and problems over a set are one method here: the prox is the identity, the
penalty's, or the projection. Each step takes the gradient at the extrapolated point and at the new one; the second
gradient tests the step size to rounding, which the values of the loss do not, and it gives the certificate.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.types import Number, Penalty, Tree
from regopt.solvers._solution import Solution, inner, length, step_between

_ROUNDINGS = 10  # by how many roundings of a slope the test of the step size may fail
_SHORTER = 0.7  # the next step size to try
_LONGER = 1.5  # ... after a restart and in the first steps, because the curvature may have become smaller
_HARDLY_LONGER = 1.01  # ... in all other steps, so that a step size that was cut too far recovers
_FIRST_STEPS = 5
_HIDDEN = 0.5  # share of a rounding of an entry by which a step may move without changing it
_LONG = 1000.0  # factor by which a step is lengthened to show a slope that rounding hides


Gap: TypeAlias = Callable[[Tree, jax.Array, Tree], jax.Array]


class _Iterate(NamedTuple):
    params: Tree
    ahead: Tree  # the extrapolated point at which the next gradient is taken
    momentum: jax.Array  # shape (): t_k of FISTA, 1 after a restart
    stepsize: jax.Array  # shape ()
    objective: jax.Array  # shape ()
    gap: jax.Array  # shape ()
    residual: jax.Array  # shape ()
    steps: jax.Array  # shape (), int32


class Trial(NamedTuple):
    """A proximal gradient step, with the loss and its gradient where it ends."""

    stepsize: jax.Array  # shape ()
    moved: Tree  # the gradient step, of which ``params`` is the prox
    params: Tree
    value: jax.Array  # shape ()
    grad: Tree


def proximal_gradient(
    loss: Callable[[Tree], jax.Array],
    penalty: Penalty,
    start: Tree,
    *,
    gap_at: Gap | None,
    tolerance: Number,
    max_steps: int,
) -> Solution:
    """Minimise ``loss + penalty`` by FISTA; see ``minimize`` for the arguments.

    Args:
        loss: the smooth part, a function of the parameters alone.
        penalty: the penalty, with a prox.
        start: where to start, at least float32.
        gap_at: a function from the parameters, the loss there and its gradient to an upper bound on the objective minus
            its minimum; None where there is none, and then the residual decides.
        tolerance: as for ``minimize``.
        max_steps: as for ``minimize``.

    Returns:
        The solution.

    References:
        Beck, A., & Teboulle, M. (2009). A fast iterative shrinkage-thresholding algorithm for linear inverse problems.
        SIAM Journal on Imaging Sciences, 2(1), 183-202. The algorithm with backtracking, equations (4.1) to (4.3).

        O'Donoghue, B., & Candes, E. (2015). Adaptive restart for accelerated gradient schemes. Foundations of
        Computational Mathematics, 15(3), 715-732. Section 3.2, the gradient scheme.
    """
    value_and_grad = jax.value_and_grad(loss)

    def objective_and_gap(params: Tree, value: jax.Array, grad: Tree) -> tuple[jax.Array, jax.Array]:
        gap = jnp.inf if gap_at is None else gap_at(params, value, grad)
        return value + penalty.value(params).astype(value.dtype), jnp.asarray(gap, value.dtype)

    def within(now: _Iterate) -> jax.Array:
        return reached(now.objective, now.gap, now.residual, tolerance, certified=gap_at is not None)

    def unfinished(now: _Iterate) -> jax.Array:
        return (now.steps < max_steps) & ~within(now) & ~jnp.isnan(now.objective)

    def step(now: _Iterate) -> _Iterate:
        value, grad = value_and_grad(now.ahead)
        trial = backtrack(value_and_grad, penalty, now.ahead, now.stepsize, value, grad)
        move = step_between(trial.params, now.params)
        restart = inner(step_between(now.ahead, trial.params), move) > 0
        momentum = jnp.where(restart, 1, (1 + jnp.sqrt(1 + 4 * now.momentum**2)) / 2)
        weight = jnp.where(restart, 0, (now.momentum - 1) / momentum)
        ahead = trees.lift(lambda w, move, weight: w + weight * move, trial.params, move, numbers=(weight,))
        longer = restart | (now.steps < _FIRST_STEPS)
        stepsize = trial.stepsize * jnp.where(longer, _LONGER, _HARDLY_LONGER)
        objective, gap = objective_and_gap(trial.params, trial.value, trial.grad)
        residual = residual_of(penalty, now.ahead, trial).astype(value.dtype)
        return _Iterate(trial.params, ahead, momentum, stepsize, objective, gap, residual, now.steps + 1)

    value, grad = value_and_grad(start)
    objective, gap = objective_and_gap(start, value, grad)
    stepsize, unknown = first_stepsize(jax.grad(loss), start, grad), jnp.full_like(gap, jnp.inf)
    first = _Iterate(start, start, jnp.ones_like(gap), stepsize, objective, gap, unknown, jnp.zeros((), jnp.int32))
    last = jax.lax.while_loop(unfinished, step, first)
    return Solution(last.params, last.objective, last.gap, last.residual, within(last), last.steps)


def reached(
    objective: jax.Array, gap: jax.Array, residual: jax.Array, tolerance: Number, *, certified: bool
) -> jax.Array:
    """Whether the gap, or the residual where there is no gap, is within the tolerance of ``minimize``."""
    if not certified:
        return residual <= tolerance
    return gap <= tolerance * jnp.maximum(jnp.abs(objective), 1)


def backtrack(
    value_and_grad: Callable[[Tree], tuple[jax.Array, Tree]],
    penalty: Penalty,
    ahead: Tree,
    stepsize: jax.Array,
    value: jax.Array,
    grad: Tree,
    *,
    share: float = 1.0,
) -> Trial:
    """The proximal gradient step from a point, at the first step size from ``stepsize`` downwards that is allowed.

    A step size is allowed where the loss curves no more than ``share / stepsize`` along the step.
    """
    limits = jnp.finfo(value.dtype)

    def attempt(last: Trial) -> Trial:
        stepsize = last.stepsize * _SHORTER
        moved = trees.lift(lambda w, g, step: w - step * g, ahead, grad, numbers=(stepsize,))
        params = penalty.prox(moved, stepsize)
        return Trial(stepsize, moved, params, *value_and_grad(params))

    def too_long(trial: Trial) -> jax.Array:
        move = step_between(trial.params, ahead)
        square = share * inner(move, move) / trial.stepsize
        # near the solution the values of the loss differ by no more than their rounding, which depends on the loss
        told_by_values = square > jnp.sqrt(limits.eps) * jnp.abs(value)
        descends = trial.value <= value + inner(grad, move) + square / 2
        rounding = _ROUNDINGS * limits.eps * (length(grad) + length(ahead) / trial.stepsize) * length(move)
        flat_enough = inner(step_between(trial.grad, grad), move) <= square + rounding
        # where the loss is not a number, nothing holds, however short the step has become
        return ~((descends | ~told_by_values) & flat_enough) & (trial.stepsize > limits.tiny)

    untried = Trial(stepsize / _SHORTER, ahead, ahead, value, grad)
    first = jnp.array(True)  # the first attempt is part of the loop, so that the loss is compiled once
    return jax.lax.while_loop(
        lambda carry: carry[1] | too_long(carry[0]), lambda carry: (attempt(carry[0]), ~first), (untried, first)
    )[0]


def residual_of(penalty: Penalty, ahead: Tree, trial: Trial) -> jax.Array:
    """The norm of a subgradient of the objective at the new point, which the optimality of its prox gives, shape ().

    The prox is that of the gradient step as it was rounded, so the subgradient of a leaf without a penalty is its
    gradient. Where a penalised entry is too large for its step, its slope is rounded away; a longer step shows it if
    the penalty is convex, because only then do steps of all lengths have the same fixed points.
    """
    step = trial.stepsize
    subgradient = trees.lift(
        lambda w, moved, g, step: (moved - w) / step + g, trial.params, trial.moved, trial.grad, numbers=(step,)
    )
    found = length(subgradient)
    if not penalty.has_linear_minimum:  # which only convex penalties have
        return found
    still = jax.tree.map(lambda w, before: jnp.any((w == before) & (w != 0)), trial.params, ahead)
    stuck = jnp.any(jnp.stack([jnp.asarray(False), *jax.tree.leaves(still)]))

    def shown() -> jax.Array:
        far = trees.lift(lambda w, g, step: w - step * g, trial.params, trial.grad, numbers=(_LONG * step,))
        move = length(step_between(trial.params, penalty.prox(far, _LONG * step)))
        return jnp.minimum(move / _LONG, _HIDDEN * jnp.finfo(move.dtype).eps * length(ahead)) / step

    return jax.lax.cond(stuck, lambda: jnp.maximum(found, shown().astype(found.dtype)), lambda: found)


def first_stepsize(gradient: Callable[[Tree], Tree], start: Tree, grad: Tree) -> jax.Array:
    """The inverse of the curvature of the loss along its gradient at the start; backtracking corrects it."""
    size = length(grad)
    reach = 1e-3 * jnp.maximum(length(start), 1) / jnp.where(size > 0, size, 1)
    nearby = trees.lift(lambda w, g, reach: w - reach * g, start, grad, numbers=(reach,))
    change = length(step_between(gradient(nearby), grad))
    known = (change > 0) & jnp.isfinite(change)
    return jnp.where(known, reach * size / jnp.where(known, change, 1), 1.0)
