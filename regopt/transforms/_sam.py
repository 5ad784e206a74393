"""Sharpness-aware minimisation: the gradient is evaluated at the worst nearby point instead of at the parameters."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.checks import check_optimizer, check_switch
from regopt._core.numerics import check_number, direction_and_norm
from regopt._core.scheduled import takes_schedules
from regopt._core.transformation import transformation
from regopt._core.types import ExtraArgs, ScheduledNumber, Tree
from regopt.transforms._averaging import applied


class SamState(NamedTuple):
    """State of ``sam``."""

    inner: Tree  # state of the wrapped optimizer
    ascended: jax.Array  # shape (), bool: the parameters are the ascended point
    shift: Tree  # shapes of the parameters, at least float32: the way from the model to the parameters

    def unshifted(self, params: Tree) -> Tree:
        """The parameters before the ascent, in the dtypes of ``params``."""
        return trees.lift(jnp.subtract, params, self.shift)


class ExplicitSamState(NamedTuple):
    """State of ``sam`` with an explicit evaluation point."""

    inner: Tree  # state of the wrapped optimizer
    ascended: jax.Array  # shape (), bool: the next gradient is evaluated at the ascended point
    ascent: Tree  # structure, shapes and dtypes of the parameters: the ascended point of the last ascent

    def evaluation_params(self, params: Tree) -> Tree:
        """The parameters and the ascended point in alternation."""
        return trees.where(self.ascended, self.ascent, params)


@takes_schedules()
def sam(
    optimizer: optax.GradientTransformation, rho: ScheduledNumber = 0.05, *, explicit_point: bool = False
) -> optax.GradientTransformationExtraArgs:
    """The optimizer with the gradient ``g(w + rho g(w) / |g(w)|)``, where the norm is that of the whole tree.

    * In a plain training loop a step takes two calls, as with ``optax.contrib.sam``. The first moves the parameters to
      the ascended point. The second brings them back to w and takes the step of the optimizer with the gradient at that
      point. If every call has a new batch, the ascent and the step see different batches; the paper uses one batch for
      both. After either call w is ``regopt.final_params(params, state)``.
    * Where the update receives the loss as ``value_fn(params)``, as in the tasks of a sweep, or its gradient as
      ``grad_fn(params, 0)``, as ``optax.contrib.sam`` takes it, every call is a whole step with one batch. A call then
      costs two gradients.
    * With ``explicit_point`` a step takes two calls, of which the first does not move the parameters: they are always
      w. The loop must evaluate its gradient at ``regopt.evaluation_params(params, state)``.

    Everything that moves the parameters belongs inside: ``sam(regularize(optimizer, ...))``.

    Args:
        optimizer: any optax or regopt transformation.
        rho: length of the ascent, >= 0, in parameter units; may be traced or scheduled, by the number of calls. There
            is no ascent where the gradient is zero.
        explicit_point: whether the loop asks for the point at which to evaluate the gradient; static.

    Returns:
        The optimizer; its ``update`` requires ``params``.

    Raises:
        ValueError: a concrete rho is negative, infinite or NaN, or an ``update`` comes without ``params``.

    Example:
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> params = jnp.array([3.0, -4.0])  # the loss is |w|**2 / 2, its gradient w
        >>> optimizer = regopt.sam(regopt.sgd(0.5), rho=0.5)
        >>> ascent, state = optimizer.update(params, optimizer.init(params), params)
        >>> point = params + ascent
        >>> updates, state = optimizer.update(point, state, point)
        >>> point, point + updates
        (Array([ 3.3, -4.4], dtype=float32), Array([ 1.35, -1.8 ], dtype=float32))

    References:
        Foret, P., Kleiner, A., Mobahi, H., & Neyshabur, B. (2021). Sharpness-aware minimization for efficiently
        improving generalization. ICLR. Algorithm 1 and equation 2 with p = 2.
    """
    check_optimizer("optimizer", optimizer)
    check_number("rho", rho, "[0, inf)")
    check_switch("explicit_point", explicit_point)
    optimizer = optax.with_extra_args_support(optimizer)
    return (_explicit if explicit_point else _at_the_point)(optimizer, rho)


def _at_the_point(
    optimizer: optax.GradientTransformationExtraArgs, rho: ScheduledNumber
) -> optax.GradientTransformationExtraArgs:
    def init(params):
        return SamState(optimizer.init(params), jnp.zeros((), bool), trees.zeros_wide(params))

    def update(updates, state, params=None, **extra_args):
        if params is None:
            raise ValueError("sam needs the parameters: call update(grads, state, params)")
        start = state.unshifted(params)
        gradient_at = _gradient(extra_args)
        if gradient_at is None:
            grads, stepping = updates, state.ascended
        else:
            ascended = gradient_at(_ascended(params, updates, rho))
            grads, stepping = (
                trees.where(state.ascended, updates, trees.cast_like(ascended, updates)),
                jnp.ones((), bool),
            )
        moves, inner = optimizer.update(grads, state.inner, start, **extra_args)
        inner = trees.cast_like(inner, state.inner)
        if gradient_at is not None:
            # a plain call may have ascended before
            back = trees.lift(lambda u, e: u - e, moves, state.shift)
            return trees.where(state.ascended, back, moves), SamState(inner, ~stepping, trees.zeros_wide(params))
        step = trees.lift(lambda u, e: u - e, moves, state.shift)
        ascent = trees.lift(lambda _, w, to: to - w, moves, params, _ascended(params, updates, rho))
        moves = trees.where(stepping, step, ascent)
        # what the ascent is after rounding, so that the way back is exact
        shift = trees.lift(lambda _, w, to: to - w, state.shift, params, applied("sam", params, ascent))
        return moves, SamState(
            inner=trees.where(stepping, inner, state.inner),
            ascended=~stepping,
            shift=trees.where(stepping, optax.tree.zeros_like(shift), shift),
        )

    return transformation(init, update, SamState)


def _explicit(
    optimizer: optax.GradientTransformationExtraArgs, rho: ScheduledNumber
) -> optax.GradientTransformationExtraArgs:
    def init(params):
        return ExplicitSamState(optimizer.init(params), jnp.zeros((), bool), jax.tree.map(jnp.copy, params))

    def update(updates, state, params=None, **extra_args):
        if params is None:
            raise ValueError("sam needs the parameters: call update(grads, state, params)")
        ascent = _ascended(params, updates, rho)
        moves, inner = optimizer.update(updates, state.inner, params, **extra_args)
        inner = trees.cast_like(inner, state.inner)
        after = ExplicitSamState(
            inner=trees.where(state.ascended, inner, state.inner),
            ascended=~state.ascended,
            ascent=trees.where(state.ascended, state.ascent, ascent),
        )
        return trees.where(state.ascended, moves, trees.no_move(moves)), after

    return transformation(init, update, ExplicitSamState)


def _ascended(params: Tree, grads: Tree, rho: ScheduledNumber) -> Tree:
    """``params + rho * grads / |grads|``, in the dtypes of the parameters."""
    leaves, structure = jax.tree.flatten(grads)
    directions = structure.unflatten(direction_and_norm(leaves)[0] if leaves else [])
    return trees.lift(lambda w, d, rho: w + rho * d, params, directions, numbers=(rho,))


def _gradient(extra_args: ExtraArgs) -> Callable[[Tree], Tree] | None:
    """The gradient as a function of the parameters, if the extra arguments have one."""
    if extra_args.get("grad_fn") is not None:
        return lambda params: extra_args["grad_fn"](params, 0)
    if extra_args.get("value_fn") is not None:
        return jax.grad(extra_args["value_fn"])
    return None
