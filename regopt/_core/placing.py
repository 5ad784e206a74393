"""Arrays that an explicit mesh spreads over devices, for functions that need all entries of an array in one place.

Sorts, decompositions and differences of neighbours are refused by JAX along an axis that is spread. Such functions
gather the array, and spread their result as the argument was. In a mesh whose axes are automatic, or without a mesh,
nothing happens here.
"""

import functools
import inspect
from collections.abc import Callable
from typing import TypeVar, cast

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from regopt._core.types import Penalty, Tree

Params = TypeVar("Params")
Project = TypeVar("Project", bound=Callable[..., Tree])


def gathered(tree: Params) -> Params:
    """The tree with whole copies of its arrays on each device."""

    def gather(w):
        return w if _spec(w) is None else _placed(w, PartitionSpec(*[None] * jnp.ndim(w)))

    return jax.tree.map(gather, tree)


def placed_like(tree: Params, reference: Tree) -> Params:
    """The tree with its arrays spread as those of a tree of the same shapes."""

    def place(w, like):
        spec = _spec(like)
        return w if spec is None or w is like else _placed(w, spec)

    return jax.tree.map(place, tree, reference)


def on_whole_arrays(project: Project) -> Project:
    """A function from a tree to a tree of the same shapes that sees whole arrays."""
    first = next(iter(inspect.signature(project).parameters))

    @functools.wraps(project)
    def call(*args: Tree, **kwargs: Tree) -> Tree:
        if first in kwargs and not args:
            args = (kwargs.pop(first),)
        if not args:
            return project(**kwargs)  # which says what is missing
        return placed_like(project(gathered(args[0]), *args[1:], **kwargs), args[0])

    return cast("Project", call)


def penalty_on_whole_arrays(penalty: Penalty, *names: str) -> Penalty:
    """The penalty, of which these functions, or all that it has, see whole arrays."""
    usual = {"value": True, "prox": penalty.has_prox, "project": penalty.has_projection}
    usual |= {"strength_max": penalty.has_strength_max, "linear_minimum": penalty.has_linear_minimum}
    chosen = names or [name for name, has in usual.items() if has]
    return penalty._replace(**{name: _whole(getattr(penalty, name), name in ("prox", "project")) for name in chosen})


def _whole(function: Callable[..., Tree], gives_tree: bool) -> Callable[..., Tree]:
    def call(params, *args):
        found = function(gathered(params), *map(gathered, args))
        return placed_like(found, params) if gives_tree else found

    return call


def _spec(w: object) -> PartitionSpec | None:
    """The sharding of an array on an explicit mesh; None where it is not spread."""
    if not isinstance(w, jax.Array):
        return None
    spec = jax.typeof(w).sharding.spec
    return spec if any(part is not None for part in spec) else None


def _placed(w: jax.Array, spec: PartitionSpec) -> jax.Array:
    return jax.sharding.reshard(w, spec)
