"""Where an optimizer wants its gradient, and which model it stands for: both are found in the optimizer's own state.

A transformation that wants its gradient elsewhere than at the parameters gives its state a method
``evaluation_params(params) -> params``; one whose model is not the parameters themselves, an average, say, a method
``final_params(params) -> params``. One that scales the gradient in each coordinate tells how by
``proximal_steps(rates) -> steps``; one whose scale no such number can tell has a true attribute ``hides_metric``. One
with a velocity takes in that the parameters were moved once more by ``displaced(shift) -> state``. One whose model is
made of points of its own, which don't move with the parameters, has an attribute ``own_points``. The state is found at
any depth: in a chain, behind a guard, in a part of the tree that ``optax.masked`` or ``optax.partition`` picks. There
the method is given the picked leaves alone, as the transformation's own trees have them.
"""

from typing import TypeVar

import jax
import optax

from regopt._core.types import Tree

Params = TypeVar("Params")
State = TypeVar("State")


def evaluation_params(params: Params, opt_state: Tree) -> Params:
    """The point at which the next gradient is asked: the parameters, or where the optimizer's state says.

    Of an ``nnx.Optimizer`` give ``nnx.as_pure`` of both: ``evaluation_params(nnx.as_pure(nnx.state(model, nnx.Param)),
    nnx.as_pure(optimizer.opt_state))``.

    Args:
        params: the current parameters.
        opt_state: the optimizer's state, from ``init`` or ``update``.

    Returns:
        A tree like ``params``; the parameters themselves where no part of the optimizer cares.

    Raises:
        ValueError: two parts of the optimizer each want a point of their own for the same parameters.
    """
    return _answer("evaluation_params", "choose the evaluation point", params, opt_state)


def final_params(params: Params, opt_state: Tree) -> Params:
    """The model to evaluate, predict with and keep: the parameters, or what the optimizer's state says.

    Of an ``nnx.Optimizer`` give ``nnx.as_pure`` of both, as for ``evaluation_params``.

    Args:
        params: the current parameters.
        opt_state: the optimizer's state, from ``init`` or ``update``.

    Returns:
        A tree like ``params``; the parameters themselves where no part of the optimizer cares.

    Raises:
        ValueError: two parts of the optimizer each have a model of their own for the same parameters.
    """
    return _answer("final_params", "give the final model", params, opt_state)


def proximal_steps(rates: Tree, opt_state: Tree) -> Tree:
    """The learning rates times what multiplied the gradient, or its average, in the optimizer's last step.

    Args:
        rates: one number for each leaf of the parameters.
        opt_state: the optimizer's state, from ``update``.

    Returns:
        A tree with the structure of ``rates``: a step for each coordinate where the optimizer scales coordinates, the
        rate elsewhere; ``rates`` itself where no part of the optimizer does.

    Raises:
        ValueError: two parts of the optimizer scale the same parameters.
    """
    return _answer("proximal_steps", "scale the coordinates", rates, opt_state)


def displaced(opt_state: State, shift: Tree) -> State:
    """The optimizer's state if the parameters moved by ``shift`` more than its update says.

    Args:
        opt_state: the optimizer's state, from ``update``.
        shift: a tree like the parameters.

    Returns:
        The state, with what the parameters moved by where a velocity is kept.
    """

    def moves(node):
        return hasattr(node, "displaced")

    return jax.tree.map(
        lambda node: node.displaced(_seen_by(node, shift)) if moves(node) else node, opt_state, is_leaf=moves
    )


def _answer(method: str, purpose: str, params: Params, opt_state: Tree) -> Params:
    """Each part's answer for the parameters that it sees, the given ones for the rest."""
    parts = _parts(method, opt_state)
    if not parts:
        return params
    leaves, structure = jax.tree.flatten(params)
    deciders: list[str | None] = [None] * len(leaves)
    for part in parts:
        answer = getattr(part, method)(_seen_by(part, params))
        filled = jax.tree.map(lambda own, p: p if _is_masked(own) else own, answer, params, is_leaf=_is_masked)
        for place, (leaf, decides) in enumerate(zip(jax.tree.leaves(filled), _decides(answer, params), strict=True)):
            if decides and deciders[place]:
                names = f"{deciders[place]} and {type(part).__name__}"
                raise ValueError(f"only one part of an optimizer may {purpose}, got {names}")
            if decides:
                leaves[place], deciders[place] = leaf, type(part).__name__
    return structure.unflatten(leaves)


def _decides(answer: Tree, params: Tree) -> list[bool]:
    """Whether the answer has a leaf of its own, for each leaf of the parameters: a mask may stand for a whole layer."""
    return jax.tree.leaves(
        jax.tree.map(lambda own, p: jax.tree.map(lambda _: not _is_masked(own), p), answer, params, is_leaf=_is_masked)
    )


def _parts(method: str, node: Tree) -> list[Tree]:
    """Every part of a state with the method, those inside another such part too."""
    children = [child for child in jax.tree.leaves(node, is_leaf=lambda x: x is not node) if child is not node]
    own = [node] if hasattr(node, method) else []
    return own + [part for child in children for part in _parts(method, child)]


def _seen_by(part: Tree, params: Params) -> Params:
    """The parameters, masked as the trees of the part are: the wrapper that masked them left no other trace."""
    for tree in jax.tree.leaves(part, is_leaf=lambda x: x is not part):
        if not any(map(_is_masked, jax.tree.leaves(tree, is_leaf=_is_masked))):
            continue
        try:
            return jax.tree.map(lambda own, p: own if _is_masked(own) else p, tree, params, is_leaf=_is_masked)
        except ValueError:  # a masked tree that is not like the parameters: the state of a wrapped optimizer
            continue
    return params


def _is_masked(node: object) -> bool:
    return isinstance(node, optax.MaskedNode)
