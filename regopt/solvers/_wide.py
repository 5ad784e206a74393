"""The choice of the paths that are followed on working sets from the host rather than in a compiled program."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from regopt._core.numerics import widen
from regopt._core.types import Number, Penalty, Tree
from regopt.penalties import elastic_net, group_lasso, l1
from regopt.solvers._families import squared_error
from regopt.solvers._linear_model import LinearModel
from regopt.solvers._solution import Solution
from regopt.solvers._working_set import working_set_path

WORKING_SETS_FROM = 256  # features: from here on "auto" takes working sets where they pay

# ``penalties.l1``, or ``lambda strength: penalties.elastic_net(strength, 0.5)``
PenaltyOfStrength = Callable[[jax.Array], Penalty]


class Norm(NamedTuple):
    """The norm of a penalty whose structure is known."""

    l1_ratio: float | jax.Array  # the share of the norm in the strength; the rest goes to the square
    size: int  # the number of consecutive features of a group


def is_lasso(penalty: PenaltyOfStrength) -> bool:
    """Whether the penalty is ``penalties.l1`` itself, or a ``functools.partial`` of it that sets only the mask."""
    if isinstance(penalty, partial):
        return penalty.func is l1 and not penalty.args and set(penalty.keywords) <= {"mask"}
    return penalty is l1


def takes_working_sets(
    solver: str,
    loss: Callable[..., jax.Array],
    penalty: PenaltyOfStrength,
    start: Tree,
    data: tuple[Tree, ...],
    strengths: jax.Array,
    tolerance: Number,
) -> bool:
    """Whether the path is followed on working sets.

    Args:
        solver: as for ``path``.
        loss: as for ``path``.
        penalty: as for ``path``.
        start: as for ``path``.
        data: as for ``path``.
        strengths: as for ``path``.
        tolerance: as for ``path``.

    Returns:
        True if it is.

    Raises:
        ValueError: ``solver="working_set"`` does not fit the arguments, or the start does not fit the model.
    """
    if isinstance(loss, LinearModel):
        loss.check_params(start)
    if solver not in ("auto", "working_set"):
        return False
    norm = None
    if isinstance(loss, LinearModel) and loss.family.loss is squared_error:
        norm = norm_of(penalty, start)
    traced = _traced((data, strengths, tolerance, norm, start))
    if norm is None or traced or not float(norm.l1_ratio) > 0 or not np.all(np.asarray(strengths) > 0):
        if solver == "auto":
            return False
        raise ValueError(
            'solver "working_set" is for a LinearModel of the family gaussian, with penalties.l1, or a '
            "functools.partial of elastic_net or of group_lasso over the last axis of inputs [examples, groups, "
            'members], that leaves the intercept out, strengths above 0, outside jit, vmap and grad: take solver="auto"'
        )
    features = start["coefficients"].size
    return solver == "working_set" or (features >= WORKING_SETS_FROM and (norm.size > 1 or features > len(data[0])))


def _traced(tree: Tree) -> bool:
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))


def norm_of(penalty: PenaltyOfStrength, start: Tree) -> Norm | None:
    """The norm of ``l1``, or of a ``functools.partial`` of ``elastic_net`` or ``group_lasso``; None for others."""
    named = penalty.func if isinstance(penalty, partial) and not penalty.args else None
    if not (is_lasso(penalty) or named in (elastic_net, group_lasso)):
        return None
    understood = {"axis", "unit_axis", "mask", "l1_ratio"}
    if isinstance(penalty, partial) and not set(penalty.keywords) <= understood:
        return None  # weights and groups by name make another norm
    unit = penalty(jnp.ones(()))
    if unit.mask(start) != {name: name == "coefficients" for name in start}:
        return None
    shape = start["coefficients"].shape
    if named is group_lasso:
        assert unit.terms is not None
        (term,) = unit.terms(start)[sorted(start).index("coefficients")]
        plain = len(shape) == 2 and term.axes == (1,) and not term.joined and np.ndim(term.strength) == 0
        return Norm(1.0, shape[1]) if plain else None
    l1_ratio = penalty.keywords.get("l1_ratio", 0.5) if isinstance(penalty, partial) and named is elastic_net else 1.0
    return Norm(l1_ratio, 1) if np.ndim(l1_ratio) == 0 else None


def on_working_sets(
    loss: Callable[..., jax.Array],
    penalty: PenaltyOfStrength,
    start: Tree,
    data: tuple[Tree, ...],
    weights: jax.Array | None,
    strengths: jax.Array,
    tolerance: Number,
    max_steps: int,
) -> Solution:
    """The solutions on working sets for each row of the weights, with leading axes ``[lanes, strengths]``."""
    x, y, *rest = data
    (x,) = widen(jnp.asarray(x))  # counts and 16-bit numbers too
    offset, norm = (rest[1] if len(rest) > 1 else None), norm_of(penalty, start)
    assert isinstance(loss, LinearModel)
    assert norm is not None
    loss.check_data(*data)
    l1_ratio, grid = float(norm.l1_ratio), np.asarray(strengths, np.float64)
    found = working_set_path(
        x.reshape(len(x), -1),
        jnp.asarray(y if offset is None else y - offset),
        jnp.ones((1, len(y))) if weights is None else weights,
        grid * l1_ratio,
        grid * (1 - l1_ratio),
        intercept=loss.intercept,
        size=norm.size,
        tolerance=float(np.asarray(tolerance)),
        max_steps=max_steps,
    )
    w = found.params["coefficients"]
    w = w.reshape(*w.shape[:2], *start["coefficients"].shape)
    return found._replace(params={**found.params, "coefficients": w})
