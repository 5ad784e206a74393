"""Protocols on an optimizer's state: where it needs its gradient, which model it stands for, its velocity.

The state of a transformation may have these members:

* ``evaluation_params(params) -> params``: the point at which the transformation needs its gradient, if it is not the
  parameters.
* ``final_params(params) -> params``: the model, if it is not the parameters but, for example, their average.
* ``unshifted(params) -> params``: the iterate, if the parameters are a point beside it, as Nesterov momentum's are by
  default. Their difference does not depend on ``params``. Such parts may be nested; their differences add.
* ``displaced(shift) -> state``: the state, with its velocity, after the parameters moved by ``shift`` beyond the
  update.
* ``hides``, a tuple of the names of members: those of the states within are not asked.

What a transformation multiplies the gradient by is no protocol: ``regopt.regularization`` reads it from the program of
the update.

The state is found at any depth: in a chain, inside a guard, or in the part of a tree that ``optax.masked`` or
``optax.partition`` selects. There a method receives only the selected leaves, like the trees of the transformation.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import jax
import optax
from flax import nnx

from regopt._core.types import Tree

Params = TypeVar("Params")
State = TypeVar("State")


class _WithExplicitForm(optax.GradientTransformationExtraArgs):
    """An optimizer whose parameters are a point beside the iterate; it knows its form in which they are the iterate."""

    explicit: optax.GradientTransformationExtraArgs


def with_explicit_form(
    optimizer: optax.GradientTransformationExtraArgs, explicit: optax.GradientTransformationExtraArgs
) -> optax.GradientTransformationExtraArgs:
    """The optimizer, which can be asked for its form with an explicit evaluation point by ``explicit_form``."""
    result = _WithExplicitForm(optimizer.init, optimizer.update)
    result.explicit = explicit
    return result


def explicit_form(optimizer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs | None:
    """The form of an optimizer with an explicit evaluation point, for what moves the iterate after the optimizer."""
    return optimizer.explicit if isinstance(optimizer, _WithExplicitForm) else None


def evaluation_params(params: Params, opt_state: Tree) -> Params:
    """The point at which to evaluate the next gradient: ``params``, or the point that the optimizer's state names.

    For an ``nnx.Optimizer`` it is ``evaluation_params(nnx.state(model, nnx.Param), optimizer.opt_state)``, and
    ``nnx.update(model, ...)`` puts the answer into the model.

    Args:
        params: the current parameters; may be traced.
        opt_state: the optimizer's state, from ``init`` or ``update``.

    Returns:
        A tree like ``params``; ``params`` itself if no part of the optimizer names another point.

    Raises:
        ValueError: two parts of the optimizer name points for the same parameters, or the arguments are exchanged.

    Example:
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> params = jnp.array([1.0, -2.0])
        >>> optimizer = regopt.nesterov(learning_rate=0.5, momentum=0.5, explicit_point=True)
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)
        >>> regopt.evaluation_params(params + updates, state)
        Array([ 0.25, -0.5 ], dtype=float32)

    References:
        Sutskever, I., Martens, J., Dahl, G., & Hinton, G. (2013). On the importance of initialization and momentum in
        deep learning. ICML. Equations 3 and 4, where the gradient is evaluated away from the parameters.
    """
    _check_order("evaluation_params", params, opt_state)
    return _of_arrays(partial(_answer, "evaluation_params", "choose the evaluation point"), params, opt_state)


def final_params(params: Params, opt_state: Tree) -> Params:
    """The model to evaluate, predict with and keep: ``params``, or the model that the optimizer's state holds.

    For an ``nnx.Optimizer`` it is ``final_params(nnx.state(model, nnx.Param), optimizer.opt_state)``, and
    ``nnx.update(model, ...)`` puts the answer into the model.

    Args:
        params: the current parameters; may be traced.
        opt_state: the optimizer's state, from ``init`` or ``update``.

    Returns:
        A tree like ``params``; ``params`` itself if no part of the optimizer holds another model.

    Raises:
        ValueError: two parts of the optimizer hold models for the same parameters, or the arguments are exchanged.

    Example:
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> params = jnp.array([8.0])
        >>> optimizer = regopt.lookahead(regopt.sgd(0.5), sync_period=2)
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)
        >>> regopt.final_params(params + updates, state)  # the slow weights have not moved yet
        Array([8.], dtype=float32)

    References:
        Polyak, B. T., & Juditsky, A. B. (1992). Acceleration of stochastic approximation by averaging. SIAM Journal on
        Control and Optimization, 30(4), 838-855. For models that are averages of the parameters.
    """
    _check_order("final_params", params, opt_state)

    def ask(params: Params, opt_state: Tree) -> Params:
        return _answer("final_params", "give the final model", unshifted(params, opt_state), opt_state)

    return _of_arrays(ask, params, opt_state)


def shifts(opt_state: Tree) -> bool:
    """Whether a part of the optimizer has its parameters beside the iterate."""
    return bool(parts("unshifted", opt_state))


def unshifted(params: Params, opt_state: Tree) -> Params:
    """The iterate behind the parameters: ``params``, or less what an optimizer adds for its next gradient.

    Args:
        params: the current parameters; may be traced.
        opt_state: the optimizer's state, from ``init`` or ``update``.

    Returns:
        A tree like ``params``; ``params`` itself if no part of the optimizer shifts them.
    """
    for part in parts("unshifted", opt_state):
        params = _filled(part.unshifted(_seen_by(part, params)), params)
    return params


def displaced(opt_state: State, shift: Tree) -> State:
    """The optimizer's state after the parameters moved by ``shift`` beyond its update.

    Args:
        opt_state: the optimizer's state, from ``update``.
        shift: a tree like the parameters.

    Returns:
        The state; where it keeps a velocity, the velocity includes the shift.
    """

    def moves(node):
        return hasattr(node, "displaced")

    return jax.tree.map(
        lambda node: node.displaced(_seen_by(node, shift)) if moves(node) else node, opt_state, is_leaf=moves
    )


def _check_order(function: str, params: Tree, opt_state: Tree) -> None:
    """Refuse a state in the place of the parameters: states are made of named tuples, here or in optax.

    A module of flax and its optimizer, which hold them, are refused too.
    """
    if isinstance(params, nnx.Module) or isinstance(opt_state, nnx.Optimizer):
        raise ValueError(f"{function} takes nnx.state(model, nnx.Param) and optimizer.opt_state, not what holds them")
    takes = f"{function} takes (params, opt_state), got"
    if params is opt_state and jax.tree.leaves(params):
        raise ValueError(f"{takes} one tree as both: give the parameters and then the optimizer's state")
    is_state = _has_states(opt_state)
    if _has_members(params) or (_has_states(params) and not is_state and jax.tree.leaves(opt_state)):
        fix = "give the parameters" if is_state else "exchange the two"
        raise ValueError(f"{takes} an optimizer's state as params: {fix}")


def _of_arrays(ask: Callable[[Params, Tree], Params], params: Params, opt_state: Tree) -> Params:
    """The answer for the arrays in flax's variables, which have other types in a model and in an ``nnx.Optimizer``."""
    if not (_has_variables(params) or _has_variables(opt_state)):
        return ask(params, opt_state)
    arrays = nnx.as_pure(params)
    answer = ask(arrays, nnx.as_pure(opt_state))
    return params if answer is arrays else jax.tree.unflatten(jax.tree.structure(params), jax.tree.leaves(answer))


def _has_variables(tree: Tree) -> bool:
    def is_variable(node):
        return isinstance(node, nnx.Variable)

    return any(map(is_variable, jax.tree.leaves(tree, is_leaf=is_variable)))


def _has_members(tree: Tree) -> bool:
    """Whether a part of the tree has a member that only states have."""

    def has_member(node):
        return any(hasattr(node, name) for name in ("evaluation_params", "final_params", "unshifted", "displaced"))

    return any(map(has_member, jax.tree.leaves(tree, is_leaf=has_member)))


def _has_states(tree: Tree) -> bool:
    def is_state(node):
        return isinstance(node, tuple) and hasattr(node, "_fields")

    return any(map(is_state, jax.tree.leaves(tree, is_leaf=is_state)))


def _answer(method: str, purpose: str, params: Params, opt_state: Tree) -> Params:
    """The answer of each part for the parameters that it sees, and the given parameters for the rest."""
    deciding = parts(method, opt_state)
    if not deciding:
        return params
    leaves, structure = jax.tree.flatten(params)
    deciders: list[str | None] = [None] * len(leaves)
    for part in deciding:
        answer = getattr(part, method)(_seen_by(part, params))
        filled = _filled(answer, params)
        for place, (leaf, decides) in enumerate(zip(jax.tree.leaves(filled), _decides(answer, params), strict=True)):
            if decides and deciders[place]:
                names = f"{deciders[place]} and {type(part).__name__}"
                raise ValueError(f"only one part of an optimizer may {purpose}, got {names}")
            if decides:
                leaves[place], deciders[place] = leaf, type(part).__name__
    return structure.unflatten(leaves)


def _filled(answer: Tree, params: Params) -> Params:
    """The answer, with the parameters where the part does not see them."""
    return jax.tree.map(lambda own, p: p if _is_masked(own) else own, answer, params, is_leaf=_is_masked)


def _decides(answer: Tree, params: Tree) -> list[bool]:
    """Whether the answer has its own leaf, for each leaf of the parameters; a mask may stand for a whole layer."""
    return jax.tree.leaves(
        jax.tree.map(lambda own, p: jax.tree.map(lambda _: not _is_masked(own), p), answer, params, is_leaf=_is_masked)
    )


def parts(method: str, node: Tree) -> list[Tree]:
    """Every part of a state with the method, including parts nested in another such part."""
    if method in getattr(node, "hides", ()):
        return []
    children = [child for child in jax.tree.leaves(node, is_leaf=lambda x: x is not node) if child is not node]
    own = [node] if hasattr(node, method) else []
    return own + [part for child in children for part in parts(method, child)]


def _seen_by(part: Tree, params: Params) -> Params:
    """The parameters, masked like the trees of the part, which are the only trace of the wrapper that masked them."""
    for tree in jax.tree.leaves(part, is_leaf=lambda x: x is not part):
        if not any(map(_is_masked, jax.tree.leaves(tree, is_leaf=_is_masked))):
            continue
        try:
            return jax.tree.map(lambda own, p: own if _is_masked(own) else p, tree, params, is_leaf=_is_masked)
        except ValueError:  # the tree does not match the parameters, like the state of a wrapped optimizer
            continue
    return params


def _is_masked(node: object) -> bool:
    return isinstance(node, optax.MaskedNode)
