"""Squared error into bias, variance and noise; variance into training sets and seeds."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_range, like, widen
from regopt._core.types import Number
from regopt.analysis.bias_variance._parts import (
    Decomposition,
    Parts,
    check_finite,
    check_predictions,
    check_targets,
    jackknife,
    mean_over_points,
)


class VarianceComponents(NamedTuple):
    """Variance of a prediction over training sets and seeds, each ``[points, ...]``; the parts sum to the total."""

    data: jax.Array  # of the mean over seeds, between training sets
    seed: jax.Array  # of the mean over training sets, between seeds
    interaction: jax.Array  # what neither explains alone
    total: jax.Array


def decompose(
    predictions: jax.Array,
    targets: jax.Array,
    noise: Number = 0.0,
    *,
    of: Literal["truth", "observations"] = "truth",
) -> Decomposition:
    """Squared error: ``E (y - f)**2 = (E f - truth)**2 + Var f + noise``.

    The squared bias of the mean of M replicas is too large by ``Var / M``, which is subtracted; at a point it may
    come out negative. With the unbiased variance the parts then sum to the measured error exactly.

    Args:
        predictions: ``[replicas, points, ...]``, of at least two replicas.
        targets: ``[points, ...]``.
        noise: variance of an observation around the truth, >= 0, a number or ``[points, ...]``.
        of: what the targets are: the noiseless truth, or one noisy observation of it at each point, independent of
            the training sets. With observations the noise is subtracted from the bias, or, where it is left at 0,
            remains in it.

    Returns:
        The decomposition, in squared units of the predictions.

    Raises:
        ValueError: shapes do not match, there are fewer than two replicas, something concrete is NaN or infinite, or
            ``noise`` is negative.

    References: Geman, Bienenstock & Doursat (1992), (2.4); Goodfellow et al. (2016), (5.54).

    >>> decompose(jnp.array([[1.0], [3.0]]), jnp.array([1.0]), noise=0.5).mean  # doctest: +ELLIPSIS
    Parts(bias=Array(0., ...), variance=Array(2., ...), noise=Array(0.5, ...), error=Array(2.5, ...))
    """
    if of not in ("truth", "observations"):
        raise ValueError(f"of must be 'truth' or 'observations', got {of!r}")
    check_range("noise", noise, "[0, inf)")
    predictions, targets = widen(predictions, targets)
    check_predictions(predictions)
    check_targets(targets, predictions.shape[1:])
    replicas = len(predictions)
    noise = jnp.broadcast_to(like(noise, predictions), targets.shape)
    variance = jnp.var(predictions, axis=0, ddof=1)
    plug_in = jnp.square(jnp.mean(predictions, axis=0) - targets)
    measured = jnp.mean(jnp.square(predictions - targets[None]), axis=0)
    inside = noise if of == "observations" else 0
    error = measured if of == "observations" else measured + noise
    points = Parts(plug_in - variance / replicas - inside, variance, noise, error)
    return Decomposition(
        points, mean_over_points(points), _squared_errors(predictions, targets), jnp.mean(plug_in - inside)
    )


def variance_components(predictions: jax.Array) -> VarianceComponents:
    """The law of total variance in two ways at once: over training sets, over seeds, and their interaction.

    For every training set trained with every seed (a crossed design), the unbiased estimates of a two-way random
    effects model; a component that is small may come out negative. ``seed + interaction`` is the expected variance over
    seeds given the data, ``data`` the variance over data of the mean over seeds.

    Args:
        predictions: ``[data sets, seeds, points, ...]``, at least two of each of the first.

    Returns:
        The components at each point.

    Raises:
        ValueError: there are fewer than two data sets or seeds, or something concrete is NaN or infinite.

    References: Neal et al. (2018), section 2.2; Searle, Casella & McCulloch (1992), section 4.4.

    >>> found = variance_components(jnp.array([[1.0, 1.0], [3.0, 3.0]]))
    >>> found.data, found.seed, found.interaction
    (Array(2., dtype=float32), Array(0., dtype=float32), Array(0., dtype=float32))
    """
    (predictions,) = widen(predictions)
    if predictions.ndim < 2 or min(predictions.shape[:2]) < 2:
        raise ValueError(
            f"predictions must have shape [data sets, seeds, ...], two of each at least, got {predictions.shape}"
        )
    check_finite("predictions", predictions)
    sets, seeds = predictions.shape[:2]
    by_set, by_seed = jnp.mean(predictions, axis=1), jnp.mean(predictions, axis=0)
    rest = predictions - by_set[:, None] - by_seed[None] + jnp.mean(by_seed, axis=0)[None, None]
    interaction = jnp.sum(jnp.square(rest), axis=(0, 1)) / ((sets - 1) * (seeds - 1))
    data = jnp.var(by_set, axis=0, ddof=1) - interaction / seeds
    seed = jnp.var(by_seed, axis=0, ddof=1) - interaction / sets
    return VarianceComponents(data, seed, interaction, data + seed + interaction)


def _squared_errors(predictions: jax.Array, targets: jax.Array) -> Parts:
    """Jackknife standard errors of the mean bias, variance and error; leaving one out has a closed form."""
    count = len(predictions)
    axes = tuple(range(1, predictions.ndim))
    errors = jnp.mean(jnp.square(predictions - targets[None]), axis=axes)
    spreads = jnp.mean(jnp.square(predictions - jnp.mean(predictions, axis=0)[None]), axis=axes)
    error = (jnp.sum(errors) - errors) / (count - 1)
    if count == 2:
        unknown = jnp.full((), jnp.inf, predictions.dtype)
        return Parts(unknown, unknown, jnp.zeros_like(unknown), jackknife(error))
    variance = (jnp.sum(spreads) - spreads * count / (count - 1)) / (count - 2)
    zero = jnp.zeros((), predictions.dtype)
    return Parts(jackknife(error - variance), jackknife(variance), zero, jackknife(error))
