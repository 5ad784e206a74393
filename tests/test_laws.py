"""The hyperparameter contract, over the whole catalogue of public factories."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from support import laws
from support.catalogue.row import Row
from support.laws import CATALOGUE, NUMBERS, exercise, identify, of_kind

DTYPES = [jnp.float32, jnp.bfloat16, jnp.float16, jnp.float64]
each_row = pytest.mark.parametrize("row", CATALOGUE, ids=identify)
each_number = pytest.mark.parametrize(("row", "number"), NUMBERS, ids=identify)
each_transform = pytest.mark.parametrize("row", of_kind("transform"), ids=identify)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)


def floats(tree):
    """The inexact leaves as one float64 vector; integers and bools are compared elsewhere."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(jnp.asarray(x).dtype, jnp.inexact)]
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in leaves])


def assert_close(a, b, rtol=2e-6):
    """Equal up to a few roundings of float32, absolutely so near 0."""
    chex.assert_trees_all_equal_structs(a, b)
    np.testing.assert_allclose(floats(a), floats(b), rtol=rtol, atol=1e-6)


def plain(x):
    """The numbers in an array, of random keys too."""
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x


def shapes(tree):
    """Shape and dtype of every leaf, concrete or abstract, with the structure."""
    return jax.tree.map(lambda x: (x.shape, x.dtype.name), tree)


def wide(dtype):
    """The dtype of the arithmetic: at least float32."""
    return jnp.dtype(jnp.float64 if dtype == jnp.float64 else jnp.float32)


def under(dtype):
    """A context in which arrays of this dtype exist."""
    return jax.enable_x64(True) if dtype == jnp.float64 else jax.enable_x64(jax.config.read("jax_enable_x64"))


def test_every_public_factory_is_in_the_catalogue():
    listed = {row.factory for row in CATALOGUE}
    missing = [factory.__name__ for factory in laws.public_factories() if factory not in listed]
    assert not missing, f"add rows to tests/support/catalogue for {missing}"


@each_row
def test_samples_are_not_only_the_identity(row: Row):
    for name, values in row.numbers.items():
        assert len(values) >= 2, name
        assert set(values) - {0.0, 1.0}, name


@pytest.mark.sampled(14)
@each_transform
@each_dtype
@pytest.mark.parametrize("gradient_dtype", [None, jnp.float32], ids=["own gradients", "float32 gradients"])
def test_the_carry_stays_closed_with_traced_numbers(row: Row, dtype, gradient_dtype):
    with under(dtype):
        params, grads = laws.parameters(dtype), laws.gradients(gradient_dtype or dtype)

        def step(numbers, state, params):
            updates, after = row.make(**numbers).update(grads, state, params)
            return updates, after

        numbers = {name: jax.ShapeDtypeStruct((), jnp.float32) for name in row.numbers}
        before = jax.eval_shape(lambda numbers: row.make(**numbers).init(params), numbers)
        updates, after = jax.eval_shape(step, numbers, before, params)
        assert shapes(before) == shapes(after)
        widened = jax.eval_shape(lambda: jax.tree.map(lambda x: x.astype(wide(dtype)), params))
        expected = {"parameters": params, "incoming": grads, "wide": widened}[row.updates]
        assert shapes(updates) == shapes(expected)


@pytest.mark.parametrize("row", of_kind("penalty", "noise", "stopping"), ids=identify)
@each_dtype
def test_results_have_the_dtype_of_the_input(row: Row, dtype):
    with under(dtype):
        numbers = {name: jax.ShapeDtypeStruct((), jnp.float32) for name in row.numbers}
        outcome: Any = jax.eval_shape(lambda numbers: exercise(row, dtype, **numbers), numbers)
        if row.kind == "penalty":
            assert outcome[0].dtype == wide(dtype)
            outcome = outcome[1:]
        if row.kind == "stopping":
            outcome = outcome.best_params
        assert {x.dtype for x in jax.tree.leaves(outcome)} == {jnp.dtype(dtype)}


@pytest.mark.parametrize("row", of_kind("schedule"), ids=identify)
def test_schedules_have_the_default_float_dtype(row: Row):
    for x64 in (False, True):
        with jax.enable_x64(x64):
            numbers = {name: jax.ShapeDtypeStruct((), jnp.float32) for name in row.numbers}
            outcome = jax.eval_shape(lambda numbers: exercise(row, **numbers), numbers)
            assert outcome.dtype == jnp.result_type(float)


@pytest.mark.sampled(14)
@each_number
def test_a_traced_number_gives_what_the_python_number_gives(row: Row, number):
    for value in row.numbers[number]:
        traced = jax.jit(lambda x: exercise(row, **{number: x}))(jnp.float32(value))
        assert_close(traced, exercise(row, **{number: value}), rtol=1e-5)  # the float32 rounding of the number


@pytest.mark.sampled(14)
@each_number
def test_vmap_over_a_number_is_the_loop(row: Row, number):
    values = jnp.array(row.numbers[number], jnp.float32)
    lanes = jax.vmap(lambda x: exercise(row, **{number: x}))(values)
    for i, value in enumerate(values):
        assert_close(jax.tree.map(lambda x, i=i: x[i], lanes), exercise(row, **{number: value}), rtol=1e-5)


@pytest.mark.sampled(14)
@each_number
@pytest.mark.parametrize("size", [1.0, 0.0], ids=["", "zero gradient"])
def test_the_slope_in_every_number_is_finite(row: Row, number, size):
    def outcome(x):
        leaves = jax.tree.leaves(exercise(row, size=size, **{number: x}))
        return [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]

    for value in row.numbers[number] + row.ends.get(number, ()):
        values, slopes = jax.jvp(outcome, (jnp.float32(value),), (jnp.float32(1.0),))
        backward = jax.grad(lambda x: sum(jnp.sum(leaf.astype(jnp.float32)) for leaf in outcome(x)))(jnp.float32(value))
        if row.kind == "stopping":
            values = [v for v in values if v.ndim]  # the best metric is infinite before the first evaluation
        assert np.isfinite(floats(values)).all(), value
        assert np.isfinite(floats(slopes)).all(), value
        assert np.isfinite(backward), value


@pytest.mark.sampled(14)
@each_number
def test_a_number_changes_the_result(row: Row, number):
    first, second = (exercise(row, **{number: value}) for value in row.numbers[number][:2])
    assert not all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (first, second)), strict=True))


@pytest.mark.sampled(4)
@each_row
def test_jit_is_eager(row: Row):
    assert_close(jax.jit(lambda: exercise(row))(), exercise(row))


@pytest.mark.sampled(4)
@each_row
def test_a_second_value_needs_no_second_compile(row: Row):
    @jax.jit
    @chex.assert_max_traces(n=1)
    def train(numbers):
        return exercise(row, **numbers)

    chex.clear_trace_counter()
    for at in (0, 1):
        jax.block_until_ready(train({name: jnp.float32(values[at]) for name, values in row.numbers.items()}))


@each_transform
def test_the_state_does_not_depend_on_the_values(row: Row):
    def state(at):
        return row.make(**{name: values[at] for name, values in row.numbers.items()}).init(laws.parameters(jnp.float32))

    chex.assert_trees_all_equal_structs(state(0), state(1))
    chex.assert_trees_all_equal_shapes_and_dtypes(state(0), state(1))


@each_transform
def test_extra_arguments_are_accepted(row: Row):
    transform = row.make()
    assert isinstance(transform, optax.GradientTransformationExtraArgs)
    params, grads = laws.parameters(jnp.float32), laws.gradients(jnp.float32)
    plain = transform.update(grads, transform.init(params), params)
    extra = transform.update(grads, transform.init(params), params, value=jnp.float32(1.0), anything=2)
    chex.assert_trees_all_equal(plain, extra)


@each_transform
def test_init_works_on_abstract_parameters(row: Row):
    params = laws.parameters(jnp.float32)
    abstract = jax.eval_shape(row.make().init, params)
    assert shapes(abstract) == shapes(row.make().init(params))


@each_transform
def test_the_first_state_may_be_donated(row: Row):
    """Donation refuses one buffer in two places, and a state that shares the parameters' would take them along."""
    params = laws.parameters(jnp.float32)
    arrays = jax.tree.leaves((params, row.make().init(params)))
    buffers = [plain(jnp.asarray(array)).unsafe_buffer_pointer() for array in arrays]
    assert len(buffers) == len(set(buffers))


@each_transform
def test_a_scan_runs(row: Row):
    params = laws.parameters(jnp.bfloat16)

    def train(numbers):
        transform = row.make(**numbers)

        def step(carry, _):
            params, state = carry
            updates, state = transform.update(laws.gradients(jnp.float32), state, params)
            updates = jax.tree.map(lambda u, p: u.astype(p.dtype), updates, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, transform.init(params)), length=4)[0]

    numbers = {name: jnp.array(values[:2], jnp.float32) for name, values in row.numbers.items()}
    final, _ = jax.vmap(train)(numbers) if numbers else train(numbers)
    assert np.isfinite(floats(final)).all()


@pytest.mark.sampled(14)
@each_transform
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=lambda d: d.__name__)
@pytest.mark.parametrize("lanes", [8, 64])
def test_a_poisoned_lane_changes_no_bit_of_the_others(row: Row, dtype, lanes):
    """NaN, infinities and gradients that overflow when squared, all in lane 0 of a vmap."""
    transform = row.make()

    def train(size):
        params = laws.parameters(dtype)
        state = transform.init(params)
        for _ in range(2):
            grads = jax.tree.map(lambda g: g * size.astype(dtype), laws.gradients(dtype))
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
