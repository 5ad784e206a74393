"""The order in which training visits the examples, as a pure function of a key and a step."""

import jax
import jax.numpy as jnp

from regopt._core.training_data import check_batch
from regopt._core.types import Key, Number
from regopt.data._permutation import SORTED, permutation_at


def batch_indices(key: Key, first_step: Number, steps: int, *, examples: int, batch_size: int) -> jax.Array:
    """The examples of training steps ``first_step, ..., first_step + steps - 1``, drawn without replacement.

    Each epoch is a new permutation, that of ``permutation_at`` for the key folded with the number of the epoch. It is
    divided into ``examples // batch_size`` batches, and the remaining examples are not used in this epoch. The batch of
    a step depends only on the key and the step, so a run in several segments sees the same batches as a run in one
    segment. Only the entries of these batches are computed, so the cost does not grow with the number of examples.

    Args:
        key: a typed PRNG key.
        first_step: the first step, a whole number >= 0; may be traced.
        steps: number of steps; static.
        examples: number of examples in the data set; static.
        batch_size: number of examples in a batch, in [1, examples]; static.

    Returns:
        Indices of examples, int32, ``[steps, batch_size]``.

    Raises:
        ValueError: the batch is empty or larger than the data set.

    Example:
        >>> import jax
        >>> from regopt.data import batch_indices
        >>> batches = batch_indices(jax.random.key(0), 0, steps=3, examples=6, batch_size=2)
        >>> batches.shape, sorted(batches.ravel().tolist())  # three steps are one epoch
        ((3, 2), [0, 1, 2, 3, 4, 5])

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 8.1.3.
    """
    check_batch(batch_size, examples)
    per_epoch = examples // batch_size
    first_step = jnp.asarray(first_step, jnp.int32)
    if examples <= SORTED:  # where a permutation is sorted, once an epoch rather than once a step
        first_epoch = first_step // per_epoch
        orders = epoch_orders(key, first_epoch, (steps - 1) // per_epoch + 2, examples)
        indices = orders[:, : per_epoch * batch_size].reshape(-1, batch_size)
        return jax.lax.dynamic_slice_in_dim(indices, first_step - first_epoch * per_epoch, steps)

    def batch(step):
        places = step % per_epoch * batch_size + jnp.arange(batch_size, dtype=jnp.int32)
        return permutation_at(jax.random.fold_in(key, step // per_epoch), places, examples)

    return jax.vmap(batch)(first_step + jnp.arange(steps, dtype=jnp.int32))


def epoch_orders(key: Key, first_epoch: jax.Array, epochs: int, examples: int) -> jax.Array:
    """The order of all examples in each of ``epochs`` epochs, int32 ``[epochs, examples]``."""

    def order(epoch):
        return permutation_at(jax.random.fold_in(key, epoch), jnp.arange(examples, dtype=jnp.int32), examples)

    return jax.vmap(order)(first_epoch + jnp.arange(epochs, dtype=jnp.int32))
