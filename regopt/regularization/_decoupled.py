"""A penalty decoupled from the optimizer: it acts on the parameters directly, without momentum or adaptive scaling."""

from typing import cast

import jax
import optax

from regopt._core.types import NumberOrSchedule, Penalty, Schedule
from regopt.regularization._gradient import add_penalty_gradient
from regopt.regularization._metric import check_moves


def decoupled(
    optimizer: optax.GradientTransformation, penalty: Penalty, learning_rate: NumberOrSchedule
) -> optax.GradientTransformationExtraArgs:
    chained = optax.chain(optimizer, add_penalty_gradient(penalty, _negative(learning_rate)))

    def init(params):
        state = chained.init(params)
        check_moves(state, "decoupled")
        return state

    return optax.GradientTransformationExtraArgs(init, chained.update)


def _negative(number: NumberOrSchedule) -> NumberOrSchedule:
    def negative(each):
        schedule = cast(Schedule, each)
        return (lambda count: -schedule(count)) if callable(each) else -each

    return jax.tree.map(negative, number)
