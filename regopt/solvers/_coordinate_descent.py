"""Coordinate and block coordinate descent for least squares, on the Gram matrix (covariance updates).

A step minimises over one coefficient, or moves one group, and updates the products of the Gram matrix by its rows.
Passes over the coefficients that are not 0 alternate with passes over all. It is for penalties that are a sum over
coefficients or over groups; for others it may end at a point that its certificate rejects.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.types import Penalty, Tree
from regopt.solvers._accelerated import Target
from regopt.solvers._gram import GramLoss
from regopt.solvers._solution import Solution

_ACTIVE_PASSES = 10  # passes over the support before the next pass over all


class _State(NamedTuple):
    w: jax.Array  # [features]
    image: jax.Array  # [features]: G w
    change: jax.Array  # shape (): the largest change of a pass, times the curvature of its block


class _Now(NamedTuple):
    state: _State
    objective: jax.Array  # shape ()
    gap: jax.Array  # shape ()
    residual: jax.Array  # shape (): norm of the generalised gradient
    steps: jax.Array  # shape (), int32: passes


def coordinate_descent(
    loss: GramLoss, penalty: Penalty, start: Tree, *, target: Target, tolerance: jax.Array, max_steps: int
) -> Solution:
    """Minimise least squares plus a penalty, block by block.

    Args:
        loss: the loss.
        penalty: the penalty, with a prox; convex or not.
        start: where to start, at least float32.
        target: from the objective to the gap at which to end, where the penalty has a ``linear_minimum``.
        tolerance: the residual at which to end, where the penalty has none.
        max_steps: the largest number of passes; the last round of passes over the support may exceed it by up to 10.

    Returns:
        The solution; its residual is the norm of the generalised gradient.

    References:
        Friedman, J., Hastie, T., & Tibshirani, R. (2010). Regularization paths for generalized linear models via
        coordinate descent. Journal of Statistical Software, 33(1), 1-22. Section 2.2, covariance updates.

        Breheny, P., & Huang, J. (2011). Coordinate descent algorithms for nonconvex penalized regression. Annals of
        Applied Statistics, 5(1), 232-253. Section 2.
    """
    blocks = blocks_of(penalty, start)
    problem, shape = loss.problem(), start["coefficients"].shape
    inside = loss.gram[blocks[:, :, None], blocks[:, None, :]]
    # a bound on the largest eigenvalue of each block, exact for a single coefficient
    curvatures = jnp.maximum(jnp.sqrt(jnp.sum(inside**2, (1, 2))), jnp.finfo(loss.gram.dtype).tiny)
    certified = penalty.has_linear_minimum

    def params_of(w):
        return {**start, "coefficients": w.reshape(shape)}

    def prox(w, step):
        return penalty.prox(params_of(w), step)["coefficients"].ravel()

    def one_pass(state, order, count):
        state = state._replace(change=jnp.zeros_like(state.change))
        move = partial(_move_block, loss, prox)
        return jax.lax.fori_loop(0, count, lambda i, at: move(at, blocks[order[i]], curvatures[order[i]]), state)

    def assess(state, steps):
        params = params_of(state.w)
        objective = problem.value(params, state.image) + penalty.value(params)
        gap = jnp.full_like(objective, jnp.inf)
        gap = problem.gap(penalty, params, state.image, objective) if certified else gap
        return _Now(state, objective, gap, _residual(loss, prox, state, jnp.max(curvatures)), steps)

    def within(now):
        return now.gap <= target(now.objective) if certified else now.residual <= tolerance

    def unfinished(now):
        return ~within(now) & (now.steps < max_steps) & ~jnp.isnan(now.objective)

    def step(now):
        state = one_pass(now.state, jnp.arange(len(blocks)), len(blocks))
        active = jnp.any(state.w[blocks] != 0, 1)
        order, count = jnp.argsort(~active, stable=True), jnp.sum(active)

        def moves(carry):
            at, done = carry
            return (done < _ACTIVE_PASSES) & (at.change > state.change / 100)

        def again(carry):
            return one_pass(carry[0], order, count), carry[1] + 1

        at, done = jax.lax.while_loop(moves, again, (state, jnp.zeros((), jnp.int32)))
        # the image is computed anew, as rounding errors of the updates add up
        return assess(at._replace(image=loss.gram @ at.w, change=state.change), now.steps + 1 + done)

    w = start["coefficients"].ravel()
    first = assess(_State(w, loss.gram @ w, jnp.full((), jnp.inf, w.dtype)), jnp.zeros((), jnp.int32))
    last = jax.lax.while_loop(unfinished, step, first)
    return Solution(params_of(last.state.w), last.objective, last.gap, last.residual, within(last), last.steps)


def _residual(
    loss: GramLoss, prox: Callable[[jax.Array, jax.Array], jax.Array], state: _State, curvature: jax.Array
) -> jax.Array:
    """The norm of the generalised gradient, from a proximal step of all coefficients of length ``1 / curvature``.

    With a penalty that is not a sum over the blocks, the passes may stop where no single block can move; this norm
    shows it.
    """
    moved = state.w + (loss.products - state.image) / curvature
    return curvature * jnp.linalg.norm(state.w - prox(moved, 1 / curvature))


def _move_block(
    loss: GramLoss,
    prox: Callable[[jax.Array, jax.Array], jax.Array],
    state: _State,
    indices: jax.Array,
    curvature: jax.Array,
) -> _State:
    """Minimise over one coefficient, or move one group by a proximal step of length ``1 / curvature``."""
    moved = state.w.at[indices].add((loss.products[indices] - state.image[indices]) / curvature)
    after = prox(moved, 1 / curvature)[indices]
    move = after - state.w[indices]
    change = jnp.maximum(state.change, curvature * jnp.max(jnp.abs(move)))
    return _State(state.w.at[indices].set(after), state.image + move @ loss.gram[indices], change)


def blocks_of(penalty: Penalty, start: Tree) -> jax.Array:
    """The coefficients of each block, ``[blocks, members]``: the groups of the penalty, or single coefficients.

    Raises:
        ValueError: the penalty does not declare its terms, its terms have different groups, a group is numbered or
            joined with another leaf, or the penalty covers the intercept, which the Gram matrix leaves out.
    """
    shape = start["coefficients"].shape
    places = np.arange(int(np.prod(shape))).reshape(shape)
    kinds = set()
    if penalty.terms is not None:
        leaves = [path[0].key for path, _ in jax.tree_util.tree_flatten_with_path(start)[0]]
        terms = penalty.terms(start)[leaves.index("coefficients")]
        if any(term.numbered or term.joined for term in terms) or penalty.mask(start).get("intercept", False):
            raise ValueError(
                'solver "coordinate_descent" takes no groups that are numbered or joined with another leaf, and no '
                'penalty on the intercept: take solver="auto" or "proximal_gradient"'
            )
        kinds = {term.axes or () for term in terms}
    if len(kinds) != 1:
        raise ValueError(
            'solver "coordinate_descent" needs a penalty that is a sum over coefficients or over groups of one kind: '
            'take solver="proximal_gradient"'
        )
    axes = kinds.pop()
    others = tuple(axis for axis in range(len(shape)) if axis not in axes)
    members = int(np.prod([shape[axis] for axis in axes]))
    return jnp.asarray(places.transpose(*others, *axes).reshape(-1, members))
