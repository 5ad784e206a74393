"""Parameter trees: rules applied leaf by leaf, masks, numbers by layer, and sums in float32.

Structure comes from ``jax.tree`` and ``optax.tree``. This file only adds the rule "at least float32, cast last" and the
mask that selects weights.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import reduce
from typing import TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from regopt._core import paths
from regopt._core.checks import check_no_schedule
from regopt._core.messages import brief
from regopt._core.numerics import like, widen
from regopt._core.sums import sum_vector
from regopt._core.types import Mask, Number, NumberOrSchedule, Tree
from regopt._core.weights import weights_only

Params = TypeVar("Params")
# schedules are evaluated before, which the types of an optimizer's numbers do not say
Numbers: TypeAlias = tuple[NumberOrSchedule, ...] | Mapping[str, NumberOrSchedule]

_ADDED_UP_TO = 2  # terms that are added one by one; a sum of more is one product, see ``sum_vector``


def lift(rule: Callable[..., jax.Array], first: Params, *rest: Tree, numbers: Numbers = ()) -> Params:
    """Apply ``rule`` leaf by leaf in at least float32, and cast the results to the dtypes of ``first``.

    Args:
        rule: function of one array from each tree and then of each number, all of one dtype; returns an array.
        first: tree whose structure and dtypes the result takes.
        *rest: trees with the same structure.
        numbers: the arguments of the rule after the arrays: numbers, or numbers by layer as for ``by_leaf``. A mapping
            gives the names that messages have for them, which are else those of the rule's parameters.

    Returns:
        A tree like ``first``.

    Raises:
        ValueError: one of ``numbers`` does not fit ``first``.

    >>> lift(lambda w, g, rate: w - rate * g, {"w": jnp.ones(2)}, {"w": jnp.ones(2)}, numbers=(0.5,))
    {'w': Array([0.5, 0.5], dtype=float32)}
    """
    wide = lift_wide(rule, first, *rest, numbers=numbers)
    return jax.tree.map(lambda leaf, result: result.astype(jnp.asarray(leaf).dtype), first, wide)


def lift_wide(rule: Callable[..., jax.Array], *trees: Tree, numbers: Numbers = ()) -> Tree:
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

    if isinstance(numbers, Mapping):
        named = list(numbers.items())
    else:  # a number needs no name, and the signature takes its time
        plain = jax.tree_util.all_leaves(numbers)
        names = [""] * len(numbers) if plain else names_after(rule, len(trees), len(numbers))
        named = list(zip(names, numbers, strict=True))
    return jax.tree.map(at_leaf, *trees, *(by_leaf(number, trees[0], name) for name, number in named))


def names_after(rule: Callable[..., jax.Array], arrays: int, count: int) -> list[str]:
    """The names of a rule's parameters after those of the arrays, as messages have them for the numbers."""
    try:
        named = list(inspect.signature(rule).parameters.values())[arrays : arrays + count]
    except ValueError:  # a built-in function
        named = []
    names = [each.name for each in named if each.kind is not inspect.Parameter.VAR_POSITIONAL]
    return [*names, *(f"number {place}" for place in range(len(names), count))]


def refuse_complex(params: Tree, way_out: str = "") -> None:
    """Raise for complex parameters, of which a square, a sign or a maximum is not that of the magnitude.

    What is no array at all, such as an activation function in a module of equinox, is refused too.
    """
    leaves = jax.tree.leaves(params)
    if foreign := [at for at, leaf in enumerate(leaves) if callable(leaf) or isinstance(leaf, str | bytes)]:
        path, leaf = paths.leaf_paths(params)[foreign[0]], leaves[foreign[0]]
        raise ValueError(
            f"parameters must be arrays, got {brief(leaf)} at {path!r}: of a module of equinox give "
            "eqx.filter(model, eqx.is_inexact_array)"
        )
    if any(jnp.issubdtype(jnp.result_type(leaf), jnp.complexfloating) for leaf in leaves):
        raise ValueError(
            "complex parameters are not supported here: wrap the whole in optax.contrib.split_real_and_imaginary(...)"
            + way_out
        )


def check_gradients(grads: Tree, params: Tree) -> None:
    """Require gradients with the structure and the shapes of the parameters, and say in one line where they differ.

    >>> check_gradients({"w": jnp.ones(2)}, {"w": jnp.ones(2)})
    """
    try:
        fits = jax.tree.leaves(jax.tree.map(lambda g, w: jnp.shape(g) == jnp.shape(w), grads, params))
    except ValueError as error:
        missing, foreign = paths.missing_and_foreign(grads, params)
        where = (
            f"there is none for {missing[0]!r}"
            if missing
            else f"there is no parameter {foreign[0]!r}"
            if foreign
            else f"got {type(grads).__name__} for {type(params).__name__}"
        )
        raise ValueError(f"the gradients must have the structure of the parameters: {where}") from error
    if not all(fits):
        at = fits.index(False)
        given, wanted = (jnp.shape(jax.tree.leaves(tree)[at]) for tree in (grads, params))
        path = paths.leaf_paths(params)[at]
        raise ValueError(f"the gradients must have the shapes of the parameters, got {given} for {wanted} at {path!r}")


def zeros_wide(params: Params) -> Params:
    """Zeros shaped like ``params``, in at least float32, to start an accumulator.

    In bfloat16, whose spacing near 1 is 1/128, a second moment with b2 = 0.999 would never change. Complex parameters
    are refused.
    """
    refuse_complex(params, ", or use sgd, heavy_ball or nesterov")
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
    sums = widen(*(jnp.sum(widen(leaf)[0]) for leaf in jax.tree.leaves(tree)))
    if not 0 < len(sums) <= _ADDED_UP_TO:
        return sum_vector(jnp.stack(widen(jnp.float32(0), *sums)))
    return reduce(jnp.add, sums)


def count_not_finite(tree: Tree) -> jax.Array:
    """The number of entries of the inexact leaves that are NaN or infinite; int32 of shape ().

    >>> count_not_finite({"w": jnp.array([1.0, jnp.inf]), "count": jnp.array(3)})
    Array(1, dtype=int32)
    """
    inexact = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return total_count([count_true_in_leaf(~jnp.isfinite(x)) for x in inexact])


def count_true_in_leaf(*conditions: jax.Array) -> jax.Array:
    """The number of true entries of arrays of one shape; shape (), in float32 where that is exact."""
    # XLA sums floats four times as fast as integers on a CPU, and writes them first; they are exact up to 2**24, and
    # as flags also in 16 bits
    exact = len(conditions) * conditions[0].size <= 2**24
    small = jnp.bfloat16 if len(conditions) <= 2**8 else jnp.float32
    flags = reduce(jnp.add, [x.astype(small if exact else jnp.int32) for x in conditions])
    return jnp.sum(flags, dtype=jnp.float32 if exact else jnp.int32)


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

    if jax.tree.structure(tree) != jax.tree.structure(reference):
        raise ValueError(paths.other_structure(tree, reference))
    return jax.tree.map(cast, tree, reference)


def no_move(updates: Params) -> Params:
    """Updates that change no bit of a parameter: -0.0, because adding 0.0 would turn -0.0 into 0.0."""
    return jax.tree.map(lambda u: jnp.full_like(u, -0.0), updates)


def by_leaf(number: NumberOrSchedule, params: Tree, name: str = "the tree of numbers", default: object = None) -> Tree:
    """One number for each leaf, from a number, a prefix tree of numbers, or a mapping from path patterns to numbers.

    Args:
        number: a number or a schedule; a tree of these whose nodes have the names of those of ``params``, down to a
            layer, say; or a mapping from patterns such as ``"**/bias"``. Of several patterns that match a leaf, the one
            with the most characters outside of wildcards and slashes wins; two with equally many are refused.
        params: the tree to match.
        name: name of the argument, for the message.
        default: the number of a leaf that no pattern matches; None refuses such a leaf.

    Returns:
        A tree with the structure of ``params``.

    Raises:
        ValueError: the tree does not fit ``params``, or a pattern matches nothing.

    >>> by_leaf({"a": 1.0, "b": 2.0}, {"a": {"kernel": 0, "bias": 0}, "b": {"kernel": 0}})
    {'a': {'bias': 1.0, 'kernel': 1.0}, 'b': {'kernel': 2.0}}
    >>> by_leaf({"a/*": 1.0, "**": 2.0}, {"a": {"kernel": 0, "bias": 0}, "b": {"kernel": 0}})
    {'a': {'bias': 1.0, 'kernel': 1.0}, 'b': {'kernel': 2.0}}
    """
    if jax.tree_util.all_leaves([number]):
        return jax.tree.map(lambda _: number, params)
    return jax.tree.unflatten(jax.tree.structure(params), paths.broadcast(number, params, name, default))


def check_fits(name: str, number: Number, w: jax.Array, within: tuple[int, ...] = (), by_entry: bool = True) -> None:
    """Check that a number for a leaf is one number, or has one for each of its entries or groups.

    Args:
        name: name of the argument, for the message.
        number: the number, or array of numbers.
        w: the leaf.
        within: the axes that run within a group, which have length 1 in the array.
        by_entry: whether it may be an array.

    Raises:
        ValueError: it is an array of another shape, or must not be one, or it is a schedule.
    """
    check_no_schedule(name, number)
    shape = jnp.shape(number)
    allowed = tuple(1 if axis in within else size for axis, size in enumerate(jnp.shape(w)))
    if shape and (not by_entry or shape != allowed):
        also = f", or an array of shape {allowed}" if by_entry else ""
        raise ValueError(f"{name} must be one number for a leaf of shape {jnp.shape(w)}{also}, got shape {shape}")


def resolve_mask(mask: Mask, params: Tree) -> Tree:
    """The tree of bools that ``mask`` stands for: one for each leaf of ``params``.

    ``"weights"`` stands for ``weights_only`` and None for all leaves. A function is called with ``params``. A prefix
    tree or a mapping from path patterns is broadcast; a leaf that no pattern matches is not chosen.
    """
    if mask is None:
        return jax.tree.map(lambda _: True, params)
    if isinstance(mask, str) and mask == "weights":
        return weights_only(params)
    given: Tree = mask(params) if callable(mask) else mask
    for word in filter(lambda leaf: isinstance(leaf, str), jax.tree.leaves(given)):  # also in a list, of patterns say
        _as_bool(word)
    chosen = by_leaf(given, params, "mask", default=False)
    return jax.tree.map(_as_bool, chosen)


def _as_bool(on: Tree) -> bool:
    if np.ndim(on) or np.asarray(on).dtype != np.bool_:
        raise ValueError(
            'mask must be "weights", bools by layer or by path pattern such as {"**/q": True}, a function to these, '
            f"or None, got {brief(on)}"
        )
    return bool(on)


def bounds_by_leaf(lower: NumberOrSchedule, upper: NumberOrSchedule, params: Tree) -> tuple[Tree, Tree]:
    """The two bounds for each leaf, as trees like ``params``; they must fit, and concrete ones be in order."""
    low, high = by_leaf(lower, params, "lower"), by_leaf(upper, params, "upper")
    for w, a, b in zip(jax.tree.leaves(params), jax.tree.leaves(low), jax.tree.leaves(high), strict=True):
        check_fits("lower", a, w)
        check_fits("upper", b, w)
        check_order(a, b)
    return low, high


def check_order(lower: NumberOrSchedule, upper: NumberOrSchedule) -> None:
    """Refuse a concrete lower bound above a concrete upper one; trees and tracers pass."""
    concrete = jax.tree_util.all_leaves([lower, upper]) and not any(isinstance(x, Tracer) for x in (lower, upper))
    if concrete and np.any(np.asarray(lower) > np.asarray(upper)):
        raise ValueError(f"lower must be at most upper, got {brief(lower)} and {brief(upper)}")
