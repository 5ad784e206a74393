"""Noise on integer labels."""

import jax
import jax.numpy as jnp

from regopt._core.checks import check_array, check_index
from regopt._core.numerics import as_float, check_number
from regopt._core.types import Key, Number


def label_noise(key: Key, labels: jax.Array, rate: Number, classes: int) -> jax.Array:
    """``(label + shift) % classes`` with probability ``rate``, where the shift is uniform in [1, classes).

    A label is replaced by one of the other classes, all of them equally likely. The mean of the one-hot noisy labels is
    the smoothed target ``losses.smooth_labels(..., spread="others")``.

    Args:
        key: a typed PRNG key, which is used once.
        labels: integers in [0, classes), any shape.
        rate: probability of a wrong label, in [0, 1], dimensionless; may be traced.
        classes: number of classes, at least 2; static.

    Returns:
        Integers with the shape and dtype of labels.

    Raises:
        ValueError: a concrete rate lies outside [0, 1], or there are fewer than two classes.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.noise import label_noise
        >>> label_noise(jax.random.key(0), jnp.array([0, 1, 2, 0, 1, 2]), 0.5, classes=3)
        Array([0, 2, 0, 2, 0, 2], dtype=int32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 7.5.1.
    """
    check_array("labels", labels)
    check_index("classes", classes)
    check_number("rate", rate, "[0, 1]")
    if classes < 2:
        raise ValueError(f"classes must be at least 2, got {classes}")
    wrong_key, shift_key = jax.random.split(key)
    wrong = jax.random.bernoulli(wrong_key, jax.lax.stop_gradient(as_float(rate)), labels.shape)
    shift = jax.random.randint(shift_key, labels.shape, 1, classes, labels.dtype)
    return jnp.where(wrong, (labels + shift) % classes, labels)
