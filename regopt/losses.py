"""Losses and metrics of a batch, each a mean over its examples, laid out so that no transpose is needed.

Everything else is in ``optax.losses``; these are the three that the tasks of a sweep start with.
"""

import jax
import jax.numpy as jnp
import optax

from regopt.numerics import widen


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean of ``-log softmax(logits)[label]`` in nats; ``[batch, classes]`` and integers ``[batch]``.

    Taken through a one-hot target, classes first: the backward pass has neither a scatter nor a transpose when
    the logits come from a feature-major layer.

    >>> cross_entropy(jnp.array([[0.0, 0.0]]), jnp.array([1]))
    Array(0.6931472, dtype=float32)
    """
    _check_labels(logits, labels)
    (logits,) = widen(logits)
    targets = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype, axis=0)
    return jnp.mean(optax.losses.softmax_cross_entropy(logits.T, targets, axis=0))


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Share of examples whose largest logit is the label's; ``[batch, classes]`` and integers ``[batch]``.

    >>> accuracy(jnp.array([[0.0, 1.0], [2.0, 1.0]]), jnp.array([1, 1]))
    Array(0.5, dtype=float32)
    """
    _check_labels(logits, labels)
    predicted = jnp.argmax(logits.T, axis=0).astype(labels.dtype)
    return jnp.mean((predicted == labels).astype(jnp.float32))


def squared_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean over examples of ``|output - target|^2 / 2``; both ``[batch, ...]``.

    The half makes ridge regression's strength read ``n * alpha``.

    >>> squared_error(jnp.array([1.0, 2.0]), jnp.array([0.0, 0.0]))
    Array(1.25, dtype=float32)
    """
    if outputs.shape != targets.shape:
        raise ValueError(f"outputs and targets must have one shape, got {outputs.shape} and {targets.shape}")
    return jnp.sum(jnp.square(jnp.subtract(*widen(outputs, targets)))) / (2 * outputs.shape[0])


def _check_labels(logits: jax.Array, labels: jax.Array) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits [batch, classes] need labels [batch], got {logits.shape} and {labels.shape}")
