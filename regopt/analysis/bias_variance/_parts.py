"""The parts of a decomposition, their standard errors, and checks of predictions and targets."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from regopt._core.numerics import safe_sqrt


class Parts(NamedTuple):
    """An expected error and its parts, in units of the loss.

    Attributes:
        bias: for squared error the squared bias.
        variance: of the predictions over the replicas.
        noise: of the observations.
        error: for squared error and cross-entropy the sum of the three.
    """

    bias: jax.Array
    variance: jax.Array
    noise: jax.Array
    error: jax.Array


class Decomposition(NamedTuple):
    """A decomposition at each point, its mean over the points, and standard errors of the mean over replicas.

    Attributes:
        points: the parts at each point, each ``[points, ...]``.
        mean: their means over the points, each a scalar.
        standard_error: of these means, by the jackknife over the replicas; inf for two replicas.
        plug_in_bias: the mean bias before its correction for the variance of the mean prediction, a scalar.
    """

    points: Parts
    mean: Parts
    standard_error: Parts
    plug_in_bias: jax.Array


def mean_over_points(parts: Parts) -> Parts:
    """Average each part over the points."""
    return Parts(*(jnp.mean(part) for part in parts))


def jackknife(left_out: jax.Array) -> jax.Array:
    """The standard error from the values of a statistic, ``[replicas]``, that each leave out one replica."""
    return safe_sqrt(jnp.var(left_out) * (len(left_out) - 1))


def check_predictions(predictions: jax.Array, *, infinite: bool = False) -> None:
    """Raise unless predictions are ``[replicas, points, ...]`` of two replicas or more, and finite (or free of NaN)."""
    if predictions.ndim < 2 or len(predictions) < 2:
        raise ValueError(
            f"predictions must have shape [replicas, points, ...], two replicas at least, got {predictions.shape}"
        )
    check_finite("predictions", predictions, infinite=infinite)


def check_targets(targets: jax.Array, shape: tuple[int, ...]) -> None:
    """Raise unless the targets have the shape of the predictions of one replica."""
    if targets.shape != shape:
        raise ValueError(f"targets must have shape {shape}, that of a replica's predictions, got {targets.shape}")
    if jnp.issubdtype(targets.dtype, jnp.floating):
        check_finite("targets", targets)


def check_finite(name: str, values: jax.Array, *, infinite: bool = False) -> None:
    """Raise unless concrete values are finite (or, with ``infinite``, free of NaN)."""
    if isinstance(values, Tracer):
        return
    bad = np.isnan(values) if infinite else ~np.isfinite(values)
    if bad.any():
        raise ValueError(f"{name} must be {'free of NaN' if infinite else 'finite'}, got {int(bad.sum())} that are not")


def check_labels(name: str, labels: jax.Array, classes: int) -> None:
    """Raise unless the labels are integers in [0, classes)."""
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"{name} must be integer labels, got {labels.dtype}")
    if isinstance(labels, Tracer) or not labels.size:
        return
    low, high = np.min(np.asarray(labels)), np.max(np.asarray(labels))
    if low < 0 or high >= classes:
        raise ValueError(f"{name} must lie in [0, {classes - 1}], got {low} to {high}")


def check_distributions(name: str, rows: jax.Array) -> None:
    """Raise unless each concrete row, ``[points, classes]``, has entries >= 0 that sum to 1."""
    if isinstance(rows, Tracer):
        return
    values = np.asarray(rows, np.float64)
    rounding = max(4 * values.shape[-1] * float(jnp.finfo(rows.dtype).eps), 1e-5)  # as of a softmax in single precision
    sums = values.sum(axis=-1)
    bad = (values < -rounding).any(axis=-1) | (np.abs(sums - 1) > rounding)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"{name} must be distributions, with rows >= 0 that sum to 1, got row {row} with the sum {sums[row]:.6g} "
            f"and the smallest entry {values[row].min():.6g}"
        )
