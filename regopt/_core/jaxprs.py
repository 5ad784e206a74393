"""Programs that JAX has traced, as other packages read them."""

from collections.abc import Sequence
from typing import Any, TypeAlias, cast

import jax
from jax.core import ShapedArray
from jax.extend.core import JaxprEqn, Literal, Var

Atom: TypeAlias = Var | Literal  # an argument of an operation


def shaped(atom: Atom) -> ShapedArray:
    """The shape and the dtype of a value, which JAX declares as those of any abstract value."""
    return cast(ShapedArray, atom.aval)


def evaluated(eqn: JaxprEqn, values: Sequence[Any]) -> list[jax.Array]:
    """The results of one equation of a jaxpr for the values of its operands."""
    bound = eqn.primitive.get_bind_params(eqn.params)
    functions, params = bound if isinstance(bound, tuple) else ((), bound)  # jax 0.10.2 has no functions any more
    with eqn.ctx.manager:
        results = eqn.primitive.bind(*functions, *values, **params)
    return list(results) if eqn.primitive.multiple_results else [results]
