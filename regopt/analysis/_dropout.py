"""Expectations under dropout: exact sums over all masks.

A mask d keeps unit i, ``d_i = 1``, with probability ``1 - rate_i``. All functions are pure functions of the inputs and
weights of one layer. For dropout in training see ``regopt.noise``.
"""

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_range, like, widen
from regopt._core.types import Number

MOST_UNITS = 20  # a million masks


def enumerate_masks(rate: Number | jax.Array, units: int) -> tuple[jax.Array, jax.Array]:
    """All masks of a number of units, and their probabilities ``prod_i (1 - rate_i)^d_i rate_i^(1 - d_i)``.

    Args:
        rate: probability of dropping a unit, in [0, 1], a number or ``[units]``; may be traced.
        units: number of units, from 1 to 20; static.

    Returns:
        The masks, zeros and ones ``[2**units, units]``, and their probabilities ``[2**units]``, which sum to 1; both in
        JAX's default float dtype.

    Raises:
        ValueError: a concrete rate lies outside [0, 1], or the number of units outside its range.

    Example:
        >>> from regopt.analysis import enumerate_masks
        >>> enumerate_masks(0.25, 1)
        (Array([[0.],
               [1.]], dtype=float32), Array([0.25, 0.75], dtype=float32))

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 7.12.
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
        weights: weights w, ``[units]``.
        inputs: inputs I, ``[units]``.
        target: target t, shape (); may be traced.
        mask: masks d, zeros and ones ``[..., units]``.

    Returns:
        The error of each mask, ``[...]``, in at least float32.

    Raises:
        TypeError: masks, weights and inputs differ in the number of units.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis import dropout_error
        >>> w, inputs = jnp.array([1.0, 2.0]), jnp.array([1.0, 1.0])
        >>> dropout_error(w, inputs, 3.0, jnp.array([[1.0, 1.0], [1.0, 0.0]]))
        Array([0., 2.], dtype=float32)

    References:
        Baldi, P., & Sadowski, P. J. (2013). Understanding dropout. NeurIPS. Regularization of a linear unit.
    """
    weights, inputs, target, mask = widen(weights, inputs, target, mask)
    return jnp.square(target - mask @ (weights * inputs)) / 2


def ensemble_error(weights: jax.Array, inputs: jax.Array, target: Number, rate: Number | jax.Array) -> jax.Array:
    """``E_N = (t - sum_i p_i w_i I_i)^2 / 2`` with ``p = 1 - rate``: the error of the mean output over all masks.

    Args:
        weights: weights w of training, not rescaled, ``[units]``.
        inputs: inputs I, ``[units]``.
        target: target t, shape (); may be traced.
        rate: probability of dropping a unit, in [0, 1], a number or ``[units]``; may be traced.

    Returns:
        A scalar, in at least float32.

    Raises:
        ValueError: a concrete rate lies outside [0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis import ensemble_error
        >>> w, inputs = jnp.array([1.0, 2.0]), jnp.array([1.0, 1.0])
        >>> ensemble_error(w, inputs, 3.0, rate=0.5)
        Array(1.125, dtype=float32)

    References:
        Baldi, P., & Sadowski, P. J. (2013). Understanding dropout. NeurIPS. Regularization of a linear unit.
    """
    check_range("rate", rate, "[0, 1]")
    weights, inputs, target = widen(weights, inputs, target)
    return jnp.square(target - jnp.sum((1 - like(rate, weights)) * weights * inputs)) / 2


def expected_dropout_error(
    weights: jax.Array, inputs: jax.Array, target: Number, rate: Number | jax.Array
) -> jax.Array:
    """``E_R = E[E_D] = E_N + sum_i p_i (1 - p_i) w_i^2 I_i^2 / 2`` with ``p = 1 - rate``.

    The penalty has the same factor 1/2 as the error. Only then is its gradient
    ``dE_N/dw_i + p_i (1 - p_i) w_i I_i^2`` the mean of the gradients of E_D.

    Args:
        weights: weights w of training, not rescaled, ``[units]``.
        inputs: inputs I, ``[units]``.
        target: target t, shape (); may be traced.
        rate: probability of dropping a unit, in [0, 1], a number or ``[units]``; may be traced.

    Returns:
        A scalar, in at least float32.

    Raises:
        ValueError: a concrete rate lies outside [0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis import dropout_error, enumerate_masks, expected_dropout_error
        >>> w, inputs = jnp.array([1.0, 2.0]), jnp.array([1.0, 1.0])
        >>> masks, probabilities = enumerate_masks(0.5, units=2)
        >>> expected_dropout_error(w, inputs, 3.0, rate=0.5), probabilities @ dropout_error(w, inputs, 3.0, masks)
        (Array(1.75, dtype=float32), Array(1.75, dtype=float32))

    References:
        Baldi, P., & Sadowski, P. J. (2013). Understanding dropout. NeurIPS. Regularization of a linear unit.

        Bishop, C. M., & Bishop, H. (2024). Deep Learning: Foundations and Concepts. Springer. Equations (9.72) and
        (9.73), where neither the error nor the penalty is halved.
    """
    weights, inputs, target = widen(weights, inputs, target)
    dropped = like(rate, weights)
    penalty = jnp.sum(dropped * (1 - dropped) * jnp.square(weights * inputs)) / 2
    return ensemble_error(weights, inputs, target, rate) + penalty


def normalized_geometric_mean(outputs: jax.Array, probabilities: jax.Array) -> jax.Array:
    """``prod_m o_m^P_m / (prod_m o_m^P_m + prod_m (1 - o_m)^P_m)``: the NWGM of Bernoulli outputs over masks.

    NWGM stands for normalized weighted geometric mean. For a logistic unit with the input S it is exactly
    ``sigmoid(E S)``, which one forward pass with scaled weights computes.

    Args:
        outputs: output for each mask, in (0, 1), ``[masks, ...]``.
        probabilities: probabilities of the masks, ``[masks]``.

    Returns:
        The mean, ``[...]``, in at least float32.

    Raises:
        TypeError: outputs and probabilities differ in the number of masks.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.analysis import normalized_geometric_mean
        >>> logits, probabilities = jnp.array([-1.0, 3.0]), jnp.array([0.5, 0.5])
        >>> mean = normalized_geometric_mean(jax.nn.sigmoid(logits), probabilities)
        >>> bool(jnp.isclose(mean, jax.nn.sigmoid(1.0)))
        True

    References:
        Baldi, P., & Sadowski, P. J. (2013). Understanding dropout. NeurIPS. Normalized weighted geometric mean.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equations (7.54) and (7.55).
    """
    outputs, probabilities = widen(outputs, probabilities)
    return jax.nn.sigmoid(jnp.tensordot(probabilities, jnp.log(outputs) - jnp.log1p(-outputs), axes=1))


def geometric_ensemble(log_probabilities: jax.Array, probabilities: jax.Array) -> jax.Array:
    """``prod_m p_m(y)^P_m``, renormalised over the classes: the geometric mean of predictions over masks.

    For a softmax layer with dropout on its inputs it is exactly the softmax of the mean logits, for all rates.

    Args:
        log_probabilities: logarithms of p_m(y), ``[masks, ..., classes]``.
        probabilities: probabilities P of the masks, ``[masks]``.

    Returns:
        The distributions, ``[..., classes]``, which sum to 1 over the classes; at least float32.

    Raises:
        TypeError: log_probabilities and probabilities differ in the number of masks.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis import geometric_ensemble
        >>> log_probabilities = jnp.log(jnp.array([[0.5, 0.5], [0.9, 0.1]]))
        >>> [round(float(p), 3) for p in geometric_ensemble(log_probabilities, jnp.array([0.5, 0.5]))]
        [0.75, 0.25]

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equations (7.54) to (7.66), where
        all masks weigh alike.
    """
    log_probabilities, probabilities = widen(log_probabilities, probabilities)
    return jax.nn.softmax(jnp.tensordot(probabilities, log_probabilities, axes=1))
