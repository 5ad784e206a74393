"""From one vector to trees: a full-batch method is written for a flat vector and lifted here.

The arithmetic is in at least float32, the user's function included; the cast to the parameters' dtypes comes last.
"""

from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from regopt._core.numerics import widen
from regopt._core.types import Tree


class Link(NamedTuple):
    """A transformation of one vector ``[parameters]`` of at least float32, as optax's are of trees."""

    init: Callable[[jax.Array], Any]  # parameters -> state
    update: Callable[..., tuple[jax.Array, Any]]  # (vector, state, parameters, grad=..., value_fn=...) -> the same


def on_vector(*links: Link, function: str = "value_fn", wide: bool = False) -> optax.GradientTransformationExtraArgs:
    """A chain of transformations of one vector, lifted to trees; its state is the tuple of theirs.

    The first link is given the gradient, each other one what comes out of the link before, all of them by keyword
    ``grad``, the gradient, and the user's function of the parameters as a function of the vector.

    Args:
        *links: the transformations of vectors.
        function: name of the extra argument that the update wants; its result is made flat, a scalar for "value_fn".
        wide: leave the updates in at least float32, for a link of a chain.

    Returns:
        The transformation of trees. Extra arguments of other names are accepted and not used.
    """

    def init(params):
        x, _ = _flatten(params)
        return tuple(link.init(x) for link in links)

    def update(updates, state, params=None, **extra_args):
        user_function: Any = extra_args.get(function)
        if params is None or user_function is None:
            raise ValueError(f"a second-order method needs more: call update(grads, state, params, {function}=...)")
        x, unflatten = _flatten(params)

        def of_vector(v):
            result = ravel_pytree(user_function(unflatten(v.astype(x.dtype))))[0].astype(x.dtype)
            return result.reshape(()) if function == "value_fn" else result

        gradient = _flatten(updates)[0].astype(x.dtype)
        vector, after = gradient, []
        for link, before in zip(links, state, strict=True):
            vector, now = link.update(vector, before, x, **{"grad": gradient, function: of_vector})
            after.append(now)
        change = unflatten(vector)
        narrow = change if wide else jax.tree.map(lambda p, u: u.astype(jnp.asarray(p).dtype), params, change)
        return narrow, tuple(after)

    return optax.GradientTransformationExtraArgs(init, update)


def _flatten(params: Tree) -> tuple[jax.Array, Callable[[jax.Array], Any]]:
    """The entries as one vector in the leaves' common dtype, at least float32, and the way back, in that dtype."""
    dtype = reduce(lambda a, b: widen(a, b)[0], jax.tree.leaves(params), jnp.zeros((), jnp.float32)).dtype
    return ravel_pytree(jax.tree.map(lambda p: jnp.asarray(p).astype(dtype), params))


def descending(direction: jax.Array, gradient: jax.Array) -> jax.Array:
    """``direction`` where it descends, that is ``direction'gradient < 0``, else ``-gradient``."""
    return jnp.where(direction @ gradient < 0, direction, -gradient)
