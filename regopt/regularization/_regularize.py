"""The one entry: ``regularize`` puts a penalty on an optimizer in one of four ways, each in a file of its own.

The gradient and decoupled ways differ for every optimizer with a memory: a penalty in the gradient passes through
momentum and adaptive scaling, a decoupled one acts on the parameters alone.
"""

from collections.abc import Callable
from typing import Literal

import optax

from regopt._core.numerics import check_range
from regopt._core.types import Number, NumberOrSchedule, Penalty, Tree
from regopt.regularization._constraint import constrained, projection
from regopt.regularization._decoupled import decoupled
from regopt.regularization._gradient import in_gradient
from regopt.regularization._proximal import proximal


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
        return constrained(optimizer, projection(penalty, constraint, radius))
    if how not in ("gradient", "decoupled", "proximal"):
        raise ValueError(f'how must be "gradient", "decoupled", "proximal" or "constraint", got {how!r}')
    if penalty is None:
        raise ValueError(f'how="{how}" needs a penalty: pass one of regopt.penalties')
    if how == "gradient":
        return in_gradient(optimizer, penalty)
    if how == "decoupled":
        return decoupled(optimizer, penalty, 1.0 if learning_rate is None else learning_rate)
    if learning_rate is None:
        raise ValueError('how="proximal" needs the step of the prox: pass the optimizer\'s own learning_rate')
    return proximal(optimizer, penalty, learning_rate)
