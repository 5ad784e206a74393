"""Least squares with the l1 norm or the elastic net, from the Gram matrix, for a whole path: where the solvers start.

A step takes one product with the Gram matrix: a proximal gradient step, or a step of conjugate gradients on the face
that the signs of the coefficients span. The result has no certificate of its own.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from regopt._core.numerics import like, safe_divide
from regopt._core.types import Number
from regopt.solvers._gram import GramLoss

_SMALLER = 0.97  # factor of the curvature after a proximal step that it allowed
_ROUNDING = 1e-3  # the share by which the curvature along a step may exceed the estimate
_POWERS = 10  # steps of the power iteration for the first curvature
_MARGIN = 0.5  # the share of the tolerance that is aimed at, as rounding is not accounted for
_LOOSEST = 1e-9  # the smallest gap aimed at with a square, where steps in single precision suffice
_PATIENCE = 30  # steps in which the gap must halve


class _Problem(NamedTuple):
    gram: jax.Array  # [features, features]
    products: jax.Array  # [features]: of the features with the target
    square: jax.Array  # shape (): of the target
    reaches: jax.Array  # [strengths]: of the l1 norm
    squares: jax.Array  # [strengths]: of the square
    ahead: jax.Array  # [strengths]: the share of the last change by which the start for the next one is moved
    tolerance: jax.Array  # shape ()
    max_steps: int  # for each strength


class _State(NamedTuple):
    place: jax.Array  # shape (), int32: of the strength
    steps: jax.Array  # [strengths], int32
    found: jax.Array  # [strengths, features]
    w: jax.Array  # [features]
    image: jax.Array  # [features]: G w
    turn: jax.Array  # [features]: the last step on the face
    square: jax.Array  # shape (): |gradient on the face|**2 before that step; infinite where there was none
    proximal: jax.Array  # shape (), bool: whether the next step must be a proximal one
    curvature: jax.Array  # shape ()
    last: jax.Array  # [2, features]: the solution for the last strength, and its image
    gap: jax.Array  # shape (): the last gap that was less than half of the one recorded before
    idle: jax.Array  # shape (), int32: steps since then


def starts_on_faces(
    loss: GramLoss, l1_ratio: Number, strengths: jax.Array, tolerance: Number, max_steps: int
) -> tuple[jax.Array, jax.Array]:
    """Approximate minimisers of the loss plus ``elastic_net(strength, l1_ratio)`` for each strength.

    On a CPU the lanes of ``vmap`` are computed one after the other, so that the Gram matrix of a lane stays in the
    cache. With a square in the penalty the gap is of second order in the slopes, so single precision suffices.

    Args:
        loss: the loss.
        l1_ratio: as for ``penalties.elastic_net``; 1 for the l1 norm; may be traced.
        strengths: the strengths, ``[strengths]``, >= 0.
        tolerance: the relative duality gap that is aimed at.
        max_steps: the largest number of steps for each strength; static.

    Returns:
        The coefficients, ``[strengths, features]``, and the steps that each took.

    References:
        Solntsev, S., Nocedal, J., & Byrd, R. H. (2015). An algorithm for quadratic l1-regularized optimization with a
        flexible active-set strategy. Optimization Methods and Software, 30(6), 1213-1237. Algorithm 1.
    """
    lasso = isinstance(l1_ratio, float) and l1_ratio == 1
    dtype = loss.gram.dtype if lasso else jnp.float32

    def solve(*arguments: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _solve(*arguments, max_steps=max_steps)

    by_lanes = jax.custom_batching.custom_vmap(solve)

    @by_lanes.def_vmap
    def _(size: int, batched: list[bool], *arguments: jax.Array):
        lanes = [
            each if own else jnp.broadcast_to(each, (size, *each.shape))
            for each, own in zip(arguments, batched, strict=True)
        ]
        found = jax.lax.platform_dependent(
            *lanes, cpu=lambda *lanes: jax.lax.map(lambda lane: by_lanes(*lane), lanes), default=jax.vmap(solve)
        )
        return found, (True, True)

    floor = 0.0 if lasso else _LOOSEST
    target = jnp.maximum(_MARGIN * like(tolerance, loss.gram), floor)
    arguments = (loss.gram, loss.products, loss.square, strengths, jnp.asarray(l1_ratio), target)
    found, steps = by_lanes(*(jax.lax.stop_gradient(each).astype(dtype) for each in arguments))
    found = jnp.where(jnp.isfinite(found), found, 0)  # where the data are too large for single precision
    return found.astype(loss.gram.dtype), steps


def _solve(
    gram: jax.Array,
    products: jax.Array,
    square: jax.Array,
    strengths: jax.Array,
    l1_ratio: jax.Array,
    tolerance: jax.Array,
    *,
    max_steps: int,
) -> tuple[jax.Array, jax.Array]:
    dtype, (count,) = gram.dtype, strengths.shape
    # the distance to the next strength, relative to the distance from the previous one
    ahead = jnp.clip(safe_divide(strengths[2:] - strengths[1:-1], strengths[1:-1] - strengths[:-2]), 0, 1)
    ahead = jnp.zeros(count, dtype).at[1:-1].set(ahead)
    reaches, squares = strengths * l1_ratio, strengths * (1 - l1_ratio)
    problem = _Problem(gram, products, square, reaches, squares, ahead, tolerance, max_steps)
    zeros, none = jnp.zeros_like(products), jnp.zeros((), jnp.int32)
    infinite = jnp.full((), jnp.inf, dtype)
    first = _State(
        none, jnp.zeros(count, jnp.int32), jnp.zeros((count, len(products)), dtype), zeros, zeros, zeros, infinite,
        jnp.array(True), _largest_eigenvalue(gram, products), jnp.stack([zeros, zeros]), infinite, none,
    )  # fmt: skip
    last = jax.lax.while_loop(lambda now: now.place < count, partial(_step, problem), first)
    return last.found, last.steps


def _step(problem: _Problem, now: _State) -> _State:
    gram, products, square = problem.gram, problem.products, problem.square
    reach, ridge = problem.reaches[now.place], problem.squares[now.place]
    w, slopes, on = now.w, now.image - products, now.w != 0
    on_face = jnp.where(on, slopes + ridge * w + reach * jnp.sign(w), 0)
    off_face = jnp.where(on, 0, _soft_threshold(slopes, reach))
    size = jnp.sum(on_face * on_face)
    stays = ~now.proximal & (jnp.sum(off_face * off_face) <= size)
    descended = _soft_threshold(w - slopes / now.curvature, reach / now.curvature) / (1 + ridge / now.curvature)
    turn = jnp.where(stays, jnp.where(on, safe_divide(size, now.square) * now.turn - on_face, 0), descended - w)
    # a proximal step computes the image itself, so that rounding errors do not add up
    product = gram @ jnp.where(stays, turn, descended)
    turned = jnp.where(stays, product, product - now.image)
    bend, length = jnp.sum(turn * turned), jnp.sum(turn * turn)

    # on the face up to the minimiser along the turn, or to the first coefficient that becomes 0
    crossings = jnp.where(w * turn < 0, -safe_divide(w, turn), jnp.inf)
    nearest, whole = jnp.min(crossings), safe_divide(size, bend + ridge * length)
    share = jnp.minimum(nearest, whole)
    allowed = bend <= now.curvature * length * (1 + _ROUNDING) + 10 * jnp.finfo(gram.dtype).eps
    moves = stays | allowed
    moved = jnp.where(stays, jnp.where(crossings <= share, 0, w + share * turn), descended)
    w = jnp.where(moves, moved, w)
    image = jnp.where(moves, jnp.where(stays, now.image + share * turned, product), now.image)
    larger = jnp.maximum(1.1 * safe_divide(bend, length), 1.2 * now.curvature)
    curvature = jnp.where(stays, now.curvature, jnp.where(allowed, _SMALLER * now.curvature, larger))
    cut = stays & (nearest < whole)

    gap, objective = _gap(w, image, products, square, reach, ridge)
    halved = gap < now.gap / 2
    idle, steps = jnp.where(halved, 0, now.idle + 1), now.steps.at[now.place].add(1)
    done = gap <= problem.tolerance * jnp.maximum(objective, 1)
    done = done | (idle >= _PATIENCE) | (steps[now.place] >= problem.max_steps)
    here = jnp.stack([w, image])
    extrapolated = here + problem.ahead[now.place] * (here - now.last)
    return _State(
        now.place + done.astype(jnp.int32),
        steps,
        now.found.at[now.place].set(w),
        jnp.where(done, extrapolated[0], w),
        jnp.where(done, extrapolated[1], image),
        turn,
        jnp.where(stays & ~cut & ~done, size, jnp.inf),
        done | cut | ~moves,
        curvature.astype(gram.dtype),
        jnp.where(done, here, now.last),
        jnp.where(done, jnp.inf, jnp.where(halved, gap, now.gap)),
        jnp.where(done, 0, idle),
    )


def _gap(
    w: jax.Array, image: jax.Array, products: jax.Array, square: jax.Array, reach: jax.Array, ridge: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The duality gap, as a sum that loses no digits where there is a square in the penalty, and the objective."""
    slopes, size = image - products, reach * jnp.abs(w)
    objective = jnp.sum(w * (image - 2 * products) / 2 + size + ridge / 2 * w * w) + square / 2
    excess = _soft_threshold(slopes, reach)
    best = -safe_divide(excess, ridge)  # the minimiser of the penalty plus the slopes
    parts = ridge / 2 * (w - best) ** 2 + size + jnp.where(best == 0, slopes * w, -reach * jnp.sign(best) * w)
    by_norm = jnp.where(ridge > 0, 0, safe_divide(jnp.max(jnp.abs(excess)), reach) * objective)
    return jnp.sum(parts) + by_norm, objective


def _soft_threshold(w: jax.Array, reach: jax.Array) -> jax.Array:
    return w - jnp.clip(w, -reach, reach)


def _largest_eigenvalue(gram: jax.Array, start: jax.Array) -> jax.Array:
    """An estimate of the largest eigenvalue, which the steps correct."""

    def power(_, v):
        v = gram @ v
        return safe_divide(v, jnp.linalg.norm(v))

    v = jax.lax.fori_loop(0, _POWERS, power, safe_divide(start, jnp.linalg.norm(start)))
    largest = jnp.sum(v * (gram @ v))
    return jnp.where(largest > 0, largest, 1).astype(gram.dtype)
