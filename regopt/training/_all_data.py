"""What to do with the validation examples once early stopping has used them: train on them as well.

Two ways, both after ``fit`` or a sweep with patience: start again for as long (Algorithm 7.2), or go on until the
validation loss is down where the training loss was (Algorithm 7.3). Neither has anything left to validate with.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core import trees
from regopt._core.numerics import check_range
from regopt._core.types import Key, Number, Task, Tree
from regopt.data import Splits
from regopt.training._checks import check_monitor, check_task
from regopt.training._segments import checked, first_bad_step, keys_of, scan_while, size_of, train_segment
from regopt.training._steps import train_steps

_STRIDE = 64  # steps between two looks at whether all are done; changes no result


class Retrained(NamedTuple):
    """The outcome of ``retrain``."""

    state: Tree  # the task's, after the last step
    last_step: jax.Array  # shape (), int32: steps trained
    first_bad_step: jax.Array  # shape (), int32: step that met a NaN or an infinity and ended it; 0 without one


class Continued(NamedTuple):
    """The outcome of ``continue_training``; steps are counted from the start of the whole training."""

    state: Tree  # the task's, after the last step
    metrics: dict[str, jax.Array]  # each [evaluations], float; NaN where not trained
    threshold: jax.Array  # shape (), float: the training loss at the stop
    converged: jax.Array  # shape (), bool: the validation loss came down to the threshold
    last_step: jax.Array  # shape (), int32
    first_bad_step: jax.Array  # shape (), int32: step that met a NaN or an infinity and ended it; 0 without one


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
    """Train anew on the training and the validation examples together, for as long as early stopping found best.

    By updates there are ``best_step`` of them. By epochs an example is visited as often as before: with batches
    ``best_step * (training + validation) / training`` updates, rounded, halves up; without them, when an update is
    an epoch, ``best_step`` again.

    Args:
        task: what to train.
        h: the setting; its numbers may be traced.
        data: examples; ``train`` and ``validation`` have one structure.
        best_step: i*, as ``Fit.best_step``, in [0, steps]; may be traced.
        steps: the most that ``best_step`` may be, as given to ``fit``; static.
        by: what is kept, the number of updates or the number of epochs.
        batch_size: examples in a batch; None gives every step them all.
        key: source of all randomness; with the key given to ``fit`` the initial state is the same.

    Returns:
        The state and the number of updates.

    Raises:
        ValueError: an argument is out of range, or the two parts of the data do not fit together.

    References: Goodfellow et al. (2016), Algorithm 7.2.
    """
    check_task(task)
    data = checked(data, steps=steps, eval_every=1, batch_size=batch_size)
    check_range("best_step", best_step, f"[0, {steps}]")
    updates = _updates(data, steps, by, batch_size)
    limit = jnp.asarray(updates, jnp.int32)[jnp.clip(jnp.asarray(best_step).astype(jnp.int32), 0, steps)]
    together = _together(data)
    keys = keys_of(key, h)
    state = jax.tree.map(jnp.asarray, task.init(keys.init, h))
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
    key: Key | None = None,
    monitor: str = "validation_loss",
) -> Continued:
    """Go on from the stop, on the training and the validation examples together, while validation loss > threshold.

    The threshold is the training loss at the stop, both losses as ``task.evaluate`` measures them. The loop may end
    before its first step, and it may never end: the validation loss need not come down so far. Hence the bound on
    the steps and the flag ``converged``. The batches and the noise are those of the steps ``best_step`` and later.

    Args:
        task: what to train.
        h: the setting; its numbers may be traced.
        data: examples; ``train`` and ``validation`` have one structure.
        state: the task's at the stop, as ``Fit.state``; it holds the optimizer's state too.
        best_step: its step, as ``Fit.best_step``, >= 0; may be traced.
        steps: how many more at most, a multiple of ``eval_every``, static.
        eval_every: steps between evaluations (the book's n), >= 1, static.
        batch_size: examples in a batch; None gives every step them all.
        key: source of all randomness, as given to ``fit``.
        monitor: the loss, as the evaluation names it.

    Returns:
        The state, the learning curves (``train_*`` over all examples), and whether the threshold was reached.

    Raises:
        ValueError: an argument is out of range, ``steps`` is no multiple of ``eval_every``, ``monitor`` is not
            evaluated, or the two parts of the data do not fit together.

    References: Goodfellow et al. (2016), Algorithm 7.3.
    """
    check_task(task)
    check_monitor(monitor)
    data = checked(data, steps=steps, eval_every=eval_every, batch_size=batch_size)
    check_range("best_step", best_step, "[0, inf)")
    together = _together(data)
    keys = keys_of(key, h)
    state = jax.tree.map(jnp.asarray, state)
    infinite = trees.count_not_finite(state)
    threshold = _evaluated(task, state, data._replace(validation=data.train), h, monitor)
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
        )
        converged = (metrics[monitor] <= threshold) & (bad_step == 0)
        return Continued(state, {}, threshold, converged, first_step + eval_every, bad_step), metrics

    converged = _evaluated(task, state, data, h, monitor) <= threshold
    run, metrics = scan_while(
        lambda run: ~run.converged & (run.first_bad_step == 0),
        segment,
        Continued(state, {}, threshold, converged, first_step, jnp.zeros((), jnp.int32)),
        first_step + jnp.arange(0, steps, eval_every, dtype=jnp.int32),
    )
    return run._replace(metrics=metrics)


def _together(data: Splits) -> Splits:
    """The data with the validation examples among those to train on, behind them."""
    parts = [jax.tree.map(lambda x: (x.shape[1:], x.dtype), part) for part in (data.train, data.validation)]
    if parts[0] != parts[1]:
        raise ValueError(f"data.validation must have the structure, shapes and dtypes of data.train, got {parts}")
    return data._replace(train=jax.tree.map(lambda *both: jnp.concatenate(both), data.train, data.validation))


def _updates(data: Splits, steps: int, by: str, batch_size: int | None) -> np.ndarray:
    """The number of updates for each best step from 0 to ``steps``: a table, since a product may pass 2**31."""
    if by not in ("updates", "epochs"):
        raise ValueError(f'by must be "updates" or "epochs", got {by!r}')
    best_steps = np.arange(steps + 1)
    if by == "updates" or batch_size is None:
        return best_steps
    before, added = size_of(data.train), size_of(data.validation)
    return best_steps + (2 * best_steps * added + before) // (2 * before)


def _limited(task: Task, limit: jax.Array) -> Task:
    """The task with a count beside its state; from ``limit`` steps on nothing changes."""

    def step(counted, batch, key, h):
        state, done = counted
        after, metrics = task.step(state, batch, key, h)
        more = done < limit
        metrics = jax.tree.map(lambda x: jnp.where(more, x, jnp.zeros_like(x)), metrics)
        return (trees.where(more, after, state), done + more.astype(jnp.int32)), metrics

    return task._replace(step=step)


def _evaluated(task: Task, state: Tree, data: Splits, h: Tree, monitor: str) -> jax.Array:
    metrics = task.evaluate(state, data, h)
    if monitor not in metrics:
        raise ValueError(f"monitor must be one of {sorted(metrics)}, got {monitor!r}")
    return metrics[monitor]
