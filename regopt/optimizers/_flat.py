"""Full-batch methods on trees: each is written for a flat vector and lifted to trees here.

All arithmetic is in at least float32, that of the user's function included. The cast to the dtypes of the parameters
comes last.
"""

from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from regopt._core import trees
from regopt._core.numerics import widen
from regopt._core.transformation import check_floating, check_state
from regopt._core.types import Tree


class Link(NamedTuple):
    """A transformation of one vector ``[parameters]`` in at least float32; the counterpart of optax's for trees."""

    init: Callable[[jax.Array], Tree]  # parameters -> state
    update: Callable[..., tuple[jax.Array, Tree]]  # (vector, state, parameters, **functions) -> (vector, state)
    state_type: type  # the class of the state


def on_vector(*links: Link, function: str = "value_fn", wide: bool = False) -> optax.GradientTransformationExtraArgs:
    """Lift a chain of transformations of one vector to trees; the state is the tuple of the states of the links.

    The first link receives the gradient, every other link the output of the link before it. All of them also receive
    the gradient as the keyword ``grad``, and the user's function of the parameters as a function of the vector.

    Args:
        *links: the transformations of vectors.
        function: name of the extra argument that ``update`` requires. Its result is flattened, to a scalar for
            "value_fn".
        wide: if True, the updates stay in at least float32, as a link inside a chain needs them.

    Returns:
        The transformation of trees. It accepts and ignores extra arguments of other names.
    """

    def init(params):
        check_floating(params)
        trees.refuse_complex(params)
        x, _ = _flatten(params)
        return tuple(link.init(x) for link in links)

    def update(updates, state, params=None, **extra_args):
        alone = type(state) is not tuple or len(state) != len(links)  # then it is the state of another transformation
        for link, before in zip(links, [state] * len(links) if alone else state, strict=True):
            check_state(before, link.state_type)
        user_function = extra_args.get(function)
        if params is None or user_function is None:
            raise ValueError(f"params and {function} are required: call update(grads, state, params, {function}=...)")
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


def _flatten(params: Tree) -> tuple[jax.Array, Callable[[jax.Array], Tree]]:
    """The entries as one vector in the common dtype of the leaves, at least float32, and the inverse function."""
    dtype = reduce(lambda a, b: widen(a, b)[0], jax.tree.leaves(params), jnp.zeros((), jnp.float32)).dtype
    return ravel_pytree(jax.tree.map(lambda p: jnp.asarray(p).astype(dtype), params))


def descending(direction: jax.Array, gradient: jax.Array) -> jax.Array:
    """``direction`` where it descends, that is where ``direction'gradient < 0``, else ``-gradient``."""
    return jnp.where(direction @ gradient < 0, direction, -gradient)
