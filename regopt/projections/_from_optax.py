"""The projections of ``optax.projections`` under their names there, which refuse numbers that describe no set.

Optax computes with whatever it is given: a radius of NaN gives NaN, and a negative one a point that lies in no ball.
"""

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from regopt._core import trees
from regopt._core.messages import brief
from regopt._core.numerics import check_number, check_range
from regopt._core.placing import gathered, placed_like
from regopt._core.transformation import check_real
from regopt._core.types import NumberTree, Tree
from regopt.projections._sets import projection_box

Arguments = ParamSpec("Arguments")


def _checked(project: Callable[Arguments, Tree], **intervals: str) -> Callable[Arguments, Tree]:
    """The projection, whose numbers must lie in the intervals and whose tree ``a`` must be a direction.

    It is computed in at least float32, and numbers of other dtypes do not change those of the result.
    """
    signature = inspect.signature(project)
    of_tree = next(iter(signature.parameters))

    @functools.wraps(project)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Tree:
        given = signature.bind(*args, **kwargs).arguments
        params = given[of_tree]
        check_real(params)
        for name, interval in intervals.items():
            if name in given:
                check_number(name, given[name], interval)
        if "a" in given:
            _check_direction(given["a"], params)
        whole = {name: gathered(value) for name, value in given.items()}
        whole[of_tree] = trees.lift_wide(jnp.asarray, whole[of_tree])
        with jax.numpy_dtype_promotion("standard"):
            return placed_like(trees.cast_like(project(**whole), params), params)  # pyright: ignore[reportCallIssue]

    return call


def _check_direction(a: Tree, params: Tree) -> None:
    """Require a tree of finite numbers with the structure and shapes of the parameters, not all of them 0."""
    check_range("a", a, "(-inf, inf)")
    shapes = [[jnp.shape(leaf) for leaf in jax.tree.leaves(tree)] for tree in (a, params)]
    if jax.tree.structure(a) != jax.tree.structure(params) or shapes[0] != shapes[1]:
        raise ValueError(f"a must have the structure and the shapes of the parameters, got {brief(a)}")
    leaves = jax.tree.leaves(a)
    if leaves and not any(isinstance(leaf, Tracer) or np.any(np.asarray(leaf)) for leaf in leaves):
        raise ValueError("a must have an entry other than 0, which gives it a direction")


projection_halfspace = _checked(optax.projections.projection_halfspace, b="(-inf, inf)")
projection_hyperplane = _checked(optax.projections.projection_hyperplane, b="(-inf, inf)")
projection_l1_sphere = _checked(optax.projections.projection_l1_sphere, scale="(0, inf)")
projection_l2_sphere = _checked(optax.projections.projection_l2_sphere, scale="[0, inf)")
projection_linf_ball = _checked(optax.projections.projection_linf_ball, scale="[0, inf]")
projection_non_negative = _checked(optax.projections.projection_non_negative)
projection_simplex = _checked(optax.projections.projection_simplex, scale="(0, inf)")
projection_vector = _checked(optax.projections.projection_vector)


@functools.wraps(optax.projections.projection_hypercube)
def projection_hypercube(tree: Tree, scale: NumberTree = 1) -> Tree:
    check_range("scale", scale, "[0, inf]")
    return projection_box(tree, 0.0, trees.by_leaf(scale, tree, "scale"))
