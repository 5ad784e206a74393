"""``regularize`` puts a penalty on an optimizer in one of four ways; each way has its own file.

The gradient and the decoupled way differ for every optimizer with a memory: a penalty in the gradient passes through
momentum and adaptive scaling, a decoupled one acts on the parameters directly.
"""

from collections.abc import Callable
from typing import Literal

import optax

from regopt._core.checks import check_choice, check_function, check_optimizer, check_penalty
from regopt._core.numerics import check_range, check_schedulable
from regopt._core.protocols import explicit_form
from regopt._core.types import NumberOrSchedule, Penalty, ScheduledNumber, Tree
from regopt.regularization._at_point import at_point, checked
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
    radius: ScheduledNumber | None = None,
    constraint: Callable[[Tree], Tree] | None = None,
) -> optax.GradientTransformationExtraArgs:
    """The optimizer with a penalty on its parameters, applied in the way that ``how`` names.

    * ``"gradient"``: the optimizer sees ``grad loss + grad penalty``, as if the penalty were part of the loss. The
      penalty is differentiated at the optimizer's evaluation point, which is ``params`` for most. The extra arguments
      ``value``, ``grad`` and ``value_fn`` of an update are those of the loss alone; the optimizer receives them with
      the penalty added.
    * ``"decoupled"``: ``u = optimizer(grad loss) - learning_rate * grad penalty(params)``; with ``l2`` this is weight
      decay. With the optimizer's own ``learning_rate`` the decay follows it, as in the AdamW of PyTorch and optax. With
      only the multiplier of the schedule it is the form of the paper.
    * ``"proximal"``: ``params <- prox(params + optimizer(grad loss))``. The step of the prox is what the optimizer
      multiplies a mean of the gradients by, in each coordinate: ``learning_rate / (sqrt(r) + eps)`` in Adam. In this
      metric the fixed points are the solutions of the regularised problem, with the optimizer's own weight decay if it
      has one. Entries that the prox sets to zero are exactly 0. The velocity of ``heavy_ball`` and ``nesterov`` is
      replaced by the actual move of the parameters.
    * ``"constraint"``: ``params <- project(params + optimizer(grad loss))``, the Euclidean projection onto the ball of
      the penalty's norm with this ``radius``, or the projection ``constraint``. The fixed points are the solutions of
      the constrained problem, because coordinates that the projection couples must have the same step: a ball goes with
      SGD and momentum, and a set for each coordinate, such as a box, with every metric. The state counts the steps
      after which the constraint was ``active``.

    For plain gradient descent the first two ways take the same step. The last two accept every optimizer whose update
    is, coordinate by coordinate, a factor times a mean of gradients; ``init`` proves this from the program of the
    update, and reads the learning rate and the factors from it. It refuses signs, clipped entries, second-order methods
    and whatever keeps points of its own (schedule-free methods, ``lookahead``), because they would end at the solution
    of another problem. Wrappers that move or average parameters go around the regularised optimizer. Parameters that
    the optimizer does not train are left alone by the last three ways.

    The last three ways move the iterate. Where the parameters of the training loop are a point beside it, as for
    ``nesterov``, the zeros and the feasible point are those of ``regopt.final_params(params, state)``.

    Args:
        optimizer: any optax or regopt transformation.
        penalty: the penalty, from ``regopt.penalties``; its numbers may be schedules of the count of updates. For
            "constraint" with a radius its norm must have a ball.
        how: how the penalty acts; static.
        learning_rate: step size of the decoupled decay, >= 0; a number (may be traced), a schedule, or a prefix tree of
            these. For "decoupled" only, where it is 1 if not given: then each step takes off the whole strength, not
            the learning rate times it as AdamW does.
        radius: radius of the penalty's ball, >= 0, in the units of its norm; a number (may be traced) or a schedule.
            For "constraint" only.
        constraint: a projection to use instead, a function from parameters to parameters; see ``regopt.projections``.
            For "constraint" only.

    Returns:
        The regularised optimizer; its ``update`` requires ``params``.

    Raises:
        ValueError: ``how`` is unknown, an argument that it requires is missing, one is given that it does not use, the
            penalty has no prox or no projection, or a concrete learning rate or radius is negative or NaN. ``init``
            raises it where the optimizer does not support ``how``.

    Example:
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> params = jnp.array([1.0, -0.25])
        >>> optimizer = regopt.regularize(regopt.sgd(0.5), regopt.penalties.l1(1.0), how="proximal")
        >>> updates, state = optimizer.update(jnp.zeros(2), optimizer.init(params), params)
        >>> params + updates  # soft thresholding by 0.5
        Array([0.5, 0. ], dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 7.1.

        Loshchilov, I., & Hutter, F. (2019). Decoupled weight decay regularization. ICLR. Algorithms 1 and 2.

        Yun, J., Lozano, A. C., & Yang, E. (2021). Adaptive proximal gradient methods for structured neural networks.
        NeurIPS. Algorithm 1 (ProxGen), for the proximal step in a diagonal metric.

        Melchior, P., Joseph, R., & Moolekamp, F. (2019). Proximal Adam: Robust adaptive update scheme for constrained
        optimization. arXiv:1910.10094. Algorithm 1 (AdaProx), for the same.

        Ochs, P., Chen, Y., Brox, T., & Pock, T. (2014). iPiano: Inertial proximal algorithm for nonconvex optimization.
        SIAM Journal on Imaging Sciences, 7(2), 1388-1419. Its iteration, for the velocity of heavy ball.
    """
    check_choice("how", how, ("gradient", "decoupled", "proximal", "constraint"))
    check_optimizer("optimizer", optimizer)
    if penalty is not None:
        check_penalty("penalty", penalty)
    if constraint is not None:
        check_function("constraint", constraint)
    if radius is not None:
        check_schedulable("radius", radius, "[0, inf)")
    if learning_rate is not None:
        check_range("learning_rate", learning_rate, "[0, inf)")
    _check_unused(how, learning_rate, radius, constraint)
    if how != "gradient" and (explicit := explicit_form(optimizer)) is not None:
        inner = regularize(explicit, penalty, how, learning_rate=learning_rate, radius=radius, constraint=constraint)
        return at_point(inner)
    optimizer = checked(optimizer, how)
    if how == "constraint":
        return constrained(optimizer, projection(penalty, constraint, radius))
    if penalty is None:
        raise ValueError(f'how="{how}" needs a penalty: pass one of regopt.penalties')
    if how == "gradient":
        return in_gradient(optimizer, penalty)
    if how == "decoupled":
        return decoupled(optimizer, penalty, 1.0 if learning_rate is None else learning_rate)
    return proximal(optimizer, penalty)


def _check_unused(how: str, learning_rate: object, radius: object, constraint: object) -> None:
    """Refuse an argument that this way does not use, and a learning rate outside its range."""
    if learning_rate is not None and how != "decoupled":
        raise ValueError(
            f'how="{how}" takes no learning_rate: '
            + ("the step of the prox is read from the optimizer" if how == "proximal" else 'it is for how="decoupled"')
        )
    for name, value in (("radius", radius), ("constraint", constraint)):
        if value is not None and how != "constraint":
            raise ValueError(f'how="{how}" takes no {name}: it is for how="constraint"')
    if learning_rate is not None:
        check_range("learning_rate", learning_rate, "[0, inf)")
