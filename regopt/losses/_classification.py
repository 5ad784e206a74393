"""Classification losses and metrics: cross-entropy, with hard or smoothed labels, and accuracy.

Each is a mean over the examples of a batch, computed with the classes along the first axis. A feature-major layer then
needs no transpose. For other losses see ``optax.losses``.
"""

from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import optax

from regopt._core.numerics import check_range, like, widen
from regopt._core.types import Number

Spread: TypeAlias = Literal["all", "others"]


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


def smooth_labels(
    labels: jax.Array, classes: int, smoothing: Number, *, spread: Spread = "all", axis: int = -1
) -> jax.Array:
    """One-hot targets, softened; each adds up to 1.

    Spread over "all" k classes (Szegedy et al.; optax), ``(1 - smoothing) onehot + smoothing / k``: the label keeps
    ``1 - smoothing (k - 1) / k``. Spread over the "others" (Goodfellow et al.), ``smoothing / (k - 1)`` each: the
    label keeps ``1 - smoothing``.

    Args:
        labels: integers in [0, classes), ``[batch]``.
        classes: k, at least 2.
        smoothing: in [0, 1], dimensionless; may be traced.
        spread: over which classes.
        axis: where the classes go.

    Returns:
        ``[batch, classes]`` with the default axis, in JAX's default float dtype.

    Raises:
        ValueError: a concrete smoothing lies outside [0, 1], fewer than two classes, or an unknown spread.

    References: Szegedy et al. (2016), section 7; Goodfellow et al. (2016), section 7.5.1.

    >>> smooth_labels(jnp.array([1]), 5, 0.5), smooth_labels(jnp.array([1]), 5, 0.5, spread="others")
    (Array([[0.1, 0.6, 0.1, 0.1, 0.1]], dtype=float32), Array([[0.125, 0.5  , 0.125, 0.125, 0.125]], dtype=float32))
    """
    check_range("smoothing", smoothing, "[0, 1]")
    if classes < 2:
        raise ValueError(f"classes must be at least 2, got {classes}")
    if spread not in ("all", "others"):
        raise ValueError(f'spread must be "all" or "others", got {spread!r}')
    one_hot = jax.nn.one_hot(labels, classes, dtype=jnp.result_type(float), axis=axis)
    share = like(smoothing, one_hot)
    if spread == "all":
        return (1 - share) * one_hot + share / classes
    return (1 - share) * one_hot + share / (classes - 1) * (1 - one_hot)


def smoothed_cross_entropy(
    logits: jax.Array, labels: jax.Array, smoothing: Number, *, spread: Spread = "all"
) -> jax.Array:
    """``cross_entropy`` against ``smooth_labels``: mean of ``-sum_c target_c log softmax(logits)_c`` in nats.

    Its minimum is the entropy of the targets, at a finite gap between the label's logit and the others.

    Args:
        logits: ``[batch, classes]``.
        labels: integers in [0, classes), ``[batch]``.
        smoothing: in [0, 1], dimensionless; may be traced.
        spread: over "all" classes or the "others".

    Returns:
        A scalar, in at least float32.

    Raises:
        ValueError: shapes do not fit, or as for ``smooth_labels``.

    >>> smoothed_cross_entropy(jnp.array([[0.0, 0.0]]), jnp.array([1]), 0.25)
    Array(0.6931472, dtype=float32)
    """
    _check_labels(logits, labels)
    (logits,) = widen(logits)
    targets = smooth_labels(labels, logits.shape[-1], smoothing, spread=spread, axis=0).astype(logits.dtype)
    return jnp.mean(optax.losses.softmax_cross_entropy(logits.T, targets, axis=0))


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Share of examples whose largest logit is the label's; ``[batch, classes]`` and integers ``[batch]``.

    >>> accuracy(jnp.array([[0.0, 1.0], [2.0, 1.0]]), jnp.array([1, 1]))
    Array(0.5, dtype=float32)
    """
    _check_labels(logits, labels)
    predicted = jnp.argmax(logits.T, axis=0).astype(labels.dtype)
    return jnp.mean((predicted == labels).astype(jnp.float32))


def _check_labels(logits: jax.Array, labels: jax.Array) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits [batch, classes] need labels [batch], got {logits.shape} and {labels.shape}")
