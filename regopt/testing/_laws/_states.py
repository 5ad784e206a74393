"""Laws of gradient transformations: closed carries, states that do not depend on values, lanes that stay apart."""

from typing import TYPE_CHECKING

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import DTypeLike

from regopt.testing._compare import all_finite, assert_same_types, plain, require, under, wide
from regopt.testing._laws._law import DTYPES, Law, each
from regopt.testing._points import gradients, parameters
from regopt.testing._row import Row

if TYPE_CHECKING:
    from regopt._core.types import Tree


def abstract(row: Row) -> dict[str, jax.ShapeDtypeStruct]:
    """Every number as a float32 tracer is seen."""
    return {name: jax.ShapeDtypeStruct((), jnp.float32) for name in row.numbers}


def the_carry_stays_closed_with_traced_numbers(row: Row, dtype: DTypeLike, gradient_dtype: DTypeLike | None) -> None:
    """State and updates keep structure, shapes and dtypes, so that ``lax.scan`` accepts them."""
    with under(dtype):
        params, grads = parameters(dtype), gradients(gradient_dtype or dtype)

        def step(numbers, state, params):
            return row.make(**numbers).update(grads, state, params)

        before = jax.eval_shape(lambda numbers: row.make(**numbers).init(params), abstract(row))
        updates, after = jax.eval_shape(step, abstract(row), before, params)
        assert_same_types(before, after, "state")
        widened = jax.eval_shape(lambda: jax.tree.map(lambda x: x.astype(wide(dtype)), params))
        expected: dict[str, Tree] = {"parameters": params, "incoming": grads, "wide": widened}
        assert_same_types(expected[row.updates], updates, "update")


def the_state_does_not_depend_on_the_values(row: Row) -> None:
    """Structure, shapes and dtypes of the state depend on those of the parameters alone."""

    def state(at):
        return row.make(**{name: values[at] for name, values in row.numbers.items()}).init(parameters(jnp.float32))

    chex.assert_trees_all_equal_structs(state(0), state(1))
    chex.assert_trees_all_equal_shapes_and_dtypes(state(0), state(1))


def extra_arguments_are_accepted(row: Row) -> None:
    """A transformation ignores the extra arguments that it does not know."""
    transform = row.make()
    message = f"{type(transform).__name__} is no GradientTransformationExtraArgs"
    require(isinstance(transform, optax.GradientTransformationExtraArgs), message)
    params, grads = parameters(jnp.float32), gradients(jnp.float32)
    without = transform.update(grads, transform.init(params), params)
    extra = transform.update(grads, transform.init(params), params, value=jnp.float32(1.0), anything=2)
    chex.assert_trees_all_equal(without, extra)


def init_works_on_abstract_parameters(row: Row) -> None:
    """A state can then be laid out, or restored, before there are parameters."""
    params = parameters(jnp.float32)
    assert_same_types(row.make().init(params), jax.eval_shape(row.make().init, params), "state")


def the_first_state_may_be_donated(row: Row) -> None:
    """Donation refuses one buffer in two places, and a state that shares the parameters' would take them along."""
    params = parameters(jnp.float32)
    arrays = jax.tree.leaves((params, row.make().init(params)))
    buffers = [plain(jnp.asarray(array)).unsafe_buffer_pointer() for array in arrays]
    require(len(buffers) == len(set(buffers)), "two leaves of parameters and state share a buffer")


def a_scan_runs(row: Row) -> None:
    """The scan runs over lanes of numbers, with float32 gradients on bfloat16 parameters."""
    params = parameters(jnp.bfloat16)

    def train(numbers):
        transform = row.make(**numbers)

        def step(carry, _):
            params, state = carry
            updates, state = transform.update(gradients(jnp.float32), state, params)
            updates = jax.tree.map(lambda u, p: u.astype(p.dtype), updates, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, transform.init(params)), length=4)[0]

    numbers = {name: jnp.array(values[:2], jnp.float32) for name, values in row.numbers.items()}
    final, _ = jax.vmap(train)(numbers) if numbers else train(numbers)
    require(all_finite(final), "the parameters after four steps are not finite")


def a_poisoned_lane_changes_no_bit_of_the_others(row: Row, dtype: DTypeLike, lanes: int) -> None:
    """NaN, infinities and gradients that overflow when squared, all in lane 0 of a vmap."""
    transform = row.make()

    def train(size):
        params = parameters(dtype)
        state = transform.init(params)
        for _ in range(2):
            grads = jax.tree.map(lambda g: g * size.astype(dtype), gradients(dtype))
            updates, state = transform.update(grads, state, params)
            params = jax.tree.map(lambda p, u: p + u.astype(p.dtype), params, updates)
        return params, state

    sizes = jnp.linspace(0.5, 2.0, lanes)
    run = jax.jit(jax.vmap(train))
    clean = run(sizes)
    for poison in (jnp.nan, jnp.inf, 1e30):
        poisoned = run(sizes.at[0].set(poison))
        for a, b in zip(jax.tree.leaves(clean), jax.tree.leaves(poisoned), strict=True):
            np.testing.assert_array_equal(plain(a)[1:], plain(b)[1:])


TRANSFORM = ("transform",)
LAWS = (
    Law(
        the_carry_stays_closed_with_traced_numbers,
        TRANSFORM,
        each(dtype=DTYPES, gradient_dtype=(None, jnp.float32)),
    ),
    Law(the_state_does_not_depend_on_the_values, TRANSFORM),
    Law(extra_arguments_are_accepted, TRANSFORM),
    Law(init_works_on_abstract_parameters, TRANSFORM),
    Law(the_first_state_may_be_donated, TRANSFORM),
    Law(a_scan_runs, TRANSFORM),
    Law(
        a_poisoned_lane_changes_no_bit_of_the_others,
        TRANSFORM,
        each(dtype=(jnp.float32, jnp.bfloat16), lanes=(8, 64)),
    ),
)
