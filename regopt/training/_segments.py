"""The common part of all kinds of training: equal segments of steps, each followed by an evaluation.

These are pure functions of one run, for ``scan`` and ``vmap``; the caller decides when a run ends. In an evaluation in
batches a metric is the mean over the batches, weighted by their sizes; ``losses.from_means`` and ``losses.at_once``
declare metrics that are no means over examples.
"""

from collections.abc import Callable
from functools import reduce
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from regopt._core import trees
from regopt._core.metrics import as_inexact, check_scalars, with_evaluation
from regopt._core.numerics import widen
from regopt._core.tasks import after_step, as_metrics, in_batches
from regopt._core.training_data import check_batch, check_data, check_steps, size_of
from regopt._core.types import Key, Number, Task, Tree
from regopt.data import Splits, batch_indices

Metrics = dict[str, jax.Array]
Run = TypeVar("Run")  # the carry from segment to segment


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
        >>> from regopt.data import Splits, batch_indices
        >>> from regopt.testing import MEAN_TASK  # w moves towards the mean of the batch
        >>> data = Splits(train=jnp.array([1.0, 1.0]), validation=jnp.array([0.5]))
        >>> state, metrics = training.train_steps(
        ...     MEAN_TASK, jnp.array(0.0), data, {"rate": 0.5}, first_step=0, steps=3, batch_size=None,
        ...     order_key=jax.random.key(0), noise_key=jax.random.key(1),
        ... )
        >>> state, metrics["loss"]
        (Array(0.875, dtype=float32), Array([1.    , 0.25  , 0.0625], dtype=float32))

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 8.1.3 (minibatches).
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
        return after_step(state, task.step(state, batch, jax.random.fold_in(noise_key, number), h))

    return jax.lax.scan(step, state, (numbers, indices, block))


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


def train_segment(
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
    infinite: jax.Array,
    monitor: str,
    rows: jax.Array | None = None,
    batches: jax.Array | None = None,
    block: Tree | None = None,
    eval_batch_size: int | None = None,
    evaluates: bool = True,
) -> tuple[Tree, Metrics, jax.Array]:
    """Train for ``steps`` steps, then evaluate.

    Args:
        task: the task to train.
        state: the task's state after ``first_step`` steps.
        data: examples to train on and to evaluate on.
        h: the setting.
        first_step: number of earlier steps, shape (); may be traced.
        steps: number of steps to train; static.
        batch_size: examples in a batch; None uses all examples in every step; static.
        order_key: key of the order of the data.
        noise_key: key of the noise.
        infinite: number of entries in the run's first state that are not finite, such as those of a mask of -inf; shape
            (), int32.
        monitor: the metric that must stay finite; static.
        rows: indices into ``data.train`` to train on, int32; None for all examples.
        batches: the batches of the steps, where several runs share them; see ``train_steps``.
        block: the batches themselves, in place of ``data.train``; see ``train_steps``.
        eval_batch_size: validation examples that are evaluated at a time; None evaluates all at once; static.
        evaluates: whether to evaluate; else the metrics are those of the steps; static.

    Returns:
        The state after the segment; the metrics, float scalars (``train_*`` are means over the segment); and the number
        of the first step with a metric that is not finite, or of the last step if only its outcome is not finite, or 0.

    Raises:
        ValueError: ``monitor`` is not a metric, or a metric is not a scalar.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt import training
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> options = {"first_step": 0, "steps": 2, "batch_size": None, "infinite": jnp.array(0)}
        >>> keys = {"order_key": jax.random.key(0), "noise_key": jax.random.key(1)}
        >>> state, metrics, first_bad_step = training.train_segment(
        ...     MEAN_TASK, jnp.array(0.0), MEAN_DATA, {"rate": 0.5}, monitor="validation_loss", **options, **keys
        ... )
        >>> float(state), float(metrics["validation_loss"]), int(first_bad_step)
        (0.75, 0.0625, 0)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Algorithm 7.1 (the inner loop).
    """
    state, per_step = train_steps(
        task,
        state,
        data,
        h,
        first_step=first_step,
        steps=steps,
        batch_size=batch_size,
        order_key=order_key,
        noise_key=noise_key,
        rows=rows,
        batches=batches,
        block=block,
    )
    check_scalars(per_step, leading=1)
    metrics = {f"train_{name}": jnp.mean(values) for name, values in per_step.items()}
    good = trees.count_not_finite(state) <= infinite
    if evaluates:
        metrics = with_evaluation(metrics, evaluate(task, state, data, h, eval_batch_size), monitor)
        good &= jnp.isfinite(metrics[monitor])
    return state, metrics, first_bad_step(first_step, per_step, steps, good)


def first_bad_step(first_step: Number, per_step: Tree, steps: int, good: jax.Array) -> jax.Array:
    """Number of the first step with a metric that is not finite, of the last step if only ``good`` is false, else 0."""
    finite = reduce(jnp.logical_and, map(jnp.isfinite, jax.tree.leaves(per_step)), jnp.ones(steps, bool))
    bad = ~finite.at[-1].set(finite[-1] & good)
    return jnp.where(jnp.any(bad), first_step + 1 + jax.lax.argmax(bad, 0, jnp.int32), 0).astype(jnp.int32)


def scan_while(
    going: Callable[[Run], jax.Array],
    segment: Callable[[Run, jax.Array], tuple[Run, Metrics]],
    run: Run,
    first_steps: jax.Array,
) -> tuple[Run, Metrics]:
    """Run segments while ``going(run)`` holds; after that the run does not change and metrics are NaN.

    Skipped segments cost nothing: those after the end of a run and, under ``vmap``, those after the end of the last
    lane.

    Args:
        going: whether to train the next segment, a function of the carry.
        segment: ``(run, first_step) -> (run, metrics)``.
        run: the carry.
        first_steps: number of steps before each segment, int32 ``[segments]``.

    Returns:
        The run at the end, and each metric ``[segments]``.
    """
    shapes = jax.eval_shape(segment, run, first_steps[0])[1]
    unknown = jax.tree.map(lambda x: jnp.full(x.shape, jnp.nan, x.dtype), shapes)

    def train(run, first_step):
        own = going(run)
        after, metrics = segment(run, first_step)
        return trees.where(own, after, run), trees.where(own, metrics, unknown)

    def skip(run, _):
        return run, unknown

    return jax.lax.scan(lambda run, at: jax.lax.cond(_any_lane(going(run)), train, skip, run, at), run, first_steps)


@jax.custom_batching.custom_vmap
def _any_lane(condition: jax.Array) -> jax.Array:
    """The condition; under ``vmap``, whether it holds in any lane, as one answer for all lanes.

    With one answer for each lane ``cond`` would run both branches, each on a copy of the data.
    """
    return condition


@_any_lane.def_vmap
def _any_lane_of_many(_axis_size, in_batched, condition):
    return _any_lane(jnp.any(condition, axis=0) if in_batched[0] else condition), False


def checked(
    data: Splits, *, steps: int, eval_every: int, batch_size: int | None, eval_batch_size: int | None = None
) -> Splits:
    """The data as JAX arrays, after all checks of static arguments that are possible before tracing."""
    check_data(data)
    check_steps(steps, eval_every, batch_size=batch_size, eval_batch_size=eval_batch_size)
    if batch_size is not None:
        check_batch(batch_size, size_of(data.train))
    return jax.tree.map(jnp.asarray, data)
