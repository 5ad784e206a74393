"""Transformations that check what they are given.

Their ``init`` refuses parameters that cannot be trained, and their ``update`` the state of another transformation.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from regopt._core import paths
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
        check_state(state, state_type)
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


def check_floating(params: Tree) -> None:
    """Require parameters that can be trained: floating or complex arrays.

    >>> check_floating({"kernel": jnp.ones(2)})
    """
    for place, leaf in enumerate(jax.tree.leaves(params)):
        if not callable(leaf) and not isinstance(leaf, str | bytes) and not _is_floating(leaf):
            path = paths.leaf_paths(params)[place]
            raise ValueError(
                f"parameters must be floating arrays, got {brief(jnp.result_type(leaf).name)} at {path!r}: convert "
                "the leaf, or leave it out by optax.partition or optax.masked"
            )


def _is_floating(leaf: jax.typing.ArrayLike) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
