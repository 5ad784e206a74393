"""Penalties that keep parameters close to each other or to given values, and parameters that are shared.

Parts of the parameters are selected by a path such as "encoder/kernel", or by a function from the parameters to the
part. For differences between neighbours along an axis see ``total_variation``.
"""

from collections.abc import Callable
from typing import TypeAlias, TypeVar

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.messages import brief
from regopt._core.numerics import check_number, check_range, like, widen
from regopt._core.types import Mask, NumberOrSchedule, Penalty, ScheduledNumber, Tree
from regopt.penalties._leafwise import SQUARE, leafwise
from regopt.penalties._scheduled import takes_schedules

Params = TypeVar("Params")
Part: TypeAlias = str | Callable[[Tree], Tree]


@takes_schedules
def tie(first: Part, second: Part, strength: ScheduledNumber = 1.0) -> Penalty:
    """``strength / 2 * |w_A - w_B|^2`` for two parts A and B of the parameters that have the same shapes.

    At strength 0 the parts are independent; as the strength grows they become equal. The proximal operator is
    ``w_A - step_A strength d`` and ``w_B + step_B strength d`` with
    ``d = (w_A - w_B) / (1 + strength (step_A + step_B))``.

    Args:
        first: part A, as a path of names or positions separated by slashes, or as a function that selects it; static.
        second: part B, selected in the same way; static.
        strength: factor of the penalty, >= 0, in loss units per squared parameter unit; may be traced or scheduled.

    Returns:
        The penalty, with a proximal operator. All selected parameters are penalised, biases included.

    Raises:
        ValueError: a concrete strength is negative or NaN, a part is neither a path nor a function, or (when the
            penalty is used) a part does not exist, the two parts overlap, or their structures or shapes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import tie
        >>> params = {"a": jnp.array([3.0]), "b": jnp.array([1.0])}
        >>> penalty = tie("a", "b", 0.5)
        >>> penalty.value(params), penalty.prox(params, 1.0)
        (Array(1., dtype=float32), {'a': Array([2.5], dtype=float32), 'b': Array([1.5], dtype=float32)})

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 7.9, where the penalty
        ``|w_A - w_B|^2`` is a strength of 2.
    """
    check_number("strength", strength, "[0, inf)")
    _check_part("first", first)
    _check_part("second", second)

    def value(params):
        leaves = jax.tree.leaves(params)
        gaps = [jnp.subtract(*widen(leaves[a], leaves[b])) for a, b in _pairs(params, first, second)]
        return trees.total([like(strength, gap) * jnp.square(gap) / 2 for gap in gaps])

    def prox(params, step):
        leaves, structure = jax.tree.flatten(params)
        steps = jax.tree.leaves(trees.by_leaf(step, params, "step"))
        for a, b in _pairs(params, first, second):
            wide = widen(leaves[a], leaves[b])
            reach = [like(steps[i], wide[0]) * like(strength, wide[0]) for i in (a, b)]
            gap = (wide[0] - wide[1]) / (1 + reach[0] + reach[1])
            leaves[a] = (wide[0] - reach[0] * gap).astype(jnp.asarray(leaves[a]).dtype)
            leaves[b] = (wide[1] + reach[1] * gap).astype(jnp.asarray(leaves[b]).dtype)
        return structure.unflatten(leaves)

    def mask(params):
        chosen = {place for pair in _pairs(params, first, second) for place in pair}
        structure = jax.tree.structure(params)
        return structure.unflatten([place in chosen for place in range(structure.num_leaves)])

    return Penalty(value, prox, mask)


@takes_schedules
def l2_sp(reference: Tree, strength: NumberOrSchedule = 1.0, *, mask: Mask = "weights") -> Penalty:
    """``strength / 2 * sum_i (w_i - w0_i)**2``: ``l2`` around given parameters (L2-SP).

    The reference is, for example, the parameters before fine-tuning. The proximal operator is ``(w + step strength w0)
    / (1 + step strength)``.

    Args:
        reference: w0, in parameter units; a tree like the parameters, or a prefix tree of numbers; may be traced.
        strength: factor of the penalty, >= 0, in loss units per squared parameter unit; a number or a prefix tree of
            numbers; may be traced or scheduled.
        mask: which leaves are penalised; by default neither biases nor normalisation scales.

    Returns:
        The penalty, with a prox.

    Raises:
        ValueError: a concrete strength is negative or NaN, or the reference does not fit the parameters when the
            penalty is used.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import l2_sp
        >>> penalty = l2_sp(jnp.array([1.0, 1.0]), 0.5)
        >>> penalty.value(jnp.array([3.0, 1.0])), penalty.prox(jnp.array([3.0, 1.0]), 2.0)
        (Array(1., dtype=float32), Array([2., 1.], dtype=float32))

    References:
        Li, X., Grandvalet, Y., & Davoine, F. (2018). Explicit inductive bias for transfer learning with convolutional
        networks. ICML. Equation (2).

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 7.1.1, remark on (7.1).
    """
    check_range("strength", strength, "[0, inf)")

    def value_at(w, strength, reference):
        return strength * jnp.square(w - reference) / 2

    def prox_at(w, step, strength, reference):
        reach = step * strength
        return (w + reach * reference) / (1 + reach)

    return leafwise((strength, reference), mask, value_at, prox_at, stage=SQUARE)


def share(params: Params, source: Part, *targets: Part) -> Params:
    """``w_target <- w_source`` for every target: the parameters with one set of weights used in several places.

    Call this function at the start of the loss and of the prediction. The gradient of the source is then the sum over
    all places, and the gradient of the targets is 0. The stored values of the targets do not change and have no effect,
    so they should not be penalised.

    Args:
        params: the tree; the parts of the source and of all targets have the same structure and shapes.
        source: the part that is used, as a path of names or positions separated by slashes, or as a function that
            selects it; static.
        *targets: the parts that are replaced, selected in the same way; static.

    Returns:
        A tree with the structure, shapes and dtypes of ``params``.

    Raises:
        ValueError: a part does not exist, two parts overlap, or their structures or shapes differ.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import share
        >>> params = {"a": jnp.ones(1), "b": jnp.ones(1)}
        >>> jax.grad(lambda p: jnp.sum(share(p, "a", "b")["b"] * 3 + p["a"]))(params)
        {'a': Array([4.], dtype=float32), 'b': Array([0.], dtype=float32)}

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 7.9.
    """
    for name, part in [("source", source), *(("targets", target) for target in targets)]:
        _check_part(name, part)
    leaves, structure = jax.tree.flatten(params)
    for target in targets:
        for a, b in _pairs(params, source, target):
            leaves[b] = jnp.asarray(leaves[a]).astype(jnp.asarray(leaves[b]).dtype)
    return structure.unflatten(leaves)


def _check_part(name: str, part: object) -> None:
    """Require a path of names, or a function."""
    if not (callable(part) or (isinstance(part, str) and all(part.split("/")))) or isinstance(part, type):
        raise ValueError(f'{name} must be a path such as "encoder/kernel", or a function, got {brief(part)}')


def _pairs(params: Tree, first: Part, second: Part) -> list[tuple[int, int]]:
    """The positions among the leaves of the parameters of corresponding leaves of two parts."""
    leaves, structure = jax.tree.flatten(params)
    places = structure.unflatten(range(len(leaves)))
    parts = [_select(places, part) for part in (first, second)]
    if jax.tree.structure(parts[0]) != jax.tree.structure(parts[1]):
        raise ValueError(f"the parts {_name(first)} and {_name(second)} must have the same structure")
    pairs = list(zip(*map(jax.tree.leaves, parts), strict=True))
    if not pairs or {a for a, _ in pairs} & {b for _, b in pairs}:
        raise ValueError(f"the parts {_name(first)} and {_name(second)} must hold parameters, and no two the same")
    for a, b in pairs:
        shapes = jnp.shape(leaves[a]), jnp.shape(leaves[b])
        if shapes[0] != shapes[1]:
            raise ValueError(f"the parts {_name(first)} and {_name(second)} must have the same shapes, got {shapes}")
    return pairs


def _select(places: Tree, part: Part) -> Tree:
    if callable(part):
        return part(places)
    found = places
    for name in part.split("/"):
        keys = (name, int(name)) if name.isdecimal() else (name,)
        inner = [value for key in keys for value in _entry(found, key)]
        if not inner:
            raise ValueError(f"{_name(part)} must be a path to parameters: there is no {name!r}")
        found = inner[0]
    return found


def _entry(node: Tree, key: str | int) -> list[Tree]:
    """The child of a node under a key, as a list of one; empty where there is none."""
    try:
        return [node[key]]
    except (KeyError, IndexError, TypeError):
        return []


def _name(part: Part) -> str:
    return repr(part) if isinstance(part, str) else getattr(part, "__name__", repr(part))
