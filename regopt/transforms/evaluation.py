"""Where an optimizer wants its gradient: the evaluation point, found in the optimizer's own state."""

from typing import Any

import jax

from regopt.types import Tree


def evaluation_params(params: Tree, opt_state: Any) -> Tree:
    """The point at which the next gradient is asked: the parameters, or where the optimizer's state says.

    A transformation that wants its gradient elsewhere gives its state a method
    ``evaluation_params(params) -> params``. The state is found through ``optax.chain`` and other nesting.

    Args:
        params: the current parameters.
        opt_state: the optimizer's state, from ``init`` or ``update``.

    Returns:
        A tree like ``params``; the parameters themselves where no part of the optimizer cares.

    Raises:
        ValueError: two parts of the optimizer each want a point of their own.
    """
    wishes = [part for part in jax.tree.leaves(opt_state, is_leaf=_has_a_wish) if _has_a_wish(part)]
    if len(wishes) > 1:
        names = " and ".join(type(part).__name__ for part in wishes)
        raise ValueError(f"only one part of an optimizer may choose the evaluation point, got {names}")
    return wishes[0].evaluation_params(params) if wishes else params


def _has_a_wish(part: Any) -> bool:
    return hasattr(part, "evaluation_params")
