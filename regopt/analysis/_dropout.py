"""What dropout does on average: exact sums over all masks, and the penalties that they amount to.

A mask d keeps unit i, ``d_i = 1``, with probability ``1 - rate_i``. Everything is a pure function of one layer's
inputs and weights. Not for training; that is ``regopt.noise``.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_range, like, safe_divide, widen
from regopt._core.types import Number

MOST_UNITS = 20  # a million masks


def enumerate_masks(rate: Number | jax.Array, units: int) -> tuple[jax.Array, jax.Array]:
    """All masks of some units, and their probabilities ``prod_i (1 - rate_i)^d_i rate_i^(1 - d_i)``.

    Args:
        rate: probability of dropping a unit, in [0, 1], a number or ``[units]``; may be traced.
        units: how many, from 1 to 20.

    Returns:
        Zeros and ones ``[2**units, units]``, and the probabilities ``[2**units]``, which add up to 1; both in JAX's
        default float dtype.

    Raises:
        ValueError: a concrete rate lies outside [0, 1], or the number of units outside its range.

    >>> enumerate_masks(0.25, 1)
    (Array([[0.],
           [1.]], dtype=float32), Array([0.25, 0.75], dtype=float32))
    """
    check_range("rate", rate, "[0, 1]")
    if not 1 <= units <= MOST_UNITS:
        raise ValueError(f"units must lie in [1, {MOST_UNITS}], got {units}")
    masks = (jnp.arange(2**units)[:, None] >> jnp.arange(units)[None] & 1).astype(jnp.result_type(float))
    dropped = jnp.broadcast_to(like(rate, masks), (units,))[None]
    return masks, jnp.prod(jnp.where(masks > 0, 1 - dropped, dropped), axis=1)


def dropout_error(weights: jax.Array, inputs: jax.Array, target: Number, mask: jax.Array) -> jax.Array:
    """``E_D = (t - sum_i d_i w_i I_i)^2 / 2``: the error of a linear unit under one mask.

    Args:
        weights: w, ``[units]``.
        inputs: I, ``[units]``.
        target: t, shape ().
        mask: d, zeros and ones ``[..., units]``.

    Returns:
        The error of each mask, ``[...]``, in at least float32.

    References: Baldi & Sadowski (2013), regularization of a linear unit.
    """
    weights, inputs, target, mask = widen(weights, inputs, target, mask)
    return jnp.square(target - mask @ (weights * inputs)) / 2


def ensemble_error(weights: jax.Array, inputs: jax.Array, target: Number, rate: Number | jax.Array) -> jax.Array:
    """``E_N = (t - sum_i p_i w_i I_i)^2 / 2`` with ``p = 1 - rate``: the error of the mean output over all masks.

    Args:
        weights: w of training, not rescaled, ``[units]``.
        inputs: I, ``[units]``.
        target: t, shape ().
        rate: in [0, 1], a number or ``[units]``; may be traced.

    Returns:
        A scalar, in at least float32.

    Raises:
        ValueError: a concrete rate lies outside [0, 1].

    References: Baldi & Sadowski (2013), regularization of a linear unit.
    """
    check_range("rate", rate, "[0, 1]")
    weights, inputs, target = widen(weights, inputs, target)
    return jnp.square(target - jnp.sum((1 - like(rate, weights)) * weights * inputs)) / 2


def expected_dropout_error(
    weights: jax.Array, inputs: jax.Array, target: Number, rate: Number | jax.Array
) -> jax.Array:
    """``E_R = E[E_D] = E_N + sum_i p_i (1 - p_i) w_i^2 I_i^2 / 2`` with ``p = 1 - rate``.

    The half belongs to the penalty as to the error: only with it is the gradient ``dE_N/dw_i + p_i (1 - p_i) w_i
    I_i^2``, the mean of the gradients of E_D.

    Args:
        weights: w of training, not rescaled, ``[units]``.
        inputs: I, ``[units]``.
        target: t, shape ().
        rate: in [0, 1], a number or ``[units]``; may be traced.

    Returns:
        A scalar, in at least float32.

    Raises:
        ValueError: a concrete rate lies outside [0, 1].

    References: Baldi & Sadowski (2013), regularization of a linear unit; Bishop & Bishop (2024), (9.72) and (9.73),
        where neither the error nor the penalty is halved.
    """
    weights, inputs, target = widen(weights, inputs, target)
    dropped = like(rate, weights)
    penalty = jnp.sum(dropped * (1 - dropped) * jnp.square(weights * inputs)) / 2
    return ensemble_error(weights, inputs, target, rate) + penalty


def normalized_geometric_mean(outputs: jax.Array, probabilities: jax.Array) -> jax.Array:
    """``prod_m o_m^P_m / (prod_m o_m^P_m + prod_m (1 - o_m)^P_m)``: the NWGM of Bernoulli outputs over masks.

    For a logistic unit it is exactly ``sigmoid(E S)``, S the unit's input: one pass with scaled weights gives it.

    Args:
        outputs: in (0, 1), ``[masks, ...]``.
        probabilities: of the masks, ``[masks]``.

    Returns:
        ``[...]``, in at least float32.

    References: Baldi & Sadowski (2013), normalized weighted geometric mean; Goodfellow et al. (2016), (7.53) to (7.55).
    """
    outputs, probabilities = widen(outputs, probabilities)
    return jax.nn.sigmoid(jnp.tensordot(probabilities, jnp.log(outputs) - jnp.log1p(-outputs), axes=1))


def geometric_ensemble(log_probabilities: jax.Array, probabilities: jax.Array) -> jax.Array:
    """``prod_m p_m(y)^P_m``, renormalised over the classes: the geometric mean of predictions over masks.

    For a softmax on inputs under dropout it is exactly the softmax of the mean logits, whatever the rates.

    Args:
        log_probabilities: log p_m(y), ``[masks, ..., classes]``.
        probabilities: P of the masks, ``[masks]``.

    Returns:
        ``[..., classes]``, each row adds up to 1; at least float32.

    References: Goodfellow et al. (2016), (7.53) to (7.66), where all masks weigh alike.
    """
    log_probabilities, probabilities = widen(log_probabilities, probabilities)
    return jax.nn.softmax(jnp.tensordot(probabilities, log_probabilities, axes=1))


def noising_penalty(
    x: jax.Array, weights: jax.Array, rate: Number | jax.Array, log_partition: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    """``sum_i E[A(x~_i . w)] - A(x_i . w)``: what dropout on inputs adds to a generalised linear model's loss.

    ``x~ = d * x / (1 - rate)`` has mean x, so the terms linear in ``x~`` add nothing. Exact, over all masks.

    Args:
        x: inputs, ``[examples, features]``, at most 20 features.
        weights: w, ``[features]``.
        rate: in [0, 1), a number or ``[features]``; may be traced.
        log_partition: A, elementwise: ``eta**2 / 2`` for least squares, ``jax.nn.softplus`` for logistic regression.

    Returns:
        A scalar in units of the loss summed over examples, >= 0, in at least float32.

    Raises:
        ValueError: a concrete rate lies outside [0, 1), or there are too many features.

    References: Wager, Wang & Liang (2013), section 2.
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

    Exact for least squares, where it is ``1/2 rate / (1 - rate) sum_j w_j^2 (X'X)_jj``: monotone in the rate, for
    these are the weights of inference. For logistic regression A'' is ``p (1 - p)``, and the ratio to the exact
    penalty tends to 1 with the weights, not with the rate.

    Args:
        x: inputs, ``[examples, features]``.
        weights: w, ``[features]``.
        rate: in [0, 1), a number or ``[features]``; may be traced.
        log_partition: A, elementwise and twice differentiable.

    Returns:
        A scalar in units of the loss summed over examples, in at least float32.

    Raises:
        ValueError: a concrete rate lies outside [0, 1).

    References: Wager, Wang & Liang (2013), section 2, dropout noise.
    """
    check_range("rate", rate, "[0, 1)")
    x, weights = widen(x, weights)
    dropped = like(rate, weights)
    curvature = jax.vmap(jax.grad(jax.grad(log_partition)))(x @ weights)
    return jnp.sum(safe_divide(dropped, 1 - dropped) * jnp.square(weights) * (curvature @ jnp.square(x))) / 2


def dropout_least_squares(x: jax.Array, y: jax.Array, rate: Number | jax.Array) -> jax.Array:
    """The minimum of ``E |y - (d * X) w|^2`` as the weights of inference ``(1 - rate) w``: a ridge regression.

    It solves ``(X'X + rate / (1 - rate) diag(X'X)) w~ = X'y``, ridge with a strength for each feature in proportion
    to the feature's energy. Inverted dropout has the same minimum in w~ directly.

    Args:
        x: inputs, ``[examples, features]``, no feature zero everywhere.
        y: targets, ``[examples]``.
        rate: in [0, 1), a number or ``[features]``; may be traced. At 0, X must have full column rank.

    Returns:
        ``[features]``, in at least float32.

    Raises:
        ValueError: a concrete rate lies outside [0, 1).

    References: Srivastava et al. (2014), section 9.1.
    """
    check_range("rate", rate, "[0, 1)")
    x, y = widen(x, y)
    gram = x.T @ x
    dropped = like(rate, gram)
    return jnp.linalg.solve(gram + jnp.diag(safe_divide(dropped, 1 - dropped) * jnp.diag(gram)), x.T @ y)
