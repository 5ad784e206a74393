"""One run with early stopping, as a pure function of its setting, its data and its key.

For many settings at once there is ``sweep.run``, in which each one costs nothing more from its own stop on; ``fit`` is
for what a sweep cannot do: to be differentiated, or mapped over data, keys and patience inside a larger program.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.keys import keys_of
from regopt._core.metrics import check_mode, check_monitor, monitored
from regopt._core.numerics import check_number
from regopt._core.tasks import as_state, asking_for, check_task, first_metrics
from regopt._core.types import Key, Mode, Number, Task, Tree
from regopt.data import Splits
from regopt.training._early_stopping import early_stopping
from regopt.training._segments import checked, scan_while, train_segment


class Fit(NamedTuple):
    """The result of ``fit``."""

    state: Tree  # the task's state at best_step
    metrics: dict[str, jax.Array]  # each [evaluations], float; NaN after the end
    best_step: jax.Array  # shape (), int32: step of the state that is kept, i* with patience, else the last
    best_metric: jax.Array  # shape (), float: the monitor at best_step; NaN at step 0
    last_step: jax.Array  # shape (), int32: number of trained steps
    stopped: jax.Array  # shape (), bool: patience ended the run
    first_bad_step: jax.Array  # shape (), int32: step whose NaN or infinity ended the run; 0 if there is none

    @property
    def diverged(self) -> jax.Array:
        """Shape (), bool: the run met a NaN or an infinity."""
        return self.first_bad_step > 0


class _Run(NamedTuple):
    """The carry from segment to segment."""

    state: Tree
    stopping: Tree  # state of early stopping; without patience it keeps no parameters
    last_step: jax.Array
    first_bad_step: jax.Array


def fit(
    task: Task,
    h: Tree,
    data: Splits,
    *,
    steps: int,
    eval_every: int,
    batch_size: int | None = None,
    eval_batch_size: int | None = None,
    key: Key | None = None,
    patience: Number | None = None,
    monitor: str = "validation_loss",
    mode: Mode | None = None,
) -> Fit:
    """Train one setting, evaluate every ``eval_every`` steps, and stop early if ``patience`` is given.

    This is a pure function: it may be jitted, mapped over ``h``, ``data``, ``key`` and ``patience``, and differentiated
    (``state`` and ``metrics`` with respect to a learning rate, for example). After a stop or a divergence nothing
    changes and nothing is computed; under ``vmap`` this holds once the last lane has ended.

    A setting has, to rounding, the result that ``sweep.run`` gives it with the same key, because the key is split in
    the same way. If there is an ``h["seed"]``, it decides the initial state and the order of the data. The one
    exception is patience 0, with which this function trains nothing and the sweep one segment.

    Args:
        task: the task to train; see ``sweep.supervised``.
        h: the setting in the form that the task takes. For a supervised task it is a dict of numbers, which may be
            traced, and static values.
        data: examples; ``train`` is cut into batches, and the task evaluates on ``validation``.
        steps: training steps, a multiple of ``eval_every``; static.
        eval_every: steps between evaluations (the book's n), >= 1; static.
        batch_size: examples in a batch, drawn without replacement in each epoch; None uses all examples in every step;
            static.
        eval_batch_size: validation examples that are evaluated at a time, so that the memory of an evaluation does not
            grow with their number; metrics are then weighted means over the batches, see ``losses.from_means`` for
            others. None evaluates all at once; static.
        key: source of all randomness; ``jax.random.key(0)`` by default.
        patience: stop after this many consecutive evaluations without strict improvement of ``monitor``, and keep the
            best state; >= 0, where 0 does not train at all; may be traced. None trains to the end and keeps the last
            state.
        monitor: the metric that early stopping watches; a run diverges when it is not finite; static.
        mode: whether a smaller ("min") or a larger ("max") ``monitor`` is better; by default what the task declares,
            else "min"; static.

    Returns:
        The state that is kept, the learning curves, and how the run ended.

    Raises:
        ValueError: an argument is out of range, ``steps`` is not a multiple of ``eval_every``, or ``monitor`` is not a
            metric of the task.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt import training
        >>> from regopt.data import Splits
        >>> from regopt.testing import MEAN_TASK  # w moves towards the mean of the batch
        >>> data = Splits(train=jnp.array([1.0, 1.0]), validation=jnp.array([0.5]))
        >>> result = training.fit(MEAN_TASK, {"rate": 0.125}, data, steps=20, eval_every=1, patience=2)
        >>> int(result.best_step), round(float(result.state), 2), int(result.last_step)  # w passes 0.5 on its way to 1
        (5, 0.49, 7)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Algorithm 7.1.
    """
    check_task(task)
    check_monitor(monitor)
    if mode is not None:
        check_mode(mode)
    data = checked(data, steps=steps, eval_every=eval_every, batch_size=batch_size, eval_batch_size=eval_batch_size)
    keeps_best = patience is not None
    if keeps_best:
        check_number("patience", patience, "[0, inf)")
    keys = keys_of(key, h)
    mode = monitored(task, monitor, mode, lambda: first_metrics(task, data, keys.init, h))
    rule = early_stopping(patience if keeps_best else steps + 1, eval_every, mode=mode)
    with asking_for(h):
        state = as_state(task.init(keys.init, h))
    infinite = trees.count_not_finite(state)

    def candidate(state):
        return state if keeps_best else ()

    def going(run):
        return ~run.stopping.stop & (run.first_bad_step == 0)

    def segment(run, first_step):
        state, metrics, bad_step = train_segment(
            task,
            run.state,
            data,
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
        stopping = rule.update(run.stopping, candidate(state), metrics[monitor])
        return _Run(state, stopping, first_step + eval_every, bad_step), metrics

    zero = jnp.zeros((), jnp.int32)
    start = _Run(state, rule.init(candidate(state)), zero, zero)
    run, metrics = scan_while(going, segment, start, jnp.arange(0, steps, eval_every, dtype=jnp.int32))
    best_step = run.stopping.best_step if keeps_best else run.last_step
    state = run.stopping.best_params if keeps_best else run.state
    return _kept(run, state, best_step, metrics, metrics[monitor][best_step // eval_every - 1])


def _kept(run: _Run, state: Tree, best_step: jax.Array, metrics: dict[str, jax.Array], at_best: jax.Array) -> Fit:
    """The result of a run that keeps this state, which it had at ``best_step``."""
    return Fit(
        state=state,
        metrics=metrics,
        best_step=best_step,
        best_metric=jnp.where(best_step > 0, at_best, jnp.nan),
        last_step=run.last_step,
        stopped=run.stopping.stop & (run.first_bad_step == 0),
        first_bad_step=run.first_bad_step,
    )
