"""The evaluation of one run, on all validation examples at once or in batches.

In batches the memory of an evaluation does not grow with the validation set. A metric is then the mean over batches,
weighted by their sizes; ``losses.from_means`` and ``losses.at_once`` declare metrics that are no means over examples.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from regopt._core.metrics import as_inexact
from regopt._core.numerics import widen
from regopt._core.tasks import as_metrics, in_batches
from regopt._core.types import Task, Tree
from regopt.data import Splits

Metrics = dict[str, jax.Array]


def evaluate(task: Task, state: Tree, data: Splits, h: Tree, batch_size: int | None = None) -> Metrics:
    """The metrics of a state on ``data.validation``, as floats.

    Args:
        task: the task whose ``evaluate`` measures; its metrics are means over examples unless it has ``in_batches``.
        state: a state of the task.
        data: the data with the validation examples.
        h: the setting.
        batch_size: examples that are evaluated at a time, the last batch may be smaller; None takes all.

    Returns:
        The metrics.
    """
    count = jax.tree.leaves(data.validation)[0].shape[0]
    if batch_size is None or batch_size >= count:
        return {name: as_inexact(value) for name, value in as_metrics(task.evaluate(state, data, h)).items()}
    declared = in_batches(task)

    def measure(start: ArrayLike, size: int) -> tuple[Tree, Tree]:
        part = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, size), data.validation)
        means, rows = declared.measure(state, data._replace(validation=part), h)
        return jax.tree.map(as_inexact, means), rows

    starts = jnp.arange(count // batch_size, dtype=jnp.int32) * batch_size
    like, _ = jax.eval_shape(lambda start: measure(start, batch_size), starts[0])
    total = jax.tree.map(lambda mean: widen(jnp.zeros(mean.shape, mean.dtype))[0], like)

    def add(total, start):
        means, rows = measure(start, batch_size)
        return jax.tree.map(lambda sum_, mean: sum_ + mean.astype(sum_.dtype), total, means), rows

    total, rows = jax.lax.scan(add, total, starts)
    total = jax.tree.map(lambda sum_: sum_ * batch_size, total)
    rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)
    if rest := count % batch_size:
        means, last = measure(count - rest, rest)
        total = jax.tree.map(lambda sum_, mean: sum_ + rest * mean.astype(sum_.dtype), total, means)
        rows = jax.tree.map(lambda *parts: jnp.concatenate(parts), rows, last)
    means = jax.tree.map(lambda sum_, mean: (sum_ / count).astype(mean.dtype), total, like)
    return {name: as_inexact(value) for name, value in declared.finish(means, rows, data, h).items()}
