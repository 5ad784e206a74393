"""Early stopping as a state machine over arrays, for use inside jit, vmap and scan."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.checks import check_count
from regopt._core.metrics import as_loss, check_mode
from regopt._core.numerics import as_float, check_number
from regopt._core.types import Mode, Number, Stopping, Tree


class EarlyStoppingState(NamedTuple):
    """State of ``early_stopping``; each comment ends with the book's symbol."""

    step: jax.Array  # shape (), int32: training steps so far, i
    waited: jax.Array  # shape (), int32: evaluations since the best one, j
    best_metric: jax.Array  # shape (), default float dtype: v
    best_step: jax.Array  # shape (), int32: i*
    best_params: Tree  # structure, shapes and dtypes of the parameters: theta*
    stop: jax.Array  # shape (), bool: j >= p; after that the state does not change


def early_stopping(patience: Number, every: Number = 1, *, mode: Mode = "min") -> Stopping:
    """Stop after ``patience`` consecutive evaluations without strict improvement, and keep the best parameters.

    Neither a NaN nor an equal metric is an improvement. Once ``stop`` is set, further updates change nothing, so a scan
    of fixed length ends with the state of the stop.

    Args:
        patience: number of evaluations without improvement, >= 0; 0 stops before the first one; may be traced.
        every: training steps between evaluations (the book's n), >= 1, the unit in which ``best_step`` advances; may be
            traced.
        mode: whether a smaller ("min") or a larger ("max") metric is better; static.

    Returns:
        The state machine; ``init(params)`` and ``update(state, params, metric)``.

    Raises:
        ValueError: a concrete argument lies outside its range, ``every`` is no whole number, or ``mode`` is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt import training
        >>> rule = training.early_stopping(patience=2)
        >>> state = rule.init(jnp.array(0.0))
        >>> for step, loss in enumerate([3.0, 2.0, 2.5, 2.4, 1.0], start=1):  # the last loss comes after the stop
        ...     state = rule.update(state, jnp.array(10.0 * step), loss)
        >>> int(state.best_step), float(state.best_params), bool(state.stop)
        (2, 20.0, True)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Algorithm 7.1.
    """
    check_number("patience", patience, "[0, inf)")
    check_count("every", every, "[1, inf)")
    check_mode(mode)

    def init(params):
        step, waited, best_step = (jnp.zeros((), jnp.int32) for _ in range(3))
        return EarlyStoppingState(
            step=step,
            waited=waited,
            best_metric=as_float(as_loss(jnp.inf, mode)),
            best_step=best_step,
            best_params=jax.tree.map(jnp.copy, params),  # a copy, so that both may be donated
            stop=as_float(patience) <= 0,
        )

    def update(state, params, metric):
        metric = as_float(metric)
        better = as_loss(metric, mode) < as_loss(state.best_metric, mode)
        step = state.step + jnp.asarray(every).astype(jnp.int32)
        waited = jnp.where(better, 0, state.waited + 1)
        after = EarlyStoppingState(
            step=step,
            waited=waited,
            best_metric=jnp.where(better, metric, state.best_metric),
            best_step=jnp.where(better, step, state.best_step),
            best_params=trees.where(better, params, state.best_params),
            stop=as_float(waited) >= as_float(patience),
        )
        return trees.where(state.stop, state, after)

    return Stopping(init, update)
