"""Examples made of two, with targets made of two: the one augmentation that changes labels."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from regopt._core.numerics import as_float, check_range, like, widen
from regopt._core.types import Key, Number


def mixup(strength: Number) -> Callable[[Key, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """``x <- m x + (1 - m) x'`` and ``y <- m y + (1 - m) y'`` with another example of the batch, m ~ Beta(a, a).

    Partners come from one random order of the batch, so each example is a partner once; m is drawn for each pair. The
    slopes in the strength, for fixed draws, are finite.

    Args:
        strength: a, >= 0, dimensionless; may be traced. 0 leaves every bit as it is, 1 draws m uniformly, and a large
            one halves.

    Returns:
        ``(key, inputs, targets) -> (inputs, targets)`` of arrays ``[batch, ...]`` in floating point; classes as
        one-hot targets. Shapes and dtypes stay.

    Raises:
        ValueError: a concrete strength is negative; in the call, integer targets or batches of two sizes.

    References: Zhang et al. (2018), (1) and (2); their code draws one m for a whole batch.
    """
    check_range("strength", strength, "[0, inf)")

    def transform(key, inputs, targets):
        for name, array in (("inputs", inputs), ("targets", targets)):
            if not jnp.issubdtype(array.dtype, jnp.floating):
                raise ValueError(f"{name} must be floating point (jax.nn.one_hot for classes), got {array.dtype}")
        if len(inputs) != len(targets):
            raise ValueError(f"inputs and targets must be as many, got {len(inputs)} and {len(targets)}")
        order_key, share_key = jax.random.split(key)
        partners = jax.random.permutation(order_key, len(inputs))
        a = as_float(strength)
        shape = jnp.where(a > 0, a, 1)
        drawn = jax.random.beta(share_key, shape, shape, (len(inputs),))
        share = jnp.where(a > 0, drawn, 0)  # of the partner: 1 - m is distributed as m

        def mixed(x):
            (wide,) = widen(x)
            part = like(share, wide).reshape(-1, *[1] * (x.ndim - 1))
            return (wide + part * (wide[partners] - wide)).astype(x.dtype)

        return mixed(inputs), mixed(targets)

    return transform
