"""A penalty in the gradient: as a link of a chain, or in the loss that an optimizer sees."""

import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.numerics import at_count, check_range, widen
from regopt._core.protocols import evaluation_params
from regopt._core.types import NumberOrSchedule, Penalty, Tree


class AddPenaltyGradientState(NamedTuple):
    """State of ``add_penalty_gradient``."""

    count: Any  # shape (), int32: updates so far; None where no schedule asks for it


def add_penalty_gradient(penalty: Penalty, scale: NumberOrSchedule = 1.0) -> optax.GradientTransformationExtraArgs:
    """``u <- u + scale * grad penalty(params)``, a link of a chain.

    Before an optimizer it puts the penalty into the loss; between a direction and ``scale_by_learning_rate`` it
    is AdamW's decoupled decay; after an optimizer, with ``scale`` negative, it decays the parameters themselves.

    Args:
        penalty: its value is differentiated at the parameters.
        scale: dimensionless before an optimizer, a step size after one; any sign; may be traced or a schedule.

    Returns:
        The transformation; its update wants ``params``. Dtypes of the incoming updates are kept.

    Raises:
        ValueError: a concrete scale is not finite.
    """
    check_range("scale", scale, "(-inf, inf)")
    scheduled = any(map(callable, jax.tree.leaves(scale)))

    def init(params):
        del params
        return AddPenaltyGradientState(jnp.zeros((), jnp.int32) if scheduled else None)

    def update(updates, state, params=None, **extra_args):
        del extra_args
        if params is None:
            raise ValueError("the gradient of a penalty needs the parameters: call update(grads, state, params)")
        factor = at_count(scale, state.count)
        slopes = jax.grad(penalty.value, allow_int=True)(params)
        slopes = jax.tree.map(lambda s, w: jnp.zeros(w.shape) if s.dtype == jax.dtypes.float0 else s, slopes, params)
        updates = trees.lift(lambda u, slope, factor: u + factor * slope, updates, slopes, numbers=(factor,))
        return updates, AddPenaltyGradientState(optax.safe_increment(state.count) if scheduled else None)

    return optax.GradientTransformationExtraArgs(init, update)


def in_gradient(optimizer: optax.GradientTransformation, penalty: Penalty) -> optax.GradientTransformationExtraArgs:
    """A chain of both, with the penalty's gradient taken where the optimizer wants the loss's.

    What the optimizer is told of the loss besides, for a line search or a Hessian, is of the penalised loss too.
    """
    first, second = add_penalty_gradient(penalty), optax.with_extra_args_support(optimizer)

    def init(params):
        return first.init(params), second.init(params)

    def update(updates, state, params=None, **extra_args):
        point = None if params is None else evaluation_params(params, state)
        updates, first_state = first.update(updates, state[0], point)
        updates, second_state = second.update(
            updates, state[1], params, **_penalized(extra_args, penalty, point, updates)
        )
        return updates, (first_state, second_state)

    return optax.GradientTransformationExtraArgs(init, update)


def _penalized(extra_args: dict[str, Any], penalty: Penalty, point: Tree, grads: Tree) -> dict[str, Any]:
    own = dict(extra_args)
    if "residual_fn" in own:
        raise ValueError(
            'how="gradient" cannot put a penalty into residuals, of which the optimizer makes its own gradient: append '
            "the penalty's to residual_fn, for l2 sqrt(strength) * params"
        )
    if "value" in own:
        own["value"] = operator.add(*widen(own["value"], penalty.value(point)))
    if "grad" in own:
        own["grad"] = grads
    if "value_fn" in own:
        loss = own["value_fn"]
        own["value_fn"] = lambda params: operator.add(*widen(loss(params), penalty.value(params)))
    return own
