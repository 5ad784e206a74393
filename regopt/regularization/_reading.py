"""The metric of an optimizer, read from its program: what its step multiplies a mean of the gradients by.

The proximal step ``w <- prox_D(w + u)`` has the solutions of the regularised problem as its fixed points if, coordinate
by coordinate, ``u = -D * g_bar``, where ``g_bar`` is a weighted mean of the gradients so far and D > 0 is fixed while
the prox acts (Yun et al., 2021, Algorithm 1). ``read`` traces ``optimizer.update`` and proves that form from the
program; nothing is decided by the name of an optimizer. A memory that is linear in the gradients, such as a velocity or
Adam's mu, is part of the mean. A nonlinear memory, such as Adam's nu, is part of D. Since the weights of a mean sum to
one, D is the negative of the *response*: the step that the same factors make of gradients that have all been one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.extend.core import ClosedJaxpr, Literal

from regopt._core.protocols import displaced
from regopt._core.types import ExtraArgs, PyTreeDef, Tree
from regopt.regularization._numbering import constant_key
from regopt.regularization._program import interpret
from regopt.regularization._rules import filled
from regopt.regularization._values import HELD, PARAMS, POINTS, VELOCITY, Kind, Value, fixed, linear, nonlinear

_FUNCTIONS = ("value_fn", "residual_fn", "obj_fn", "grad_fn", "loss_fn")
_CALLS_LOSS = "evaluates the loss itself"


class Program(NamedTuple):
    """The update of an optimizer for given arguments, as a jaxpr of their leaves."""

    closed: ClosedJaxpr  # (*grads, *state, *params) -> (*updates, *state)
    results: PyTreeDef  # the structure of (updates, state)
    grads: list[jax.Array]
    state: list[jax.Array]
    params: list[jax.Array]


class Reading(NamedTuple):
    """The class of each leaf of the parameters and of the state, as the program of an update gives it."""

    updates: list[Value]  # for each leaf of the updates
    memory: list[Value]  # for each leaf of the state, before the update
    rides: bool  # the velocities that the state declares are the updates, so they may be displaced

    @property
    def trained(self) -> list[bool]:
        """Whether the gradient decides the update, for each leaf."""
        return [value.kind != Kind.FIXED or HELD in value.sources for value in self.updates]

    @property
    def responding(self) -> list[int]:
        """The leaves of the state whose responses have to be remembered."""
        return [place for place, value in enumerate(self.memory) if value.kind == Kind.LINEAR]


class _CallsLossError(Exception):
    """The optimizer evaluates a function of the loss where there is none."""


def read(
    optimizer: optax.GradientTransformationExtraArgs, params: Tree, state: Tree, *, compares: bool = False
) -> Reading:
    """Classify the update that follows on ``init``, for a gradient like the parameters.

    Args:
        optimizer: the optimizer.
        params: the parameters.
        state: its state.
        compares: whether the updates get keys, by which their steps can be compared.

    Returns:
        The classes.

    Raises:
        Exception: whatever the update raises without the extra arguments that it requires.
    """

    def unknown(*_, **__):
        raise _CallsLossError

    most = {"value": jnp.zeros(()), "grad": params, **dict.fromkeys(_FUNCTIONS, unknown)}
    usual = {name: most[name] for name in ("value", "grad", "value_fn")}  # all that some optimizers take
    error: TypeError | ValueError | None = None
    for extra_args in (most, usual, {}):
        try:
            # the update itself is held to the promotion that its caller has set, and raises then if it does not keep it
            with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
                program, _ = trace(optimizer, params, state, params, extra_args)
            found = classify(program, optimizer, params, state)
            return compared(program, found) if compares else found
        except _CallsLossError:
            return evaluating(params)
        except (TypeError, ValueError) as now:
            error = error or now
    assert error is not None
    raise error


def evaluating(params: Tree) -> Reading:
    """The reading of an optimizer that evaluates the loss itself."""
    return Reading([nonlinear(_CALLS_LOSS)] * len(jax.tree.leaves(params)), [], rides=False)


def trace(
    optimizer: optax.GradientTransformationExtraArgs, grads: Tree, state: Tree, params: Tree, extra_args: ExtraArgs
) -> tuple[Program, bool]:
    """The program of an update, and whether it calls a function that it was given.

    The extra argument ``grad`` becomes the gradient itself.
    """
    called = []

    def recorded(function):
        def call(*args, **kwargs):
            called.append(function)
            return function(*args, **kwargs)

        return call

    given = {name: recorded(value) if callable(value) else value for name, value in extra_args.items()}

    def update(grads, state, params):
        again = {"grad": grads} if "grad" in given else {}
        return optimizer.update(grads, state, params, **given | again)

    closed, shapes = jax.make_jaxpr(update, return_shape=True)(grads, state, params)
    leaves = ([jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)] for tree in (grads, state, params))
    return Program(closed, jax.tree.structure(shapes), *leaves), bool(called)


def classify(program: Program, optimizer: optax.GradientTransformation, params: Tree, state: Tree) -> Reading:
    """The classes of the updates and of the state, of which those of the state reproduce themselves."""
    start = [_unused(leaf, points) for leaf, points in zip(program.state, _points(optimizer, params), strict=True)]
    velocities = _velocities(state, params)
    reading, after = _settled(program, start, ())
    if not velocities or not all(_rides(after[place], reading.updates) for place in velocities):
        return reading
    return _settled(program, start, velocities)[0]._replace(rides=True)


def compared(program: Program, reading: Reading) -> Reading:
    """The reading with keys: the steps of two updates with the same key are equal in every update.

    All responses of the state start at 0, and those stay equal that the update makes of equal ones in the same way.
    """
    classes = [0] * len(reading.memory)
    while True:
        memory = [
            value._replace(key=constant_key(("response", number)))
            if value.kind == Kind.LINEAR and value.uniform
            else value._replace(key=constant_key(("state", place)) if value.uniform else None)
            for place, (value, number) in enumerate(zip(reading.memory, classes, strict=True))
        ]
        given = [
            value._replace(key=constant_key("gradient")) if value.uniform else value for value in _gradient(program)
        ]
        arguments = [value.bare for value in (*given, *memory, *_parameters(program))]
        found = interpret(program.closed, arguments, _remembered(program, memory))
        updates, after = found[: len(found) - len(memory)], found[len(found) - len(memory) :]
        pairs = list(zip(classes, (value.key for value in after), strict=True))
        numbers = {pair: number for number, pair in enumerate(dict.fromkeys(pairs))}
        now = [numbers[pair] for pair in pairs]
        if len(set(now)) == len(set(classes)):
            return reading._replace(updates=[value.bare for value in updates])
        classes = now


def evaluate(
    program: Program, reading: Reading, responses: Sequence[jax.Array]
) -> tuple[Tree, Tree, list[Value], list[jax.Array]]:
    """Run the program once: the updates, the state, the values of the updates, and the responses of the state."""
    known = dict(zip(reading.responding, responses, strict=True))
    memory = [
        value._replace(primal=leaf, response=known.get(place))
        for place, (value, leaf) in enumerate(zip(reading.memory, program.state, strict=True))
    ]
    arguments = [*_gradient(program), *memory, *_parameters(program)]
    found = interpret(program.closed, arguments, _remembered(program, reading.memory))
    updates, state = jax.tree.unflatten(program.results, [value.primal for value in found])
    values, after = found[: len(found) - len(memory)], found[len(found) - len(memory) :]
    kept = [filled(after[i], reading.memory[i].uniform, program.state[i]) for i in reading.responding]
    return updates, state, values, kept


def starts(reading: Reading, state: Tree) -> list[jax.Array]:
    """The responses of the state before the first update, all 0; of shape () where they are uniform over a leaf."""
    leaves = jax.tree.leaves(state)
    memory = [(jnp.asarray(leaves[i]), reading.memory[i].uniform) for i in reading.responding]
    return [jnp.zeros((), leaf.dtype) if uniform else jnp.zeros_like(leaf) for leaf, uniform in memory]


def _settled(program: Program, memory: list[Value], velocities: Sequence[int]) -> tuple[Reading, list[Value]]:
    """The classes of the state that an update reproduces, and those after it."""
    memory = [fixed(False, {VELOCITY}) if i in velocities else value for i, value in enumerate(memory)]
    while True:
        arguments = [value.bare for value in (*_gradient(program), *memory, *_parameters(program))]
        found = interpret(program.closed, arguments, _remembered(program, memory))
        updates, after = found[: len(found) - len(memory)], found[len(found) - len(memory) :]
        now = [
            value if i in velocities else _remembering(value, after[i], program.state[i], program.grads)
            for i, value in enumerate(memory)
        ]
        if now == memory:
            return Reading([value.bare for value in updates], memory, rides=False), after
        memory = now


def _remembered(program: Program, memory: Sequence[Value]) -> list[bool]:
    return [False] * (len(program.closed.jaxpr.outvars) - len(memory)) + [True] * len(memory)


def _remembering(before: Value, after: Value, leaf: jax.Array, grads: Sequence[jax.Array]) -> Value:
    """The class of a leaf of the state, from those before and after an update; it only ever grows."""
    sources = before.sources | after.sources
    if HELD in before.sources and before.kind == Kind.FIXED:
        return before
    if after.kind == Kind.LINEAR and leaf.shape == grads[after.leaf].shape and before.leaf in (-1, after.leaf):
        uniform = after.uniform and (before.uniform or before.kind == Kind.FIXED) and leaf.size > 0
        new = linear(after.leaf, uniform, sources, before.factor or after.factor)
        return new._replace(roots=before.roots or new.roots)
    if after.kind == Kind.FIXED and before.kind == Kind.FIXED:
        stored = (sources - {PARAMS}) | ({POINTS} if PARAMS in sources else set())
        return fixed(before.uniform, stored)._replace(why=before.why or after.why)
    return fixed(leaf.ndim == 0, {HELD})._replace(why=after.why)


def _unused(leaf: jax.Array, points: bool) -> Value:
    return fixed(leaf.ndim == 0, {POINTS} if points else ())


def _gradient(program: Program) -> list[Value]:
    values = []
    for place, leaf in enumerate(program.grads):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            values.append(fixed(False, primal=leaf))
            continue
        ones = jnp.ones((), leaf.dtype) if leaf.size else jnp.ones_like(leaf)
        values.append(linear(place, leaf.size > 0)._replace(primal=leaf, response=ones))
    return values


def _parameters(program: Program) -> list[Value]:
    return [fixed(leaf.ndim == 0, {PARAMS}, leaf) for leaf in program.params]


def _points(optimizer: optax.GradientTransformation, params: Tree) -> list[bool]:
    """Whether a leaf of the state starts from the values of the parameters, for each leaf."""
    jaxpr = jax.make_jaxpr(optimizer.init)(params).jaxpr
    reached = set(jaxpr.invars)
    for eqn in jaxpr.eqns:
        if any(atom in reached for atom in eqn.invars if not isinstance(atom, Literal)):
            reached.update(eqn.outvars)
    return [not isinstance(atom, Literal) and atom in reached for atom in jaxpr.outvars]


def _velocities(state: Tree, params: Tree) -> list[int]:
    """The leaves of the state that ``displaced`` moves."""
    jaxpr = jax.make_jaxpr(displaced)(state, params).jaxpr
    return [place for place, var in enumerate(jaxpr.outvars) if var is not jaxpr.invars[place]]


def _rides(velocity: Value, updates: Sequence[Value]) -> bool:
    """Whether a velocity is the update of its leaf, up to a choice between steps that are taken or skipped."""
    return any(value.roots and value.roots <= velocity.roots and value.leaf == velocity.leaf for value in updates)
