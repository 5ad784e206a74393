"""Proximal steps, projections and decay for optimizers whose parameters are not the iterate but a point beside it.

They act on the iterate. So they go around the form of the optimizer in which the parameters are the iterate, and what
is here goes around the whole, so that a training loop has the point as its parameters again.
"""

from typing import NamedTuple

import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.protocols import evaluation_params, shifts
from regopt._core.transformation import transformation
from regopt._core.types import Tree


class AtPointState(NamedTuple):
    """State of an optimizer whose parameters are the point at which it needs its gradient."""

    inner: Tree  # state of the optimizer whose parameters are the iterate
    ahead: Tree  # structure, shapes and dtypes of the parameters, which lead the iterate by this

    hides = ("evaluation_params",)  # see regopt/_core/protocols.py

    def unshifted(self, params: Tree) -> Tree:
        """The iterate, in the dtypes of ``params``."""
        return trees.lift(jnp.subtract, params, self.ahead)


def at_point(optimizer: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
    """The optimizer with its evaluation point as the parameters of the training loop."""

    def init(params):
        return AtPointState(optimizer.init(params), optax.tree.zeros_like(params))

    def update(updates, state, params=None, **extra_args):
        if params is None:
            raise ValueError("a step that moves the iterate needs the parameters: call update(grads, state, params)")
        before = state.unshifted(params)
        moves, inner = optimizer.update(updates, state.inner, before, **extra_args)
        iterate = trees.lift(jnp.add, before, moves)
        point = evaluation_params(iterate, inner)
        moves = trees.lift(lambda _, to, y: to - y, moves, point, params)
        # from the parameters after rounding, so that a zero of the iterate stays exactly zero
        ahead = trees.lift(jnp.subtract, trees.lift(jnp.add, params, moves), iterate)
        return moves, AtPointState(inner, ahead)

    return transformation(init, update, AtPointState)


def checked(optimizer: optax.GradientTransformation, how: str) -> optax.GradientTransformationExtraArgs:
    """The optimizer, with a state that keeps its dtypes.

    Its ``init`` raises for complex parameters, and for what moves the iterate where the parameters are a point beside
    it.
    """
    optimizer = optax.with_extra_args_support(optimizer)

    def init(params):
        trees.refuse_complex(params)
        state = optimizer.init(params)
        if how != "gradient" and shifts(state):
            raise ValueError(
                f'how="{how}" moves the iterate, and the parameters of this optimizer are a point beside it: put '
                "wrappers and chains around the whole, as in sam(regularize(...)) and guard(regularize(nesterov(...)))"
            )
        return state

    def update(updates, state, params=None, **extra_args):
        if params is not None:
            trees.check_gradients(updates, params)
        updates, after = optimizer.update(updates, state, params, **extra_args)
        return updates, trees.cast_like(after, state)

    return optax.GradientTransformationExtraArgs(init, update)
