"""Curriculum learning: the share of the easiest examples that a step may use, and batches drawn from them."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from regopt._core.numerics import as_float, check_range, safe_divide, safe_power
from regopt._core.training_data import check_batch
from regopt._core.types import Key, Number
from regopt.data._batching import epoch_orders


def pacing(step: Number, start: Number, length: Number, power: Number = 1.0) -> jax.Array:
    """``(start**p + (1 - start**p) min(t / length, 1))**(1/p)``: the share of the examples in use at step t.

    The share grows from ``start`` to 1, linearly for p = 1 and with a slope inversely proportional to the share for
    p = 2. Its derivatives with respect to all numbers are finite.

    Args:
        step: step t, >= 0; may be traced.
        start: share at step 0, in [0, 1], dimensionless; may be traced.
        length: number of steps until all examples are in use, >= 0; may be traced. At 0 all are in use from step 0 on.
        power: exponent p, > 0, dimensionless; may be traced.

    Returns:
        The share, in [0, 1], in the default float dtype.

    Raises:
        ValueError: a concrete number lies outside its range.

    Example:
        >>> from regopt.data import pacing
        >>> pacing(30, start=0.2, length=40)
        Array(0.8, dtype=float32)

    References:
        Bengio, Y., Louradour, J., Collobert, R., & Weston, J. (2009). Curriculum learning. ICML. Section 3.

        Platanios, E. A., Stretcu, O., Neubig, G., Poczos, B., & Mitchell, T. (2019). Competence-based curriculum
        learning for neural machine translation. NAACL. Equations (7) and (8), for p = 1 and p.
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
    """The examples of training steps ``first_step, ..., first_step + steps - 1``, starting with the easiest ones.

    At step t the easiest ``pacing(t)`` share of the examples is in use, rounded to a whole number that is at least the
    batch size. A batch is drawn from these without replacement: it follows the permutation of the epoch of
    ``batch_indices``, skips the examples that are not yet in use, and starts again at the end of the permutation. From
    step ``length`` on, all examples are in use and the batches are those of ``batch_indices``. The batch of a step
    depends only on the key and the step.

    Args:
        key: a typed PRNG key.
        first_step: the first step, a whole number >= 0; may be traced.
        steps: number of steps; static.
        difficulty: finite numbers ``[examples]``, small for easy examples; ties are ordered by position; may be traced.
        batch_size: number of examples in a batch, in [1, examples]; static.
        start: share in use at step 0, in [0, 1], dimensionless; may be traced.
        length: number of steps until all examples are in use, >= 0; may be traced.
        power: exponent of the pacing, > 0, dimensionless; may be traced.

    Returns:
        Indices of examples, int32, ``[steps, batch_size]``.

    Raises:
        ValueError: a concrete number lies outside its range, the difficulty has another shape or is not finite, or the
            batch is empty or larger than the data set.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.data import curriculum_indices
        >>> difficulty = jnp.arange(8.0)
        >>> batches = curriculum_indices(
        ...     jax.random.key(0), 0, 2, difficulty, batch_size=2, start=0.25, length=100
        ... )
        >>> sorted(batches[0].tolist())  # a quarter of the 8 examples is in use at step 0
        [0, 1]

    References:
        Bengio, Y., Louradour, J., Collobert, R., & Weston, J. (2009). Curriculum learning. ICML. Section 3.

        Hacohen, G., & Weinshall, D. (2019). On the power of curriculum learning in training deep networks. ICML.
        Algorithm 1.
    """
    check_range("start", start, "[0, 1]")  # inside of lax.map pacing sees tracers, which it cannot check
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
        count = jnp.cumsum(
            rank[order] < in_play, dtype=jnp.int32
        )  # the number of examples in use up to each position of the order
        wanted = (step % per_epoch * batch_size + jnp.arange(batch_size, dtype=jnp.int32)) % in_play
        return order[jnp.searchsorted(count, wanted + 1)]

    return jax.lax.map(batch, first_step + jnp.arange(steps, dtype=jnp.int32))


def _rank(difficulty: jax.typing.ArrayLike) -> jax.Array:
    """The rank of each example from easy to hard, int32."""
    values = jnp.asarray(difficulty)
    if values.ndim != 1:
        raise ValueError(f"difficulty must have shape [examples], got {values.shape}")
    if not isinstance(values, Tracer) and not np.isfinite(np.asarray(values, np.float64)).all():
        raise ValueError("difficulty must be finite, got NaN or inf")
    places = jnp.arange(len(values), dtype=jnp.int32)
    return jnp.zeros_like(places).at[jnp.argsort(values, stable=True)].set(places)
