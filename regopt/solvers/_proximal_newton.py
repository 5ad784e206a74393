"""The proximal Newton method for generalised linear models with few coefficients.

Each step minimises the quadratic model of the loss plus the penalty, from a Gram matrix that the curvatures of the
losses weight, and searches along the line to its minimiser. It is for losses with one predictor for each example.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.types import Penalty, Tree
from regopt.solvers._accelerated import LinearProblem, Target
from regopt.solvers._families import Family
from regopt.solvers._gram import GramLoss
from regopt.solvers._solution import Solution, apply_if, length, step_between

# The gap of the quadratic model, as a share of that of the problem. From a start on the path a step of the exact model
# reaches about the square of the gap, so that a small share saves a second step.
_INNER = 1e-5
_INNER_STEPS = 2000
_FLAT = 1e-10  # the least curvature of a single loss, as a share of the largest one
_DESCENT = 1e-4  # the share of the predicted decrease that a step must reach
_SHORTEST = 1e-8


class _Now(NamedTuple):
    params: Tree
    eta: jax.Array  # [examples]
    objective: jax.Array  # shape ()
    gap: jax.Array  # shape ()
    residual: jax.Array  # shape (): length of the last step
    steps: jax.Array  # shape (), int32
    stalled: jax.Array  # shape (), bool: whether the last step changed the gap and the objective by rounding alone


class Weighted(NamedTuple):
    """The parts of a linear model on its data that a quadratic model of it needs."""

    problem: LinearProblem
    family: Family
    x: jax.Array  # [examples, features]
    y: jax.Array  # [examples]
    shares: jax.Array  # [examples], which sum to 1
    intercept: bool


def proximal_newton(model: Weighted, penalty: Penalty, start: Tree, *, target: Target, max_steps: int) -> Solution:
    """Minimise the loss of a generalised linear model plus a penalty to a duality gap.

    Args:
        model: the model on its data.
        penalty: the penalty, with a prox and a ``linear_minimum``.
        start: where to start, at least float32.
        target: from the objective to the gap at which to end.
        max_steps: the largest number of Newton steps.

    Returns:
        The solution; its residual is the length of the last step.

    References:
        Lee, J. D., Sun, Y., & Saunders, M. A. (2014). Proximal Newton-type methods for minimizing composite functions.
        SIAM Journal on Optimization, 24(3), 1420-1443. Algorithm 1.

        Friedman, J., Hastie, T., & Tibshirani, R. (2010). Regularization paths for generalized linear models via
        coordinate descent. Journal of Statistical Software, 33(1), 1-22. Section 3, for the quadratic model.

        Dembo, R. S., Eisenstat, S. C., & Steihaug, T. (1982). Inexact Newton methods. SIAM Journal on Numerical
        Analysis, 19(2), 400-408. Section 3, for how exactly the model is to be solved.
    """
    problem = model.problem

    def within(now):
        return now.gap <= target(now.objective)

    def unfinished(now):
        return ~within(now) & ~now.stalled & (now.steps < max_steps) & ~jnp.isnan(now.objective)

    def step(now):
        slopes, quadratic = _model_at(model, now.params, now.eta)

        def inner_target(_):
            return jnp.maximum(_INNER * now.gap, target(now.objective) / 10)

        found = quadratic.minimum(penalty, now.params, target=inner_target, max_steps=_INNER_STEPS, check_start=False)
        params, eta = _search(model, penalty, now, slopes, quadratic.with_intercept(found.params))
        moved = length(step_between(params, now.params))
        return now._replace(params=params, eta=eta, residual=moved, steps=now.steps + 1)

    def assess(now):
        objective = problem.value(now.params, now.eta) + penalty.value(now.params)
        gap = problem.gap(penalty, now.params, now.eta, objective)
        rounding = 10 * jnp.finfo(objective.dtype).eps * jnp.abs(now.objective)
        stalled = (now.objective - objective <= rounding) & (gap > 0.5 * now.gap)
        return now._replace(objective=objective.astype(eta.dtype), gap=gap.astype(eta.dtype), stalled=stalled)

    def assess_and_step(carry):
        now = assess(carry[0])
        more = unfinished(now)
        return apply_if(more, step, now), more

    eta = problem.image(start)
    unknown = jnp.full((), jnp.inf, eta.dtype)
    first = _Now(start, eta, unknown, unknown, unknown, jnp.zeros((), jnp.int32), jnp.array(False))
    last, _ = jax.lax.while_loop(lambda carry: carry[1], assess_and_step, (first, jnp.array(True)))
    return Solution(last.params, last.objective, last.gap, last.residual, within(last), last.steps)


def _model_at(model: Weighted, params: Tree, eta: jax.Array) -> tuple[jax.Array, GramLoss]:
    """The slopes of the losses, ``[examples]``, and the second-order model of the loss at the best intercept.

    A constant is added to the model, which makes it nonnegative.
    """
    slopes, curvatures = jax.jvp(lambda eta: model.family.slopes(eta, model.y), (eta,), (jnp.ones_like(eta),))
    curvatures = jnp.maximum(curvatures, _FLAT * jnp.max(curvatures))
    weights = model.shares * curvatures
    total, push = jnp.sum(weights), jnp.sum(model.shares * slopes)
    mean = weights @ model.x / total if model.intercept else jnp.zeros(model.x.shape[1], eta.dtype)
    # one factor is centred at the mean of all rows: lanes share it, so their Gram matrices are one product
    middle = jnp.mean(model.x, 0) if model.intercept else jnp.zeros_like(mean)
    centred = model.x - middle[None]
    gram = ((model.x.T - mean[:, None]) * weights[None]) @ centred
    w = params["coefficients"].ravel()
    image = gram @ w
    products = image - (model.shares * slopes) @ centred + push * (mean - middle)
    constant = jnp.sum(model.shares * slopes * slopes / curvatures)
    constant = constant - push * push / total if model.intercept else constant
    square = constant + w @ (2 * products - image)
    mean_y = params["intercept"] - push / total + mean @ w if model.intercept else jnp.zeros((), eta.dtype)
    return slopes, GramLoss(gram, products, square, mean, mean_y)


def _search(model: Weighted, penalty: Penalty, now: _Now, slopes: jax.Array, end: Tree) -> tuple[Tree, jax.Array]:
    """The first of the points 1, 1/2, 1/4, ... of the way to the end that decreases the objective enough."""
    problem = model.problem
    turn, eta_end = step_between(end, now.params), problem.image(end)
    slope = jnp.sum(model.shares * slopes * (eta_end - now.eta)) + penalty.value(end) - penalty.value(now.params)
    rounding = 10 * jnp.finfo(now.eta.dtype).eps * jnp.abs(now.objective)

    def at(t):
        params = trees.lift(lambda w, move, t: w + t * move, now.params, turn, numbers=(t,))
        # the whole step keeps its exact zeros, which a sum of the point and the move may round away
        return jax.tree.map(
            lambda a, b: jnp.where(t == 1, a, b), (end, eta_end), (params, now.eta + t * (eta_end - now.eta))
        )

    def too_long(carry):
        t, objective = carry
        enough = objective <= now.objective + _DESCENT * t * slope + rounding
        return (t > 1) | (~enough & (t > _SHORTEST))

    def shorter(carry):
        t = carry[0] / 2
        params, eta = at(t)
        return t, problem.value(params, eta) + penalty.value(params)

    # the first attempt is part of the loop, so that the objective is compiled once
    return at(jax.lax.while_loop(too_long, shorter, (jnp.full_like(now.objective, 2), now.objective))[0])
