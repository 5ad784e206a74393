"""Regression losses. Each is a mean over the examples of a batch; for other losses see ``optax.losses``."""

import jax
import jax.numpy as jnp

from regopt._core.numerics import widen


def squared_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean over examples of ``|output - target|^2 / 2``; both ``[batch, ...]``.

    The half makes ridge regression's strength read ``n * alpha``.

    >>> squared_error(jnp.array([1.0, 2.0]), jnp.array([0.0, 0.0]))
    Array(1.25, dtype=float32)
    """
    if outputs.shape != targets.shape:
        raise ValueError(f"outputs and targets must have one shape, got {outputs.shape} and {targets.shape}")
    return jnp.sum(jnp.square(jnp.subtract(*widen(outputs, targets)))) / (2 * outputs.shape[0])
