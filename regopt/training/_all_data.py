"""Training on the validation examples too, once early stopping has used them.

There are two ways, both after ``fit`` or a sweep with patience: start again for the same time (Algorithm 7.2), or
continue until the validation loss reaches the training loss of the stop (Algorithm 7.3). Neither leaves data to
validate with.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core import trees
from regopt._core.checks import check_choice
from regopt._core.keys import keys_of
from regopt._core.metrics import check_monitor, direction_of
from regopt._core.numerics import check_number
from regopt._core.tasks import as_state, check_task
from regopt._core.training_data import size_of
from regopt._core.types import Key, Number, Task, Tree
from regopt.data import Splits
from regopt.training._segments import checked, evaluate, first_bad_step, scan_while, train_segment, train_steps

_STRIDE = 64  # steps between two checks whether all lanes are done; it changes no result


class Retrained(NamedTuple):
    """The result of ``retrain``."""

    state: Tree  # the task's state after the last step
    last_step: jax.Array  # shape (), int32: number of trained steps
    first_bad_step: jax.Array  # shape (), int32: step whose NaN or infinity ended the run; 0 if there is none


class Continued(NamedTuple):
    """The result of ``continue_training``; steps are counted from the start of the first training."""

    state: Tree  # the task's state after the last step
    metrics: dict[str, jax.Array]  # each [evaluations], float; NaN after the end
    threshold: jax.Array  # shape (), float: the training loss at the stop
    converged: jax.Array  # shape (), bool: the validation loss reached the threshold
    last_step: jax.Array  # shape (), int32
    first_bad_step: jax.Array  # shape (), int32: step whose NaN or infinity ended the run; 0 if there is none


def retrain(
    task: Task,
    h: Tree,
    data: Splits,
    best_step: Number,
    *,
    steps: int,
    by: Literal["updates", "epochs"] = "updates",
    batch_size: int | None = None,
    key: Key | None = None,
) -> Retrained:
    """Train anew on the training and validation examples together, for the time that early stopping found best.

    ``by="updates"`` takes ``best_step`` updates. ``by="epochs"`` visits each example as often as before. With batches
    these are ``best_step * (training + validation) / training`` updates, rounded to the nearest number, halves up.
    Without batches an update is an epoch, so it takes ``best_step`` updates again.

    Args:
        task: the task to train.
        h: the setting; its numbers may be traced.
        data: examples; ``train`` and ``validation`` have the same structure.
        best_step: i*, as ``Fit.best_step``, in [0, steps]; may be traced.
        steps: upper bound of ``best_step``, as passed to ``fit``; static.
        by: what is kept, the number of updates or the number of epochs; static.
        batch_size: examples in a batch; None uses all examples in every step; static.
        key: source of all randomness; with the key passed to ``fit`` the initial state is the same.

    Returns:
        The state and the number of updates.

    Raises:
        ValueError: an argument is out of range, or the two parts of the data do not have the same structure.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt import training
        >>> from regopt.data import Splits
        >>> from regopt.testing import MEAN_TASK  # w moves towards the mean of the batch
        >>> data = Splits(train=jnp.array([1.0, 1.0]), validation=jnp.array([0.5, 0.5]))
        >>> training.retrain(MEAN_TASK, {"rate": 0.5}, data, best_step=2, steps=10).state  # 0.75 (1 - 0.5**2)
        Array(0.5625, dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Algorithm 7.2.
    """
    check_task(task)
    data = checked(data, steps=steps, eval_every=1, batch_size=batch_size)
    check_number("best_step", best_step, f"[0, {steps}]")
    updates = _updates(data, steps, by, batch_size)
    limit = jnp.asarray(updates, jnp.int32)[jnp.clip(jnp.asarray(best_step).astype(jnp.int32), 0, steps)]
    together = _together(data)
    keys = keys_of(key, h)
    state = as_state(task.init(keys.init, h))
    infinite = trees.count_not_finite(state)
    limited = _limited(task, limit)

    def segment(run, first_step):
        (state, done), per_step = train_steps(
            limited,
            (run.state, run.last_step),
            together,
            h,
            first_step=first_step,
            steps=_STRIDE,
            batch_size=batch_size,
            order_key=keys.order,
            noise_key=keys.noise,
        )
        good = trees.count_not_finite(state) <= infinite
        bad_step = jnp.minimum(first_bad_step(first_step, per_step, _STRIDE, good), done)
        return Retrained(state, done, bad_step), {}

    zero = jnp.zeros((), jnp.int32)
    first_steps = jnp.arange(0, int(updates[-1]), _STRIDE, dtype=jnp.int32)
    run, _ = scan_while(
        lambda run: (run.last_step < limit) & (run.first_bad_step == 0),
        segment,
        Retrained(state, zero, zero),
        first_steps,
    )
    return run


def continue_training(
    task: Task,
    h: Tree,
    data: Splits,
    state: Tree,
    best_step: Number,
    *,
    steps: int,
    eval_every: int,
    batch_size: int | None = None,
    eval_batch_size: int | None = None,
    key: Key | None = None,
    monitor: str = "validation_loss",
) -> Continued:
    """Continue from the stop, on training and validation examples together, while validation loss > threshold.

    The threshold is the training loss at the stop; ``task.evaluate`` measures both losses. The loop may end before its
    first step. It may also never end, because the validation loss need not reach the threshold; hence the bound
    ``steps`` and the flag ``converged``. The batches and the noise are those of the steps from ``best_step`` on.

    Args:
        task: the task to train.
        h: the setting; its numbers may be traced.
        data: examples; ``train`` and ``validation`` have the same structure.
        state: the task's state at the stop, as ``Fit.state``, which includes the state of the optimizer.
        best_step: the step of that state, as ``Fit.best_step``, >= 0; may be traced.
        steps: largest number of further steps, a multiple of ``eval_every``; static.
        eval_every: steps between evaluations (the book's n), >= 1; static.
        batch_size: examples in a batch; None uses all examples in every step; static.
        eval_batch_size: examples that are evaluated at a time, so that the memory of an evaluation does not
            grow with their number; metrics are then weighted means over the batches, see ``losses.from_means`` for
            others. None evaluates all at once; static.
        key: source of all randomness, as passed to ``fit``.
        monitor: name of the loss in the evaluation; static.

    Returns:
        The state, the learning curves (``train_*`` over all examples), and whether the threshold was reached.

    Raises:
        ValueError: an argument is out of range, ``steps`` is not a multiple of ``eval_every``, ``monitor`` is not
            evaluated or no loss, or the two parts of the data do not have the same structure.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt import training
        >>> from regopt.data import Splits
        >>> from regopt.testing import MEAN_TASK  # w moves towards the mean of the batch
        >>> data = Splits(train=jnp.array([1.0]), validation=jnp.full(3, 0.75))
        >>> result = training.continue_training(
        ...     MEAN_TASK, {"rate": 0.5}, data, jnp.array(0.9), best_step=4, steps=10, eval_every=1
        ... )
        >>> round(float(result.threshold), 2), bool(result.converged), int(result.last_step)
        (0.01, True, 6)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Algorithm 7.3.
    """
    check_task(task)
    check_monitor(monitor)
    if direction_of(monitor, getattr(task, "modes", None)) == "max":
        raise ValueError(f"monitor must be a loss, got {monitor!r}, whose larger values are better")
    data = checked(data, steps=steps, eval_every=eval_every, batch_size=batch_size, eval_batch_size=eval_batch_size)
    check_number("best_step", best_step, "[0, inf)")
    together = _together(data)
    keys = keys_of(key, h)
    state = jax.tree.map(jnp.asarray, state)
    infinite = trees.count_not_finite(state)
    threshold = _evaluated(task, state, data._replace(validation=data.train), h, monitor, eval_batch_size)
    first_step = jnp.asarray(best_step).astype(jnp.int32)

    def segment(run, first_step):
        state, metrics, bad_step = train_segment(
            task,
            run.state,
            together,
            h,
            first_step=first_step,
            steps=eval_every,
            batch_size=batch_size,
            order_key=keys.order,
            noise_key=keys.noise,
            infinite=infinite,
            monitor=monitor,
            eval_batch_size=eval_batch_size,
        )
        converged = (metrics[monitor] <= threshold) & (bad_step == 0)
        return Continued(state, {}, threshold, converged, first_step + eval_every, bad_step), metrics

    converged = _evaluated(task, state, data, h, monitor, eval_batch_size) <= threshold
    run, metrics = scan_while(
        lambda run: ~run.converged & (run.first_bad_step == 0),
        segment,
        Continued(state, {}, threshold, converged, first_step, jnp.zeros((), jnp.int32)),
        first_step + jnp.arange(0, steps, eval_every, dtype=jnp.int32),
    )
    return run._replace(metrics=metrics)


def _together(data: Splits) -> Splits:
    """The data with the validation examples appended to the training examples."""
    parts = [jax.tree.map(lambda x: (x.shape[1:], x.dtype), part) for part in (data.train, data.validation)]
    if parts[0] != parts[1]:
        raise ValueError(f"data.validation must have the structure, shapes and dtypes of data.train, got {parts}")
    return data._replace(train=jax.tree.map(lambda *both: jnp.concatenate(both), data.train, data.validation))


def _updates(data: Splits, steps: int, by: str, batch_size: int | None) -> np.ndarray:
    """The number of updates for each best step from 0 to ``steps``, as a table because the product may exceed 2**31."""
    check_choice("by", by, ("updates", "epochs"))
    best_steps = np.arange(steps + 1)
    if by == "updates" or batch_size is None:
        return best_steps
    before, added = size_of(data.train), size_of(data.validation)
    return best_steps + (2 * best_steps * added + before) // (2 * before)


def _limited(task: Task, limit: jax.Array) -> Task:
    """The task with a step count beside its state; after ``limit`` steps nothing changes."""

    def step(counted, batch, key, h):
        state, done = counted
        after, metrics = task.step(state, batch, key, h)
        more = done < limit
        metrics = jax.tree.map(lambda x: jnp.where(more, x, jnp.zeros_like(x)), metrics)
        return (trees.where(more, after, state), done + more.astype(jnp.int32)), metrics

    return task._replace(step=step)


def _evaluated(task: Task, state: Tree, data: Splits, h: Tree, monitor: str, batch_size: int | None) -> jax.Array:
    metrics = evaluate(task, state, data, h, batch_size)
    if monitor not in metrics:
        raise ValueError(f"monitor must be one of {sorted(metrics)}, got {monitor!r}")
    return metrics[monitor]
