"""A penalty in the gradient: as a link of a chain, or as part of the loss that an optimizer sees."""

import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend.core import Jaxpr, Literal, jaxprs_in_params

from regopt._core import trees
from regopt._core.checks import check_penalty
from regopt._core.numerics import at_count, check_range, widen
from regopt._core.protocols import evaluation_params
from regopt._core.transformation import transformation
from regopt._core.types import ExtraArgs, NumberOrSchedule, Penalty, Tree


class AddPenaltyGradientState(NamedTuple):
    """State of ``add_penalty_gradient``."""

    count: Tree  # shape (), int32: updates so far; None where no schedule asks for it


def add_penalty_gradient(penalty: Penalty, scale: NumberOrSchedule = 1.0) -> optax.GradientTransformationExtraArgs:
    """Add the gradient of a penalty, ``u <- u + scale * grad penalty(params)``, as a link of a chain.

    Before an optimizer this puts the penalty into the loss. Between a direction and ``scale_by_learning_rate`` it is
    the decoupled decay of AdamW. After an optimizer, with a negative ``scale``, it decays the parameters directly.

    Args:
        penalty: the penalty; its value is differentiated at the parameters.
        scale: factor of the gradient, finite and of any sign, dimensionless before an optimizer and a step size after
            one; a number (may be traced), a schedule, or a prefix tree of these.

    Returns:
        The transformation; its ``update`` requires ``params``. It keeps the dtypes of the incoming updates.

    Raises:
        ValueError: a concrete scale is not finite, or an ``update`` comes without ``params``. ``init`` raises it for
            the indicator of a set, such as ``box``.

    Example:
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> params = {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([1.0])}
        >>> grads = {"kernel": jnp.zeros(2), "bias": jnp.zeros(1)}
        >>> transform = regopt.regularization.add_penalty_gradient(regopt.penalties.l2(0.5))
        >>> transform.update(grads, transform.init(params), params)[0]
        {'bias': Array([0.], dtype=float32), 'kernel': Array([ 0.5, -1. ], dtype=float32)}

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equation 7.3.

        Loshchilov, I., & Hutter, F. (2019). Decoupled weight decay regularization. ICLR. Algorithms 1 and 2.
    """
    check_penalty("penalty", penalty)
    check_range("scale", scale, "(-inf, inf)")
    return gradient_added(penalty, scale, "scale")


def gradient_added(penalty: Penalty, scale: NumberOrSchedule, name: str) -> optax.GradientTransformationExtraArgs:
    """``add_penalty_gradient``, where messages have another name for the scale."""
    scheduled = penalty.at is not None or any(map(callable, jax.tree.leaves(scale)))

    def init(params):
        trees.refuse_complex(params)
        first = penalty.now(jnp.zeros((), jnp.int32))
        if _is_infinite(jax.make_jaxpr(first.value)(params).jaxpr):
            raise ValueError('a penalty that is infinite outside a set has no gradient: use how="proximal"')
        return AddPenaltyGradientState(jnp.zeros((), jnp.int32) if scheduled else None)

    def update(updates, state, params=None, **extra_args):
        del extra_args
        if params is None:
            raise ValueError("the gradient of a penalty needs the parameters: call update(grads, state, params)")
        factor = at_count(scale, state.count)
        slopes = jax.grad(penalty.now(state.count).value, allow_int=True)(params)
        slopes = jax.tree.map(lambda s, w: jnp.zeros(w.shape) if s.dtype == jax.dtypes.float0 else s, slopes, params)
        updates = trees.lift(lambda u, slope, factor: u + factor * slope, updates, slopes, numbers={name: factor})
        return updates, AddPenaltyGradientState(optax.safe_increment(state.count) if scheduled else None)

    return transformation(init, update, AddPenaltyGradientState)


def _is_infinite(jaxpr: Jaxpr) -> bool:
    """Whether a program contains the number infinity."""
    atoms = [atom for eqn in jaxpr.eqns for atom in eqn.invars if isinstance(atom, Literal)]
    inner = [sub for eqn in jaxpr.eqns for sub in jaxprs_in_params(eqn.params)]
    return any(np.any(np.isposinf(atom.val)) for atom in atoms) or any(map(_is_infinite, inner))


def in_gradient(optimizer: optax.GradientTransformation, penalty: Penalty) -> optax.GradientTransformationExtraArgs:
    """The penalty's gradient and then the optimizer; the penalty is differentiated at the optimizer's evaluation point.

    The extra arguments ``value``, ``grad`` and ``value_fn``, which line searches and Hessians use, include the penalty
    too.
    """
    first, second = add_penalty_gradient(penalty), optax.with_extra_args_support(optimizer)

    def init(params):
        return first.init(params), second.init(params)

    def update(updates, state, params=None, **extra_args):
        point = None if params is None else evaluation_params(params, state)
        updates, first_state = first.update(updates, state[0], point)
        updates, second_state = second.update(
            updates, state[1], params, **_penalized(extra_args, penalty.now(state[0].count), point, updates)
        )
        return updates, (first_state, second_state)

    return optax.GradientTransformationExtraArgs(init, update)


def _penalized(extra_args: ExtraArgs, penalty: Penalty, point: Tree, grads: Tree) -> ExtraArgs:
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
