"""Batch normalisation: the layer, its running statistics from a pass over data, and folding it into a dense layer.

In training a feature is normalised with the mean and the *biased* variance of its batch. For inference the layer keeps
running averages of the mean and of the *unbiased* variance, ``m / (m - 1)`` times the biased one of m values.
"""

from collections.abc import Iterable
from math import prod

import jax
import jax.numpy as jnp
from flax import nnx

from regopt._core.numerics import as_float, check_range, like, safe_divide, safe_sqrt, widen
from regopt._core.types import Number
from regopt.layers._dense import Dense
from regopt.layers._dropout import Hyperparameter


class BatchNorm(nnx.Module):
    """``y = scale * (x - mean) / sqrt(variance + eps) + bias``, feature by feature, used as ``flax.nnx.BatchNorm`` is.

    After each training call with batch statistics ``mu`` and ``s2`` (biased, of m values)::

        mean <- momentum * mean + (1 - momentum) * mu
        var  <- momentum * var  + (1 - momentum) * m / (m - 1) * s2

    from ``mean = 0`` and ``var = 1``, the current batch included. The momentum is flax's and Keras's; PyTorch's is
    ``1 - momentum``. The initial values fade as ``momentum**t``; with ``bias_correction`` they never enter, because
    the t-th batch gets the weight ``(1 - momentum) / (1 - momentum**t)``, which at momentum 1 is 1 / t. flax and
    Keras average the biased variance instead, which is too small by (m - 1) / m.

    ``train()`` and ``eval()`` of the enclosing module choose between the batch's and the running statistics. The
    output variance is ``v / (v + eps)`` times ``scale**2``, slightly below.

    Args:
        num_features: size of the last axis of the input, which is not averaged over.
        momentum: in [0, 1], dimensionless; may be traced.
        eps: added to the variance, >= 0, in units of the input squared; may be traced. At 0 a constant feature
            becomes ``bias``, with finite slopes.
        bias_correction: whether the running averages leave out their initial values.
        use_running_average: if True, the running statistics are used and left as they are.
        param_dtype: dtype of scale and bias; the statistics have it too, but at least float32.
        rngs: not used; accepted so that all layers are built alike.

    Raises:
        ValueError: a concrete number lies outside its range.

    References: Ioffe & Szegedy (2015), algorithms 1 and 2; Kingma & Ba (2015), section 3, for the correction.
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
        del rngs
        check_range("momentum", momentum, "[0, 1]")
        check_range("eps", eps, "[0, inf)")
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
            ``scale / sqrt(var + eps)`` and ``bias - factor * mean``, both ``[num_features]``, at least float32.
        """
        scale, bias, mean, var = widen(self.scale[...], self.bias[...], self.mean[...], self.var[...])
        factor = safe_divide(scale, self._deviation(var))
        return factor, bias - factor * mean

    def _deviation(self, variance: jax.Array) -> jax.Array:
        return safe_sqrt(variance + like(self.eps[...], variance))

    def _track(self, mean: jax.Array, variance: jax.Array) -> None:
        """Move the running statistics towards those of a batch, which training does not differentiate."""
        momentum = like(self.momentum[...], self.total[...])
        self.total[...] = 1 + momentum * self.total[...]
        share = 1 / self.total[...] if self.bias_correction else 1 - momentum
        for running, now in ((self.mean, mean), (self.var, variance)):
            now = jax.lax.stop_gradient(now).astype(running[...].dtype)
            running[...] = running[...] + share * (now - running[...])


def estimate_statistics(model: nnx.Module, batches: Iterable[jax.Array]) -> None:
    """Replace the running statistics of every ``BatchNorm`` in a model by averages over batches, all weighted alike.

    ``E[x] <- mean of mu_B`` and ``Var[x] <- mean of m / (m - 1) s2_B``: batches pass through the model with batch
    statistics, as in training, but with noise off. Afterwards the model is in inference mode (``eval()``). For
    small batches, or parameters that moved fast, this is better than the running averages of training.

    Args:
        model: changed in place.
        batches: inputs of the model, at least one; the training data, in batches of the size of training.

    Raises:
        ValueError: there is no batch, or no ``BatchNorm``.

    References: Ioffe & Szegedy (2015), algorithm 2, lines 8 to 10.
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
    """The one layer that computes ``norm(dense(x))`` in inference: the normalisation's factor and shift within it.

    Args:
        dense: the layer before.
        norm: its normalisation, with the running statistics to use.

    Returns:
        A new layer with kernel ``factor * W`` and bias ``factor * b + shift``.

    Raises:
        ValueError: the layers' sizes differ.

    References: Ioffe & Szegedy (2015), algorithm 2, line 11.
    """
    if dense.out_features != norm.num_features:
        raise ValueError(f"norm must have {dense.out_features} features as dense, got {norm.num_features}")
    kernel, factor, shift = widen(dense.kernel[...], *norm.affine())
    shift = shift if dense.bias is None else shift + factor * dense.bias[...].astype(shift.dtype)
    folded = nnx.clone(dense)
    dtype = dense.kernel[...].dtype
    folded.kernel = nnx.Param((factor[:, None] * kernel).astype(dtype))
    folded.bias = nnx.Param(shift.astype(dtype))
    return folded


def _over(feature: jax.Array, x: jax.Array) -> jax.Array:
    """A number for each feature, in the shape and dtype that meets ``x``."""
    return feature.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
