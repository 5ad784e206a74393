"""The conditions of proximal steps, projections and decoupled decay, which move the parameters after an optimizer.

The optimizer's program is read once at ``init`` and refused there, in one line, if it does not allow such a move.
"""

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.placing import placed_like
from regopt._core.protocols import displaced, parts
from regopt._core.types import ExtraArgs, Tree
from regopt.regularization import _reading as reading
from regopt.regularization._values import HELD, PARAMS, POINTS, Kind, Value

State = TypeVar("State")


class Step(NamedTuple):
    """One update of an optimizer and its metric."""

    updates: Tree
    state: Tree
    steps: Tree  # a number for each leaf of the parameters, or one for each coordinate; 0 where a leaf is not trained
    trained: list[bool]  # for each leaf of the parameters
    rides: bool  # the optimizer's velocity is to follow the parameters
    responses: list[jax.Array]


class Metric(NamedTuple):
    """The findings of ``metric_of`` in an optimizer's program."""

    trained: Tree  # bools by leaf: the gradient decides the update; no penalty touches the others
    uniform: Tree  # bools by leaf: all coordinates of the leaf have the same step
    decays: bool  # the update also moves the parameters without a gradient, as weight decay does


def metric_of(optimizer: optax.GradientTransformation, params: Tree, how: str = "proximal") -> Metric:
    """The metric that a proximal step or a constraint around this optimizer needs; see ``regularize``.

    With a proximal step the fixed points are the solutions of the regularised problem unless ``decays`` is true: then
    the problem includes the optimizer's own decay, in its own metric. A constraint is moreover refused where it couples
    coordinates with different steps.

    Args:
        optimizer: any optax or regopt transformation.
        params: the parameters, of which only shapes and dtypes matter.
        how: "proximal" or "constraint", for the message.

    Returns:
        The metric, by leaf.

    Raises:
        ValueError: the optimizer does not support ``how``; the message says why.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> from regopt.regularization import metric_of
        >>> metric_of(optax.adamw(0.1), {"kernel": jnp.ones(3)})
        Metric(trained={'kernel': True}, uniform={'kernel': False}, decays=True)

    References:
        Yun, J., Lozano, A. C., & Yang, E. (2021). Adaptive proximal gradient methods for structured neural networks.
        NeurIPS. Algorithm 1 (ProxGen).
    """
    optimizer = optax.with_extra_args_support(optimizer)
    found = read(optimizer, params, optimizer.init(params), how)
    structure = jax.tree.structure(params)
    uniform = [value.uniform for value in found.updates]
    decays = any(PARAMS in value.sources for value in found.updates)
    return Metric(structure.unflatten(found.trained), structure.unflatten(uniform), decays)


def read(
    optimizer: optax.GradientTransformationExtraArgs, params: Tree, state: Tree, how: str, *, compares: bool = False
) -> reading.Reading:
    """Read the program of the optimizer's update, and refuse one that a move of the parameters would mislead.

    With ``compares`` the steps can be compared.

    Raises:
        ValueError: the update cannot be read, or ``how`` would end at the solution of another problem.
    """
    try:
        found = reading.read(optimizer, params, state, compares=compares)
    except Exception as error:  # the update may be anyone's
        raise unreadable(error, how) from error
    check(found, state, how)
    return found


def unreadable(error: Exception, how: str) -> ValueError:
    """The error, in one line, of an optimizer whose update raises another one."""
    message = (str(error).splitlines() or [type(error).__name__])[0]
    return ValueError(
        f'how="{how}" has to run the optimizer once on shapes, and its update raises "{message}": '
        'mend that, or use how="gradient"'
    )


def check(found: reading.Reading, state: Tree, how: str) -> None:
    """Refuse an optimizer whose update is not a metric times a mean of the gradients, with what else may be added."""
    if parts("ends_step", state):
        raise ValueError(
            f'how="{how}" cannot go around another proximal step or projection: put the penalties into one '
            'regularize(optimizer, penalties.total(first, second), "proximal"), or the projections into one function'
        )
    check_points(found, how)
    for value in found.updates:
        if why := _obstacle(value):
            raise ValueError(
                f'how="{how}" needs an optimizer that scales each entry of the gradient, and this one {why}: '
                'use how="gradient", or an optimizer such as adam, rmsprop or sgd'
            )
    movers = [*parts("evaluation_params", state), *parts("final_params", state)]
    for part in movers:
        if not (hasattr(part, "displaced") and found.rides):
            name = type(part).__name__.removesuffix("State")
            raise ValueError(
                f'how="{how}" moves the parameters, and {name} takes the gradient or keeps the model elsewhere: put it '
                "around the whole, as in lookahead(regularize(...)), with nothing that scales the updates behind it"
            )


def check_points(found: reading.Reading, how: str) -> None:
    """Refuse an optimizer that steps from points of its own, which a move of the parameters does not reach."""
    if any(POINTS in value.sources and value.kind != Kind.NONLINEAR for value in found.updates):
        raise ValueError(
            f'how="{how}" does not reach the points that the optimizer keeps in its state: put a wrapper that keeps '
            'them around the whole, or use how="gradient", or the optimizer\'s own weight_decay'
        )


def _obstacle(value: Value) -> str:
    """The reason why an update is not a metric times a mean of the gradients; "" if it is one."""
    if value.kind == Kind.NONLINEAR:
        return value.why
    if HELD in value.sources:
        return f"remembers a step that is not linear in the gradient: it {value.why}"
    return ""


def step(
    optimizer: optax.GradientTransformationExtraArgs,
    grads: Tree,
    state: Tree,
    params: Tree,
    responses: list[jax.Array],
    extra_args: ExtraArgs,
    count: jax.Array,
) -> Step:
    """The optimizer's update, and the step of the prox that belongs to it, from one run of its program.

    A step of a leaf is a number where all of its coordinates have the same. It is 0 where it would be negative, as that
    of an optimistic gradient may be for a while, and NaN in the first update of an optimizer that ascends.

    Raises:
        ValueError: with these extra arguments the update is not what it was at ``init``.
    """
    program, calls_loss = reading.trace(optimizer, grads, state, params, extra_args)
    found = reading.evaluating(params) if calls_loss else reading.classify(program, optimizer, params, state)
    check(found, state, "proximal")
    updates, after, values, kept = reading.evaluate(program, found, responses)
    steps = [jnp.zeros(()) if value.response is None else _positive(-value.response, count) for value in values]
    leaves, structure = jax.tree.flatten(params)
    steps = [placed_like(s, w) if s.shape == w.shape else s for s, w in zip(steps, leaves, strict=True)]
    return Step(updates, after, structure.unflatten(steps), found.trained, found.rides, kept)


def _positive(step: jax.Array, count: jax.Array) -> jax.Array:
    return jnp.where(step < 0, jnp.where(count == 0, jnp.nan, 0).astype(step.dtype), step)


def moved(
    params: Tree, updates: Tree, state: State, stepped: Tree, targets: Tree, *, rides: bool
) -> tuple[Tree, State]:
    """The updates that end at ``targets`` instead of ``stepped``, and the optimizer's state after them.

    A parameter whose target is 0 becomes exactly 0. A leaf that is not moved keeps its update.
    """

    def update(u, w, before, after):  # a leaf that no penalty touches is the same object as before
        return u if after is before else trees.lift(lambda _, w, after: after - w, u, w, after)

    after = jax.tree.map(update, updates, params, stepped, targets)
    if not rides:
        return after, state
    return after, displaced(state, trees.lift_wide(jnp.subtract, after, updates))


def only_trained(trained: list[bool], tree: Tree, otherwise: Tree) -> Tree:
    """The leaves of a tree that the optimizer trains, and those of another tree for the rest."""
    leaves, structure = jax.tree.flatten(tree)
    pairs = zip(trained, leaves, jax.tree.leaves(otherwise), strict=True)
    return structure.unflatten([leaf if trains else other for trains, leaf, other in pairs])


def count_true(condition: jax.Array) -> jax.Array:
    """The number of true entries; int32 of shape ()."""
    return trees.total_count([trees.count_true_in_leaf(condition)])
