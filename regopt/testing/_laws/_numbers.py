"""Laws of numbers: tracers give what Python numbers give, lanes are loops, slopes are finite, ranges are checked."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np

from regopt.testing._compare import all_finite, assert_close, inexact, require
from regopt.testing._exercise import exercise
from regopt.testing._laws._law import Cell, Law, each_number
from regopt.testing._row import Row


def samples_are_not_only_the_identity(row: Row) -> None:
    """A law that only sees 0 and 1 misses a forgotten factor."""
    for name, values in row.numbers.items():
        require(len(values) >= 2, f"{name} needs two values or more, got {tuple(values)}")
        require(not set(values) <= {0.0, 1.0}, f"{name} needs a value beside 0 and 1, got {tuple(values)}")


def a_traced_number_gives_what_the_python_number_gives(row: Row, number: str) -> None:
    """The two results agree up to the rounding of the number to float32."""
    traced = jax.jit(lambda x: exercise(row, {number: x}))
    for value in row.numbers[number]:
        assert_close(traced(jnp.float32(value)), exercise(row, {number: value}), rtol=1e-5)


def vmap_over_a_number_is_the_loop(row: Row, number: str) -> None:
    """Each lane has the result of a call with its number."""

    def outcome(x):
        return exercise(row, {number: x})

    values = jnp.array(row.numbers[number], jnp.float32)
    lanes, alone = jax.jit(jax.vmap(outcome))(values), jax.jit(outcome)
    for i, value in enumerate(values):
        assert_close(jax.tree.map(lambda x, i=i: x[i], lanes), alone(value), rtol=1e-5)


def the_slope_in_every_number_is_finite(row: Row, number: str, size: float) -> None:
    """The slope is taken forward and backward, at the ends of the range, and with a gradient of exactly zero."""

    @jax.jit  # one program for all values; like a gradient, the size is an argument and no constant of it
    def both_ways(x, size):
        def outcome(x):
            return inexact(exercise(row, {number: x}, size=size))

        backward = jax.grad(lambda x: sum(jnp.sum(leaf.astype(jnp.float32)) for leaf in outcome(x)))(x)
        return *jax.jvp(outcome, (x,), (jnp.float32(1.0),)), backward

    for value in (*row.numbers[number], *row.ends.get(number, ())):
        values, slopes, backward = both_ways(jnp.float32(value), jnp.float32(size))
        if row.kind == "stopping":
            values = [v for v in values if v.ndim]  # the best metric is infinite before the first evaluation
        require(all_finite(values), f"the result at {number}={value} is not finite")
        require(all_finite(slopes), f"the forward slope at {number}={value} is not finite")
        require(np.isfinite(backward), f"the backward slope at {number}={value} is not finite, got {backward}")


def a_number_changes_the_result(row: Row, number: str) -> None:
    """A number without an effect has been forgotten in the formula."""
    first, second = (exercise(row, {number: value}) for value in row.numbers[number][:2])
    same = all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (first, second)), strict=True))
    require(not same, f"{number}={row.numbers[number][0]} and {number}={row.numbers[number][1]} give the same")


def jit_is_eager(row: Row) -> None:
    """The two results agree for the usual numbers as Python floats."""
    assert_close(jax.jit(lambda: exercise(row))(), exercise(row))


def a_second_value_needs_no_second_compile(row: Row) -> None:
    """All numbers are traced together."""

    @jax.jit
    @chex.assert_max_traces(n=1)
    def train(numbers):
        return exercise(row, numbers)

    chex.clear_trace_counter()
    for at in (0, 1):
        jax.block_until_ready(train({name: jnp.float32(values[at]) for name, values in row.numbers.items()}))


def a_number_outside_its_range_is_refused_by_name(row: Row, number: str, value: float) -> None:
    """It is refused at construction; on use where a factory is a function of values, as noise and projections are."""
    try:
        row.make(**{number: value})
        if row.build or row.kind in ("noise", "projection"):
            exercise(row, {number: value})
    except ValueError as error:
        # where a build function renames the number, the factory can only say its own name for it
        words = " must " if row.build else f"{number} must "
        require(words in str(error), f"the message of {number}={value} does not say {words!r}: {error}")
        return
    raise AssertionError(f"{number}={value} is accepted")


def _refused(row: Row) -> list[Cell]:
    return [{"number": n, "value": value} for n in row.numbers for value in row.refused.get(n, (math.nan,))]


LAWS = (
    Law(samples_are_not_only_the_identity),
    Law(a_traced_number_gives_what_the_python_number_gives, cells=each_number()),
    Law(vmap_over_a_number_is_the_loop, cells=each_number()),
    Law(the_slope_in_every_number_is_finite, cells=each_number(size=(1.0, 0.0))),
    Law(a_number_changes_the_result, cells=each_number()),
    Law(jit_is_eager),
    Law(a_second_value_needs_no_second_compile),
    Law(a_number_outside_its_range_is_refused_by_name, cells=_refused),
)
