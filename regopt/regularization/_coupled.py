"""The coordinates that a projection couples, read from its program, and a check that an optimizer scales them alike.

The Euclidean projection after a step in another metric ends at the solution of the constrained problem only where all
coordinates that the projection couples have the same step: then the metric is a multiple of the Euclidean one there.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var

from regopt._core.jaxprs import shaped
from regopt._core.paths import leaf_paths
from regopt._core.types import Tree
from regopt.regularization._program import CALLS, closed
from regopt.regularization._reading import Reading
from regopt.regularization._rules import ENTRYWISE


class _Origin(NamedTuple):
    """The leaves of the parameters that a value depends on."""

    leaves: frozenset[int] = frozenset()
    entrywise: bool = True  # each entry depends on its own entry of one leaf at most


def check_coupling(found: Reading, project: Callable[[Tree], Tree], params: Tree) -> None:
    """Refuse a projection that couples coordinates with different steps.

    Args:
        found: what was read of the optimizer, with the keys of its steps.
        project: from parameters to parameters.
        params: the parameters.

    Raises:
        ValueError: the projection couples entries of a leaf, or leaves, whose steps are not known to be the same, or
            leaves of which not all are trained.
    """
    leaves, names = jax.tree.leaves(params), leaf_paths(params)
    for group in coupled(project, params):
        places = sorted(group)
        trained = [found.trained[place] for place in places]
        if not any(trained):
            continue
        moves = [found.updates[place] for place in places]
        whole = next(
            (n for n, move in zip(places, moves, strict=True) if not move.uniform and leaves[n].size > 1), None
        )
        alike = len(places) == 1 or (moves[0].key is not None and len({move.key for move in moves}) == 1)
        if all(trained) and whole is None and alike:
            continue
        if not all(trained):
            what = f"{_named(names, places)}, not all of which are trained"
        elif whole is not None:
            what = f"entries of {names[whole] or 'the parameters'} that the optimizer scales by different factors"
        else:
            what = f"{_named(names, places)}, whose learning rates are not known to be the same"
        raise ValueError(
            f'how="constraint" would not end at the constrained minimum: the projection couples {what}; take sgd or '
            "momentum with one learning rate, a set for each entry such as projection_box, or the penalty with "
            'how="proximal"'
        )


def coupled(project: Callable[[Tree], Tree], params: Tree) -> list[frozenset[int]]:
    """The sets of leaves whose coordinates a projection couples; a leaf whose entries are independent is in none."""
    program = jax.make_jaxpr(project)(params)
    start = [_Origin(frozenset([place])) for place in range(len(program.jaxpr.invars))]
    groups: list[frozenset[int]] = []
    for place, origin in enumerate(_origins(program, start)):
        if origin.leaves <= {place} and origin.entrywise:
            continue
        joined = origin.leaves | {place}
        apart = [group for group in groups if not group & joined]
        groups = [*apart, joined.union(*(group for group in groups if group & joined))]
    return groups


def _origins(program: ClosedJaxpr, arguments: Sequence[_Origin]) -> list[_Origin]:
    jaxpr = program.jaxpr
    known: dict[Var, _Origin] = dict.fromkeys(jaxpr.constvars, _Origin())
    known.update(zip(jaxpr.invars, arguments, strict=True))

    def read(atom):
        return _Origin() if isinstance(atom, Literal) else known[atom]

    for eqn in jaxpr.eqns:
        found = [read(atom) for atom in eqn.invars]
        known.update(zip(eqn.outvars, _after(eqn, found), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _after(eqn: JaxprEqn, found: list[_Origin]) -> list[_Origin]:
    """The origins of the results of one operation."""
    name = eqn.primitive.name
    if name in CALLS:
        return _origins(closed(eqn.params[CALLS[name]]), found)
    leaves = frozenset().union(*(origin.leaves for origin in found))
    shape = shaped(eqn.outvars[0]).shape
    keeps = name in ENTRYWISE or (name in ("broadcast_in_dim", "reshape") and shaped(eqn.invars[0]).shape == shape)
    depending = [(atom, origin) for atom, origin in zip(eqn.invars, found, strict=True) if origin.leaves]
    entrywise = keeps and all(origin.entrywise and shaped(atom).shape == shape for atom, origin in depending)
    entrywise = not leaves or (entrywise and len(leaves) == 1)
    return [_Origin(leaves, entrywise)] * len(eqn.outvars)


def _named(names: Sequence[str], places: Sequence[int]) -> str:
    shown = [names[place] for place in places[:3]]
    return f"the leaves {', '.join(shown)}{', ...' if len(places) > 3 else ''}"
