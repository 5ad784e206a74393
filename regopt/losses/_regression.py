"""Regression losses. Each is a mean over the examples of a batch; for other losses see ``optax.losses``."""

import jax
import jax.numpy as jnp

from regopt._core.numerics import widen
from regopt.losses._metric import metric


@metric(mode="min")
def squared_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """``mean_i |output_i - target_i|^2 / 2``.

    With the factor 1/2, ``penalties.l2(strength)`` added to this loss is ridge regression with
    ``alpha = examples * strength``.

    Args:
        outputs: ``[batch, ...]``.
        targets: ``[batch, ...]``, of the same shape.

    Returns:
        A scalar, in at least float32, in squared units of the targets.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.losses import squared_error
        >>> squared_error(jnp.array([1.0, 2.0]), jnp.array([0.0, 0.0]))
        Array(1.25, dtype=float32)

    References:
        Bishop, C. M. (2006). Pattern Recognition and Machine Learning. Springer. Equation (1.2), there a sum over
        examples.
    """
    if outputs.shape != targets.shape:
        raise ValueError(f"outputs and targets must have one shape, got {outputs.shape} and {targets.shape}")
    return jnp.sum(jnp.square(jnp.subtract(*widen(outputs, targets)))) / (2 * outputs.shape[0])
