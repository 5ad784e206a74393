"""A learning rate that falls whenever a metric has stopped improving: a reactive schedule as a state machine."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.checks import check_count
from regopt._core.metrics import as_loss, check_mode
from regopt._core.numerics import as_float, check_number
from regopt._core.scheduled import takes_schedules
from regopt._core.transformation import transformation
from regopt._core.types import Mode, ScheduledNumber


class ReduceOnPlateauState(NamedTuple):
    """State of ``reduce_on_plateau``."""

    scale: jax.Array  # shape (), default float dtype: factor of the updates
    best_value: jax.Array  # shape (), default float dtype
    plateau_count: jax.Array  # shape (), int32: consecutive evaluations without improvement
    cooldown_count: jax.Array  # shape (), int32: remaining evaluations of the cooldown
    count: jax.Array  # shape (), int32: values since the last evaluation
    total: jax.Array  # shape (), default float dtype: their sum


@takes_schedules()
def reduce_on_plateau(
    factor: ScheduledNumber = 0.1,
    patience: ScheduledNumber = 10,
    rtol: ScheduledNumber = 1e-4,
    atol: ScheduledNumber = 0.0,
    cooldown: ScheduledNumber = 0,
    accumulation_size: ScheduledNumber = 1,
    min_scale: ScheduledNumber = 0.0,
    *,
    mode: Mode = "min",
) -> optax.GradientTransformationExtraArgs:
    """``u <- scale * u``; the scale falls to ``max(factor * scale, min_scale)`` after ``patience`` bad evaluations.

    An evaluation is the mean of ``accumulation_size`` values. It is bad unless
    ``mean < best - (rtol * |best| + atol)``, so a NaN is bad. After a fall the next ``cooldown`` evaluations do not
    count as bad, but they still update the best value. Chain this behind an optimizer and pass the metric to the
    update: ``update(grads, state, params, value=loss)``.

    Each number may be traced, or a schedule of the number of calls: then a call goes by the values at its count.

    A patience of p in PyTorch is p + 1 here: PyTorch reduces the rate at the evaluation after p bad ones.

    Args:
        factor: factor of the scale at a fall, in (0, 1], dimensionless.
        patience: consecutive bad evaluations before a fall, >= 1.
        rtol: required improvement relative to the best value, in [0, 1], dimensionless.
        atol: required improvement, >= 0, in units of the metric.
        cooldown: evaluations after a fall that do not count as bad, >= 0.
        accumulation_size: values in an evaluation, >= 1.
        min_scale: lower bound of the scale, in [0, 1], dimensionless.
        mode: whether a smaller ("min") or a larger ("max") value is better; static.

    Returns:
        The transformation; its ``update`` requires ``value``. It keeps the dtypes of the incoming updates.

    Raises:
        ValueError: a concrete argument lies outside its range, ``mode`` is unknown, or an ``update`` comes without
            ``value``.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import regopt
        >>> params = jnp.array([1.0])
        >>> optimizer = optax.chain(regopt.sgd(1.0), regopt.transforms.reduce_on_plateau(factor=0.5, patience=2))
        >>> state = optimizer.init(params)
        >>> for loss in [3.0, 3.0, 3.0]:  # two evaluations without improvement
        ...     updates, state = optimizer.update(jnp.ones(1), state, params, value=loss)
        >>> updates
        Array([-0.5], dtype=float32)

    References:
        PyTorch documentation. ``torch.optim.lr_scheduler.ReduceLROnPlateau``.

        Optax documentation. ``optax.contrib.reduce_on_plateau``, which has the same argument names.
    """
    check_number("factor", factor, "(0, 1]")
    check_number("rtol", rtol, "[0, 1]")
    check_number("min_scale", min_scale, "[0, 1]")
    for name, number, low in (("patience", patience, 1), ("accumulation_size", accumulation_size, 1)):
        check_count(name, number, f"[{low}, inf)")
    check_number("atol", atol, "[0, inf)")
    check_count("cooldown", cooldown, "[0, inf)")
    check_mode(mode)

    def init(params):
        del params
        # three arrays, because one buffer cannot be donated twice
        plateau, cooldown, count = (jnp.zeros((), jnp.int32) for _ in range(3))
        worst = as_float(as_loss(jnp.inf, mode))
        return ReduceOnPlateauState(as_float(1), worst, plateau, cooldown, count, as_float(0))

    def evaluate(state, value):
        best = state.best_value
        margin = jnp.where(jnp.isfinite(best), as_float(rtol) * jnp.abs(best), 0) + as_float(atol)
        better = as_loss(value, mode) < as_loss(best, mode) - margin
        cooling = state.cooldown_count > 0
        bad = jnp.where(better | cooling, 0, state.plateau_count + 1)
        falls = as_float(bad) >= as_float(patience)
        rest = jnp.ceil(as_float(cooldown)).astype(jnp.int32)
        zero = jnp.zeros((), jnp.int32)
        return ReduceOnPlateauState(
            scale=jnp.where(falls, jnp.maximum(state.scale * as_float(factor), as_float(min_scale)), state.scale),
            best_value=jnp.where(better, value, best),
            plateau_count=jnp.where(falls, 0, bad),
            cooldown_count=jnp.where(falls, rest, jnp.maximum(state.cooldown_count - 1, 0)),
            count=zero,
            total=as_float(0),
        )

    def update(updates, state, params=None, *, value=None, **extra_args):
        del params, extra_args
        if value is None:
            raise ValueError("reduce_on_plateau needs the metric: call update(grads, state, params, value=loss)")
        count, total = state.count + 1, state.total + as_float(value)
        full = as_float(count) >= as_float(accumulation_size)
        after = evaluate(state, total / as_float(count))
        state = trees.where(full, after, state._replace(count=count, total=total))
        return trees.lift(lambda u, scale: scale * u, updates, numbers=(state.scale,)), state

    return transformation(init, update, ReduceOnPlateauState)
