"""Dense layers that compute feature-major inside, and a multi-layer perceptron built of them.

Under ``vmap`` a row-major network makes XLA's CPU backend transpose activations at every step. With
activations ``[features, batch]`` and kernels ``[out, in]`` every product of the forward and backward pass is
a plain matrix product, and the transposes are gone. To a user the modules look like flax's own: batches come
in as ``[batch, features]`` and go out as ``[batch, features]``.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx

from regopt._core.types import Number
from regopt.layers._dropout import Dropout

DEFAULT_KERNEL_INIT = jax.nn.initializers.lecun_normal()  # flax's own default


class Dense(nnx.Module):
    """``y = W x + b``, as ``flax.nnx.Linear`` but with the kernel stored ``[out, in]``.

    Args:
        in_features: size of the last axis of the input.
        out_features: size of the last axis of the output.
        use_bias: whether there is a bias, initialised at 0.
        kernel_init: initializer of the kernel; it is given the shape ``(in, out)``, so fans are counted as in
            flax, and the result is stored transposed. LeCun normal by default, as in flax.
        param_dtype: dtype of kernel and bias.
        rngs: source of the stream ``params``.
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
        kernel = kernel_init(rngs.params(), (in_features, out_features), param_dtype)
        self.kernel = nnx.Param(kernel.T)
        self.bias = nnx.Param(jnp.zeros(out_features, param_dtype)) if use_bias else nnx.data(None)
        self.in_features, self.out_features = in_features, out_features

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[..., in] -> [..., out]``."""
        columns = x.reshape(-1, self.in_features).T
        return self.feature_major(columns).T.reshape(*x.shape[:-1], self.out_features)

    def feature_major(self, x: jax.Array) -> jax.Array:
        """``[in, batch] -> [out, batch]``: the product without a transpose on either side."""
        y = self.kernel[...] @ x
        return y if self.bias is None else y + self.bias[...][:, None]


class MLP(nnx.Module):
    """Multi-layer perceptron: dense layers with an activation, and dropout if asked, between them.

    ``MLP((64, 128, 10), rngs=rngs)`` maps ``[batch, 64]`` to ``[batch, 10]``.

    Args:
        features: sizes from input to output, at least two.
        rate: dropout rate of the hidden activations, in [0, 1]; may be traced. None builds no dropout at all.
        activation: elementwise function of the hidden activations.
        kernel_init: initializer of every kernel, with fans counted as in flax.
        param_dtype: dtype of the parameters.
        rngs: source of the streams ``params`` and, with a rate, ``dropout``.

    Raises:
        ValueError: fewer than two sizes, or a concrete rate outside [0, 1].
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
        if len(features) < 2:
            raise ValueError(f"features must name the input and the output size at least, got {features}")
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
