"""Easy examples first: which of them are in play at a step, and batches drawn from these alone."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from regopt._core.numerics import as_float, check_range, safe_divide, safe_power
from regopt._core.types import Key, Number
from regopt.data._batching import check_batch, epoch_orders


def pacing(step: Number, start: Number, length: Number, power: Number = 1.0) -> jax.Array:
    """``(start**p + (1 - start**p) min(t / length, 1))**(1/p)``: the share of the examples in play at step t.

    It grows from ``start`` to 1, in a straight line for p = 1, and for p = 2 at a rate inverse to the share itself.
    Its slopes in all numbers are finite.

    Args:
        step: t, >= 0; may be traced.
        start: share at step 0, in [0, 1]; may be traced.
        length: steps until all examples are in play, >= 0; may be traced. At 0 they are from the beginning.
        power: p, > 0, dimensionless; may be traced.

    Returns:
        A share in [0, 1], of the default float dtype.

    Raises:
        ValueError: a concrete number lies outside its range.

    References: Bengio et al. (2009), section 3; Platanios et al. (2019), (7) and (8), for p = 1 and p.

    >>> pacing(30, start=0.2, length=40)
    Array(0.8, dtype=float32)
    """
    check_range("step", step, "[0, inf)")
    check_range("start", start, "[0, 1]")
    check_range("length", length, "[0, inf)")
    check_range("power", power, "(0, inf)")
    t, start, length, power = (as_float(number) for number in (step, start, length, power))
    done = jnp.where(t < length, safe_divide(t, length), 1)
    first = safe_power(start, power)
    return safe_power(first + (1 - first) * done, 1 / power)


def curriculum_indices(
    key: Key,
    first_step: Number,
    steps: int,
    difficulty: jax.typing.ArrayLike,
    *,
    batch_size: int,
    start: Number,
    length: Number,
    power: Number = 1.0,
) -> jax.Array:
    """The examples of training steps ``first_step, ..., first_step + steps - 1``, from the easiest ones at first.

    At step t the ``pacing`` share of the examples is in play, the easiest of them, rounded and at least a batch. A
    batch is drawn from these without replacement: it goes on through the epoch's order of ``batch_indices``, which
    skips the examples not yet in play and begins again at its end. So with all in play, from step ``length`` on, the
    batches are those of ``batch_indices``, and a step's batch depends on the key and the step alone.

    Args:
        key: a typed key.
        first_step: >= 0; may be traced.
        steps: how many steps, static.
        difficulty: ``[examples]``, any finite numbers, small for easy; ties are ordered by place. May be traced.
        batch_size: examples in a batch, static.
        start: share in play at step 0, in [0, 1]; may be traced.
        length: steps until all are in play, >= 0; may be traced.
        power: of the pacing, > 0; may be traced.

    Returns:
        int32 of shape ``[steps, batch_size]``.

    Raises:
        ValueError: a concrete number lies outside its range, the difficulty has another shape or a NaN, or the batch
            is empty or larger than the data set.

    References: Bengio et al. (2009), section 3; Hacohen & Weinshall (2019), algorithm 1.
    """
    check_range("start", start, "[0, 1]")  # pacing sees tracers only
    check_range("length", length, "[0, inf)")
    check_range("power", power, "(0, inf)")
    rank = _rank(difficulty)
    examples = len(rank)
    check_batch(batch_size, examples)
    per_epoch = examples // batch_size
    first_step = jnp.asarray(first_step, jnp.int32)
    first_epoch = first_step // per_epoch
    orders = epoch_orders(key, first_epoch, (steps - 1) // per_epoch + 2, examples)

    def batch(step):
        share = pacing(step, start, length, power)
        in_play = jnp.clip(jnp.round(share * examples).astype(jnp.int32), batch_size, examples)
        order = orders[step // per_epoch - first_epoch]
        count = jnp.cumsum(rank[order] < in_play, dtype=jnp.int32)  # of those in play, up to each place of the order
        wanted = (step % per_epoch * batch_size + jnp.arange(batch_size, dtype=jnp.int32)) % in_play
        return order[jnp.searchsorted(count, wanted + 1)]

    return jax.lax.map(batch, first_step + jnp.arange(steps, dtype=jnp.int32))


def _rank(difficulty: jax.typing.ArrayLike) -> jax.Array:
    """The place of each example from easy to hard, int32."""
    values = jnp.asarray(difficulty)
    if values.ndim != 1:
        raise ValueError(f"difficulty must have shape [examples], got {values.shape}")
    if not isinstance(values, Tracer) and not np.isfinite(np.asarray(values, np.float64)).all():
        raise ValueError("difficulty must be finite, got NaN or inf")
    places = jnp.arange(len(values), dtype=jnp.int32)
    return jnp.zeros_like(places).at[jnp.argsort(values, stable=True)].set(places)
