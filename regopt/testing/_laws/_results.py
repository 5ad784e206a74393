"""Laws of results: what comes out has the dtype of what went in."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from regopt.testing._compare import require, under, wide
from regopt.testing._exercise import exercise
from regopt.testing._laws._law import DTYPES, Law, each
from regopt.testing._laws._states import abstract
from regopt.testing._row import Row


def results_have_the_dtype_of_the_input(row: Row, dtype: DTypeLike) -> None:
    """The numbers are float32 tracers; the value of a penalty is at least float32."""
    with under(dtype):
        outcome = jax.eval_shape(lambda numbers: exercise(row, numbers, dtype=dtype), abstract(row))
        if row.kind == "penalty":
            require(outcome[0].dtype == wide(dtype), f"the value is {outcome[0].dtype}, not {wide(dtype)}")
            outcome = outcome[1:]
        if row.kind == "stopping":
            outcome = outcome.best_params
        found = {str(leaf.dtype) for leaf in jax.tree.leaves(outcome)}
        require(found == {jnp.dtype(dtype).name}, f"the result is {' and '.join(sorted(found))}")


def schedules_have_the_default_float_dtype(row: Row, x64: bool) -> None:
    """The values have this dtype whatever the dtype of the numbers."""
    with jax.enable_x64(x64):
        outcome = jax.eval_shape(lambda numbers: exercise(row, numbers), abstract(row))
        require(outcome.dtype == jnp.result_type(float), f"the value is {outcome.dtype}")


LAWS = (
    Law(
        results_have_the_dtype_of_the_input,
        ("penalty", "projection", "noise", "stopping"),
        each(dtype=DTYPES),
    ),
    Law(schedules_have_the_default_float_dtype, ("schedule",), each(x64=(False, True))),
)
