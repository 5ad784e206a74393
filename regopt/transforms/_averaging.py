"""Averages of the parameters: the optimizer goes on as before, and the model is a mean of its iterates.

``regopt.final_params(params, opt_state)`` returns that model; sweeps evaluate and predict with it. Averages are kept in
at least float32. These wrappers belong outermost, around everything that moves the parameters.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.checks import check_optimizer
from regopt._core.numerics import (
    as_float,
    at_count,
    check_number,
    check_schedulable,
    one_minus,
    one_minus_power,
    safe_divide,
)
from regopt._core.protocols import unshifted
from regopt._core.scheduled import takes_schedules
from regopt._core.transformation import transformation
from regopt._core.types import Number, ScheduledNumber, Tree


class AverageParamsState(NamedTuple):
    """State of ``average_params``."""

    inner: Tree  # state of the wrapped optimizer
    count: Number  # shape (), int32: updates so far
    mean: Tree  # shapes of the parameters, at least float32
    total: jax.Array  # shape (), default float dtype: the sum of the weights of all iterates, before the correction

    def final_params(self, params: Tree) -> Tree:
        """The average, in the dtypes of ``params``."""
        return trees.lift(lambda _, mean: mean, params, self.mean)


def average_params(
    optimizer: optax.GradientTransformation, decay: ScheduledNumber | None = None
) -> optax.GradientTransformationExtraArgs:
    """A running average of the optimizer's iterates beside it, ``a_t = a_{t-1} + c_t (w_t - a_{t-1})``.

    * Without ``decay``: ``c_t = 1 / t``, the mean of all iterates after the start (Polyak-Ruppert).
    * With ``decay``: ``c_t = (1 - decay) / (1 - decay**t)``, the exponential moving average with bias correction,
      ``sum_i decay**(t-i) w_i / sum_i decay**(t-i)``.
    * With a schedule: ``c_t = (1 - decay_t) / s_t`` with ``s_t = decay_t s_{t-1} + 1 - decay_t`` and ``s_0 = 0``, the
      same for a decay that changes: the weights of all iterates sum to 1.

    The initial parameters have no weight. The updates are those of the optimizer. Where the parameters are a point
    beside the iterate, as for ``nesterov`` and ``sam``, the average is that of the iterates.

    Args:
        optimizer: any optax or regopt transformation.
        decay: decay rate of the average, in [0, 1), dimensionless; may be traced or scheduled, by the number of updates
            so far. None gives all iterates equal weight.

    Returns:
        The optimizer; its ``update`` requires ``params``. ``regopt.final_params`` returns the average.

    Raises:
        ValueError: a concrete decay lies outside its range, or an ``update`` comes without ``params``.

    Example:
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> params = jnp.array([8.0])  # the loss is |w|**2 / 2, its gradient w
        >>> optimizer = regopt.average_params(regopt.sgd(learning_rate=0.5))
        >>> state = optimizer.init(params)
        >>> for _ in range(2):
        ...     updates, state = optimizer.update(params, state, params)
        ...     params = params + updates
        >>> params, regopt.final_params(params, state)  # the iterates are 4 and 2
        (Array([2.], dtype=float32), Array([3.], dtype=float32))

    References:
        Polyak, B. T., & Juditsky, A. B. (1992). Acceleration of stochastic approximation by averaging. SIAM Journal on
        Control and Optimization, 30(4), 838-855. Equation 2.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 8.7.3.
    """
    check_optimizer("optimizer", optimizer)
    if decay is not None:
        check_schedulable("decay", decay, "[0, 1)")
    optimizer = optax.with_extra_args_support(optimizer)

    def init(params):
        count = jnp.zeros((), jnp.int32)
        return AverageParamsState(optimizer.init(params), count, trees.copy_wide(params), as_float(0))

    def update(updates, state, params=None, **extra_args):
        moves, inner = optimizer.update(updates, state.inner, params, **extra_args)
        moved = applied("average_params", params, moves)
        model = unshifted(moved, inner)
        count = optax.safe_increment(state.count)
        own, total = _weights(decay, state)
        weight = safe_divide(own, total)
        mean = trees.lift(lambda a, w, c: a + c * (w - a), state.mean, model, numbers=(weight,))
        return moves, AverageParamsState(trees.cast_like(inner, state.inner), count, mean, total)

    return transformation(init, update, AverageParamsState)


def _weights(decay: ScheduledNumber | None, state: AverageParamsState) -> tuple[jax.Array, jax.Array]:
    """The weight of the next iterate, and the sum of the weights with it."""
    after = optax.safe_increment(state.count)
    if decay is None:
        return as_float(1), as_float(after)
    own = as_float(one_minus(at_count(decay, state.count)))
    if callable(decay):
        return own, state.total + own * (1 - state.total)
    return own, one_minus_power(decay, after)


class LookaheadState(NamedTuple):
    """State of ``lookahead``."""

    inner: Tree  # state of the wrapped optimizer
    since_sync: Number  # shape (), int32: steps since the slow weights last moved
    slow: Tree  # shapes of the parameters, at least float32

    def final_params(self, params: Tree) -> Tree:
        """The slow weights, in the dtypes of ``params``."""
        return trees.lift(lambda _, slow: slow, params, self.slow)


@takes_schedules()
def lookahead(
    optimizer: optax.GradientTransformation, sync_period: ScheduledNumber = 5, slow_step_size: ScheduledNumber = 0.5
) -> optax.GradientTransformationExtraArgs:
    """``sync_period`` steps of the optimizer, then ``s <- s + slow_step_size (w - s)`` and ``w <- s``.

    The parameters are the fast weights w; the slow weights s are in the state. A synchronisation does not reset the
    state of the optimizer. Where the parameters are a point beside the iterate, as for ``nesterov``, the iterate is the
    fast weights, and the parameters keep their distance from it.

    Args:
        optimizer: any optax or regopt transformation, for the fast weights.
        sync_period: steps between synchronisations, >= 1; may be traced or scheduled, by the number of calls. The slow
            weights move as soon as at least this many steps are taken.
        slow_step_size: step of the slow weights, in [0, 1], dimensionless; may be traced or scheduled, by the number of
            calls.

    Returns:
        The optimizer; its ``update`` requires ``params``. ``regopt.final_params`` returns the slow weights.

    Raises:
        ValueError: a concrete argument lies outside its range, or an ``update`` comes without ``params``.

    Example:
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> params = jnp.array([8.0])  # the loss is |w|**2 / 2, its gradient w
        >>> optimizer = regopt.lookahead(regopt.sgd(learning_rate=0.5), sync_period=2)
        >>> state = optimizer.init(params)
        >>> for _ in range(2):
        ...     updates, state = optimizer.update(params, state, params)
        ...     params = params + updates
        >>> params  # the fast weights reach 2, and the slow ones go half of the way from 8
        Array([5.], dtype=float32)

    References:
        Zhang, M. R., Lucas, J., Hinton, G., & Ba, J. (2019). Lookahead optimizer: k steps forward, 1 step back.
        NeurIPS. Algorithm 1.
    """
    check_optimizer("optimizer", optimizer)
    check_number("sync_period", sync_period, "[1, inf)")
    check_number("slow_step_size", slow_step_size, "[0, 1]")
    optimizer = optax.with_extra_args_support(optimizer)

    def init(params):
        return LookaheadState(optimizer.init(params), jnp.zeros((), jnp.int32), trees.copy_wide(params))

    def update(updates, state, params=None, **extra_args):
        moves, inner = optimizer.update(updates, state.inner, params, **extra_args)
        moved = applied("lookahead", params, moves)
        steps = optax.safe_increment(state.since_sync)
        sync = as_float(steps) >= as_float(sync_period)
        model = unshifted(moved, inner)
        ahead = trees.lift(lambda s, w, a: s + a * (w - s), state.slow, model, numbers=(slow_step_size,))
        slow = trees.where(sync, ahead, state.slow)
        if model is moved:
            back: Tree = trees.lift(lambda _, w, s: s - w, moves, params, slow)
        else:  # the parameters keep their distance from the iterate behind them
            back = trees.lift(lambda _, w, s, y, x: s + (y - x) - w, moves, params, slow, moved, model)
        moves = trees.where(sync, back, moves)
        return moves, LookaheadState(trees.cast_like(inner, state.inner), jnp.where(sync, 0, steps), slow)

    return transformation(init, update, LookaheadState)


def applied(name: str, params: Tree, moves: Tree) -> Tree:
    """The parameters after the update, rounded as by ``optax.apply_updates``.

    Args:
        name: name of the wrapper, for the message.
        params: the parameters before the update.
        moves: the update.

    Returns:
        A tree like ``params``.

    Raises:
        ValueError: ``params`` is None.
    """
    if params is None:
        raise ValueError(f"{name} needs the parameters: call update(grads, state, params)")
    return trees.lift(jnp.add, params, moves)
