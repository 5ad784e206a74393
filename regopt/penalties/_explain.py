"""The effect of a penalty on each parameter, as a table."""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from regopt._core import paths, weights
from regopt._core.types import LeafTerm, Number, Penalty, Tree


class LeafRow(NamedTuple):
    """One parameter."""

    path: str  # its names joined by slashes
    shape: tuple[int, ...]
    penalised: bool
    reason: str  # why it is not penalised; empty where it is
    strengths: tuple[Number, ...]  # of the terms that penalise it; empty where the penalty does not tell
    axes: tuple[tuple[int, ...] | None, ...]  # of each term, the axes within a group; None for a term without groups
    joined: tuple[tuple[str, ...], ...] = ()  # of each term, the paths of the other leaves of its groups
    scheduled: bool = False  # whether the strengths are those of the first step, and change with the count


class Explanation(tuple[LeafRow, ...]):
    """Rows, one for each parameter, that print as a table."""

    __slots__ = ()

    def __str__(self) -> str:
        head = ("path", "shape", "penalised", "strength", "axes of a group")
        lines = [head, *map(_cells, self)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
        return "\n".join(
            "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines
        )

    __repr__ = __str__


def explain(params: Tree, penalty: Penalty) -> Explanation:
    """A table of the parameters: path, shape, whether they are penalised or why not, strength, and axes of groups.

    A strength that is a schedule is that of the first step; ``explain(params, penalty.at(1000))`` shows a later one.

    Args:
        params: the parameters, or their shapes as ``jax.eval_shape`` gives them.
        penalty: the penalty, or a sum of penalties.

    Returns:
        A tuple of rows that prints as a table.

    Raises:
        ValueError: the mask, the strength or the axes of the penalty do not fit the parameters.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt import penalties
        >>> params = {"attn": {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}, "norm": {"gamma": jnp.ones(3)}}
        >>> penalties.explain(params, penalties.group_lasso({"attn/**": 0.5}))
        path         shape   penalised                strength  axes of a group
        attn/bias    (3,)    no, called bias
        attn/kernel  (4, 3)  yes                      0.5       (0,)
        norm/gamma   (3,)    no, fewer than two axes
    """
    leaves = jax.tree.leaves(params)
    chosen = jax.tree.leaves(penalty.mask(params))
    terms: Iterable[tuple[LeafTerm, ...]] = [()] * len(leaves) if penalty.terms is None else penalty.terms(params)
    scheduled = _scheduled(params, penalty)
    rows = []
    names = zip(paths.leaf_paths(params), weights.why_not(params), strict=True)
    for (path, why), w, on, of_leaf, moves in zip(names, leaves, chosen, terms, scheduled, strict=True):
        reason = "" if on else why or "left out by the mask or the strength"
        strengths, axes = tuple(term.strength for term in of_leaf), tuple(term.axes for term in of_leaf)
        others = tuple(term.joined for term in of_leaf)
        rows.append(LeafRow(path, tuple(jnp.shape(w)), bool(on), reason, strengths, axes, others, moves))
    return Explanation(rows)


def _scheduled(params: Tree, penalty: Penalty) -> list[bool]:
    """Whether a strength of each leaf depends on the count of steps."""
    found = [False] * len(jax.tree.leaves(params))
    if (at := penalty.at) is None or penalty.terms is None:
        return found

    def look(count: jax.Array) -> None:
        terms = at(count).terms
        assert terms is not None
        found[:] = [any(isinstance(term.strength, Tracer) for term in of_leaf) for of_leaf in terms(params)]

    jax.eval_shape(look, jnp.zeros((), jnp.int32))
    return found


def _cells(row: LeafRow) -> tuple[str, ...]:
    shown = any(axes is not None for axes in row.axes)
    groups = " + ".join(map(_group, row.axes, row.joined or [()] * len(row.axes))) if shown else ""
    strength = " + ".join(map(_word, row.strengths)) + (" at step 0" if row.scheduled else "")
    return row.path, str(row.shape), "yes" if row.penalised else f"no, {row.reason}", strength, groups


def _group(axes: tuple[int, ...] | None, others: tuple[str, ...]) -> str:
    return "-" if axes is None else f"{axes} with {', '.join(others)}" if others else str(axes)


def _word(number: Number) -> str:
    if isinstance(number, Tracer):
        return "traced"
    array = np.asarray(number, np.float64)
    return f"{array:.4g}" if not array.ndim else f"{array.min():.4g} to {array.max():.4g}"
