"""The training steps between two evaluations, as a pure function of one setting for jit and vmap."""

import jax
import jax.numpy as jnp

from regopt._core.types import Key, Number, Task, Tree
from regopt.data import Splits, batch_indices


def train_steps(
    task: Task,
    state: Tree,
    data: Splits,
    h: Tree,
    *,
    first_step: Number,
    steps: int,
    batch_size: int | None,
    order_key: Key,
    noise_key: Key,
    rows: jax.Array | None = None,
    batches: jax.Array | None = None,
    block: Tree | None = None,
) -> tuple[Tree, dict[str, jax.Array]]:
    """Train for ``steps`` steps; the batch and the noise of a step depend only on its number and the keys.

    Args:
        task: the task to train.
        state: the task's state after ``first_step`` steps.
        data: examples; only ``train`` is used.
        h: the setting; its numbers may be traced.
        first_step: number of earlier steps, >= 0, shape (); may be traced.
        steps: number of steps to train; static.
        batch_size: examples in a batch, drawn without replacement in each epoch; None uses all examples in every step;
            static.
        order_key: key of the order of the examples.
        noise_key: key of the noise; it is folded with the number of a step.
        rows: the training set as indices into ``data.train``, int32 ``[examples]``, which may repeat; None for all
            examples once.
        batches: the result of ``batch_indices`` for these steps, where several runs share it; None computes it from
            ``order_key``.
        block: the batches of these steps themselves, each array ``[steps, batch, ...]``, in place of ``data.train``.

    Returns:
        The state after the steps, and the metrics of the steps, each ``[steps]``.

    Raises:
        ValueError: ``batch_size`` is below 1 or larger than the number of examples.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt import training
        >>> from regopt.data import Splits
        >>> from regopt.sweep import Task
        >>> task = Task(  # w moves towards the mean of the batch
        ...     init=lambda key, h: jnp.zeros(()),
        ...     step=lambda w, batch, key, h: (
        ...         w + h["rate"] * jnp.mean(batch - w), {"loss": jnp.mean((batch - w) ** 2)}
        ...     ),
        ...     evaluate=lambda w, data, h: {"validation_loss": jnp.mean((data.validation - w) ** 2)},
        ... )
        >>> data = Splits(train=jnp.array([1.0, 1.0]), validation=jnp.array([0.5]))
        >>> state, metrics = training.train_steps(
        ...     task, jnp.array(0.0), data, {"rate": 0.5}, first_step=0, steps=3, batch_size=None,
        ...     order_key=jax.random.key(0), noise_key=jax.random.key(1),
        ... )
        >>> state, metrics["loss"]
        (Array(0.875, dtype=float32), Array([1.    , 0.25  , 0.0625], dtype=float32))
    """
    numbers = first_step + jnp.arange(steps, dtype=jnp.int32)
    everything = data.train if rows is None else None
    indices = None
    if block is not None:
        batch_size = rows = None
    if batch_size is not None:
        examples = jax.tree.leaves(data.train)[0].shape[0] if rows is None else rows.shape[0]
        if batches is None:
            batches = batch_indices(order_key, first_step, steps, examples=examples, batch_size=batch_size)
        indices = batches if rows is None else rows[batches]
    elif rows is not None:
        everything = jax.tree.map(lambda x: x[rows], data.train)

    def step(state, at):
        number, chosen, batch = at
        if batch is None:
            batch = everything if chosen is None else jax.tree.map(lambda x: x[chosen], data.train)
        return task.step(state, batch, jax.random.fold_in(noise_key, number), h)

    return jax.lax.scan(step, state, (numbers, indices, block))
