"""Putting a penalty on any optimizer: in the gradient, decoupled from it, as a proximal step, or as a constraint.

The first two differ for every optimizer with a memory: a penalty in the gradient passes through momentum and
adaptive scaling, a decoupled one acts on the parameters alone. The last two are in ``proximal.py``.
"""

import operator
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from regopt import tree
from regopt.numerics import at_count, check_range, widen
from regopt.transforms.evaluation import evaluation_params
from regopt.transforms.proximal import check_moves, constrained, proximal
from regopt.types import Number, NumberOrSchedule, Penalty, Schedule, Tree


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
        updates = tree.lift(lambda u, slope, factor: u + factor * slope, updates, slopes, numbers=(factor,))
        return updates, AddPenaltyGradientState(optax.safe_increment(state.count) if scheduled else None)

    return optax.GradientTransformationExtraArgs(init, update)


def regularize(
    optimizer: optax.GradientTransformation,
    penalty: Penalty | None = None,
    how: Literal["gradient", "decoupled", "proximal", "constraint"] = "gradient",
    *,
    learning_rate: NumberOrSchedule | None = None,
    radius: Number | None = None,
    constraint: Callable[[Tree], Tree] | None = None,
) -> optax.GradientTransformationExtraArgs:
    """The optimizer with a penalty on its parameters.

    * ``"gradient"``: the optimizer sees ``grad loss + grad penalty``, as if the penalty stood in the loss: taken at
      the optimizer's evaluation point, which is ``params`` for most. The extra arguments ``value``, ``grad`` and
      ``value_fn`` of an update, those of the loss alone, reach it with the penalty added.
    * ``"decoupled"``: ``u = optimizer(grad loss) - learning_rate * grad penalty(params)``; with ``l2`` this is
      weight decay. Give the optimizer's own ``learning_rate`` here and the decay follows it, as PyTorch's and
      optax's AdamW do; give the schedule's multiplier alone and it is the paper's form.
    * ``"proximal"``: ``params <- prox(params + optimizer(grad loss))`` with the optimizer's own ``learning_rate`` as
      the step, times what the optimizer multiplies the gradient by in each coordinate (``1 / (sqrt(r) + eps)`` in
      Adam and its like): a prox in the optimizer's own metric, whose fixed points are the solutions of the
      regularised problem. What a prox makes zero is exactly 0. A velocity becomes what the parameters did move by.
    * ``"constraint"``: ``params <- project(params + optimizer(grad loss))``, the Euclidean projection onto the ball of
      the penalty's norm with this ``radius``, or any other as ``constraint``. Where the optimizer scales coordinates
      that has other fixed points than the constrained problem. The state counts the steps on which it was ``active``.

    For plain gradient descent the first two are the same step. A proximal step and a projection want to be next to the
    optimizer: what averages parameters or collects several gradients for one step goes around them. The proximal step
    is for regopt's first-order optimizers with a learning rate, signs of gradients (Lion) excepted, and for optax's
    plain ones; its adaptive ones do not tell their metric. Schedule-free optimizers move points of their own, which
    only "gradient" reaches. ``init`` refuses what does not go together.

    Args:
        optimizer: any optax or regopt transformation.
        penalty: what to add; see ``regopt.penalties``. For "constraint" with a radius, one whose norm has a ball.
        how: how the penalty acts.
        learning_rate: step size of the decoupled decay or of the proximal step, >= 0; may be traced, a schedule, or a
            prefix tree of these; 1 for "decoupled" if not given. Unused by "gradient" and "constraint".
        radius: of the penalty's ball, >= 0, in the units of its norm; may be traced. For "constraint" alone.
        constraint: any projection instead, a function from parameters to parameters; see ``regopt.projections``. For
            "constraint" alone.

    Returns:
        The regularised optimizer; its update wants ``params``.

    Raises:
        ValueError: ``how`` is unknown, what it wants is missing, the penalty has no prox or no projection, or a
            concrete learning rate or radius is negative or NaN; from ``init``, the optimizer does not go with ``how``.

    References: Loshchilov & Hutter (2019), Algorithms 1 and 2; Goodfellow et al. (2016), section 7.1. Proximal: Yun,
    Lozano & Yang (2021), Algorithm 1 (ProxGen), and Melchior, Joseph & Moolekamp (2019), Algorithm 1 (AdaProx), for a
    diagonal metric; Ochs, Chen, Brox & Pock (2014), the iteration of iPiano, for heavy ball's velocity.
    """
    if learning_rate is not None:
        check_range("learning_rate", learning_rate, "[0, inf)")
    if how == "constraint":
        return constrained(optimizer, _projection(penalty, constraint, radius))
    if how not in ("gradient", "decoupled", "proximal"):
        raise ValueError(f'how must be "gradient", "decoupled", "proximal" or "constraint", got {how!r}')
    if penalty is None:
        raise ValueError(f'how="{how}" needs a penalty: pass one of regopt.penalties')
    if how == "gradient":
        return _in_gradient(optimizer, penalty)
    if how == "decoupled":
        return _decoupled(optimizer, penalty, 1.0 if learning_rate is None else learning_rate)
    if learning_rate is None:
        raise ValueError('how="proximal" needs the step of the prox: pass the optimizer\'s own learning_rate')
    return proximal(optimizer, penalty, learning_rate)


def _projection(
    penalty: Penalty | None, constraint: Callable[[Tree], Tree] | None, radius: Number | None
) -> Callable[[Tree], Tree]:
    """The projection that is meant, with its radius."""
    if constraint is not None and radius is None:
        return constraint
    if constraint is not None or radius is None:
        raise ValueError('how="constraint" needs either a radius, beside the penalty, or a projection as constraint')
    check_range("radius", radius, "[0, inf)")
    project = None if penalty is None else penalty.project
    if project is None:
        raise ValueError("the penalty has no projection: pass one of regopt.projections as constraint")
    return lambda params: project(params, radius)


def _decoupled(
    optimizer: optax.GradientTransformation, penalty: Penalty, learning_rate: NumberOrSchedule
) -> optax.GradientTransformationExtraArgs:
    chained = optax.chain(optimizer, add_penalty_gradient(penalty, _negative(learning_rate)))

    def init(params):
        state = chained.init(params)
        check_moves(state, "decoupled")
        return state

    return optax.GradientTransformationExtraArgs(init, chained.update)


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


def _negative(number: NumberOrSchedule) -> NumberOrSchedule:
    def negative(each: Any) -> Any:
        schedule = cast(Schedule, each)
        return (lambda count: -schedule(count)) if callable(each) else -each

    return jax.tree.map(negative, number)
