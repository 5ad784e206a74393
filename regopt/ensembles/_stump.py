"""The decision stump, a tree with one split, found for all features and thresholds at once."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from regopt._core.checks import check_choice
from regopt._core.numerics import check_whole, safe_divide
from regopt.ensembles._learner import Learner


class Stump(NamedTuple):
    """One split ``x[feature] <= threshold`` and the shares of the classes on its two sides."""

    feature: jax.Array  # shape (), int32
    threshold: jax.Array  # shape (), in the dtype of x
    left: jax.Array  # [classes], sums to 1
    right: jax.Array  # [classes], sums to 1


def stump(classes: int = 2, *, criterion: Literal["gini", "error"] = "gini") -> Learner:
    """The split that leaves the least weighted impurity, over all features and all midpoints between their values.

    A side with the class weights m_c and their sum M has the impurity ``M - sum_c m_c**2 / M`` ("gini") or
    ``M - max_c m_c`` ("error", the weight of what the majority gets wrong). The predictions are the weighted shares of
    the classes on the side of an input. The cost is a sort of each feature.

    Args:
        classes: number of classes, >= 2; static.
        criterion: "gini" or "error"; static.

    Returns:
        A learner whose models are ``Stump`` tuples.

    Raises:
        ValueError: an argument lies outside its range.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.ensembles import stump
        >>> learner = stump()
        >>> x, y = jnp.array([[0.0], [1.0], [2.0]]), jnp.array([0, 0, 1])
        >>> model = learner.fit(jax.random.key(0), x, y, jnp.ones(3))
        >>> float(model.threshold), learner.predict(model, jnp.array([[5.0]]))
        (1.5, Array([[0., 1.]], dtype=float32))

    References:
        Breiman, L., Friedman, J. H., Olshen, R. A., & Stone, C. J. (1984). Classification and Regression Trees.
        Wadsworth. Section 4.3.1.
    """
    check_whole("classes", classes, "[2, inf)")
    check_choice("criterion", criterion, ("gini", "error"))

    def impurity(mass):
        total = jnp.sum(mass, axis=0)
        if criterion == "error":
            return total - jnp.max(mass, axis=0)
        return total - safe_divide(jnp.sum(jnp.square(mass), axis=0), total)

    def fit(key, x, y, weights):
        del key
        mass = jax.nn.one_hot(y, classes, dtype=x.dtype).T * weights.astype(x.dtype)[None]  # [classes, n]
        total = jnp.sum(mass, axis=1)
        present = jnp.where((weights > 0)[None], x.T, jnp.inf)  # an example of weight 0 makes no midpoint
        order = jnp.argsort(present, axis=1)
        at = jnp.take_along_axis(present, order, axis=1)  # [features, n]
        left = jnp.cumsum(mass[:, order], axis=2)[..., :-1]  # [classes, features, n - 1]
        right = jnp.maximum(total[:, None, None] - left, 0)
        value = jnp.where((at[:, :-1] < at[:, 1:]) & (at[:, 1:] < jnp.inf), impurity(left) + impurity(right), jnp.inf)
        best = jnp.argmin(value)
        feature, place = jnp.unravel_index(best, value.shape)
        low, high = at[feature, place], at[feature, place + 1]
        middle = low + (high - low) / 2
        split = value[feature, place] < jnp.inf  # not where all features are constant
        whole = total / jnp.sum(total)

        def share(mass):
            return jnp.where(jnp.sum(mass) > 0, safe_divide(mass, jnp.broadcast_to(jnp.sum(mass), mass.shape)), whole)

        threshold = jnp.where(middle < high, middle, low)  # the midpoint of neighbouring floats may round up
        sides = [share(jnp.where(split, mass[:, feature, place], total)) for mass in (left, right)]
        return Stump(feature.astype(jnp.int32), threshold, *sides)

    def predict(model, x):
        return jnp.where((x[:, model.feature] <= model.threshold)[:, None], model.left[None], model.right[None])

    return Learner(fit, predict)
