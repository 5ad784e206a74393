"""Classification losses and metrics: cross-entropy, with hard or smoothed labels, and accuracy.

Each is a mean over the examples of a batch, and over the positions of sequences or images where each has a label. The
classes of logits ``[batch, classes]`` lie along the first axis while it is computed, so a feature-major layer needs no
transpose. For other losses see ``optax.losses``.
"""

from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from regopt._core.checks import check_choice
from regopt._core.numerics import check_range, like, widen
from regopt._core.types import Number, Tree
from regopt.losses._metric import metric

Spread: TypeAlias = Literal["all", "others"]


@metric(mode="min")
def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """``mean_i -log softmax(logits_i)[label_i]``, in nats, over examples and positions i.

    The labels are converted to one-hot targets, for ``[batch, classes]`` with the classes along the first axis. The
    backward pass therefore has neither a scatter nor a transpose when the logits come from a feature-major layer.

    Args:
        logits: ``[batch, classes]``, or ``[batch, ..., classes]`` such as those of a language model, floating point.
        labels: integers in [0, classes), the shape of the logits without the last axis.

    Returns:
        A scalar, in at least float32.

    Raises:
        ValueError: the shapes do not match.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.losses import cross_entropy
        >>> cross_entropy(jnp.array([[0.0, 0.0]]), jnp.array([1]))
        Array(0.6931472, dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 6.2.2.3.
    """
    _check_labels(logits, labels)
    (logits,) = widen(logits)
    classes = logits.shape[-1]
    logits, axis = _by_class(logits)
    targets = jax.nn.one_hot(labels, classes, dtype=logits.dtype, axis=axis)
    return jnp.mean(optax.losses.softmax_cross_entropy(logits, targets, axis=axis))


def smooth_labels(
    labels: jax.Array, classes: int, smoothing: Number, *, spread: Spread = "all", axis: int = -1
) -> jax.Array:
    """``(1 - smoothing) onehot + smoothing / k``: smoothed one-hot targets, each of which sums to 1.

    With ``spread="all"`` (Szegedy et al.; optax) the smoothing is distributed over all k classes, and the probability
    of the label is ``1 - smoothing (k - 1) / k``. With ``spread="others"`` (Goodfellow et al.) each of the other
    classes has the probability ``smoothing / (k - 1)``, and the label has ``1 - smoothing``.

    Args:
        labels: integers in [0, classes), ``[batch]``.
        classes: number k of classes, at least 2; static.
        smoothing: probability that is distributed, in [0, 1], dimensionless; may be traced.
        spread: "all" or "others", the classes over which it is distributed; static.
        axis: the axis of the classes in the result; static.

    Returns:
        ``[batch, classes]`` with the default axis, in JAX's default float dtype.

    Raises:
        ValueError: a concrete smoothing lies outside [0, 1], there are fewer than two classes, or the spread is
            unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.losses import smooth_labels
        >>> smooth_labels(jnp.array([1]), 5, 0.5), smooth_labels(jnp.array([1]), 5, 0.5, spread="others")
        (Array([[0.1, 0.6, 0.1, 0.1, 0.1]], dtype=float32), Array([[0.125, 0.5  , 0.125, 0.125, 0.125]], dtype=float32))

    References:
        Szegedy, C., Vanhoucke, V., Ioffe, S., Shlens, J., & Wojna, Z. (2016). Rethinking the Inception architecture for
        computer vision. CVPR. Section 7.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 7.5.1.
    """
    check_range("smoothing", smoothing, "[0, 1]")
    if classes < 2:
        raise ValueError(f"classes must be at least 2, got {classes}")
    check_choice("spread", spread, ("all", "others"))
    one_hot = jax.nn.one_hot(labels, classes, dtype=jnp.result_type(float), axis=axis)
    share = like(smoothing, one_hot)
    if spread == "all":
        return (1 - share) * one_hot + share / classes
    return (1 - share) * one_hot + share / (classes - 1) * (1 - one_hot)


@metric(mode="min")
def smoothed_cross_entropy(
    logits: jax.Array, labels: jax.Array, smoothing: Number, *, spread: Spread = "all"
) -> jax.Array:
    """``mean_i -sum_c target_ic log softmax(logits_i)_c``, in nats, with the targets of ``smooth_labels``.

    Its minimum is the entropy of the targets, at a finite difference between the logit of the label and the others.

    Args:
        logits: ``[batch, classes]`` or ``[batch, ..., classes]``, floating point.
        labels: integers in [0, classes), the shape of the logits without the last axis.
        smoothing: probability that is distributed, in [0, 1], dimensionless; may be traced.
        spread: "all" or "others", as for ``smooth_labels``; static.

    Returns:
        A scalar, in at least float32.

    Raises:
        ValueError: the shapes do not match, a concrete smoothing lies outside [0, 1], or the spread is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.losses import smoothed_cross_entropy
        >>> smoothed_cross_entropy(jnp.array([[0.0, 0.0]]), jnp.array([1]), 0.25)
        Array(0.6931472, dtype=float32)

    References:
        Szegedy, C., Vanhoucke, V., Ioffe, S., Shlens, J., & Wojna, Z. (2016). Rethinking the Inception architecture for
        computer vision. CVPR. Section 7.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 7.5.1.
    """
    _check_labels(logits, labels)
    (logits,) = widen(logits)
    classes = logits.shape[-1]
    logits, axis = _by_class(logits)
    targets = smooth_labels(labels, classes, smoothing, spread=spread, axis=axis).astype(logits.dtype)
    return jnp.mean(optax.losses.softmax_cross_entropy(logits, targets, axis=axis))


@metric(mode="max")
def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """``mean_i [argmax logits_i = label_i]``: the share of examples, or positions, whose largest logit is the label's.

    Args:
        logits: ``[batch, classes]`` or ``[batch, ..., classes]``, floating point.
        labels: integers in [0, classes), the shape of the logits without the last axis.

    Returns:
        A scalar in [0, 1], float32.

    Raises:
        ValueError: the shapes do not match.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.losses import accuracy
        >>> accuracy(jnp.array([[0.0, 1.0], [2.0, 1.0]]), jnp.array([1, 1]))
        Array(0.5, dtype=float32)
    """
    _check_labels(logits, labels)
    labels = jnp.asarray(labels)  # of the width that JAX has
    logits, axis = _by_class(logits)
    predicted = jnp.argmax(logits, axis=axis).astype(labels.dtype)
    return jnp.mean((predicted == labels).astype(jnp.float32))


def _check_values(part: str, targets: Tree, outputs: Tree) -> None:
    """Check concrete labels against the classes that the model has, before a program is built."""
    if not (hasattr(targets, "dtype") and hasattr(outputs, "shape")) or len(outputs.shape) != np.ndim(targets) + 1:
        return  # the loss says so, as it does of labels that are no integers
    if targets.dtype.kind not in "iu":
        return
    labels = np.asarray(targets)
    classes = outputs.shape[-1]
    outside = labels[(labels < 0) | (labels >= classes)]
    if outside.size:
        raise ValueError(
            f"the labels of {part} must lie in [0, {classes - 1}], as the model has {classes} outputs, got {outside[0]}"
        )


for _loss in (cross_entropy, smoothed_cross_entropy, accuracy):
    _loss.check_targets = _check_values  # type: ignore[attr-defined]


def _by_class(logits: jax.Array) -> tuple[jax.Array, int]:
    """The logits with the classes along an axis, and the axis."""
    return (logits.T, 0) if logits.ndim == 2 else (logits, -1)


def _check_labels(logits: jax.Array, labels: jax.Array) -> None:
    if logits.ndim < 2 or labels.shape != logits.shape[:-1]:
        fix, whole = "", logits.shape[:-1]
        if labels.shape == logits.shape:
            fix = "; one-hot labels become these by argmax(-1)"
        elif labels.shape == (*whole, 1):
            fix = "; take labels[..., 0]"
        form = "logits [batch, ..., classes] need labels [batch, ...]"
        raise ValueError(f"{form}, got {logits.shape} and {labels.shape}{fix}")
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels must be integers in [0, {logits.shape[-1]}), got {labels.dtype}")
