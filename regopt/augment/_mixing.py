"""Convex combinations of two examples and of their targets: the one augmentation that changes labels."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from regopt._core.numerics import as_float, check_number, like, widen
from regopt._core.types import Key, Number


def mixup(strength: Number) -> Callable[[Key, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """``x <- m x + (1 - m) x'`` and ``y <- m y + (1 - m) y'`` with another example of the batch, m ~ Beta(a, a).

    The partners come from one random permutation of the batch, so each example is a partner once, and m is drawn for
    each pair. For fixed draws, derivatives with respect to the strength are finite.

    Args:
        strength: parameter a of the beta distribution, >= 0, dimensionless; may be traced. At 0 nothing changes, at 1 m
            is uniform, and for large values m tends to 1/2.

    Returns:
        The transform ``(key, inputs, targets) -> (inputs, targets)`` of floating-point arrays ``[batch, ...]``, whose
        shapes and dtypes are preserved. Class labels are given as one-hot targets.

    Raises:
        ValueError: a concrete strength is negative, or (when the transform is called) inputs or targets are not
            floating point or differ in number.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.augment import mixup
        >>> inputs, targets = jnp.array([[0.0], [1.0]]), jax.nn.one_hot(jnp.array([0, 1]), 2)
        >>> mixed, labels = mixup(1.0)(jax.random.key(0), inputs, targets)
        >>> bool(jnp.allclose(mixed[:, 0], labels[:, 1])), bool(jnp.allclose(labels.sum(1), 1.0))
        (True, True)

    References:
        Zhang, H., Cisse, M., Dauphin, Y. N., & Lopez-Paz, D. (2018). mixup: Beyond empirical risk minimization. ICLR.
        Equations (1) and (2), where the published code draws one m for a whole batch.
    """
    check_number("strength", strength, "[0, inf)")

    def transform(key, inputs, targets):
        for name, array in (("inputs", inputs), ("targets", targets)):
            if not jnp.issubdtype(array.dtype, jnp.floating):
                raise ValueError(f"{name} must be floating point (jax.nn.one_hot for classes), got {array.dtype}")
        if len(inputs) != len(targets):
            raise ValueError(f"inputs and targets must have the same length, got {len(inputs)} and {len(targets)}")
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
