"""Combinations of the members' predictions: the mean, the geometric mean, a vote; and the error of the mean."""

import jax
import jax.numpy as jnp

from regopt._core.numerics import as_float, check_range
from regopt._core.types import Number


def arithmetic_mean(probabilities: jax.Array) -> jax.Array:
    """``mean_k p_k``: the average of the members' predictions, of probabilities or of numbers.

    Args:
        probabilities: predictions ``[members, ...]``.

    Returns:
        The average, ``[...]``.

    Raises:
        ValueError: there are no members.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.ensembles import arithmetic_mean
        >>> arithmetic_mean(jnp.array([[0.5, 0.5], [1.0, 0.0]]))
        Array([0.75, 0.25], dtype=float32)

    References:
        Breiman, L. (1996). Bagging predictors. Machine Learning, 24(2), 123-140. Section 1.
    """
    _some(probabilities)
    return jnp.mean(probabilities, axis=0)


def geometric_mean(probabilities: jax.Array) -> jax.Array:
    """``prod_k p_k**(1 / K)``, divided by its sum over the classes: the average of the log-probabilities.

    A class to which one member gives the probability 0 has the probability 0; where that holds for every class, each
    has the same.

    Args:
        probabilities: predictions ``[members, ..., classes]``, each row summing to 1.

    Returns:
        Probabilities ``[..., classes]``.

    Raises:
        ValueError: there are no members.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.ensembles import geometric_mean
        >>> [round(float(p), 3) for p in geometric_mean(jnp.array([[0.5, 0.5], [0.9, 0.1]]))]
        [0.75, 0.25]

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equations (7.53) and (7.54).
    """
    _some(probabilities)
    zero = probabilities <= 0
    logs = jnp.mean(jnp.log(jnp.where(zero, 1, probabilities)), axis=0)
    never = jnp.any(zero, axis=0)
    never = never & ~jnp.all(never, axis=-1, keepdims=True)
    return jax.nn.softmax(jnp.where(never, -jnp.inf, logs))


def majority_vote(probabilities: jax.Array) -> jax.Array:
    """The share of the members for which each class is the most probable one.

    Args:
        probabilities: predictions ``[members, ..., classes]``; of equal ones the first class gets the vote.

    Returns:
        Shares of the votes ``[..., classes]``; the largest one is the decision.

    Raises:
        ValueError: there are no members.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.ensembles import majority_vote
        >>> [round(float(p), 2) for p in majority_vote(jnp.array([[0.6, 0.4], [0.6, 0.4], [0.0, 1.0]]))]
        [0.67, 0.33]

    References:
        Breiman, L. (1996). Bagging predictors. Machine Learning, 24(2), 123-140. Section 1.
    """
    _some(probabilities)
    votes = jax.nn.one_hot(jnp.argmax(probabilities, axis=-1), probabilities.shape[-1], dtype=probabilities.dtype)
    return jnp.mean(votes, axis=0)


COMBINERS = {"arithmetic": arithmetic_mean, "geometric": geometric_mean, "vote": majority_vote}


def average_error(variance: Number, covariance: Number, members: Number) -> jax.Array:
    """``v / k + (k - 1) / k c``: the mean squared error of the average of k members.

    The errors of the members have the mean 0, the variance v and the covariance c of each pair.

    Args:
        variance: v >= 0, in squared units of the error; may be traced.
        covariance: c, in the same units; for equally correlated members in [-v / (k - 1), v]; may be traced.
        members: k >= 1; may be traced.

    Returns:
        The expected squared error, shape ().

    Raises:
        ValueError: a concrete number lies outside its range.

    Example:
        >>> from regopt.ensembles import average_error
        >>> average_error(1.0, 0.2, 4)
        Array(0.4, dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equation (7.50).
    """
    check_range("variance", variance, "[0, inf)")
    check_range("members", members, "[1, inf)")
    v, c, k = as_float(variance), as_float(covariance), as_float(members)
    return v / k + (k - 1) / k * c


def _some(probabilities: jax.Array) -> None:
    if probabilities.shape[0] == 0:
        raise ValueError(f"probabilities must have at least one member, got the shape {probabilities.shape}")
