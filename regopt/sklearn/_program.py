"""The compiled programs of the estimators: a path, and a cross-validated path, in float64 on padded arrays.

Arrays are padded to a few sizes, so that data of similar size share a program: rows by copies of weight 0, features and
members of groups by columns of zeros, whose coefficients stay 0.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from regopt.penalties import Penalty, elastic_net, group_lasso, l1, mcp, scad, sparse_group_lasso
from regopt.solvers import Family, LinearModel, Solution, gaussian, logistic, multinomial, path, poisson

_SMALLEST = 16


class Layout(NamedTuple):
    """The places of the features in the padded array ``[examples, groups, members]``, or ``[examples, features]``."""

    shape: tuple[int, ...]  # without the examples
    places: tuple[int, ...]  # of each feature in the flattened array


class Recipe(NamedTuple):
    """The values that are fixed when a program is compiled."""

    penalty: str
    family: str
    classes: int | None
    intercept: bool
    max_iter: int


def layout_of(features: int, groups: Sequence[int] | np.ndarray | None) -> Layout:
    """The layout of so many features, in groups of their own where these are given."""
    if groups is None:
        return Layout((padded(features),), tuple(range(features)))
    names, indices = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.bincount(indices)
    shape = (padded(len(names)), int(2 ** np.ceil(np.log2(sizes.max()))))
    within = np.zeros(features, int)
    for group in range(len(names)):
        within[indices == group] = np.arange(sizes[group])
    return Layout(shape, tuple((indices * shape[1] + within).tolist()))


def padded(size: int) -> int:
    """The next power of two, or multiple of 1024."""
    if size > 1024:
        return -(-size // 1024) * 1024
    return max(_SMALLEST, int(2 ** np.ceil(np.log2(size))))


def fit_path(
    recipe: Recipe,
    layout: Layout,
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    strengths: np.ndarray,
    numbers: tuple[Any, ...],
    tolerance: float,
) -> Solution:
    """The solutions for all strengths and for each row of the weights, ``[lanes, examples]``, as NumPy arrays.

    Args:
        recipe: the model.
        layout: where the features are.
        x: inputs, ``[examples, features]``.
        y: targets, ``[examples]`` or one-hot ``[examples, classes]``.
        weights: weights of the rows, one row for each lane.
        strengths: descending, ``[strengths]``.
        numbers: the other numbers of the penalty; the weights of the groups come last, if there are any.
        tolerance: as for ``minimize``.

    Returns:
        The solutions, with leading axes ``[lanes, strengths]``; the coefficients are those of the features,
        ``[lanes, strengths, features, ...]``.
    """
    with jax.enable_x64(True):
        arguments = (*arrays_of(layout, x, y, weights), strengths, numbers, tolerance)
        found = _lanes(recipe, *jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), arguments))
        found = jax.tree.map(np.asarray, found)
    w = found.params["coefficients"]
    outputs = () if recipe.classes is None else (recipe.classes,)
    w = w.reshape(*w.shape[:2], -1, *outputs)[:, :, list(layout.places)]
    return found._replace(params={**found.params, "coefficients": w})


def arrays_of(
    layout: Layout, x: np.ndarray, y: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The padded inputs, ``[rows, ...]``, targets and weights, ``[lanes, rows]``."""
    rows = padded(len(x))
    wide = np.zeros((rows, int(np.prod(layout.shape))))
    wide[: len(x), list(layout.places)] = x
    wide[len(x) :] = wide[:1]
    y = np.concatenate([y, np.repeat(y[:1], rows - len(x), 0)]).astype(np.float64)
    return wide.reshape(rows, *layout.shape), y, np.pad(weights, ((0, 0), (0, rows - len(x))))


@partial(jax.jit, static_argnums=0)
def _lanes(recipe: Recipe, x, y, weights, strengths, numbers, tolerance):
    model = LinearModel(family_of(recipe), intercept=recipe.intercept)
    penalty = partial(penalty_of, recipe, numbers)
    if recipe.penalty == "l1":
        penalty = partial(l1, mask=_mask(recipe))

    def lane(weights):
        return path(
            model,
            penalty,
            model.start(x),
            x,
            y,
            weights,
            strengths=strengths,
            tolerance=tolerance,
            max_steps=recipe.max_iter,
        )

    return jax.vmap(lane)(weights)


def family_of(recipe: Recipe) -> Family:
    """The family of a recipe."""
    if recipe.family == "multinomial":
        assert recipe.classes is not None
        return multinomial(recipe.classes)
    return {"gaussian": gaussian, "logistic": logistic, "poisson": poisson}[recipe.family]()


def _mask(recipe: Recipe) -> dict[str, bool]:
    return {"coefficients": True, "intercept": False} if recipe.intercept else {"coefficients": True}


def penalty_of(recipe: Recipe, numbers: tuple[Any, ...], strength: jax.Array) -> Penalty:
    """The penalty at a strength."""
    mask = _mask(recipe)
    if recipe.penalty in ("l1", "elastic_net", "mcp", "scad"):
        kinds = {"l1": l1, "elastic_net": elastic_net, "mcp": mcp, "scad": scad}
        return kinds[recipe.penalty](strength, *numbers, mask=mask)
    *rest, sizes = numbers
    axis: Any = {name: 1 if on else "incoming" for name, on in mask.items()}
    by_group = {name: strength * sizes[:, None] if on else 0.0 for name, on in mask.items()}
    if recipe.penalty == "group_lasso":
        return group_lasso(by_group, axis=axis, mask=mask)
    # the l1 part has one strength, so the weights of the groups would weight it too: there are none
    return sparse_group_lasso(strength, *rest, axis=axis, mask=mask)
