"""A step that is kept or undone, as a check of its result says.

Until a check of every entry is done, XLA holds the new moments and updates of all leaves beside the old ones. So
arithmetic on entries is done a second time after the check: that takes less time than the memory, and the new values
take the place of the old ones.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Literal, Var

from regopt._core import trees
from regopt._core.jaxprs import evaluated
from regopt._core.types import Tree

Step: TypeAlias = Callable[[Tree, Tree, Tree], tuple[Tree, Tree]]
Clipped: TypeAlias = Callable[[jax.Array | None], Tree]
Keep: TypeAlias = Callable[[jax.Array], tuple[Tree, Tree]]

CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "custom_jvp_call": "call_jaxpr"}
CHEAP = {  # arithmetic on entries, and sums
    *("abs", "add", "add_any", "and", "broadcast_in_dim", "clamp", "convert_element_type", "copy", "copy_p", "div"),
    *("eq", "exp", "exp2", "expm1", "ge", "gt", "integer_pow", "is_finite", "le", "log", "log1p", "lt", "max", "min"),
    *("mul", "ne", "neg", "not", "or", "pow", "reduce_max", "reduce_min", "reduce_sum", "reshape", "rsqrt", "select_n"),
    *("sign", "sqrt", "square", "squeeze", "stop_gradient", "sub", "tanh", "transpose"),
}


def attempt(
    step: Step, clipped: Clipped, wanted: jax.Array, state: Tree, params: Tree
) -> tuple[tuple[Tree, Tree], Keep]:
    """The updates and the new state of a step, and a function from a verdict to the updates and the state to keep.

    Args:
        step: the function ``(grads, state, params) -> (updates, state)``, which keeps shapes and dtypes of the state.
        clipped: the function from a verdict to the gradients, which are zeros where it is false. None stands for no
            verdict: the gradients may then be anything where they are not wanted.
        wanted: whether the gradients are wanted, without which the verdict is false.
        state: the state before.
        params: the parameters, or None.

    Returns:
        The updates and the state of the step. The function gives the same for a verdict that is true, and otherwise
        updates that change no bit and the state before.
    """
    arguments = clipped(None), state, params
    if not any(isinstance(x, Tracer) for x in jax.tree.leaves(arguments)):
        result = step(clipped(wanted), state, params)
        return result, lambda good: _chosen(good, result, state)
    program, shapes = jax.make_jaxpr(step, return_shape=True)(*arguments)
    structure = jax.tree.structure(shapes)
    cheap = _is_cheap(program)
    once = arguments if cheap else (clipped(wanted), state, params)
    result = structure.unflatten(_run(program, jax.tree.leaves(once), {}))
    computed = {var for eqn in program.jaxpr.eqns for var in eqn.outvars}
    if not cheap:
        return result, lambda good: _chosen(good, result, state)

    def again(good):
        old = jax.tree.leaves(state)
        places = program.jaxpr.outvars[-len(old) :] if old else []
        chosen: dict[Var, tuple[jax.Array, jax.Array]] = {}
        for var, before in zip(places, old, strict=True):
            if not isinstance(var, Literal) and var in computed:
                chosen.setdefault(var, (good, before))
        moves, after = structure.unflatten(_run(program, jax.tree.leaves((clipped(good), state, params)), chosen))

        def settled(place, before, value):
            """The value, chosen here where it is an input or a constant, or the value of another leaf as well."""
            if not isinstance(place, Literal) and place in chosen and chosen[place][1] is before:
                return value
            return trees.where(good, value, before)

        leaves, form = jax.tree.flatten(after)
        after = form.unflatten(map(settled, places, old, leaves))
        return trees.where(good, moves, trees.no_move(moves)), after

    return result, again


def _chosen(good: jax.Array, result: tuple[Tree, Tree], state: Tree) -> tuple[Tree, Tree]:
    moves, after = result
    return trees.where(good, moves, trees.no_move(moves)), trees.where(good, after, state)


def _run(program: ClosedJaxpr, arguments: list[Any], chosen: dict[Any, tuple[jax.Array, jax.Array]]) -> list[Any]:
    """The results of a program; a variable in ``chosen`` has its value where the verdict is true, else the old one.

    What follows from the variable, such as the updates, then reads the array that is kept.
    """
    jaxpr = program.jaxpr
    known: dict[Any, Any] = dict(zip([*jaxpr.invars, *jaxpr.constvars], [*arguments, *program.consts], strict=True))

    def read(atom):
        return atom.val if isinstance(atom, Literal) else known[atom]

    for eqn in jaxpr.eqns:
        for var, value in zip(eqn.outvars, evaluated(eqn, list(map(read, eqn.invars))), strict=True):
            known[var] = value
            if var in chosen:
                good, old = chosen[var]
                known[var] = trees.where(good, value, old)
    return list(map(read, jaxpr.outvars))


def _is_cheap(jaxpr: Any) -> bool:
    def cheap(eqn):
        name = eqn.primitive.name
        return name in CHEAP or (name in CALLS and _is_cheap(eqn.params[CALLS[name]]))

    program = getattr(jaxpr, "jaxpr", jaxpr)
    return not program.effects and all(map(cheap, program.eqns))
