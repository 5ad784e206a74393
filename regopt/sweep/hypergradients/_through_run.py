"""The gradient of a validation metric through a whole training run, in reverse or in forward mode.

It is exact for the run as it is, converged or not. ``_implicit.py`` does not need the run, but a minimum at its end.
"""

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.checks import check_choice
from regopt._core.keys import keys_of
from regopt._core.metrics import as_loss, direction_of
from regopt._core.numerics import as_float
from regopt._core.tasks import as_state
from regopt._core.training_data import check_data, check_steps
from regopt._core.types import Key, Mode, Task, Tree
from regopt.data import Splits
from regopt.training import train_steps

FEW = 4  # numbers up to which forward mode is chosen


class Hypergradient(NamedTuple):
    """A metric after a run, and its gradient with respect to the setting."""

    value: jax.Array  # shape (), float
    gradient: Tree  # structure, shapes and float dtypes of h
    metrics: dict[str, jax.Array]  # all that the task evaluates, scalars
    state: Tree  # the task's, after the last step
    sign: jax.Array | float = 1.0  # shape (), float: 1 where a smaller metric is better, -1 where a larger one is


def hypergradient(
    task: Task,
    h: Tree,
    data: Splits,
    *,
    steps: int,
    fixed: Mapping[str, object] | None = None,
    segment: int | None = None,
    batch_size: int | None = None,
    key: Key | None = None,
    metric: str = "validation_loss",
    mode: Literal["reverse", "forward"] | None = None,
) -> Hypergradient:
    """``d metric / d h`` after ``steps`` steps of training, the dependence of the initial state on h included.

    Reverse mode costs about three runs, however many numbers ``h`` has. The run is cut into segments; only the state at
    the start of each is stored, and each is trained again on the way back. This needs memory for ``steps / segment``
    states and for the intermediate values of ``segment`` steps, which is least near ``segment = sqrt(steps)``. Forward
    mode carries one derivative of the state for each number: it costs about two further runs for each number, and
    memory that does not grow with the steps.

    A pure function, which may be jitted and mapped over ``h``, ``data``, ``key`` and the numbers in ``fixed``. Up to
    rounding, a run has the outcome that ``sweep.run`` and ``training.fit`` give it with the same key.

    Args:
        task: what to train; see ``sweep.supervised``. The key fixes its noise: a dropout rate acts through the
            rescaling of the units that are kept, but the gradient does not see the flips of the masks (Gaussian dropout
            has none). Steps with loops of unknown length, such as line searches, work in forward mode alone.
        h: the numbers to differentiate for: real numbers and arrays, in a dict for a supervised task.
        data: examples; ``train`` is cut into batches, the task evaluates on ``validation``.
        steps: training steps, >= 1; static.
        fixed: further entries of the setting, not differentiated: seeds, static values, other numbers.
        segment: steps of a segment, a divisor of ``steps``; static. By default the one nearest to ``sqrt(steps)``. It
            has no effect in forward mode.
        batch_size: examples in a batch, drawn without replacement in each epoch; static. None gives every step all
            examples.
        key: source of all randomness; ``jax.random.key(0)`` by default.
        metric: which of the metrics of the task, one that declares whether a smaller or a larger value is better; it
            should be smooth, unlike an accuracy. The gradient is that of the metric itself, even if a larger value is
            better; ``tune`` moves in the better direction.
        mode: by default "forward" for up to 4 numbers, else "reverse"; static.

    Returns:
        The metric, its gradient, and the end of the run; not finite where the run or its derivative diverges.

    Raises:
        ValueError: ``h`` is empty or holds something that is no real number, ``h`` and ``fixed`` share a name,
            ``segment`` does not divide ``steps``, another argument is out of range, or ``metric`` is not one of the
            task's or declares no direction.

    Example:
        >>> from regopt import sweep
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> found = sweep.hypergradient(MEAN_TASK, {"rate": 0.5}, MEAN_DATA, steps=2)  # of (1 - rate)**4
        >>> float(found.value), float(found.gradient["rate"])
        (0.0625, -0.5)

    References:
        Maclaurin, D., Duvenaud, D., & Adams, R. P. (2015). Gradient-based hyperparameter optimization through
        reversible learning. ICML. Section 2.

        Franceschi, L., Donini, M., Frasconi, P., & Pontil, M. (2017). Forward and reverse gradient-based hyperparameter
        optimization. ICML. Algorithms 1 (reverse) and 2 (forward).

        Griewank, A., & Walther, A. (2008). Evaluating Derivatives: Principles and Techniques of Algorithmic
        Differentiation (2nd ed.). SIAM. Chapter 12, for the checkpoints.
    """
    if mode is not None:
        check_choice("mode", mode, ("reverse", "forward"))
    h = as_numbers(h)
    _check_fixed(h, fixed)
    segment = _checked_segment(steps, segment, batch_size)
    check_data(data)
    data = jax.tree.map(jnp.asarray, data)

    def run(h):
        setting = h if fixed is None else {**fixed, **h}
        state = _train(task, setting, data, steps=steps, segment=segment, batch_size=batch_size, key=key)
        metrics = task.evaluate(state, data, setting)
        value = _chosen(metrics, metric)
        if direction_of(metric, task.modes) is None:
            raise ValueError(
                f"the metric {metric} declares no direction: declare it by losses.metric(mode=...) on its function or "
                "by the field modes of a Task"
            )
        return value, (value, metrics, state)

    if mode is None:
        mode = "forward" if sum(x.size for x in jax.tree.leaves(h)) <= FEW else "reverse"
    slope = jax.jacfwd if mode == "forward" else jax.grad
    gradient, (value, metrics, state) = slope(run, has_aux=True)(h)
    gradient = jax.tree.map(lambda slope, number: slope.astype(number.dtype), gradient, h)
    return Hypergradient(value, gradient, metrics, state, sign_of(direction_of(metric, task.modes), value))


def sign_of(mode: Mode | None, value: jax.Array) -> jax.Array:
    """The sign that a metric has as a loss, in the dtype of its value."""
    return as_loss(jnp.ones_like(value), mode)


def as_numbers(h: Tree) -> Tree:
    """The leaves as float arrays; whole numbers get the default float dtype."""

    def as_number(path, leaf):
        dtype = (
            np.dtype(type(leaf)) if isinstance(leaf, bool | int | float) else getattr(leaf, "dtype", np.dtype(object))
        )
        if jnp.issubdtype(dtype, jnp.floating):
            return as_float(leaf) if isinstance(leaf, float) else jnp.asarray(leaf)
        if jnp.issubdtype(dtype, jnp.integer):
            return as_float(leaf)
        name = jax.tree_util.keystr(path)
        raise ValueError(f"h must hold real numbers, got {leaf!r} at h{name}; put values that do not change into fixed")

    if isinstance(h, Mapping) and "seed" in h:
        raise ValueError("h must hold real numbers in which the metric is smooth, got a seed; put it into fixed")
    numbers = jax.tree.map_with_path(as_number, h, is_leaf=lambda x: x is None)
    if not jax.tree.leaves(numbers):
        raise ValueError(f"h must hold at least one number, got {h!r}")
    return numbers


def _check_fixed(h: Tree, fixed: object) -> None:
    if fixed is None:
        return
    if not (isinstance(h, Mapping) and isinstance(fixed, Mapping)):
        raise ValueError(
            f"h and fixed must be dicts to make one setting, got {type(h).__name__}, {type(fixed).__name__}"
        )
    if both := set(h) & set(fixed):
        raise ValueError(f"h and fixed must have no name in common, got {min(both)}")


def _checked_segment(steps: int, segment: int | None, batch_size: int | None) -> int:
    check_steps(steps, 1, segment=segment, batch_size=batch_size)
    nearest = next(divisor for divisor in range(math.isqrt(steps), 0, -1) if steps % divisor == 0)
    if segment is None:
        return nearest
    if steps % segment:
        raise ValueError(f"segment must divide steps = {steps}, got {segment}; {nearest} would do")
    return segment


def _train(
    task: Task, setting: Tree, data: Splits, *, steps: int, segment: int, batch_size: int | None, key: Key | None
) -> Tree:
    """The state after the run; on the way back each segment is trained again from its first state."""
    keys = keys_of(key, setting)
    # as bare data of each segment: the check for reused keys counts a key that enters a checkpoint as used
    both = keys.order, keys.noise
    bare = [jnp.broadcast_to(data, (steps // segment, *data.shape)) for data in map(jax.random.key_data, both)]

    @jax.checkpoint
    def train_segment(state, at):
        first_step, *data_of_keys = at
        order_key, noise_key = (
            jax.random.wrap_key_data(bare, impl=jax.random.key_impl(like))
            for bare, like in zip(data_of_keys, both, strict=True)
        )
        return train_steps(
            task,
            state,
            data,
            setting,
            first_step=first_step,
            steps=segment,
            batch_size=batch_size,
            order_key=order_key,
            noise_key=noise_key,
        )[0]

    state = as_state(task.init(keys.init, setting))
    first_steps = jnp.arange(0, steps, segment, dtype=jnp.int32)
    return jax.lax.scan(lambda state, at: (train_segment(state, at), None), state, (first_steps, *bare))[0]


def _chosen(metrics: dict[str, jax.Array], metric: str) -> jax.Array:
    if metric not in metrics:
        raise ValueError(f"metric must be one of {sorted(metrics)}, got {metric!r}")
    value = jnp.asarray(metrics[metric])
    if value.shape or not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(f"the metric {metric} must be a float scalar, got {value.dtype} of shape {value.shape}")
    return value
