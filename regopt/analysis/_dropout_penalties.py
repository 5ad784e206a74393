"""Penalties that dropout on the inputs of a generalised linear model is equivalent to.

The penalties are exact sums over all masks, or their second-order approximations.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_range, like, safe_divide, widen
from regopt._core.types import Number
from regopt.analysis._dropout import enumerate_masks


def noising_penalty(
    x: jax.Array, weights: jax.Array, rate: Number | jax.Array, log_partition: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    """``sum_i E[A(x~_i . w)] - A(x_i . w)``: the penalty of dropout on the inputs of a generalised linear model.

    The noisy input ``x~ = d * x / (1 - rate)`` has mean x, so terms of the loss that are linear in ``x~`` do not
    contribute. The expectation is exact, over all masks.

    Args:
        x: inputs, ``[examples, features]``, with at most 20 features.
        weights: weights w, ``[features]``.
        rate: probability of dropping a feature, in [0, 1), a number or ``[features]``; may be traced.
        log_partition: the elementwise log-partition function A: ``eta**2 / 2`` for least squares, ``jax.nn.softplus``
            for logistic regression; static.

    Returns:
        A scalar in units of the loss summed over examples, >= 0, in at least float32.

    Raises:
        ValueError: a concrete rate lies outside [0, 1), or there are too many features.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis import noising_penalty
        >>> x, w = jnp.array([[1.0, 2.0]]), jnp.array([1.0, 1.0])
        >>> noising_penalty(x, w, 0.5, lambda eta: eta**2 / 2)
        Array(2.5, dtype=float32)

    References:
        Wager, S., Wang, S., & Liang, P. S. (2013). Dropout training as adaptive regularization. NeurIPS. Section 2.
    """
    check_range("rate", rate, "[0, 1)")
    masks, probabilities = enumerate_masks(rate, x.shape[1])
    x, weights, masks, probabilities = widen(x, weights, masks, probabilities)
    terms = x * safe_divide(weights, 1 - like(rate, weights))[None]
    noisy = jax.vmap(lambda mask: jnp.sum(log_partition(terms @ mask)))(masks)
    return probabilities @ noisy - jnp.sum(log_partition(x @ weights))


def quadratic_penalty(
    x: jax.Array, weights: jax.Array, rate: Number | jax.Array, log_partition: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    """``1/2 sum_j rate_j / (1 - rate_j) w_j^2 sum_i A''(x_i . w) x_ij^2``: the noising penalty to second order.

    For least squares it is exact and equals ``1/2 rate / (1 - rate) sum_j w_j^2 (X'X)_jj``, which is monotone in the
    rate because w are the weights of inference. For logistic regression A'' is ``p (1 - p)``, and the ratio to the
    exact penalty tends to 1 as the weights tend to 0, but not as the rate tends to 0.

    Args:
        x: inputs, ``[examples, features]``.
        weights: weights w, ``[features]``.
        rate: probability of dropping a feature, in [0, 1), a number or ``[features]``; may be traced.
        log_partition: the elementwise, twice differentiable log-partition function A; static.

    Returns:
        A scalar in units of the loss summed over examples, in at least float32.

    Raises:
        ValueError: a concrete rate lies outside [0, 1).

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis import quadratic_penalty
        >>> x, w = jnp.array([[1.0, 2.0]]), jnp.array([1.0, 1.0])
        >>> quadratic_penalty(x, w, 0.5, lambda eta: eta**2 / 2)
        Array(2.5, dtype=float32)

    References:
        Wager, S., Wang, S., & Liang, P. S. (2013). Dropout training as adaptive regularization. NeurIPS. Section 2
        (dropout noise).
    """
    check_range("rate", rate, "[0, 1)")
    x, weights = widen(x, weights)
    dropped = like(rate, weights)
    curvature = jax.vmap(jax.grad(jax.grad(log_partition)))(x @ weights)
    return jnp.sum(safe_divide(dropped, 1 - dropped) * jnp.square(weights) * (curvature @ jnp.square(x))) / 2


def dropout_least_squares(x: jax.Array, y: jax.Array, rate: Number | jax.Array) -> jax.Array:
    """``(X'X + rate / (1 - rate) diag(X'X))^-1 X'y``: the minimum of least squares with dropout on the inputs.

    The result is ``(1 - rate) w``, the weights of inference, for the w that minimises ``E |y - (d * X) w|^2``. It is a
    ridge regression whose strength for each feature is proportional to the sum of squares of the feature. Inverted
    dropout has this minimum directly.

    Args:
        x: inputs, ``[examples, features]``, where no feature is zero in all examples.
        y: targets, ``[examples]``.
        rate: probability of dropping a feature, in [0, 1), a number or ``[features]``; may be traced. At 0, X must have
            full column rank.

    Returns:
        The weights, ``[features]``, in at least float32.

    Raises:
        ValueError: a concrete rate lies outside [0, 1).

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis import dropout_least_squares
        >>> dropout_least_squares(jnp.eye(2), jnp.array([2.0, 4.0]), rate=0.5)
        Array([1., 2.], dtype=float32)

    References:
        Srivastava, N., Hinton, G., Krizhevsky, A., Sutskever, I., & Salakhutdinov, R. (2014). Dropout: A simple way to
        prevent neural networks from overfitting. Journal of Machine Learning Research, 15, 1929-1958. Section 9.1.
    """
    check_range("rate", rate, "[0, 1)")
    x, y = widen(x, y)
    gram = x.T @ x
    dropped = like(rate, gram)
    return jnp.linalg.solve(gram + jnp.diag(safe_divide(dropped, 1 - dropped) * jnp.diag(gram)), x.T @ y)
