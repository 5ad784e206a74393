"""From one vector to trees: a full-batch method is written for a flat vector and lifted here.

The arithmetic is in at least float32, the user's function included; the cast to the parameters' dtypes comes last.
"""

from collections.abc import Callable
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from regopt.numerics import widen
from regopt.types import Tree


def on_vector(
    rule: optax.GradientTransformationExtraArgs,
    function: str = "value_fn",
    *,
    wide: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """A transformation of one vector ``[parameters]``, lifted to trees.

    The rule's update is called with the gradient, its state, the parameters (all flat, of one dtype) and, by keyword,
    ``grad``, again the gradient, and the user's function of the parameters as a function of the vector.

    Args:
        rule: the transformation of vectors.
        function: name of the extra argument that the update wants; its result is made flat, a scalar for "value_fn".
        wide: leave the updates in at least float32, for a link of a chain.

    Returns:
        The transformation of trees. Extra arguments of other names are accepted and not used.
    """

    def init(params):
        return rule.init(_flatten(params)[0])

    def update(updates, state, params=None, **extra_args):
        user_function = extra_args.get(function)
        if params is None or user_function is None:
            raise ValueError(f"a second-order method needs more: call update(grads, state, params, {function}=...)")
        x, unflatten = _flatten(params)
        shape = () if function == "value_fn" else (-1,)

        def of_vector(v):
            result = user_function(unflatten(v.astype(x.dtype)))
            return ravel_pytree(result)[0].astype(x.dtype).reshape(shape)

        gradient = _flatten(updates)[0].astype(x.dtype)
        change, state = rule.update(gradient, state, x, **{"grad": gradient, function: of_vector})
        change = unflatten(change)
        return change if wide else jax.tree.map(lambda p, u: u.astype(jnp.asarray(p).dtype), params, change), state

    return optax.GradientTransformationExtraArgs(init, update)


def _flatten(params: Tree) -> tuple[jax.Array, Callable[[jax.Array], Any]]:
    """The entries as one vector in the leaves' common dtype, at least float32, and the way back, in that dtype."""
    dtype = reduce(lambda a, b: widen(a, b)[0], jax.tree.leaves(params), jnp.zeros((), jnp.float32)).dtype
    return ravel_pytree(jax.tree.map(lambda p: jnp.asarray(p).astype(dtype), params))


def descending(direction: jax.Array, gradient: jax.Array) -> jax.Array:
    """``direction`` where it descends, that is ``direction'gradient < 0``, else ``-gradient``."""
    return jnp.where(direction @ gradient < 0, direction, -gradient)
