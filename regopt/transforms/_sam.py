"""Sharpness-aware minimisation: the gradient is evaluated at the worst nearby point instead of at the parameters."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.checks import check_optimizer
from regopt._core.numerics import check_number, direction_and_norm
from regopt._core.types import Number, Tree


class SamState(NamedTuple):
    """State of ``sam``."""

    inner: Tree  # state of the wrapped optimizer
    ascended: jax.Array  # shape (), bool: the next gradient is evaluated at the ascended point
    ascent: Tree  # structure, shapes and dtypes of the parameters: the ascended point of the last ascent

    def evaluation_params(self, params: Tree) -> Tree:
        """The parameters and the ascended point in alternation."""
        return trees.where(self.ascended, self.ascent, params)


def sam(optimizer: optax.GradientTransformation, rho: Number = 0.05) -> optax.GradientTransformationExtraArgs:
    """The optimizer with the gradient ``g(w + rho g(w) / |g(w)|)``, where the norm is that of the whole tree.

    A step takes two calls. In the first the gradient at w gives the ascended point and the update is zero. In the
    second the optimizer steps from w with the gradient at that point. A loop that evaluates its gradient at
    ``regopt.evaluation_params(params, state)``, as sweeps do, needs no change, but needs twice as many calls for the
    same number of steps. If every call has a new batch, the ascent and the step see different batches; the paper uses
    one batch for both. Everything that moves the parameters belongs inside: ``sam(regularize(optimizer, ...))``.

    Args:
        optimizer: any optax or regopt transformation.
        rho: length of the ascent, >= 0, in parameter units; may be traced. There is no ascent where the gradient is
            zero.

    Returns:
        The optimizer; its ``update`` requires ``params``.

    Raises:
        ValueError: a concrete rho is negative, infinite or NaN, or an ``update`` comes without ``params``.

    Example:
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> params = jnp.array([3.0, -4.0])  # the loss is |w|**2 / 2, its gradient w
        >>> optimizer = regopt.sam(regopt.sgd(0.5), rho=0.5)
        >>> _, state = optimizer.update(params, optimizer.init(params), params)  # the ascent
        >>> point = regopt.evaluation_params(params, state)
        >>> updates, state = optimizer.update(point, state, params)
        >>> point, updates
        (Array([ 3.3, -4.4], dtype=float32), Array([-1.65,  2.2 ], dtype=float32))

    References:
        Foret, P., Kleiner, A., Mobahi, H., & Neyshabur, B. (2021). Sharpness-aware minimization for efficiently
        improving generalization. ICLR. Algorithm 1 and equation 2 with p = 2.
    """
    check_optimizer("optimizer", optimizer)
    check_number("rho", rho, "[0, inf)")
    optimizer = optax.with_extra_args_support(optimizer)

    def init(params):
        return SamState(optimizer.init(params), jnp.zeros((), bool), jax.tree.map(jnp.copy, params))

    def update(updates, state, params=None, **extra_args):
        if params is None:
            raise ValueError("sam needs the parameters: call update(grads, state, params)")
        leaves, structure = jax.tree.flatten(updates)
        directions = structure.unflatten(direction_and_norm(leaves)[0] if leaves else [])
        ascent = trees.lift(lambda w, d, rho: w + rho * d, params, directions, numbers=(rho,))
        moves, inner = optimizer.update(updates, state.inner, params, **extra_args)
        after = SamState(
            inner=trees.where(state.ascended, inner, state.inner),
            ascended=~state.ascended,
            ascent=trees.where(state.ascended, state.ascent, ascent),
        )
        return trees.where(state.ascended, moves, trees.no_move(moves)), after

    return optax.GradientTransformationExtraArgs(init, update)
