"""Initial parameters that depend on data: output biases from the targets, and kernels from a batch of inputs."""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from regopt._core import trees
from regopt._core.checks import check_array, check_functions, check_index
from regopt._core.messages import brief
from regopt._core.numerics import check_number, check_whole, like, safe_divide, safe_sqrt, widen
from regopt._core.types import Mask, Number, Tree

Layer: TypeAlias = Callable[[Tree, jax.Array], jax.Array]
Loss: TypeAlias = Literal["cross_entropy", "binary_cross_entropy", "squared_error", "absolute_error"]

LOSSES = ("cross_entropy", "binary_cross_entropy", "squared_error", "absolute_error")


def output_bias(
    targets: jax.Array, loss: Loss, *, classes: int | None = None, smoothing: Number = 1.0, axis: int = 0
) -> jax.Array:
    """``argmin_b mean_i loss(b, target_i)``: the output bias that predicts the marginal of the targets.

    ======================  ==========================================================================
    "cross_entropy"         ``log((n_c + s) / (n + s classes))``, logits that are normalised
    "binary_cross_entropy"  ``log((n_1 + s) / (n_0 + s))``, the log-odds; targets may be probabilities
    "squared_error"         the mean
    "absolute_error"        the median
    ======================  ==========================================================================

    The smoothing s is a number of additional examples of each class. It makes the bias of a class without examples
    finite.

    Args:
        targets: integers in [0, classes) of shape ``[n]`` for the cross-entropy, else ``[n, ...]``.
        loss: name of the loss, as in the table; static.
        classes: number of classes, for the cross-entropy only; static.
        smoothing: number s of additional examples, >= 0; may be traced. At 0 the bias minimises the loss of the targets
            and is infinite for a class without examples.
        axis: axis of the examples; static.

    Returns:
        ``[classes]`` for the cross-entropy, else the shape of the targets without the examples; at least float32, in
        JAX's default float dtype for integer targets.

    Raises:
        ValueError: the loss is unknown, ``classes`` is missing or superfluous, or concrete targets or a concrete
            smoothing lie outside their range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.initializers import output_bias
        >>> output_bias(jnp.array([1.0, 1.0, 1.0, 0.0]), "binary_cross_entropy", smoothing=0.0)
        Array(1.0986123, dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 8.4.

        Lin, T.-Y., Goyal, P., Girshick, R., He, K., & Dollar, P. (2017). Focal loss for dense object detection. ICCV.
        Section 3.3, for rare classes.
    """
    check_array("targets", targets)
    if not isinstance(loss, str) or loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {brief(loss)}")
    check_number("smoothing", smoothing, "[0, inf)")
    check_index("axis", axis)
    if classes is not None:
        check_whole("classes", classes, "[1, inf)")
    if (loss == "cross_entropy") != (classes is not None):
        raise ValueError(f"classes must be given for the cross_entropy and only there, got {classes} for {loss}")
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
    """``W <- W sqrt(variance / Var(output))`` on a batch, layer by layer: layer-sequential unit variance (LSUV).

    The rescaling of a layer is repeated while the variance of its output, over examples and units, differs from the
    goal by at least the tolerance. The batch is then passed through the layer. One rescaling suffices for a linear
    layer without bias. A layer whose output is constant does not change.

    Args:
        layers: functions ``layer(params, input) -> output``; static. A layer without parameters, such as an activation,
            is applied to the batch.
        params: a tree of parameters for each layer, preferably orthogonal kernels; None for a layer without parameters.
        x: a batch of inputs.
        variance: variance of the outputs to reach, > 0, in squared units of the output; may be traced.
        tolerance: largest difference that is accepted, >= 0, in the same units; may be traced.
        max_iterations: largest number of rescalings of each layer, at least 1; static. All of them are computed, at the
            cost of one pass each.
        mask: which leaves are rescaled; by default neither biases nor normalisation scales.

    Returns:
        The parameters, in their dtypes, and the variances of the outputs of the layers that have weights,
        ``[layers with weights]``.

    Raises:
        ValueError: layers and params differ in number, ``max_iterations`` is below 1, or a concrete number lies outside
            its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.initializers import lsuv
        >>> layers = [lambda params, x: x @ params["kernel"]]
        >>> params = [{"kernel": jnp.array([[2.0, 0.0], [0.0, 2.0]])}]
        >>> x = jnp.array([[1.0, -1.0], [-1.0, 1.0]])
        >>> fitted, variances = lsuv(layers, params, x)
        >>> fitted[0]["kernel"], variances
        (Array([[1., 0.],
               [0., 1.]], dtype=float32), Array([1.], dtype=float32))

    References:
        Mishkin, D., & Matas, J. (2016). All you need is a good init. ICLR. Algorithm 1, which starts from orthonormal
        kernels.
    """
    check_number("variance", variance, "(0, inf)")
    check_number("tolerance", tolerance, "[0, inf)")
    check_functions("layers", layers)
    check_index("max_iterations", max_iterations)
    if max_iterations < 1:
        raise ValueError(f"max_iterations must be at least 1, got {max_iterations}")
    check_array("x", x)
    if not isinstance(params, list | tuple) or not all(map(_are_arrays, params)):
        raise ValueError(f"params must be a list with a tree of arrays for each layer, got {brief(params)}")
    if len(layers) != len(params):
        raise ValueError(f"params must be one tree for each of {len(layers)} layers, got {len(params)}")

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


def _are_arrays(weights: Tree) -> bool:
    return all(hasattr(leaf, "dtype") and hasattr(leaf, "shape") for leaf in jax.tree.leaves(weights))


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
