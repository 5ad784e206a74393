"""L-BFGS for a smooth loss plus any penalty with a prox: quasi-Newton steps towards a zero of the proximal residual.

The line search is on the forward-backward envelope, so the prox is that of the penalty itself, whatever its form: the
l1 norm and boxes, groups and sets are one method. The certificate is taken at the points that the prox returns, which
have its exact zeros.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from regopt._core import trees
from regopt._core.types import Number, Penalty, Tree
from regopt.solvers._proximal_gradient import Gap, Trial, backtrack, first_stepsize, reached, residual_of
from regopt.solvers._solution import Solution, inner, step_between

_MEMORY = 10
_SHARE = 0.9  # of the curvature that a step size allows; below 1, so that each step lowers the envelope
_DESCENT = 0.5  # the share of the decrease of a plain step that a quasi-Newton step must reach
_SHORTEST = 1e-3  # shares of a quasi-Newton step below this one are 0, which is the plain step
_LENGTHEN_EVERY = 5  # steps between two that may lengthen the step size
_WORTHWHILE = 10.0  # the least factor by which it is lengthened, as a change spoils a pair
_LONGEST = 1e3  # ... and the largest
_ROUNDINGS = 10  # by how many roundings the envelope may rise
_PATIENCE = 100  # steps without progress after which the dtype allows none
_CLOSER = 0.9  # of the least residual: a smaller one is progress
_ALIKE = 0.5  # envelopes that agree to this share of the digits do not tell which point is better


class _Point(NamedTuple):
    params: Tree
    grad: Tree  # of the loss
    trial: Trial  # the proximal gradient step from here
    envelope: jax.Array  # shape ()


class _Memory(NamedTuple):
    moves: jax.Array  # [memory, parameters]: differences of successive points, the last one at ``kept - 1``
    turns: jax.Array  # [memory, parameters]: differences of their residuals
    kept: jax.Array  # shape (), int32: how many rows count


class _Progress(NamedTuple):
    envelope: jax.Array  # shape (): at the last step that lowered it by more than its rounding
    residual: jax.Array  # shape (): at the last step that brought it closer to 0
    idle: jax.Array  # shape (), int32: steps since then


class _End(NamedTuple):
    params: Tree  # after the proximal step from a point, as the objective, the gap and the residual
    objective: jax.Array  # shape ()
    gap: jax.Array  # shape ()
    residual: jax.Array  # shape ()
    envelope: jax.Array  # shape (): at the point


class _Iterate(NamedTuple):
    point: _Point
    memory: _Memory
    progress: _Progress
    best: _End
    steps: jax.Array  # shape (), int32
    finite: jax.Array  # shape (), bool: whether the objective is a number


def proximal_lbfgs(
    loss: Callable[[Tree], jax.Array],
    penalty: Penalty,
    start: Tree,
    *,
    gap_at: Gap | None,
    tolerance: Number,
    max_steps: int,
) -> Solution:
    """Minimise ``loss + penalty`` by L-BFGS on the proximal residual; see ``proximal_gradient`` for the arguments.

    With ``p = prox(x - s grad(x), s)``, a step goes to ``(1 - t) p + t (x - H r)``, where H is the L-BFGS matrix of the
    residual ``r = (x - p) / s``. It takes the first t of 1, 1/2, 1/4, ... and 0 at which the forward-backward envelope
    ``loss(x) + <grad(x), p - x> + |p - x|**2 / (2 s) + penalty(p)`` falls enough. At t = 0 it always falls enough, as a
    proximal gradient step guarantees, so the residuals tend to 0 for any H, and every limit is a stationary point; near
    a regular minimum the steps converge superlinearly.

    Where the loss is badly scaled for its dtype, the plain step is smaller than a rounding of the parameters, and any
    other step lowers the envelope by less than its rounding. The steps end there, with the least residual found.

    Args:
        loss: the smooth part, a function of the parameters alone.
        penalty: the penalty, with a prox; convex or not.
        start: where to start, at least float32.
        gap_at: as for ``proximal_gradient``.
        tolerance: as for ``minimize``.
        max_steps: as for ``minimize``.

    Returns:
        The solution.

    References:
        De Marchi, A., & Themelis, A. (2022). Proximal gradient algorithms under local Lipschitz gradient continuity: a
        convergence and robustness analysis of PANOC. Journal of Optimization Theory and Applications, 194, 771-794.
        The adaptive scheme, PANOC+, for gradients that are only locally Lipschitz.

        Stella, L., Themelis, A., Sopasakis, P., & Patrinos, P. (2017). A simple and efficient algorithm for nonlinear
        model predictive control. CDC. Algorithm 1, with L-BFGS directions.
    """
    value_and_grad = jax.value_and_grad(loss)

    def visit(params: Tree, stepsize: jax.Array) -> _Point:
        value, grad = value_and_grad(params)
        trial = backtrack(value_and_grad, penalty, params, stepsize, value, grad, share=_SHARE)
        move = step_between(trial.params, params)
        envelope = value + inner(grad, move) + inner(move, move) / (2 * trial.stepsize)
        return _Point(params, grad, trial, envelope + penalty.value(trial.params).astype(value.dtype))

    def end_of(point: _Point) -> _End:
        trial = point.trial
        gap = jnp.inf if gap_at is None else gap_at(trial.params, trial.value, trial.grad)
        objective = trial.value + penalty.value(trial.params).astype(trial.value.dtype)
        residual = residual_of(penalty, point.params, trial)
        return _End(trial.params, objective, jnp.asarray(gap, objective.dtype), residual, point.envelope)

    def within(end: _End) -> jax.Array:
        return reached(end.objective, end.gap, end.residual, tolerance, certified=gap_at is not None)

    def unfinished(now: _Iterate) -> jax.Array:
        possible = (now.steps < max_steps) & (now.progress.idle < _PATIENCE)
        return possible & ~within(now.best) & now.finite

    def step(now: _Iterate) -> _Iterate:
        longer = jnp.where(now.steps % _LENGTHEN_EVERY == 0, _room(now.point), 1)
        after = _search(visit, now.point, _direction(now.memory, now.point), longer * now.point.trial.stepsize)
        end = end_of(after)
        progress = _progress(now.progress, after.envelope, end.residual)
        better = _is_better(end, now.best, certified=gap_at is not None)
        best = jax.tree.map(lambda a, b: jnp.where(better, a, b), end, now.best)
        memory = _remember(now.memory, now.point, after)
        return _Iterate(after, memory, progress, best, now.steps + 1, ~jnp.isnan(end.objective))

    grad = jax.grad(loss)(start)
    first = visit(start, first_stepsize(jax.grad(loss), start, grad))
    size = ravel_pytree(start)[0].size
    rows = jnp.zeros((_MEMORY, size), first.envelope.dtype)
    none, infinite = jnp.zeros((), jnp.int32), jnp.full_like(first.envelope, jnp.inf)
    end = end_of(first)
    progress = _progress(_Progress(infinite, infinite, none), first.envelope, end.residual)
    start_of_all = _Iterate(first, _Memory(rows, rows, none), progress, end, none, ~jnp.isnan(end.objective))
    last = jax.lax.while_loop(unfinished, step, start_of_all)
    best = last.best
    return Solution(best.params, best.objective, best.gap, best.residual, within(best), last.steps)


def _is_better(end: _End, best: _End, *, certified: bool) -> jax.Array:
    """Whether an end has the smaller certificate, or an envelope that is lower by more than half of its digits.

    The residual alone would prefer a start near a saddle to all that follow.
    """
    closer = end.gap < best.gap if certified else end.residual < best.residual
    alike = jnp.finfo(best.envelope.dtype).eps ** _ALIKE * jnp.abs(best.envelope)
    return (closer & (end.envelope <= best.envelope + alike)) | (end.envelope < best.envelope - alike)


def _progress(before: _Progress, envelope: jax.Array, residual: jax.Array) -> _Progress:
    """The progress after a step to a point with this envelope and residual."""
    lower = envelope < before.envelope - jnp.finfo(envelope.dtype).eps * jnp.abs(envelope)
    closer = residual < _CLOSER * before.residual
    return _Progress(
        jnp.where(lower, envelope, before.envelope),
        jnp.where(closer, residual.astype(before.residual.dtype), before.residual),
        jnp.where(lower | closer, 0, before.idle + 1).astype(jnp.int32),
    )


def _room(point: _Point) -> jax.Array:
    """The factor by which the step size may grow, estimated from the last step; 1 where it is nearly right."""
    move = step_between(point.trial.params, point.params)
    square = _SHARE * inner(move, move) / point.trial.stepsize
    bend = 2 * inner(step_between(point.trial.grad, point.grad), move)
    room = jnp.clip(square / jnp.where(bend > 0, bend, 1), 1, _LONGEST)
    return jnp.where((bend > 0) & (room > _WORTHWHILE), room, 1)


def _search(visit: Callable[[Tree, jax.Array], _Point], now: _Point, direction: Tree, stepsize: jax.Array) -> _Point:
    """The first point between the quasi-Newton step and the plain step at which the envelope falls enough.

    Any step size that the loss allows will do there: after the plain step the envelope is at most the objective.
    """
    plain = now.trial.params
    move = step_between(plain, now.params)
    promised = (1 - _SHARE) * inner(move, move) / (2 * now.trial.stepsize)
    rounding = _ROUNDINGS * jnp.finfo(now.envelope.dtype).eps * jnp.abs(now.envelope)
    enough = now.envelope - _DESCENT * promised + rounding

    def attempt(carry: tuple[jax.Array, _Point]) -> tuple[jax.Array, _Point]:
        share = carry[0] / 2
        share = jnp.where(share < _SHORTEST, 0, share)
        turn = jax.tree.map(lambda w, d, p: w + d - p, now.params, direction, plain)
        params = trees.lift(lambda p, turn, share: p + share * turn, plain, turn, numbers=(share,))
        return share, visit(params, stepsize)

    def rejected(carry: tuple[jax.Array, _Point]) -> jax.Array:
        share, point = carry
        return (share > 1) | (~(point.envelope <= enough) & (share > 0))

    return jax.lax.while_loop(rejected, attempt, (jnp.full_like(now.envelope, 2), now))[1]


def _residual(point: _Point) -> jax.Array:
    """``(x - p) / s``, ``[parameters]``."""
    flat = ravel_pytree(step_between(point.params, point.trial.params))[0]
    return flat.astype(point.envelope.dtype) / point.trial.stepsize.astype(point.envelope.dtype)


def _direction(memory: _Memory, point: _Point) -> Tree:
    """``-H r`` by the recursion of two loops (Nocedal & Wright, Algorithm 7.4); ``H = s I`` without a memory."""
    known = jnp.arange(_MEMORY, dtype=jnp.int32) < memory.kept
    products = jnp.sum(memory.moves * memory.turns, 1)
    weights = jnp.where(known, 1 / jnp.where(known, products, 1), 0)
    newest = jnp.maximum(memory.kept - 1, 0)
    square = jnp.sum(memory.turns[newest] ** 2)
    scale = jnp.where(memory.kept > 0, products[newest] / jnp.where(square > 0, square, 1), point.trial.stepsize)

    def back(q, pair):
        move, turn, weight = pair
        part = weight * (move @ q)
        return q - part * turn, part

    def forth(q, pair):
        move, turn, weight, part = pair
        return q + (part - weight * (turn @ q)) * move, None

    pairs = memory.moves, memory.turns, weights
    q, parts = jax.lax.scan(back, _residual(point), pairs, reverse=True)
    q, _ = jax.lax.scan(forth, scale * q, (*pairs, parts))
    return ravel_pytree(point.params)[1](-q)


def _remember(memory: _Memory, before: _Point, after: _Point) -> _Memory:
    """The memory with the last pair, if its ends have one step size and it has a positive curvature.

    On the support the derivative of the residual does not depend on the step size, so pairs of other ones are kept.
    """
    move = ravel_pytree(step_between(after.params, before.params))[0].astype(memory.moves.dtype)
    turn = _residual(after) - _residual(before)
    rounding = jnp.finfo(move.dtype).eps * jnp.linalg.norm(move) * jnp.linalg.norm(turn)
    usable = (move @ turn > rounding) & (after.trial.stepsize == before.trial.stepsize)
    full = memory.kept >= _MEMORY
    place = jnp.minimum(memory.kept, _MEMORY - 1)
    moves, turns = (jnp.where(full, jnp.roll(rows, -1, 0), rows) for rows in (memory.moves, memory.turns))
    longer = _Memory(moves.at[place].set(move), turns.at[place].set(turn), place + 1)
    return jax.tree.map(lambda a, b: jnp.where(usable, a, b), longer, memory)
