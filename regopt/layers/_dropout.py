"""The noise of ``regopt.noise`` as flax nnx modules whose rates may be traced.

``train()`` and ``eval()`` of the enclosing module switch the noise on and off. The rate is a ``Hyperparameter`` and
part of the module's state; the keys come from the stream ``dropout``.
"""

from abc import abstractmethod
from typing import TypedDict, Unpack

import jax
from flax import nnx

from regopt import noise
from regopt._core.checks import check_rngs, check_switch
from regopt._core.numerics import as_float, check_number
from regopt._core.types import Key, Number


class Hyperparameter(nnx.Variable):
    """A number of a module that is neither trained nor static, such as a dropout rate."""


class Switches(TypedDict, total=False):
    """The arguments of ``Noise``, which every noise module takes."""

    deterministic: bool
    rngs: nnx.Rngs | None


class Noise(nnx.Module):
    """The base of the noise modules: the switch and the source of keys.

    Args:
        deterministic: if True, the noise is off.
        rngs: source of the stream ``dropout``; required here or in the call.
    """

    def __init__(self, *, deterministic: bool = False, rngs: nnx.Rngs | None = None):
        check_switch("deterministic", deterministic)
        if rngs is not None:
            check_rngs("rngs", rngs)
        self.deterministic = deterministic
        self.rngs = rngs.dropout.fork() if rngs is not None else nnx.data(None)

    @abstractmethod
    def noisy(self, key: Key, x: jax.Array) -> jax.Array:
        """``x`` with the noise that this key draws."""

    def quiet(self, x: jax.Array) -> jax.Array:
        """The output for ``x`` when the noise is off."""
        return x

    def __call__(
        self, x: jax.Array, *, deterministic: bool | None = None, rngs: nnx.Rngs | Key | None = None
    ) -> jax.Array:
        """Apply the noise to ``x``.

        Args:
            x: array, floating point, of a shape that the noise supports.
            deterministic: overrides the module's own setting.
            rngs: a key, or a source of the stream ``dropout``; overrides the module's own.

        Returns:
            An array with the dtype of x and, for noise on activations, its shape.

        Raises:
            ValueError: the noise is on and there is no source of keys.
        """
        if self.deterministic if deterministic is None else deterministic:
            return self.quiet(x)
        source = self.rngs if rngs is None else rngs
        if source is None:
            name = type(self).__name__
            raise ValueError(f"{name} needs a key: give rngs to {name}(...) or to the call")
        if isinstance(source, nnx.Rngs):
            source = source.dropout
        return self.noisy(source() if isinstance(source, nnx.RngStream) else source, x)


class Dropout(Noise):
    """``x_i * d_i / (1 - rate)`` with ``P(d_i = 1) = 1 - rate``: ``regopt.noise.dropout`` as a module.

    It is used like ``flax.nnx.Dropout``. The input has any shape and a floating-point dtype; the output has the same.

    Args:
        rate: probability of dropping an entry, in [0, 1], dimensionless; may be traced.
        inverted: if False, training does not rescale, and the module multiplies by ``1 - rate`` when it is
            deterministic (the weight scaling inference rule); static.
        deterministic: if True, the noise is off; static.
        rngs: source of the stream ``dropout``; required here or in the call.

    Raises:
        ValueError: a concrete rate lies outside [0, 1], or a call with noise has no source of keys.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from regopt import layers
        >>> dropout = layers.Dropout(0.5, rngs=nnx.Rngs(0))
        >>> sorted({float(entry) for entry in dropout(jnp.ones(100))})
        [0.0, 2.0]
        >>> dropout.eval()
        >>> dropout(jnp.ones(2))
        Array([1., 1.], dtype=float32)

    References:
        Srivastava, N., Hinton, G., Krizhevsky, A., Sutskever, I., & Salakhutdinov, R. (2014). Dropout: A simple way to
        prevent neural networks from overfitting. Journal of Machine Learning Research, 15, 1929-1958. Section 4, and
        section 10 for the inverted form.
    """

    def __init__(self, rate: Number, *, inverted: bool = True, **switches: Unpack[Switches]):
        check_number("rate", rate, "[0, 1]")
        check_switch("inverted", inverted)
        super().__init__(**switches)
        self.rate = Hyperparameter(as_float(rate))
        self.inverted = inverted

    def noisy(self, key: Key, x: jax.Array) -> jax.Array:
        """Drop entries of x, of any shape."""
        return noise.dropout(key, x, self.rate[...], inverted=self.inverted)

    def quiet(self, x: jax.Array) -> jax.Array:
        """``x``, or ``(1 - rate) * x`` if training does not rescale."""
        return x if self.inverted else noise.weight_scaling(x, self.rate[...])


class SpatialDropout(Dropout):
    """``x * d / (1 - rate)`` with one draw d for each example and channel: dropout of whole channels.

    This is ``regopt.noise.spatial_dropout`` as a module. The input is ``[batch, ..., channels]``, floating point; the
    output has the same shape and dtype.

    Args:
        rate: probability of dropping a channel of an example, in [0, 1], dimensionless; may be traced.
        inverted: as for ``Dropout``; static.
        deterministic: if True, the noise is off; static.
        rngs: source of the stream ``dropout``; required here or in the call.

    Raises:
        ValueError: a concrete rate lies outside [0, 1], or a call with noise has no source of keys.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from regopt import layers
        >>> dropped = layers.SpatialDropout(0.5, rngs=nnx.Rngs(0))(jnp.ones((2, 8, 8, 3)))
        >>> bool(jnp.all(dropped == dropped[:, :1, :1, :]))  # a channel is dropped as a whole
        True

    References:
        Tompson, J., Goroshin, R., Jain, A., LeCun, Y., & Bregler, C. (2015). Efficient object localization using
        convolutional networks. CVPR. Section 3.2.
    """

    def noisy(self, key: Key, x: jax.Array) -> jax.Array:
        """Drop channels of x, separately for each example."""
        return noise.spatial_dropout(key, x, self.rate[...], inverted=self.inverted)


class StochasticDepth(Dropout):
    """``x * d / (1 - rate)`` with one draw d for each example: dropout of a residual branch.

    This is ``regopt.noise.stochastic_depth`` as a module. A residual block is ``x + depth(branch(x))``. The input is
    ``[batch, ...]``, floating point; the output has the same shape and dtype.

    Args:
        rate: probability of dropping the branch of an example, in [0, 1], dimensionless; may be traced.
        inverted: as for ``Dropout``; static.
        deterministic: if True, the noise is off; static.
        rngs: source of the stream ``dropout``; required here or in the call.

    Raises:
        ValueError: a concrete rate lies outside [0, 1], or a call with noise has no source of keys.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from regopt import layers
        >>> dropped = layers.StochasticDepth(0.5, rngs=nnx.Rngs(0))(jnp.ones((4, 3)))
        >>> bool(jnp.all(dropped == dropped[:, :1]))  # the branch of an example is dropped as a whole
        True

    References:
        Huang, G., Sun, Y., Liu, Z., Sedra, D., & Weinberger, K. Q. (2016). Deep networks with stochastic depth. ECCV.
        Equations (2) and (5).
    """

    def noisy(self, key: Key, x: jax.Array) -> jax.Array:
        """Drop the branch ``[batch, ...]`` of some examples."""
        return noise.stochastic_depth(key, x, self.rate[...], inverted=self.inverted)


class GaussianDropout(Noise):
    """``x_i * z_i`` with normal ``z_i`` of mean 1 and variance ``rate / (1 - rate)``.

    This is ``regopt.noise.gaussian_dropout`` as a module. The input has any shape and a floating-point dtype; the
    output has the same.

    Args:
        rate: rate of the dropout with the same mean and variance, in [0, 1], dimensionless; may be traced.
        deterministic: if True, the noise is off; static.
        rngs: source of the stream ``dropout``; required here or in the call.

    Raises:
        ValueError: a concrete rate lies outside [0, 1], or a call with noise has no source of keys.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from regopt import layers
        >>> noisy = layers.GaussianDropout(0.2, rngs=nnx.Rngs(0))(jnp.ones(10_000))
        >>> round(float(noisy.std()), 1)  # sqrt(0.2 / 0.8)
        0.5

    References:
        Srivastava, N., Hinton, G., Krizhevsky, A., Sutskever, I., & Salakhutdinov, R. (2014). Dropout: A simple way to
        prevent neural networks from overfitting. Journal of Machine Learning Research, 15, 1929-1958. Section 10,
        multiplicative Gaussian noise.
    """

    def __init__(self, rate: Number, **switches: Unpack[Switches]):
        check_number("rate", rate, "[0, 1]")
        super().__init__(**switches)
        self.rate = Hyperparameter(as_float(rate))

    def noisy(self, key: Key, x: jax.Array) -> jax.Array:
        """Multiply the entries of x, of any shape."""
        return noise.gaussian_dropout(key, x, self.rate[...])


class GaussianNoise(Noise):
    """``x_i + deviation * z_i`` with standard normal ``z_i``.

    This is ``regopt.noise.gaussian_noise`` as a module. The input has any shape and a floating-point dtype; the output
    has the same.

    Args:
        deviation: standard deviation, >= 0, in units of the input; may be traced.
        deterministic: if True, the noise is off; static.
        rngs: source of the stream ``dropout``; required here or in the call.

    Raises:
        ValueError: a concrete deviation is negative, or a call with noise has no source of keys.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from regopt import layers
        >>> noisy = layers.GaussianNoise(0.5, rngs=nnx.Rngs(0))(jnp.zeros(10_000))
        >>> round(float(noisy.std()), 1)
        0.5

    References:
        Bishop, C. M. (1995). Training with noise is equivalent to Tikhonov regularization. Neural Computation, 7(1),
        108-116.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 7.5.
    """

    def __init__(self, deviation: Number, **switches: Unpack[Switches]):
        check_number("deviation", deviation, "[0, inf)")
        super().__init__(**switches)
        self.deviation = Hyperparameter(as_float(deviation))

    def noisy(self, key: Key, x: jax.Array) -> jax.Array:
        """Add noise to the entries of x, of any shape."""
        return noise.gaussian_noise(key, x, self.deviation[...])
