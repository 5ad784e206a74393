"""Initial parameters fitted to data: output biases from the targets, kernels from a batch of inputs."""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from regopt._core import trees
from regopt._core.numerics import check_range, like, safe_divide, safe_sqrt, widen
from regopt._core.types import Mask, Number, Tree

Layer: TypeAlias = Callable[[Tree, jax.Array], jax.Array]
Loss: TypeAlias = Literal["cross_entropy", "binary_cross_entropy", "squared_error", "absolute_error"]

LOSSES = ("cross_entropy", "binary_cross_entropy", "squared_error", "absolute_error")


def output_bias(
    targets: jax.Array, loss: Loss, *, classes: int | None = None, smoothing: Number = 1.0, axis: int = 0
) -> jax.Array:
    """``argmin_b mean_i loss(b, target_i)``: the output bias at which training starts with the targets' marginal.

    ======================  ==========================================================================
    "cross_entropy"         ``log((n_c + s) / (n + s classes))``, logits that are normalised
    "binary_cross_entropy"  ``log((n_1 + s) / (n_0 + s))``, the log-odds; targets may be probabilities
    "squared_error"         the mean
    "absolute_error"        the median
    ======================  ==========================================================================

    The smoothing s is a number of further examples of each class, which keeps a class that the targets lack finite.

    Args:
        targets: integers in [0, classes) of shape ``[n]`` for the cross-entropy, else ``[n, ...]``.
        loss: which.
        classes: how many, for the cross-entropy only.
        smoothing: s, >= 0, in examples; may be traced. At 0 it is the minimum for the targets alone, infinite for a
            class without any.
        axis: of the examples.

    Returns:
        ``[classes]`` for the cross-entropy, else the shape of the targets without the examples; at least float32, in
        JAX's default float dtype for integer targets.

    Raises:
        ValueError: an unknown loss, no classes where they are needed or where they are not, concrete targets outside
            their range, or a concrete smoothing outside [0, inf).

    References: Goodfellow et al. (2016), section 8.4; Lin et al. (2017), section 3.3, for rare classes.

    >>> output_bias(jnp.array([1.0, 1.0, 1.0, 0.0]), "binary_cross_entropy", smoothing=0.0)
    Array(1.0986123, dtype=float32)
    """
    if loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")
    if (loss == "cross_entropy") != (classes is not None):
        raise ValueError(f"classes must be given for the cross_entropy and only there, got {classes} for {loss}")
    check_range("smoothing", smoothing, "[0, inf)")
    if loss == "squared_error":
        return jnp.mean(_floating(targets), axis=axis)
    if loss == "absolute_error":
        return jnp.median(_floating(targets), axis=axis)
    if loss == "binary_cross_entropy":
        _check_targets(targets, 1)
        ones, count = jnp.sum(_floating(targets), axis=axis), targets.shape[axis]
        extra = like(smoothing, ones)
        return jnp.log(ones + extra) - jnp.log(count - ones + extra)
    assert classes is not None
    if not jnp.issubdtype(targets.dtype, jnp.integer) or targets.ndim != 1:
        raise ValueError(f"targets must be integers [n], got {targets.dtype} {targets.shape}")
    _check_targets(targets, classes - 1)
    counts = _floating(jnp.bincount(targets, length=classes))
    extra = like(smoothing, counts)
    return jnp.log(counts + extra) - jnp.log(targets.shape[0] + extra * classes)


def lsuv(
    layers: Sequence[Layer],
    params: Sequence[Tree],
    x: jax.Array,
    *,
    variance: Number = 1.0,
    tolerance: Number = 0.01,
    max_iterations: int = 10,
    mask: Mask = "weights",
) -> tuple[list[Tree], jax.Array]:
    """Layer-sequential unit variance: from input to output, ``W <- W sqrt(variance / Var(output))`` on a batch.

    Repeated for a layer while its output's variance, over examples and units, is off by at least the tolerance; then
    the batch goes on through the layer. One pass is enough for a linear layer without bias. A layer whose output does
    not vary stays as it is.

    Args:
        layers: ``layer(its params, input) -> output``. One without parameters, such as an activation, is applied.
        params: for each layer; best orthogonal. None for a layer without.
        x: a batch of inputs.
        variance: to reach, > 0, in units of the output squared; may be traced.
        tolerance: how far off is near enough, >= 0, in the same units; may be traced.
        max_iterations: rescalings of each layer at most, at least 1; all are computed, so it costs as many passes.
        mask: which leaves are rescaled; by default neither biases nor normalisation scales.

    Returns:
        The parameters, of unchanged dtypes, and the variances of the outputs of those layers that have weights,
        ``[layers with weights]``.

    Raises:
        ValueError: layers and params differ in number, fewer than one iteration, or a concrete number outside its
            range.

    References: Mishkin & Matas (2016), algorithm 1, which starts from orthonormal kernels.
    """
    check_range("variance", variance, "(0, inf)")
    check_range("tolerance", tolerance, "[0, inf)")
    if len(layers) != len(params):
        raise ValueError(f"params must be one tree for each of {len(layers)} layers, got {len(params)}")
    if max_iterations < 1:
        raise ValueError(f"max_iterations must be at least 1, got {max_iterations}")

    def scaled(weights, factor):
        chosen = trees.resolve_mask(mask, weights)
        return jax.tree.map(lambda w, chosen: _times(w, factor) if chosen else w, weights, chosen)

    fitted, variances = [], []
    for layer, weights in zip(layers, params, strict=True):
        if any(jax.tree.leaves(trees.resolve_mask(mask, weights))):

            def spread(factor, layer=layer, weights=weights, x=x):
                (output,) = widen(layer(scaled(weights, factor), x))
                rounding = jnp.square(16 * jnp.finfo(output.dtype).eps) * jnp.mean(jnp.square(output))
                now = jnp.var(output)
                return jnp.where(now > rounding, now, 0)

            def rescale(factor, _, spread=spread):
                now = spread(factor)
                goal, near = like(variance, now), like(tolerance, now)
                better = factor * safe_sqrt(safe_divide(goal, now))
                return jnp.where((jnp.abs(now - goal) < near) | (now == 0), factor, better), None

            start = jnp.ones_like(widen(layer(weights, x))[0], shape=())
            factor = jax.lax.scan(rescale, start, length=max_iterations)[0]
            variances.append(spread(factor))
            weights = scaled(weights, factor)
        fitted.append(weights)
        x = layer(weights, x)
    return fitted, jnp.stack(variances) if variances else jnp.zeros(0)


def _times(weights: jax.Array, factor: jax.Array) -> jax.Array:
    wide, factor = widen(weights, factor)
    return (factor * wide).astype(weights.dtype)


def _floating(targets: jax.Array) -> jax.Array:
    """The targets in at least float32, integers in JAX's default float dtype."""
    if jnp.issubdtype(targets.dtype, jnp.inexact):
        return widen(targets)[0]
    return targets.astype(jnp.result_type(float))


def _check_targets(targets: jax.Array, largest: int) -> None:
    if isinstance(targets, Tracer):
        return
    values = np.asarray(targets, np.float64)
    if not np.all((values >= 0) & (values <= largest)):
        raise ValueError(f"targets must lie in [0, {largest}], got {values.min()} to {values.max()}")
