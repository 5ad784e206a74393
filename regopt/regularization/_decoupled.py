"""A penalty decoupled from the optimizer: it acts on the parameters directly, without momentum or adaptive scaling."""

import contextlib
from typing import cast

import jax
import optax

from regopt._core.types import ExtraArgs, NumberOrSchedule, Penalty, Schedule, Tree
from regopt.regularization import _reading as reading
from regopt.regularization._gradient import gradient_added
from regopt.regularization._metric import check_points, only_trained, unreadable


def decoupled(
    optimizer: optax.GradientTransformation, penalty: Penalty, learning_rate: NumberOrSchedule
) -> optax.GradientTransformationExtraArgs:
    """The optimizer's step and then a step against the penalty's gradient; see ``regularize``."""
    optimizer = optax.with_extra_args_support(optimizer)
    decay = gradient_added(penalty, _negative(learning_rate), "learning_rate")

    def init(params):
        inner = optimizer.init(params)
        with contextlib.suppress(TypeError):  # of an update that requires an extra argument
            try:
                found = reading.read(optimizer, params, inner)
            except (AttributeError, KeyError) as error:  # of parameters in another container
                raise unreadable(error, "decoupled") from error
            check_points(found, "decoupled")
        return inner, decay.init(params)

    def update(updates, state, params=None, **extra_args):
        moves, inner = optimizer.update(updates, state[0], params, **extra_args)
        decayed, after = decay.update(moves, state[1], params)
        trained = _trained(optimizer, updates, state[0], params, extra_args)
        return only_trained(trained, decayed, moves), (inner, after)

    return optax.GradientTransformationExtraArgs(init, update)


def _trained(
    optimizer: optax.GradientTransformationExtraArgs, grads: Tree, state: Tree, params: Tree, extra_args: ExtraArgs
) -> list[bool]:
    program, _ = reading.trace(optimizer, grads, state, params, extra_args)
    return reading.classify(program, optimizer, params, state).trained


def _negative(number: NumberOrSchedule) -> NumberOrSchedule:
    def negative(each):
        schedule = cast(Schedule, each)
        return (lambda count: -schedule(count)) if callable(each) else -each

    return jax.tree.map(negative, number)
