"""Parameter trees: rules applied leaf by leaf, masks by path, numbers by layer, and sums in float32.

Structure comes from ``jax.tree`` and ``optax.tree``. This file only adds the rule "at least float32, cast last" and the
mask that selects weights.
"""

import re
from collections.abc import Callable
from functools import reduce
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.tree_util import KeyPath

from regopt._core.numerics import like, sum_vector, widen
from regopt._core.types import Mask, NumberTree, Tree

Params = TypeVar("Params")

_NOT_A_WEIGHT = re.compile(r"b_?\d*|(\w+_)?(bias|intercept|offset|scale)_?\d*")


def lift(rule: Callable[..., jax.Array], first: Params, *rest: Tree, numbers: tuple[NumberTree, ...] = ()) -> Params:
    """Apply ``rule`` leaf by leaf in at least float32, and cast the results to the dtypes of ``first``.

    Args:
        rule: function of one array from each tree and then of each number, all of one dtype; returns an array.
        first: tree whose structure and dtypes the result takes.
        *rest: trees with the same structure.
        numbers: the arguments of the rule after the arrays: numbers, or prefix trees of numbers.

    Returns:
        A tree like ``first``.

    Raises:
        ValueError: one of ``numbers`` is not a prefix of ``first``.

    >>> lift(lambda w, g, rate: w - rate * g, {"w": jnp.ones(2)}, {"w": jnp.ones(2)}, numbers=(0.5,))
    {'w': Array([0.5, 0.5], dtype=float32)}
    """
    wide = lift_wide(rule, first, *rest, numbers=numbers)
    return jax.tree.map(lambda leaf, result: result.astype(jnp.asarray(leaf).dtype), first, wide)


def lift_wide(rule: Callable[..., jax.Array], *trees: Tree, numbers: tuple[NumberTree, ...] = ()) -> Tree:
    """Like ``lift``, without the cast: the leaves remain in at least float32."""
    # one conversion for all leaves of one dtype, because a program with many leaves takes long to compile
    converted: dict[tuple[int, jnp.dtype], jax.Array] = {}

    def number_like(number, array):
        key = id(number), array.dtype
        if key not in converted:
            converted[key] = like(number, array)
        return converted[key]

    def at_leaf(*leaves):
        arrays = widen(*leaves[: len(trees)])
        return rule(*arrays, *(number_like(number, arrays[0]) for number in leaves[len(trees) :]))

    return jax.tree.map(at_leaf, *trees, *(by_leaf(number, trees[0]) for number in numbers))


def refuse_complex(params: Tree) -> None:
    """Raise for complex parameters, of which a square, a sign or a maximum is not that of the magnitude."""
    if any(jnp.issubdtype(jnp.result_type(leaf), jnp.complexfloating) for leaf in jax.tree.leaves(params)):
        raise ValueError(
            "complex parameters are not supported here: wrap the whole in optax.contrib.split_real_and_imaginary(...), "
            "or use sgd, heavy_ball or nesterov"
        )


def zeros_wide(params: Params) -> Params:
    """Zeros shaped like ``params``, in at least float32, to start an accumulator.

    In bfloat16, whose spacing near 1 is 1/128, a second moment with b2 = 0.999 would never change. Complex parameters
    are refused.
    """
    refuse_complex(params)
    return jax.tree.map(lambda p: jnp.zeros_like(widen(p)[0]), params)


def copy_wide(params: Params) -> Params:
    """A copy of the parameters in at least float32; its memory is separate, so both may be donated to one program."""
    refuse_complex(params)
    return jax.tree.map(lambda p: jnp.array(widen(p)[0], copy=True), params)


def total(tree: Tree) -> jax.Array:
    """Sum of every entry of every leaf, accumulated in at least float32; shape ().

    >>> total({"w": jnp.ones((2, 2)), "b": jnp.ones(3)})
    Array(7., dtype=float32)
    """
    sums = widen(jnp.float32(0), *(jnp.sum(widen(leaf)[0]) for leaf in jax.tree.leaves(tree)))
    return sum_vector(jnp.stack(sums))


def count_not_finite(tree: Tree) -> jax.Array:
    """The number of entries of the inexact leaves that are NaN or infinite; int32 of shape ().

    >>> count_not_finite({"w": jnp.array([1.0, jnp.inf]), "count": jnp.array(3)})
    Array(1, dtype=int32)
    """
    inexact = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return total_count([count_true_in_leaf(~jnp.isfinite(x)) for x in inexact])


def count_true_in_leaf(*conditions: jax.Array) -> jax.Array:
    """The number of true entries of arrays of one shape; shape (), in float32 where that is exact."""
    # XLA sums floats four times as fast as integers on a CPU; they are exact up to 2**24
    exact = len(conditions) * conditions[0].size <= 2**24
    flags = [x.astype(jnp.float32 if exact else jnp.int32) for x in conditions]
    return jnp.sum(reduce(jnp.add, flags))


def total_count(counts: list[jax.Array]) -> jax.Array:
    """The sum of counts from ``count_true_in_leaf``; int32 of shape ()."""
    # converted together, because a program with many leaves takes long to compile
    stacks = [
        jnp.stack(same) for dtype in (jnp.float32, jnp.int32) if (same := [x for x in counts if x.dtype == dtype])
    ]
    return sum((sum_vector(stack.astype(jnp.int32)) for stack in stacks), jnp.zeros((), jnp.int32))


def where(condition: jax.Array, if_true: Params, if_false: Params) -> Params:
    """``if_true`` where the scalar condition holds, else ``if_false``, leaf by leaf."""
    return jax.tree.map(lambda a, b: a if a is b else jax.lax.select(condition, a, b), if_true, if_false)


def cast_like(tree: Params, reference: Tree) -> Params:
    """The arrays in the dtypes of ``reference``, which keeps the carry of a loop closed around any optimizer."""

    def cast(x, like):
        return x if jnp.result_type(x) == jnp.result_type(like) else jnp.asarray(x, jnp.result_type(like))

    return jax.tree.map(cast, tree, reference)


def no_move(updates: Params) -> Params:
    """Updates that change no bit of a parameter: -0.0, because adding 0.0 would turn -0.0 into 0.0."""
    return jax.tree.map(lambda u: jnp.full_like(u, -0.0), updates)


def by_leaf(prefix: NumberTree, params: Tree) -> Tree:
    """One number for each leaf, from a number or a prefix tree of numbers.

    Args:
        prefix: a number, or a tree of numbers that is a prefix of ``params``, with one number for each layer, for
            example.
        params: the tree to match.

    Returns:
        A tree with the structure of ``params``.

    Raises:
        ValueError: ``prefix`` is not a prefix of ``params``.

    >>> by_leaf({"a": 1.0, "b": 2.0}, {"a": {"kernel": 0, "bias": 0}, "b": {"kernel": 0}})
    {'a': {'bias': 1.0, 'kernel': 1.0}, 'b': {'kernel': 2.0}}
    """
    return jax.tree.broadcast(prefix, params)


def weights_only(params: Tree) -> Tree:
    """The default mask of a penalty: all leaves except biases and normalisation scales, recognised by name.

    A leaf is excluded if the last name in its path is ``b``, ``bias``, ``intercept``, ``offset`` or ``scale``, alone or
    after an underscore, with or without a number at the end. A leaf without a name counts as a weight.

    >>> weights_only({"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)})
    {'bias': False, 'kernel': True}
    """

    def is_weight(path: KeyPath, _: object) -> bool:
        names = [part for entry in path if isinstance(part := _name(entry), str)]
        names = names[:-1] if names[-1:] == ["value"] else names  # the content of a flax nnx variable
        return not (names and _NOT_A_WEIGHT.fullmatch(names[-1]))

    return jax.tree.map_with_path(is_weight, params)


def _name(entry: object) -> object:
    """The dictionary key or attribute name of a path entry; None for a position in a list."""
    return getattr(entry, "key", getattr(entry, "name", None))


def resolve_mask(mask: Mask, params: Tree) -> Tree:
    """The tree of bools that ``mask`` stands for: one for each leaf of ``params``.

    ``"weights"`` stands for ``weights_only`` and None for all leaves. A function is called with ``params``, and a
    prefix is broadcast.
    """
    if mask is None:
        return jax.tree.map(lambda _: True, params)
    if isinstance(mask, str):
        if mask != "weights":
            raise ValueError(f'mask must be "weights", a tree of bools, a function to one, or None, got {mask!r}')
        return weights_only(params)
    return by_leaf(mask(params) if callable(mask) else mask, params)
