"""Putting a penalty on any optimizer: in the gradient, or decoupled from it.

The two differ for every optimizer with a memory: a penalty in the gradient passes through momentum and
adaptive scaling, a decoupled one acts on the parameters alone.
"""

import operator
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from regopt import tree
from regopt.numerics import at_count, check_range, widen
from regopt.transforms.evaluation import evaluation_params
from regopt.types import Number, NumberOrSchedule, Penalty, Schedule, Tree


class AddPenaltyGradientState(NamedTuple):
    """State of ``add_penalty_gradient``."""

    count: Number  # shape (), int32: updates so far


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

    def init(params):
        del params
        return AddPenaltyGradientState(jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra_args):
        del extra_args
        if params is None:
            raise ValueError("the gradient of a penalty needs the parameters: call update(grads, state, params)")
        factor = at_count(scale, state.count)
        slopes = jax.grad(penalty.value)(params)
        updates = tree.lift(lambda u, slope, factor: u + factor * slope, updates, slopes, numbers=(factor,))
        return updates, AddPenaltyGradientState(optax.safe_increment(state.count))

    return optax.GradientTransformationExtraArgs(init, update)


def regularize(
    optimizer: optax.GradientTransformation,
    penalty: Penalty,
    how: Literal["gradient", "decoupled"] = "gradient",
    *,
    learning_rate: NumberOrSchedule = 1.0,
) -> optax.GradientTransformationExtraArgs:
    """The optimizer with a penalty on its parameters.

    * ``"gradient"``: the optimizer sees ``grad loss + grad penalty``, as if the penalty stood in the loss: taken at
      the optimizer's evaluation point, which is ``params`` for most. The extra arguments ``value``, ``grad`` and
      ``value_fn`` of an update, those of the loss alone, reach it with the penalty added.
    * ``"decoupled"``: ``u = optimizer(grad loss) - learning_rate * grad penalty(params)``; with ``l2`` this is
      weight decay. Give the optimizer's own ``learning_rate`` here and the decay follows it, as PyTorch's and
      optax's AdamW do; give the schedule's multiplier alone and it is the paper's form.

    For plain gradient descent both are the same step.

    Args:
        optimizer: any optax or regopt transformation.
        penalty: what to add; see ``regopt.penalties``.
        how: how the penalty acts.
        learning_rate: step size of the decoupled decay, >= 0; may be traced or a schedule. Unused by "gradient".

    Returns:
        The regularised optimizer; its update wants ``params``.

    Raises:
        ValueError: ``how`` is unknown, or a concrete learning rate is negative or NaN.

    References: Loshchilov & Hutter (2019), Algorithms 1 and 2; Goodfellow et al. (2016), section 7.1.
    """
    check_range("learning_rate", learning_rate, "[0, inf)")
    if how == "gradient":
        return _in_gradient(optimizer, penalty)
    if how == "decoupled":
        return optax.chain(optimizer, add_penalty_gradient(penalty, _negative(learning_rate)))
    raise ValueError(f'how must be "gradient" or "decoupled", got {how!r}')


def _in_gradient(optimizer: optax.GradientTransformation, penalty: Penalty) -> optax.GradientTransformationExtraArgs:
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
    if "value" in own:
        own["value"] = operator.add(*widen(own["value"], penalty.value(point)))
    if "grad" in own:
        own["grad"] = grads
    if "value_fn" in own:
        loss = own["value_fn"]
        own["value_fn"] = lambda params: operator.add(*widen(loss(params), penalty.value(params)))
    return own


def _negative(number: NumberOrSchedule) -> NumberOrSchedule:
    def negative(each: Any) -> Any:
        schedule = cast(Schedule, each)
        return (lambda count: -schedule(count)) if callable(each) else -each

    return jax.tree.map(negative, number)
