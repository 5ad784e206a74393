"""In which order training visits the examples, as a pure function of a key and a step."""

import jax
import jax.numpy as jnp

from regopt._core.types import Key, Number


def batch_indices(key: Key, first_step: Number, steps: int, *, examples: int, batch_size: int) -> jax.Array:
    """The examples of training steps ``first_step, ..., first_step + steps - 1``, without replacement.

    Each epoch is a fresh permutation, drawn from the key folded with the epoch's number, cut into
    ``examples // batch_size`` batches; the examples left over sit that epoch out. A step's batch depends on the
    key and the step alone, so a run that is cut in segments sees the batches of one that is not.

    Args:
        key: a typed key.
        first_step: >= 0; may be traced.
        steps: how many steps, static.
        examples: size of the data set, static.
        batch_size: examples in a batch, static.

    Returns:
        int32 of shape ``[steps, batch_size]``.

    Raises:
        ValueError: the batch is empty or larger than the data set.
    """
    check_batch(batch_size, examples)
    per_epoch = examples // batch_size
    first_step = jnp.asarray(first_step, jnp.int32)
    first_epoch = first_step // per_epoch
    orders = epoch_orders(key, first_epoch, (steps - 1) // per_epoch + 2, examples)
    indices = orders[:, : per_epoch * batch_size].reshape(-1, batch_size)
    return jax.lax.dynamic_slice_in_dim(indices, first_step - first_epoch * per_epoch, steps)


def epoch_orders(key: Key, first_epoch: jax.Array, epochs: int, examples: int) -> jax.Array:
    """The order of all examples in each of ``epochs`` epochs, int32 ``[epochs, examples]``."""

    def order(epoch):
        return jax.random.permutation(jax.random.fold_in(key, epoch), examples).astype(jnp.int32)

    return jax.vmap(order)(first_epoch + jnp.arange(epochs, dtype=jnp.int32))


def check_batch(batch_size: int, examples: int) -> None:
    """Raise unless a batch has examples and the data set enough of them."""
    if not 1 <= batch_size <= examples:
        raise ValueError(f"batch_size must lie in [1, {examples}], the number of examples, got {batch_size}")
