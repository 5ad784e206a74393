"""The noise of ``regopt.noise`` as flax nnx modules whose rates may be traced.

``train()`` and ``eval()`` of the enclosing module switch it on and off. The rate is kept as a ``Hyperparameter``, so
it travels with the module's state; the keys come from the stream ``dropout``.
"""

from abc import abstractmethod
from typing import Any

import jax
from flax import nnx

from regopt import noise
from regopt._core.numerics import as_float, check_range
from regopt._core.types import Key, Number


class Hyperparameter(nnx.Variable):
    """A number of a module that is neither trained nor static: a dropout rate, say."""


class Noise(nnx.Module):
    """What the noise modules share: the switch and the source of keys.

    Args:
        deterministic: if True, the noise is off.
        rngs: source of the stream ``dropout``; needed here or in the call.
    """

    def __init__(self, *, deterministic: bool = False, rngs: nnx.Rngs | None = None):
        self.deterministic = deterministic
        self.rngs = rngs.dropout.fork() if rngs is not None else nnx.data(None)

    @abstractmethod
    def noisy(self, key: Key, x: jax.Array) -> jax.Array:
        """``x`` under the noise that this key draws."""

    def quiet(self, x: jax.Array) -> jax.Array:
        """What stands for ``x`` when the noise is off."""
        return x

    def __call__(
        self, x: jax.Array, *, deterministic: bool | None = None, rngs: nnx.Rngs | Key | None = None
    ) -> jax.Array:
        """Put noise on ``x``.

        Args:
            x: array, floating point, of a shape that the noise knows.
            deterministic: overrides the module's own setting.
            rngs: a key, or a source of the stream ``dropout``; overrides the module's own.

        Returns:
            An array with the dtype of x and, for noise, its shape.

        Raises:
            ValueError: noise is asked for and there is no source of keys.
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
    """``regopt.noise.dropout`` as a module, used as ``flax.nnx.Dropout`` is.

    Args:
        rate: probability of dropping an entry, in [0, 1]; may be traced.
        inverted: if False, nothing is rescaled in training, and the module multiplies by ``1 - rate`` when it is
            deterministic: the weight scaling inference rule.
        deterministic: if True, the noise is off.
        rngs: source of the stream ``dropout``; needed here or in the call.

    Raises:
        ValueError: a concrete rate lies outside [0, 1].
    """

    def __init__(self, rate: Number, *, inverted: bool = True, **switches: Any):
        check_range("rate", rate, "[0, 1]")
        super().__init__(**switches)
        self.rate = Hyperparameter(as_float(rate))
        self.inverted = inverted

    def noisy(self, key: Key, x: jax.Array) -> jax.Array:
        """Drop entries of x, of any shape."""
        return noise.dropout(key, x, self.rate[...], inverted=self.inverted)

    def quiet(self, x: jax.Array) -> jax.Array:
        """Unchanged, or scaled by the share that training kept."""
        return x if self.inverted else noise.weight_scaling(x, self.rate[...])


class SpatialDropout(Dropout):
    """Dropout of whole channels of ``[batch, ..., channels]``; arguments as for ``Dropout``."""

    def noisy(self, key: Key, x: jax.Array) -> jax.Array:
        """Drop channels of x, each example for itself."""
        return noise.spatial_dropout(key, x, self.rate[...], inverted=self.inverted)


class StochasticDepth(Dropout):
    """Dropout of a residual branch, ``x + depth(branch(x))``, example by example; arguments as for ``Dropout``."""

    def noisy(self, key: Key, x: jax.Array) -> jax.Array:
        """Drop the branch ``[batch, ...]`` of examples."""
        return noise.stochastic_depth(key, x, self.rate[...], inverted=self.inverted)


class GaussianDropout(Noise):
    """``regopt.noise.gaussian_dropout`` as a module.

    Args:
        rate: of the dropout that it stands for, in [0, 1]; may be traced.
        deterministic: if True, the noise is off.
        rngs: source of the stream ``dropout``; needed here or in the call.

    Raises:
        ValueError: a concrete rate lies outside [0, 1].
    """

    def __init__(self, rate: Number, **switches: Any):
        check_range("rate", rate, "[0, 1]")
        super().__init__(**switches)
        self.rate = Hyperparameter(as_float(rate))

    def noisy(self, key: Key, x: jax.Array) -> jax.Array:
        """Multiply the entries of x, of any shape."""
        return noise.gaussian_dropout(key, x, self.rate[...])


class GaussianNoise(Noise):
    """``regopt.noise.gaussian_noise`` as a module.

    Args:
        deviation: standard deviation, >= 0, in units of the input; may be traced.
        deterministic: if True, the noise is off.
        rngs: source of the stream ``dropout``; needed here or in the call.

    Raises:
        ValueError: a concrete deviation is negative.
    """

    def __init__(self, deviation: Number, **switches: Any):
        check_range("deviation", deviation, "[0, inf)")
        super().__init__(**switches)
        self.deviation = Hyperparameter(as_float(deviation))

    def noisy(self, key: Key, x: jax.Array) -> jax.Array:
        """Add to the entries of x, of any shape."""
        return noise.gaussian_noise(key, x, self.deviation[...])
