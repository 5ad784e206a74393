"""Newton steps on the optimality conditions of a fit, after which it is exact to rounding.

A fit at the tolerance of its gap has coefficients that are exact to the root of it, so fits of equal problems differ
visibly. The penalties are smooth on the support, where few steps suffice. Where a Newton step brings the fit no closer,
its support is not yet that of the solution, and proximal gradient steps move it there.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from regopt.sklearn._program import Layout, Recipe, arrays_of, family_of, penalty_of
from regopt.solvers import LinearModel

UP_TO = 500  # unknowns, padding included: beyond, the linear systems cost more than the fit
_STEPS = 10  # Newton steps, or attempts at one
_EXACT = 1e-14  # of the parameters: a residual of rounding errors
_DESCENTS = 100  # proximal gradient steps after a Newton step that failed


def polish(
    recipe: Recipe,
    layout: Layout,
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    strength: float,
    numbers: tuple[Any, ...],
    params: dict[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], float]:
    """The coefficients after Newton and proximal gradient steps, and their duality gap.

    Args:
        recipe: the model.
        layout: where the features are.
        x: inputs, ``[examples, features]``.
        y: targets, as for ``fit_path``.
        weights: weights of the rows, ``[examples]``.
        strength: of the penalty.
        numbers: as for ``fit_path``.
        params: the fit; its coefficients are those of the features, ``[features, ...]``.

    Returns:
        The parameters, and the gap; infinite where none is known, NaN where there are too many unknowns.

    References:
        Bertrand, Q., Klopfenstein, Q., Massias, M., Blondel, M., Vaiter, S., Gramfort, A., & Salmon, J. (2022).
        Implicit differentiation for fast hyperparameter selection in non-smooth convex learning. Journal of Machine
        Learning Research, 23(149), 1-43. Section 3, for the equation and its derivative on the support.
    """
    places, outputs = list(layout.places), () if recipe.classes is None else (recipe.classes,)
    wide = np.zeros((int(np.prod(layout.shape)), *outputs))
    wide[places] = params["coefficients"]
    padded = {**params, "coefficients": wide.reshape(*layout.shape, *outputs)}
    if sum(np.size(leaf) for leaf in padded.values()) > UP_TO:
        return params, np.nan
    x, y, weights = arrays_of(layout, x, y, weights[None])
    with jax.enable_x64(True):
        arguments = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), (x, y, weights[0], strength, numbers))
        flat, unflatten = ravel_pytree(jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), padded))
        now = [np.asarray(a) for a in _linearised(recipe, unflatten(flat), *arguments)]
        for _ in range(_STEPS):
            on = np.flatnonzero((np.asarray(flat) != 0) | (now[0] != 0))  # the others stay exactly 0
            # the shortest solution, as adding a number to all intercepts of a multinomial model changes nothing
            ahead = flat.at[on].add(-np.linalg.lstsq(now[1][on[:, None], on], now[0][on])[0])
            then = [np.asarray(a) for a in _linearised(recipe, unflatten(ahead), *arguments)]
            if not _is_closer(then, now):
                if np.linalg.norm(now[0]) <= _EXACT * (1 + np.linalg.norm(flat)):
                    break
                ahead = _descended(recipe, unflatten(flat), *arguments)
                then = [np.asarray(a) for a in _linearised(recipe, unflatten(ahead), *arguments)]
                if not _is_closer(then, now):
                    break
            flat, now = ahead, then
        found = jax.tree.map(np.asarray, unflatten(flat))
    w = found["coefficients"].reshape(-1, *outputs)[places]
    return {**found, "coefficients": w}, float(now[2])


def _is_closer(then: list[np.ndarray], now: list[np.ndarray]) -> bool:
    return bool(np.linalg.norm(then[0]) < np.linalg.norm(now[0]))


@partial(jax.jit, static_argnums=0)
def _linearised(recipe: Recipe, params, x, y, weights, strength, numbers):
    """The step that the prox would take, its Jacobian, and the duality gap."""
    (flat, _), equation = ravel_pytree(params), _equation(recipe, params, x, y, weights, strength, numbers)
    model, penalty = LinearModel(family_of(recipe), intercept=recipe.intercept), penalty_of(recipe, numbers, strength)
    gap = model.duality_gap(penalty, params, x, y, weights) if penalty.has_linear_minimum else jnp.inf
    return equation(flat), jax.jacfwd(equation)(flat), gap


@partial(jax.jit, static_argnums=0)
def _descended(recipe: Recipe, params, x, y, weights, strength, numbers):
    """The parameters, flattened, after proximal gradient steps."""
    (flat, _), equation = ravel_pytree(params), _equation(recipe, params, x, y, weights, strength, numbers)
    return jax.lax.fori_loop(0, _DESCENTS, lambda _, flat: flat - equation(flat), flat)


def _equation(recipe: Recipe, params, x, y, weights, strength, numbers) -> Callable[[jax.Array], jax.Array]:
    """The step that the prox would take, as a function of the flattened parameters; 0 at the solution."""
    model, penalty = LinearModel(family_of(recipe), intercept=recipe.intercept), penalty_of(recipe, numbers, strength)
    _, unflatten = ravel_pytree(params)
    axes = tuple(range(1, x.ndim))
    step = 1 / (1 + jnp.sum(weights * jnp.sum(x * x, axes)) / jnp.sum(weights))

    def equation(flat):
        params = unflatten(flat)
        slopes = jax.grad(model)(params, x, y, weights)
        moved = jax.tree.map(lambda w, g: w - step * g, params, slopes)
        return flat - ravel_pytree(penalty.prox(moved, step))[0]

    return equation
