"""Batch normalisation: the layer, its running statistics from a pass over data, and folding it into a dense layer.

In training each feature is normalised with the mean and the *biased* variance of its batch. For inference the layer
keeps running averages of the mean and of the *unbiased* variance, which is ``m / (m - 1)`` times the biased variance of
m values.
"""

from collections.abc import Iterable
from math import prod

import jax
import jax.numpy as jnp
from flax import nnx

from regopt._core.checks import check_dtype, check_rngs, check_switch
from regopt._core.numerics import as_float, check_number, check_whole, like, safe_divide, safe_sqrt, widen
from regopt._core.types import Number
from regopt.layers._dense import Dense, kernel_of
from regopt.layers._dropout import Hyperparameter


class BatchNorm(nnx.Module):
    """``y = scale * (x - mean) / sqrt(variance + eps) + bias`` for each feature, used like ``flax.nnx.BatchNorm``.

    After each training call with batch statistics ``mu`` and ``s2`` (biased, of m values)::

        mean <- momentum * mean + (1 - momentum) * mu
        var  <- momentum * var  + (1 - momentum) * m / (m - 1) * s2

    The initial values are ``mean = 0`` and ``var = 1``, and the current batch is included. The momentum is that of flax
    and Keras; PyTorch's is ``1 - momentum``. The weight of the initial values decays as ``momentum**t``. With
    ``bias_correction`` they have no weight, because the t-th batch has the weight
    ``(1 - momentum) / (1 - momentum**t)``, which at momentum 1 is 1 / t. flax and Keras average the biased variance,
    which is too small by (m - 1) / m.

    ``train()`` and ``eval()`` of the enclosing module choose between the statistics of the batch and the running ones.
    The variance of the output is ``scale**2 * v / (v + eps)``, slightly below ``scale**2``.

    Args:
        num_features: size of the last axis of the input, which is not averaged over; static.
        momentum: weight of the past in the running averages, in [0, 1], dimensionless; may be traced.
        eps: constant added to the variance, >= 0, in squared units of the input; may be traced. At 0 a constant feature
            becomes ``bias``, with finite derivatives.
        bias_correction: whether the running averages exclude their initial values; static.
        use_running_average: if True, the running statistics are used and not updated; static.
        param_dtype: dtype of scale and bias. The statistics have at least float32.
        rngs: not used; accepted so that all layers have the same form.

    Raises:
        ValueError: a concrete number lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt import layers
        >>> norm = layers.BatchNorm(2, momentum=0.5, eps=0.0)
        >>> norm(jnp.array([[1.0, 10.0], [3.0, 30.0]]))
        Array([[-1., -1.],
               [ 1.,  1.]], dtype=float32)
        >>> norm.eval()
        >>> norm.mean[...], norm.var[...]  # half of the way from 0 and 1 to the statistics of the batch
        (Array([ 1., 10.], dtype=float32), Array([  1.5, 100.5], dtype=float32))

    References:
        Ioffe, S., & Szegedy, C. (2015). Batch normalization: Accelerating deep network training by reducing internal
        covariate shift. ICML. Algorithms 1 and 2.

        Kingma, D. P., & Ba, J. (2015). Adam: A method for stochastic optimization. ICLR. Section 3, for the bias
        correction.
    """

    def __init__(
        self,
        num_features: int,
        *,
        momentum: Number = 0.99,
        eps: Number = 1e-5,
        bias_correction: bool = False,
        use_running_average: bool = False,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: nnx.Rngs | None = None,
    ):
        if rngs is not None:
            check_rngs("rngs", rngs)
        check_switch("bias_correction", bias_correction)
        check_switch("use_running_average", use_running_average)
        check_dtype("param_dtype", param_dtype)
        check_whole("num_features", num_features, "[1, inf)")
        check_number("momentum", momentum, "[0, 1]")
        check_number("eps", eps, "[0, inf)")
        self.scale = nnx.Param(jnp.ones(num_features, param_dtype))
        self.bias = nnx.Param(jnp.zeros(num_features, param_dtype))
        (zeros,) = widen(jnp.zeros(num_features, param_dtype))
        self.mean = nnx.BatchStat(zeros)
        self.var = nnx.BatchStat(jnp.ones_like(zeros))
        self.total = nnx.BatchStat(jnp.zeros((), zeros.dtype))  # 1 + momentum + ... + momentum**(t - 1)
        self.momentum = Hyperparameter(as_float(momentum))
        self.eps = Hyperparameter(as_float(eps))
        self.num_features = num_features
        self.bias_correction = bias_correction
        self.use_running_average = use_running_average

    def __call__(self, x: jax.Array, *, use_running_average: bool | None = None) -> jax.Array:
        """Normalise each feature, and in training update the running statistics.

        Args:
            x: ``[..., num_features]``, floating point; in training at least two values of each feature.
            use_running_average: overrides the module's own setting.

        Returns:
            An array with the shape and dtype of x.

        Raises:
            ValueError: the last axis has another size, or training has fewer than two values of a feature.
        """
        if x.shape[-1:] != (self.num_features,):
            raise ValueError(f"x must have shape [..., {self.num_features}], got {x.shape}")
        if self.use_running_average if use_running_average is None else use_running_average:
            (wide,) = widen(x)
            factor, shift = (_over(part, wide) for part in self.affine())
            return (factor * wide + shift).astype(x.dtype)
        count = prod(x.shape[:-1])
        if count < 2:
            raise ValueError(f"training needs at least two values of each feature, got x of shape {x.shape}")
        wide, scale, bias = widen(x, self.scale[...], self.bias[...])
        axes = tuple(range(x.ndim - 1))
        mean = jnp.mean(wide, axis=axes)
        centred = wide - _over(mean, wide)
        variance = jnp.mean(jnp.square(centred), axis=axes)
        self._track(mean, variance * (count / (count - 1)))
        normalised = safe_divide(centred, _over(self._deviation(variance), wide))
        return (_over(scale, wide) * normalised + _over(bias, wide)).astype(x.dtype)

    def affine(self) -> tuple[jax.Array, jax.Array]:
        """The factor and the shift that inference applies to each feature, ``y = factor * x + shift``.

        Returns:
            ``scale / sqrt(var + eps)`` and ``bias - factor * mean``, both ``[num_features]`` and at least float32.
        """
        scale, bias, mean, var = widen(self.scale[...], self.bias[...], self.mean[...], self.var[...])
        factor = safe_divide(scale, self._deviation(var))
        return factor, bias - factor * mean

    def _deviation(self, variance: jax.Array) -> jax.Array:
        return safe_sqrt(variance + like(self.eps[...], variance))

    def _track(self, mean: jax.Array, variance: jax.Array) -> None:
        """Move the running statistics towards those of a batch; no gradient flows through them."""
        momentum = like(self.momentum[...], self.total[...])
        self.total[...] = 1 + momentum * self.total[...]
        share = 1 / self.total[...] if self.bias_correction else 1 - momentum
        for running, now in ((self.mean, mean), (self.var, variance)):
            now = jax.lax.stop_gradient(now).astype(running[...].dtype)
            running[...] = running[...] + share * (now - running[...])


def estimate_statistics(model: nnx.Module, batches: Iterable[jax.Array]) -> None:
    """Replace the running statistics of every ``BatchNorm`` in a model by averages over batches with equal weights.

    ``E[x] <- mean of mu_B`` and ``Var[x] <- mean of m / (m - 1) s2_B``. The batches pass through the model with batch
    statistics, as in training, but with noise off. Afterwards the model is in inference mode (``eval()``). For small
    batches, or parameters that changed fast, this is more accurate than the running averages of training.

    Args:
        model: the model, which is changed in place.
        batches: inputs of the model, at least one; use the training data in batches of the training's size.

    Raises:
        ValueError: ``batches`` is empty, or the model has no ``BatchNorm``.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt import layers
        >>> norm = layers.BatchNorm(1)
        >>> layers.estimate_statistics(norm, [jnp.array([[0.0], [2.0]]), jnp.array([[4.0], [6.0]])])
        >>> norm.mean[...], norm.var[...]
        (Array([3.], dtype=float32), Array([2.], dtype=float32))

    References:
        Ioffe, S., & Szegedy, C. (2015). Batch normalization: Accelerating deep network training by reducing internal
        covariate shift. ICML. Algorithm 2, lines 8 to 10.
    """
    norms = [node for _, node in nnx.iter_graph(model) if isinstance(node, BatchNorm)]
    if not norms:
        raise ValueError("model must hold a BatchNorm, got none")
    before = [(norm.momentum[...], norm.bias_correction) for norm in norms]
    model.eval()
    for norm in norms:
        norm.total[...] = jnp.zeros_like(norm.total[...])
        norm.momentum[...] = jnp.ones_like(norm.momentum[...])
        norm.bias_correction, norm.use_running_average = True, False
    try:
        passed = [model(batch) for batch in batches]
    finally:
        for norm, (momentum, bias_correction) in zip(norms, before, strict=True):
            norm.momentum[...], norm.bias_correction, norm.use_running_average = momentum, bias_correction, True
    if not passed:
        raise ValueError("batches must hold at least one batch, got none")


def fold_batch_norm(dense: Dense, norm: BatchNorm) -> Dense:
    """The one dense layer that computes ``norm(dense(x))`` in inference.

    Args:
        dense: the layer before the normalisation.
        norm: the normalisation, with the running statistics to use.

    Returns:
        A new layer with kernel ``factor * W`` and bias ``factor * b + shift``; see ``BatchNorm.affine``.

    Raises:
        ValueError: the sizes of the layers differ.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from regopt import layers
        >>> dense, norm = layers.Dense(3, 2, rngs=nnx.Rngs(0)), layers.BatchNorm(2)
        >>> norm.eval()
        >>> x = jnp.ones((1, 3))
        >>> bool(jnp.allclose(layers.fold_batch_norm(dense, norm)(x), norm(dense(x)), rtol=1e-5))
        True

    References:
        Ioffe, S., & Szegedy, C. (2015). Batch normalization: Accelerating deep network training by reducing internal
        covariate shift. ICML. Algorithm 2, line 11.
    """
    if dense.out_features != norm.num_features:
        raise ValueError(f"norm must have {dense.out_features} features as dense, got {norm.num_features}")
    kernel, factor, shift = widen(dense.kernel[...], *norm.affine())
    shift = shift if dense.bias is None else shift + factor * dense.bias[...].astype(shift.dtype)
    folded = nnx.clone(dense)
    dtype = dense.kernel[...].dtype
    folded.kernel = kernel_of((factor[:, None] * kernel).astype(dtype))
    folded.bias = nnx.Param(shift.astype(dtype))
    return folded


def _over(feature: jax.Array, x: jax.Array) -> jax.Array:
    """Numbers for each feature, with the rank and dtype of ``x``."""
    return feature.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
