"""Mirror descent on the simplex with the Kullback-Leibler divergence: steps multiply, so entries stay positive."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.numerics import as_float, check_number, check_whole
from regopt._core.types import Number, Tree
from regopt.solvers._solution import Solution, inner, step_between

_LONGER = 1.25  # the next step size, after a step that was not too long
_SHORTER = 0.5
_LARGEST = 1e6  # the largest step size


class _State(NamedTuple):
    logits: Tree  # the logarithms of the point
    objective: jax.Array  # shape ()
    grad: Tree
    gap: jax.Array  # shape ()
    stepsize: jax.Array  # shape ()
    steps: jax.Array  # shape (), int32


def mirror_descent(
    loss: Callable[..., jax.Array],
    start: Tree,
    *data: Tree,
    tolerance: Number = 1e-6,
    max_steps: int = 10_000,
) -> Solution:
    """Minimise ``loss(w, *data)`` where the last axis of each leaf of w is a distribution: positive, with sum 1.

    A step is ``w <- w exp(-s grad) / sum(w exp(-s grad))``, with a step size s at which the loss lies below its linear
    model plus the divergence divided by s. For a convex loss, ``gap = <grad, w> - sum_rows min_j grad_j`` is an upper
    bound on the loss minus its minimum; for other losses it is 0 exactly at stationary points. An entry that is 0 in
    the start stays 0. Jit the function, and vmap it; derivatives of the solution come from ``implicit_root``.

    Args:
        loss: a function of the parameters and ``data`` to a scalar, differentiable.
        start: distributions along the last axis, with positive entries wherever the solution may be positive.
        *data: further arguments of the loss; may be traced.
        tolerance: ``gap <= tolerance * max(1, |loss|)`` ends the iteration, >= 0; may be traced.
        max_steps: the largest number of steps, rejected ones included, >= 1; static.

    Returns:
        The solution; its residual is the gap.

    Raises:
        ValueError: a number lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.solvers import mirror_descent
        >>> target = jnp.array([0.75, 0.75, -0.5])
        >>> mirror_descent(lambda w: jnp.sum((w - target) ** 2), jnp.ones(3) / 3, tolerance=1e-5).params.round(2)
        Array([0.5, 0.5, 0. ], dtype=float32)

    References:
        Beck, A., & Teboulle, M. (2003). Mirror descent and nonlinear projected subgradient methods for convex
        optimization. Operations Research Letters, 31(3), 167-175. Section 5, the entropic descent algorithm.

        Bauschke, H. H., Bolte, J., & Teboulle, M. (2017). A descent lemma beyond Lipschitz gradient continuity.
        Mathematics of Operations Research, 42(2), 330-348. Lemma 1, for the test of the step size.
    """
    check_number("tolerance", tolerance, "[0, inf)")
    check_whole("max_steps", max_steps, "[1, inf)")
    value_and_grad = jax.value_and_grad(lambda params: as_float(loss(params, *data)))

    def look(logits: Tree, stepsize: jax.Array, steps: jax.Array) -> _State:
        params = jax.tree.map(jnp.exp, logits)
        value, grad = value_and_grad(params)
        able = jax.tree.map(lambda g, z: jnp.where(jnp.isneginf(z), jnp.inf, g), grad, logits)  # an entry of 0 stays 0
        least = trees.total(jax.tree.map(lambda g: jnp.sum(jnp.min(g, -1)), able))
        return _State(logits, value, grad, inner(grad, params) - least, stepsize, steps)

    def within(now: _State) -> jax.Array:
        return now.gap <= as_float(tolerance) * jnp.maximum(jnp.abs(now.objective), 1)

    def unfinished(now: _State) -> jax.Array:
        return ~within(now) & (now.steps < max_steps) & jnp.isfinite(now.objective)

    def step(now: _State) -> _State:
        moved = trees.lift(lambda z, g, s: z - s * g, now.logits, now.grad, numbers=(now.stepsize,))
        trial = look(jax.tree.map(jax.nn.log_softmax, moved), now.stepsize, now.steps + 1)
        params, before = (jax.tree.map(jnp.exp, state.logits) for state in (trial, now))
        turn = step_between(params, before)
        distance = inner(params, jax.tree.map(_difference, trial.logits, now.logits))
        rounding = 10 * jnp.finfo(now.objective.dtype).eps * jnp.abs(now.objective)
        allowed = trial.objective <= now.objective + inner(now.grad, turn) + distance / now.stepsize + rounding
        after = trial._replace(stepsize=jnp.minimum(_LONGER * now.stepsize, _LARGEST))
        again = now._replace(stepsize=_SHORTER * now.stepsize, steps=now.steps + 1)
        return jax.tree.map(lambda a, b: jnp.where(allowed, a, b), after, again)

    logits = jax.tree.map(jnp.log, trees.copy_wide(start))
    first = look(logits, jnp.ones((), jax.tree.leaves(logits)[0].dtype), jnp.zeros((), jnp.int32))
    last = jax.lax.while_loop(unfinished, step, first)
    return Solution(jax.tree.map(jnp.exp, last.logits), last.objective, last.gap, last.gap, within(last), last.steps)


def _difference(after: jax.Array, before: jax.Array) -> jax.Array:
    """The difference of logarithms, 0 where both are minus infinity."""
    return jnp.where(jnp.isneginf(before), 0, after - jnp.where(jnp.isneginf(before), 0, before))
