"""Transformations that check what they are given.

Their ``init`` refuses parameters that cannot be trained, and their ``update`` the state of another transformation.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from regopt._core import paths, trees
from regopt._core.messages import brief
from regopt._core.types import Tree


def transformation(
    init: Callable[[Tree], Tree], update: Callable[..., tuple[Tree, Tree]], state_type: type, *, trains: bool = False
) -> optax.GradientTransformationExtraArgs:
    """The pair ``(init, update)``, with a check of what each of them is given.

    Args:
        init: ``params -> state``.
        update: ``(updates, state, params=None, **extra_args) -> (updates, state)``.
        state_type: the class of the state.
        trains: whether every leaf of the parameters is to be trained, and so has to be a floating array.

    Returns:
        The transformation. Its ``init`` and ``update`` raise a ``ValueError`` of one line.
    """

    def checked_init(params):
        if trains:
            check_floating(params)
        return init(params)

    def checked_update(updates, state, params=None, **extra_args):
        if state is not None or state_type is not optax.EmptyState:  # one that keeps nothing may be given nothing
            check_state(state, state_type)
        if params is not None:
            trees.check_gradients(updates, params)
        return update(updates, state, params, **extra_args)

    return optax.GradientTransformationExtraArgs(checked_init, checked_update)


def check_state(state: Tree, state_type: type) -> None:
    """Require a state of the class that the optimizer's own ``init`` returns.

    >>> check_state((1, 2), tuple)
    """
    if not isinstance(state, state_type):
        raise ValueError(
            f"update needs the state that this optimizer's own init or update returned, {_named(state_type)}, got "
            f"{_named(type(state))}: call update(grads, state, params)"
        )


def _named(kind: type) -> str:
    package = kind.__module__.partition(".")[0]
    return kind.__name__ if package == "builtins" else f"{package}'s {kind.__name__}"


def check_floating(
    params: Tree,
    chosen: Callable[[Tree], Tree] | None = None,
    way_out: str = "leave it out by optax.partition or optax.masked",
) -> None:
    """Require parameters that can be trained or moved: floating or complex arrays.

    Args:
        params: the tree to check.
        chosen: the mask of the leaves that are meant, as a function of ``params``; None for all of them.
        way_out: what to do with another leaf than to convert it, for the message.

    Raises:
        ValueError: a leaf that is meant holds integers or bools.

    >>> check_floating({"kernel": jnp.ones(2)})
    """
    leaves = jax.tree.leaves(params)
    others = [place for place, leaf in enumerate(leaves) if not _is_floating(leaf)]
    if others and chosen is not None:
        meant = jax.tree.leaves(chosen(params))
        others = [place for place in others if meant[place]]
    if others:
        path, dtype = paths.leaf_paths(params)[others[0]], jnp.result_type(leaves[others[0]])
        place = f" at {path!r}" if path else ""
        raise ValueError(
            f"parameters must be floating arrays, got {brief(dtype.name)}{place}: convert the leaf, or {way_out}"
        )


def check_real(params: Tree, chosen: Callable[[Tree], Tree] | None = None) -> None:
    """Require what has a nearest point in its own dtype: real floating arrays; see ``check_floating``.

    >>> check_real({"kernel": jnp.ones(2), "count": 3}, lambda params: {"kernel": True, "count": False})
    """
    trees.refuse_complex(params)
    check_floating(params, chosen, "leave it out")


def _is_floating(leaf: Tree) -> bool:
    foreign = callable(leaf) or isinstance(leaf, str | bytes)  # which the rules for complex parameters name
    return foreign or jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
