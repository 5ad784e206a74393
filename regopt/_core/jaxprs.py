"""Programs that JAX has traced, as other packages read them."""

from typing import TypeAlias, cast

from jax.core import ShapedArray
from jax.extend.core import Literal, Var

Atom: TypeAlias = Var | Literal  # an argument of an operation


def shaped(atom: Atom) -> ShapedArray:
    """The shape and the dtype of a value, which JAX declares as those of any abstract value."""
    return cast(ShapedArray, atom.aval)
