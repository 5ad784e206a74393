"""The nearest points that projections, proximal steps and clipping share."""

import jax
import jax.numpy as jnp

from regopt._core.numerics import direction_and_norm, like
from regopt._core.types import Number, ScheduledNumber


def threshold_to_sum(sizes: jax.Array, radius: Number) -> jax.Array:
    """The t >= 0 with ``sum_i max(sizes_i - t, 0) = radius`` for sizes >= 0, ``[n]``; 0 where they sum to less."""
    radius = like(radius, sizes)
    falling = jnp.sort(sizes)[::-1]
    over = (jnp.cumsum(falling) - radius) / jnp.arange(1, sizes.size + 1, dtype=sizes.dtype)
    kept = jnp.sum(falling > over)  # a prefix of the falling sizes; none with radius 0
    threshold = jnp.where(kept > 0, over[jnp.maximum(kept - 1, 0)], falling[0]) if sizes.size else radius
    return jnp.where(jnp.sum(sizes) > radius, jnp.maximum(threshold, 0), 0)


def shortened(
    arrays: list[jax.Array], max_norm: ScheduledNumber, axis: tuple[int, ...] | None = None
) -> list[jax.Array]:
    """The arrays, scaled down to the norm ``max_norm`` where their norm is larger.

    Args:
        arrays: floating point.
        max_norm: >= 0; may be traced.
        axis: for a single array, the axes that its norms run over; None for one norm of all arrays.

    Returns:
        Arrays of the same shapes and dtypes.
    """
    if not arrays:
        return []
    directions, norm = direction_and_norm(arrays, axis)
    bound = like(max_norm, norm)
    return [
        jnp.where(norm > bound, direction * bound, x.astype(norm.dtype)).astype(x.dtype)
        for x, direction in zip(arrays, directions, strict=True)
    ]


@jax.custom_jvp
def falling(w: jax.Array) -> jax.Array:
    """The nearest point of a vector with falling entries."""
    return _pooled(w)[0]


@falling.defjvp
def _falling_jvp(primals, tangents):
    (w,), (w_dot,) = primals, tangents
    value, blocks = _pooled(w)
    sums = jax.ops.segment_sum(w_dot, blocks, w.size)
    sizes = jax.ops.segment_sum(jnp.ones_like(w_dot), blocks, w.size)
    return value, (sums / jnp.maximum(sizes, 1))[blocks]


def _pooled(w: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The projection, and the block of each entry."""
    if w.size == 0:
        return w, jnp.zeros(0, jnp.int32)
    places = jnp.arange(w.size, dtype=jnp.int32)

    def push(i, carry):
        means, sizes, count = carry
        stack = means.at[count].set(w[i]), sizes.at[count].set(1), count + 1

        def out_of_order(stack):
            means, _, count = stack
            return (count > 1) & (means[count - 1] > means[jnp.maximum(count - 2, 0)])

        def merge(stack):
            means, sizes, count = stack
            a, b = count - 2, count - 1
            size = sizes[a] + sizes[b]
            # the mean moves by a share of the difference, which keeps equal entries as they are
            share = sizes[b].astype(w.dtype) / size.astype(w.dtype)
            mean = means[a] + (means[b] - means[a]) * share
            return means.at[a].set(mean), sizes.at[a].set(size), b

        return jax.lax.while_loop(out_of_order, merge, stack)

    start = jnp.zeros_like(w), jnp.zeros(w.size, jnp.int32), jnp.zeros((), jnp.int32)
    means, sizes, count = jax.lax.fori_loop(0, w.size, push, start)
    ends = jnp.cumsum(jnp.where(places < count, sizes, 0)).astype(jnp.int32)
    blocks = jnp.searchsorted(ends, places, side="right").astype(jnp.int32)
    return means[blocks], blocks
