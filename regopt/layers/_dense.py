"""Dense layers that compute feature-major inside, and a multi-layer perceptron of them.

Under ``vmap`` a row-major network makes XLA's CPU backend transpose activations at every step. With activations
``[features, batch]`` and kernels ``[out, in]`` every product of the forward and backward pass is a plain matrix product
without transposes. The interface is that of flax: batches enter and leave as ``[batch, features]``.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypedDict

import jax
import jax.numpy as jnp
from flax import nnx

from regopt._core.checks import check_dtype, check_function, check_rngs, check_switch
from regopt._core.messages import brief
from regopt._core.numerics import check_whole
from regopt._core.types import Number
from regopt.layers._dropout import Dropout

DEFAULT_KERNEL_INIT = jax.nn.initializers.lecun_normal()  # flax's own default


class DenseOptions(TypedDict, total=False):
    """The arguments of ``Dense`` beside its sizes and the source of its parameters."""

    use_bias: bool
    kernel_init: jax.nn.initializers.Initializer
    param_dtype: jax.typing.DTypeLike


class Dense(nnx.Module):
    """``y = W x + b``, like ``flax.nnx.Linear`` but with the kernel stored as ``[out, in]``.

    It maps ``[..., in_features]`` to ``[..., out_features]``. The metadata of the kernel declares that the units are on
    axis 0, which penalties on units read from ``nnx.state(model)``. A plain dict of arrays has no metadata: there give
    ``unit_axis=0``.

    Args:
        in_features: size of the last axis of the input; static.
        out_features: size of the last axis of the output; static.
        use_bias: whether there is a bias, initialised at 0; static.
        kernel_init: initializer of the kernel. It receives the shape ``(in, out)``, so fans are counted as in flax, and
            its result is stored transposed. LeCun normal by default, as in flax; static.
        param_dtype: dtype of kernel and bias.
        rngs: source of the stream ``params``.

    Raises:
        ValueError: a size is not a whole number >= 1.
        TypeError: a call has an input whose last axis is not ``in_features``.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from regopt import layers
        >>> dense = layers.Dense(3, 2, rngs=nnx.Rngs(0))
        >>> dense.kernel[...].shape, dense(jnp.ones((5, 3))).shape
        ((2, 3), (5, 2))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        use_bias: bool = True,
        kernel_init: jax.nn.initializers.Initializer = DEFAULT_KERNEL_INIT,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_whole("in_features", in_features, "[1, inf)")
        check_whole("out_features", out_features, "[1, inf)")
        check_switch("use_bias", use_bias)
        check_function("kernel_init", kernel_init)
        check_dtype("param_dtype", param_dtype)
        check_rngs("rngs", rngs)
        kernel = kernel_init(rngs.params(), (in_features, out_features), param_dtype)
        self.kernel = kernel_of(kernel.T)
        self.bias = nnx.Param(jnp.zeros(out_features, param_dtype)) if use_bias else nnx.data(None)
        self.in_features, self.out_features = in_features, out_features

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[..., in] -> [..., out]``."""
        columns = x.reshape(-1, self.in_features).T
        return self.feature_major(columns).T.reshape(*x.shape[:-1], self.out_features)

    def feature_major(self, x: jax.Array) -> jax.Array:
        """``[in, batch] -> [out, batch]``: the product without transposes."""
        y = self.kernel[...] @ x
        return y if self.bias is None else y + self.bias[...][:, None]


def kernel_of(array: jax.Array) -> nnx.Param:
    """The variable of a kernel ``[out, in]``, which declares the axis of its units."""
    return nnx.Param(array, unit_axis=0)  # the key that regopt._core.units reads


class MLP(nnx.Module):
    """A multi-layer perceptron: dense layers with an activation, and optionally dropout, between them.

    It maps ``[..., features[0]]`` to ``[..., features[-1]]``. The output layer is linear.

    Args:
        features: sizes from input to output, at least two; static.
        rate: dropout rate of the hidden activations, in [0, 1], dimensionless; may be traced. With None there is no
            dropout layer.
        activation: elementwise function of the hidden activations; static.
        kernel_init: initializer of every kernel, with fans counted as in flax; static.
        param_dtype: dtype of the parameters.
        rngs: source of the streams ``params`` and, with a rate, ``dropout``.

    Raises:
        ValueError: there are fewer than two sizes, the activation is no function, or a concrete rate lies outside
            [0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from regopt import layers
        >>> model = layers.MLP((64, 128, 10), rate=0.5, rngs=nnx.Rngs(0))
        >>> model(jnp.ones((32, 64))).shape
        (32, 10)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Algorithm 6.3.
    """

    def __init__(
        self,
        features: Sequence[int],
        *,
        rate: Number | None = None,
        activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
        kernel_init: jax.nn.initializers.Initializer = DEFAULT_KERNEL_INIT,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if isinstance(features, str) or not isinstance(features, Sequence) or len(features) < 2:
            raise ValueError(f"features must name the input and the output size at least, got {brief(features)}")
        check_function("activation", activation)
        self.layers = nnx.List(
            Dense(a, b, kernel_init=kernel_init, param_dtype=param_dtype, rngs=rngs) for a, b in pairwise(features)
        )
        self.dropout = nnx.data(None) if rate is None else Dropout(rate, rngs=rngs)
        self.activation = activation
        self.features = tuple(features)

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[..., features[0]] -> [..., features[-1]]``."""
        h = x.reshape(-1, x.shape[-1]).T
        for layer in self.layers[:-1]:
            h = self.activation(layer.feature_major(h))
            h = h if self.dropout is None else self.dropout(h)
        return self.layers[-1].feature_major(h).T.reshape(*x.shape[:-1], self.features[-1])
