"""Decompositions of the squared error into bias, variance and noise, and of the variance by training set and seed."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from regopt._core.checks import check_choice
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
    interaction: jax.Array  # the part that is not a sum of the two
    total: jax.Array


def decompose(
    predictions: jax.Array,
    targets: jax.Array,
    noise: Number = 0.0,
    *,
    of: Literal["truth", "observations"] = "truth",
) -> Decomposition:
    """``E (y - f)**2 = (E f - truth)**2 + Var f + noise``: the squared error as squared bias, variance and noise.

    The squared bias of the mean of M replicas is too large by ``Var / M``, which is subtracted, so the estimate at a
    point may be negative. With the unbiased variance, the parts sum to the measured error exactly.

    Args:
        predictions: predictions of at least two replicas, ``[replicas, points, ...]``.
        targets: targets, ``[points, ...]``.
        noise: variance of an observation around the truth, >= 0, a number or ``[points, ...]``; may be traced.
        of: "truth" if the targets are noiseless, "observations" if they are noisy observations that are independent of
            the training sets; static. With observations, the noise is subtracted from the bias; it remains in the bias
            if ``noise`` is 0.

    Returns:
        The decomposition, in squared units of the predictions.

    Raises:
        ValueError: the shapes do not match, there are fewer than two replicas, or a concrete value is not finite or
            lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.bias_variance import decompose
        >>> decompose(jnp.array([[1.0], [3.0]]), jnp.array([1.0]), noise=0.5).mean  # doctest: +ELLIPSIS
        Parts(bias=Array(0., ...), variance=Array(2., ...), noise=Array(0.5, ...), error=Array(2.5, ...))

    References:
        Geman, S., Bienenstock, E., & Doursat, R. (1992). Neural networks and the bias/variance dilemma. Neural
        Computation, 4(1), 1-58. Equation (2.4).

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equation (5.54).
    """
    check_choice("of", of, ("truth", "observations"))
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
    """``total = data + seed + interaction``: the variance of predictions over training sets and seeds.

    The design is crossed: every training set is trained with every seed. The components are the unbiased estimates of a
    two-way random effects model, so a small component may be negative. ``seed + interaction`` is the expected variance
    over seeds given the data, and ``data`` is the variance over training sets of the mean over seeds.

    Args:
        predictions: ``[data sets, seeds, points, ...]`` with at least two data sets and two seeds.

    Returns:
        The components at each point.

    Raises:
        ValueError: there are fewer than two data sets or seeds, or a concrete value is not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.bias_variance import variance_components
        >>> found = variance_components(jnp.array([[1.0, 1.0], [3.0, 3.0]]))
        >>> found.data, found.seed, found.interaction
        (Array(2., dtype=float32), Array(0., dtype=float32), Array(0., dtype=float32))

    References:
        Neal, B., Mittal, S., Baratin, A., Tantia, V., Scicluna, M., Lacoste-Julien, S., & Mitliagkas, I. (2018). A
        modern take on the bias-variance tradeoff in neural networks. arXiv:1810.08591. Section 2.2.

        Searle, S. R., Casella, G., & McCulloch, C. E. (1992). Variance Components. Wiley. Section 4.4.
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
    """Jackknife standard errors of the mean bias, variance and error; the leave-one-out values have a closed form."""
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
