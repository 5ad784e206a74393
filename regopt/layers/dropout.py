"""Dropout as a flax nnx module whose rate may be traced."""

import jax
from flax import nnx

from regopt import noise
from regopt.numerics import as_float, check_range
from regopt.types import Key, Number


class Hyperparameter(nnx.Variable):
    """A number of a module that is neither trained nor static: a dropout rate, say."""


class Dropout(nnx.Module):
    """``regopt.noise.dropout`` as a module, used as ``flax.nnx.Dropout`` is.

    ``train()`` and ``eval()`` of the enclosing module switch it on and off.

    Args:
        rate: probability of dropping an entry, in [0, 1]; may be traced. Kept as a ``Hyperparameter``, so it
            travels with the module's state.
        deterministic: if True, the input passes unchanged.
        rngs: source of the stream ``dropout``; needed here or in the call.

    Raises:
        ValueError: a concrete rate lies outside [0, 1].
    """

    def __init__(self, rate: Number, *, deterministic: bool = False, rngs: nnx.Rngs | None = None):
        check_range("rate", rate, "[0, 1]")
        self.rate = Hyperparameter(as_float(rate))
        self.deterministic = deterministic
        self.rngs = rngs.dropout.fork() if rngs is not None else nnx.data(None)

    def __call__(
        self, x: jax.Array, *, deterministic: bool | None = None, rngs: nnx.Rngs | Key | None = None
    ) -> jax.Array:
        """Drop entries of ``x``, any shape.

        Args:
            x: array of any shape, floating point.
            deterministic: overrides the module's own setting.
            rngs: a key, or a source of the stream ``dropout``; overrides the module's own.

        Returns:
            An array with the shape and dtype of x.

        Raises:
            ValueError: noise is asked for and there is no source of keys.
        """
        if self.deterministic if deterministic is None else deterministic:
            return x
        source = self.rngs if rngs is None else rngs
        if source is None:
            raise ValueError("dropout needs a key: give rngs to Dropout(...) or to the call")
        if isinstance(source, nnx.Rngs):
            source = source.dropout
        key = source() if isinstance(source, nnx.RngStream) else source
        return noise.dropout(key, x, self.rate[...])
