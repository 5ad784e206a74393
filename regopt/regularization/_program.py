"""An optimizer's update as a program whose values are classified by their dependence on the gradient.

``interpret`` walks through a jaxpr. With the values of its arguments it evaluates the program on the way, operation by
operation, and beside it the responses of its linear values.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from regopt._core.jaxprs import Atom, evaluated, shaped
from regopt.regularization._numbering import branch_key, constant_key, key_of
from regopt.regularization._rules import ALIASES, classified, filled, response
from regopt.regularization._values import Kind, Value, fixed, held, joined

CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr", "remat2": "jaxpr"}
CALLS |= {"checkpoint": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}


def interpret(program: ClosedJaxpr, arguments: Sequence[Value], remembered: Sequence[bool]) -> list[Value]:
    """The values of the results of a program.

    Args:
        program: the program.
        arguments: the values of its arguments, either all with or all without a primal.
        remembered: for each result, whether it is a nonlinear memory; such a value counts as fixed where it is used.

    Returns:
        The values of the results; with primals and responses if the arguments have them.
    """
    jaxpr, evaluates = program.jaxpr, all(value.primal is not None for value in arguments)
    known: dict[Var, Value] = dict(zip(jaxpr.invars, arguments, strict=True))
    for var, const in zip(jaxpr.constvars, program.consts, strict=True):
        scalar = np.ndim(const) == 0
        known[var] = fixed(scalar, primal=const)._replace(key=constant_key(id(const)) if scalar else None)
    memories = _remembered(jaxpr, remembered)

    def read(atom):
        return _literal(atom) if isinstance(atom, Literal) else known[atom]

    for eqn in jaxpr.eqns:
        values = [read(atom) for atom in eqn.invars]
        values = values if evaluates else [value.bare for value in values]
        keeps = [var in memories for var in eqn.outvars]
        for var, value, keep in zip(eqn.outvars, _results(eqn, values, keeps, evaluates), keeps, strict=True):
            known[var] = _kept(value) if keep else value
    return [read(atom) for atom in jaxpr.outvars]


def _kept(value: Value) -> Value:
    if value.kind == Kind.NONLINEAR:
        return held(value)
    return value._replace(kept=value.kind == Kind.LINEAR)


def _literal(atom: Literal) -> Value:
    value = np.asarray(atom.val)
    zero = value.dtype.kind in "fiu" and bool(np.all(value == 0))
    key = constant_key(value.item()) if value.ndim == 0 else None
    return fixed(value.ndim == 0, primal=jnp.asarray(atom.val, shaped(atom).dtype))._replace(zero=zero, key=key)


def _results(eqn: JaxprEqn, values: list[Value], keeps: list[bool], evaluates: bool) -> list[Value]:
    name = eqn.primitive.name
    fixed_ones = all(value.kind == Kind.FIXED for value in values)
    if name in CALLS and not fixed_ones:
        inner = closed(eqn.params[CALLS[name]])
        # a call with a derivative of its own remains one where nothing asks for what happens inside
        plain = not name.startswith("custom") and any(value.kind != Kind.FIXED for value in values)
        classes = interpret(inner, [value.bare for value in values], keeps)
        if plain or any(value.kind == Kind.LINEAR for value in classes):
            return interpret(inner, values, keeps) if evaluates else classes
    elif name == "cond" and not fixed_ones:
        return _conditional(eqn, values, keeps, evaluates)
    else:
        classes = classified(eqn, values)
    classes = [value._replace(key=key_of(eqn, place, values, value)) for place, value in enumerate(classes)]
    if not evaluates:
        return classes
    primals = evaluated(eqn, [value.primal for value in values])
    return [
        value._replace(primal=primal, response=response(eqn, values, value))
        for value, primal in zip(classes, primals, strict=True)
    ]


def _conditional(eqn: JaxprEqn, values: list[Value], keeps: list[bool], evaluates: bool) -> list[Value]:
    """The results of a ``cond``: both branches give their classes, and a ``switch`` gives primals and responses."""
    index, operands = values[0], values[1:]
    bare = [value.bare for value in operands]
    branches = [interpret(branch, bare, keeps) for branch in eqn.params["branches"]]
    classes = [
        joined(cases, [index.bare])._replace(key=branch_key(index, cases)) for cases in zip(*branches, strict=True)
    ]
    if not evaluates:
        return classes
    avals = [shaped(var) for var in eqn.outvars]

    def run(branch):
        def at(primals, responses):
            inside = [v._replace(primal=p, response=r) for v, p, r in zip(operands, primals, responses, strict=True)]
            found = interpret(branch, inside, keeps)
            lines = [
                filled(value, result.uniform, aval) if result.kind == Kind.LINEAR else None
                for value, result, aval in zip(found, classes, avals, strict=True)
            ]
            return [jnp.asarray(value.primal) for value in found], lines

        return at

    primals, responses = jax.lax.switch(
        index.primal,
        [run(branch) for branch in eqn.params["branches"]],
        [value.primal for value in operands],
        [value.response for value in operands],
    )
    return [v._replace(primal=p, response=r) for v, p, r in zip(classes, primals, responses, strict=True)]


def _remembered(jaxpr: Jaxpr, results: Sequence[bool]) -> set[Var]:
    """The variables that are a memory in another dtype, or one that is chosen only sometimes, before the choice."""
    found = {var for var, keep in zip(jaxpr.outvars, results, strict=True) if keep and not isinstance(var, Literal)}
    for eqn in reversed(jaxpr.eqns):
        keeps = [var in found for var in eqn.outvars]
        if not any(keeps):
            continue
        name = eqn.primitive.name
        atoms: list[Atom] = []
        if name in ALIASES:
            atoms = eqn.invars[name == "select_n" :]
        elif name in CALLS:
            atoms = _passed(closed(eqn.params[CALLS[name]]).jaxpr, keeps, eqn.invars)
        elif name == "cond":
            branches = eqn.params["branches"]
            atoms = [atom for branch in branches for atom in _passed(branch.jaxpr, keeps, eqn.invars[1:])]
        found.update(atom for atom in atoms if not isinstance(atom, Literal))
    return found


def _passed(jaxpr: Jaxpr, keeps: Sequence[bool], atoms: Sequence[Atom]) -> list[Atom]:
    inside = _remembered(jaxpr, keeps)
    return [atom for var, atom in zip(jaxpr.invars, atoms, strict=True) if var in inside]


def closed(jaxpr: Jaxpr | ClosedJaxpr) -> ClosedJaxpr:
    return jaxpr if isinstance(jaxpr, ClosedJaxpr) else ClosedJaxpr(jaxpr, ())
