"""FISTA for losses of a linear image of the parameters: a step takes one product with the data and one transposed.

The image of an extrapolated point is the same combination of images that are known, and the test of the step size needs
images alone. For the Gram matrix, whose image is ``G w``, a step takes one product. Losses of any other form are in
``_proximal_gradient.py``.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.types import Penalty, Tree
from regopt.solvers._solution import Solution, apply_if, inner, length, step_between

_CHECK_EVERY = 5  # steps between two looks at the gap
_SMALLER = 0.97  # factor of the curvature after a step that it allowed, so that it follows the loss downwards
_ROUNDINGS = 50  # by how many roundings of a slope the test of the step size may fail

Target: TypeAlias = Callable[[jax.Array], jax.Array]  # from the objective to the gap at which to end


class LinearProblem(NamedTuple):
    """A convex smooth loss through an image that is affine in the parameters."""

    image: Callable[[Tree], jax.Array]
    value: Callable[[Tree, jax.Array], jax.Array]  # (params, image) -> loss, shape ()
    gradient: Callable[[Tree, jax.Array], Tree]  # (params, image) -> gradient
    bend: Callable[[Tree, jax.Array, jax.Array], jax.Array]  # (turn, after, before) -> <turn, change of the gradient>
    # (penalty, params, image, objective) -> duality gap, shape ()
    gap: Callable[[Penalty, Tree, jax.Array, jax.Array], jax.Array]
    # turn -> <turn, change of the gradient along it>, if that is the same everywhere
    bend_anywhere: Callable[[Tree], jax.Array] | None = None


class _State(NamedTuple):
    params: Tree
    image: jax.Array
    ahead: Tree  # the extrapolated point
    image_ahead: jax.Array
    momentum: jax.Array  # shape ()
    curvature: jax.Array  # shape (): the inverse of the step size
    residual: jax.Array  # shape (): norm of the generalised gradient at the last extrapolated point


class _Checked(NamedTuple):
    state: _State
    steps: jax.Array  # shape (), int32
    objective: jax.Array  # shape ()
    gap: jax.Array  # shape ()


def accelerated(
    problem: LinearProblem,
    penalty: Penalty,
    start: Tree,
    *,
    target: Target,
    max_steps: int,
    check_start: bool = True,
) -> Solution:
    """Minimise the loss plus a penalty to a duality gap.

    Args:
        problem: the loss.
        penalty: the penalty, with a prox and a ``linear_minimum``.
        start: where to start, at least float32.
        target: from the objective to the gap at which to end.
        max_steps: the largest number of steps, rounded up to a multiple of 5.
        check_start: whether the start may be within the target; otherwise at least 5 steps are taken.

    Returns:
        The solution; its residual is the norm of the generalised gradient at the last extrapolated point.

    References:
        Beck, A., & Teboulle, M. (2009). A fast iterative shrinkage-thresholding algorithm for linear inverse problems.
        SIAM Journal on Imaging Sciences, 2(1), 183-202. Section 4.

        O'Donoghue, B., & Candes, E. (2015). Adaptive restart for accelerated gradient schemes. Foundations of
        Computational Mathematics, 15(3), 715-732. Section 3.2, the gradient scheme.
    """

    def check(state: _State, steps: jax.Array) -> _Checked:
        objective = problem.value(state.params, state.image) + penalty.value(state.params)
        gap = problem.gap(penalty, state.params, state.image, objective)
        return _Checked(state, steps, objective.astype(image.dtype), gap.astype(image.dtype))

    def within(now: _Checked) -> jax.Array:
        return now.gap <= target(now.objective)

    def unfinished(now: _Checked) -> jax.Array:
        return ~within(now) & (now.steps < max_steps) & ~jnp.isnan(now.objective)

    def steps(state: _State) -> _State:
        return jax.lax.fori_loop(0, _CHECK_EVERY, lambda _, state: _step(problem, penalty, state), state)

    def steps_and_check(now: _Checked) -> _Checked:
        if not check_start:
            return check(steps(now.state), now.steps + _CHECK_EVERY)
        # the start is checked in the loop too, so that one check is compiled
        state = apply_if(now.steps >= 0, steps, now.state)
        return check(state, now.steps + _CHECK_EVERY)

    image = problem.image(start)
    one, unknown = jnp.ones((), image.dtype), jnp.full((), jnp.inf, image.dtype)
    curvature = _curvature(problem, start, image)
    first, none = _State(start, image, start, image, one, curvature, unknown), jnp.zeros((), jnp.int32)
    if check_start:
        end = _descend(penalty, start, problem.gradient(start, image), curvature)
        first, none = first._replace(residual=curvature * length(step_between(end, start))), none - _CHECK_EVERY
    last = jax.lax.while_loop(unfinished, steps_and_check, _Checked(first, none, jnp.zeros_like(one), unknown))
    return Solution(last.state.params, last.objective, last.gap, last.state.residual, within(last), last.steps)


def _step(problem: LinearProblem, penalty: Penalty, state: _State) -> _State:
    """One step, or the same point with a larger curvature where the step was too long."""
    grad = problem.gradient(state.ahead, state.image_ahead)
    params = _descend(penalty, state.ahead, grad, state.curvature)
    image = problem.image(params)
    turn, move = step_between(params, state.ahead), step_between(params, state.params)
    square = inner(turn, turn)
    bend = problem.bend(turn, image, state.image_ahead)
    limits = jnp.finfo(image.dtype)
    rounding = _ROUNDINGS * limits.eps * jnp.sqrt(square) * (length(grad) + state.curvature * length(params))
    allowed = bend <= state.curvature * square + rounding
    restart = inner(step_between(state.ahead, params), move) > 0
    momentum = jnp.where(restart, 1, (1 + jnp.sqrt(1 + 4 * state.momentum**2)) / 2)
    weight = jnp.where(restart, 0, (state.momentum - 1) / momentum)
    ahead = trees.lift(lambda w, move, weight: w + weight * move, params, move, numbers=(weight,))
    image_ahead = image + weight * (image - state.image)
    residual = state.curvature * jnp.sqrt(square)
    after = _State(params, image, ahead, image_ahead, momentum, state.curvature * _SMALLER, residual)
    needed = jnp.where(square > 0, bend / jnp.where(square > 0, square, 1), 0)
    # where the loss overflows the bend is NaN, which says only that the step was too long
    larger = jnp.clip(jnp.nan_to_num(1.1 * needed, nan=0.0), 1.5 * state.curvature, 1e3 * state.curvature)
    again = state._replace(curvature=larger)
    return jax.tree.map(lambda a, b: jnp.where(allowed, a, b), after, again)


def _descend(penalty: Penalty, params: Tree, grad: Tree, curvature: jax.Array) -> Tree:
    step = 1 / curvature
    return penalty.prox(trees.lift(lambda w, g, step: w - step * g, params, grad, numbers=(step,)), step)


def _curvature(problem: LinearProblem, start: Tree, image: jax.Array) -> jax.Array:
    """The curvature along the gradient at the start, a first guess that the steps correct."""
    grad = problem.gradient(start, image)
    if problem.bend_anywhere is None:
        size = length(grad)
        reach = 1e-3 * jnp.maximum(length(start), 1) / jnp.where(size > 0, size, 1)
        turn = trees.lift(lambda g, reach: -reach * g, grad, numbers=(reach,))
        nearby = jax.tree.map(jnp.add, start, turn)
        bend, square = problem.bend(turn, problem.image(nearby), image), inner(turn, turn)
    else:
        bend, square = problem.bend_anywhere(grad), inner(grad, grad)
    bend = bend / jnp.where(square > 0, square, 1)
    return jnp.where((bend > 0) & jnp.isfinite(bend), bend, 1).astype(image.dtype)
