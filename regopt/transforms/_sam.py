"""Sharpness-aware minimisation: the gradient is asked at the worst point nearby instead of at the parameters."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.numerics import check_range, direction_and_norm
from regopt._core.types import Number, Tree


class SamState(NamedTuple):
    """State of ``sam``."""

    inner: Tree  # the wrapped optimizer's
    ascended: jax.Array  # shape (), bool: the next gradient is asked at the ascended point
    ascent: Tree  # structure, shapes and dtypes of the parameters: the ascended point of the last ascent

    def evaluation_params(self, params: Tree) -> Tree:
        """The parameters and the ascended point by turns."""
        return trees.where(self.ascended, self.ascent, params)


def sam(optimizer: optax.GradientTransformation, rho: Number = 0.05) -> optax.GradientTransformationExtraArgs:
    """The optimizer on the gradient ``g(w + rho g(w) / |g(w)|)``, with the norm of the whole tree.

    Two calls make a step. In the first the gradient at w leads to the ascended point and the update is zero; in the
    second the optimizer steps from w with the gradient there. A loop that asks for its gradient at
    ``regopt.evaluation_params(params, state)``, as sweeps do, needs no change, but twice the number of calls for
    as many steps. With a new batch in every call, ascent and step see different ones; the paper takes one
    batch for both. Whatever moves the parameters belongs inside: ``sam(regularize(optimizer, ...))``.

    Args:
        optimizer: any optax or regopt transformation.
        rho: length of the ascent, >= 0, in parameter units; may be traced. Where the gradient is zero there is none.

    Returns:
        The optimizer; its update wants ``params``.

    Raises:
        ValueError: a concrete rho is negative, infinite or NaN.

    References: Foret et al. (2021), Algorithm 1 and equation 2 with p = 2.
    """
    check_range("rho", rho, "[0, inf)")
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
