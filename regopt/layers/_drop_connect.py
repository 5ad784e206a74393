"""A dense layer with dropout of its weights."""

from typing import Unpack

import jax
from flax import nnx

from regopt import noise
from regopt._core.types import Key, Number
from regopt.layers._dense import Dense, DenseOptions
from regopt.layers._dropout import Dropout


class DropConnect(Dropout):
    """``y = (d * W) x / (1 - rate) + b``: a ``Dense`` layer with dropout of its kernel, one draw for each call.

    Args:
        in_features: size of the last axis of the input; static.
        out_features: size of the last axis of the output; static.
        rate: probability of dropping a weight, in [0, 1], dimensionless; may be traced.
        inverted: as for ``Dropout``; static.
        deterministic: if True, the noise is off; static.
        rngs: source of the streams ``params`` and ``dropout``.
        **dense: further arguments of ``Dense``.

    Raises:
        ValueError: a concrete rate lies outside [0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from regopt import layers
        >>> layer = layers.DropConnect(4, 2, rate=0.5, rngs=nnx.Rngs(0))
        >>> layer.eval()
        >>> bool(jnp.all(layer(jnp.ones((3, 4))) == layer.dense(jnp.ones((3, 4)))))  # the noise is off
        True

    References:
        Wan, L., Zeiler, M., Zhang, S., LeCun, Y., & Fergus, R. (2013). Regularization of neural networks using
        DropConnect. ICML. Section 3, with one draw for all examples of a batch.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rate: Number,
        *,
        inverted: bool = True,
        deterministic: bool = False,
        rngs: nnx.Rngs,
        **dense: Unpack[DenseOptions],
    ):
        super().__init__(rate, inverted=inverted, deterministic=deterministic, rngs=rngs)
        self.dense = Dense(in_features, out_features, rngs=rngs, **dense)

    def noisy(self, key: Key, x: jax.Array) -> jax.Array:
        """``[..., in] -> [..., out]`` with dropped weights."""
        return self._through(noise.drop_connect(key, self.dense.kernel[...], self.rate[...], inverted=self.inverted), x)

    def quiet(self, x: jax.Array) -> jax.Array:
        """``[..., in] -> [..., out]`` with the mean weights of training."""
        kernel = self.dense.kernel[...]
        return self._through(kernel if self.inverted else noise.weight_scaling(kernel, self.rate[...]), x)

    def _through(self, kernel: jax.Array, x: jax.Array) -> jax.Array:
        dense = nnx.clone(self.dense)
        dense.kernel[...] = kernel
        return dense(x)
