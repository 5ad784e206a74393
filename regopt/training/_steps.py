"""Training one setting: the steps between two evaluations, as a pure function that jits and vmaps."""

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
) -> tuple[Tree, dict[str, jax.Array]]:
    """Train for ``steps`` steps; a step's batch and noise depend on its number and the keys alone.

    Args:
        task: what is trained.
        state: the task's state after ``first_step`` steps.
        data: examples; only ``train`` is used.
        h: the setting.
        first_step: steps done before, shape (); may be traced.
        steps: how many to do, static.
        batch_size: examples in a batch, drawn without replacement in each epoch; None gives every step them all.
        order_key: decides the order of the examples.
        noise_key: folded with a step's number it is the key of that step.
        rows: the training set as places in ``data.train``, int32 ``[examples]``, with repetitions if it likes;
            None takes every example once.

    Returns:
        The state after, and the step metrics, each ``[steps]``.
    """
    numbers = first_step + jnp.arange(steps, dtype=jnp.int32)
    everything = data.train if rows is None else None
    indices = None
    if batch_size is not None:
        examples = jax.tree.leaves(data.train)[0].shape[0] if rows is None else rows.shape[0]
        indices = batch_indices(order_key, first_step, steps, examples=examples, batch_size=batch_size)
        indices = indices if rows is None else rows[indices]
    elif rows is not None:
        everything = jax.tree.map(lambda x: x[rows], data.train)

    def step(state, at):
        number, chosen = at
        batch = everything if chosen is None else jax.tree.map(lambda x: x[chosen], data.train)
        return task.step(state, batch, jax.random.fold_in(noise_key, number), h)

    return jax.lax.scan(step, state, (numbers, indices))
