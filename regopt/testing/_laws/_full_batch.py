"""Laws of second-order methods: closed carries, lanes that are loops, rest at a solution and after convergence."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import DTypeLike

from regopt._core.types import Tree
from regopt.testing._compare import all_finite, assert_same_types, require, under
from regopt.testing._laws._law import DTYPES, Law, each
from regopt.testing._laws._states import abstract
from regopt.testing._points import half_squares, parameters, residuals
from regopt.testing._row import Row

Residuals = Callable[[Tree], jax.Array]


def descend(
    optimizer: optax.GradientTransformationExtraArgs, residual_fn: Residuals, start: Tree, steps: int
) -> tuple[Tree, tuple[Tree, Tree]]:
    """Steps on half the sum of squares: the last parameters, and parameters and states after every step."""
    value_fn = half_squares(residual_fn)

    def step(carry, _):
        params, state = carry
        grads = jax.grad(value_fn)(params)
        updates, state = optimizer.update(grads, state, params, value_fn=value_fn, residual_fn=residual_fn)
        after = optax.apply_updates(params, updates), state
        return after, after

    start = jax.tree.map(jnp.asarray, start)
    (params, _), path = jax.lax.scan(step, (start, optimizer.init(start)), length=steps)
    return params, path


def the_carry_on_full_batches_stays_closed(row: Row, dtype: DTypeLike, x64: bool) -> None:
    """The dtypes stay with float32 tracers as numbers and float32 gradients, whatever the precision of JAX."""
    with jax.enable_x64(x64), under(dtype):
        params, value_fn = parameters(dtype), half_squares(residuals)

        def update(numbers, state):
            grads = jax.tree.map(lambda g: g.astype(jnp.float32), jax.grad(value_fn)(params))
            return row.make(**numbers).update(grads, state, params, value_fn=value_fn, residual_fn=residuals)

        before = jax.eval_shape(lambda numbers: row.make(**numbers).init(params), abstract(row))
        updates, after = jax.eval_shape(update, abstract(row), before)
        assert_same_types(before, after, "state")
        assert_same_types(params, updates, "update")


def the_state_on_full_batches_does_not_depend_on_the_values(row: Row) -> None:
    """The first state is the same for all values of the numbers, and ``init`` takes abstract parameters."""
    params = parameters(jnp.float32)
    first = row.make().init(params)
    second = row.make(**{name: values[1] for name, values in row.numbers.items()}).init(params)
    assert_same_types(first, second, "state")
    assert_same_types(first, jax.eval_shape(row.make().init, params), "state")


def a_scan_over_lanes_is_the_loop_and_a_nan_stays_in_its_lane(row: Row) -> None:
    """Each lane has its own L2 strength; the least-squares methods see it as residuals."""
    with jax.enable_x64(True):
        start = jax.tree.map(lambda w: np.asarray(w, np.float64), parameters(jnp.float32))

        def train(strength):
            def residual_fn(params):
                decay = jnp.sqrt(strength) * params["layer"]["kernel"].ravel()
                return jnp.concatenate([residuals(params), decay])

            return descend(row.make(), residual_fn, start, 4)[0]

        strengths = jnp.array([0.02, 0.3, 2.0])
        many, one = jax.jit(jax.vmap(train)), jax.jit(train)
        lanes = many(strengths)
        for i, strength in enumerate(strengths):
            lane = jax.tree.map(lambda x, i=i: x[i], lanes)
            chex.assert_trees_all_close(lane, one(strength), rtol=1e-7, atol=1e-9)
        poisoned = many(strengths.at[0].set(jnp.nan))
        chex.assert_trees_all_equal(*(jax.tree.map(lambda x: x[1:], tree) for tree in (lanes, poisoned)))


def nothing_moves_at_a_solution(row: Row) -> None:
    """The gradient is zero from the start, and so are steps, changes of the gradient and denominators."""

    def residual_fn(params):
        return jnp.stack([params["a"] - 1, 2 * params["b"] + 1])

    start = {"a": np.float32(1.0), "b": np.float32(-0.5)}
    _, (path, states) = jax.jit(lambda start: descend(row.make(), residual_fn, start, 3))(start)
    np.testing.assert_array_equal(path["a"], 1)
    np.testing.assert_array_equal(path["b"], -0.5)
    require(all_finite(states), "the state at a solution is not finite")


def long_after_convergence_everything_is_finite_and_still(row: Row) -> None:
    """The run takes four hundred steps on a small nonlinear least-squares problem."""

    def residual_fn(w):
        return jnp.stack([w[0] - 0.7, 3 * (w[1] + w[0] ** 2), 0.5 + w[0] * w[1]])

    start = np.ones(2, np.float32)
    _, (path, states) = jax.jit(lambda start: descend(row.make(), residual_fn, start, 400))(start)
    require(all_finite((path, states)), "parameters or states are not finite after 400 steps")
    np.testing.assert_allclose(path[-1], path[-100], atol=2e-3)  # in float32 a flat minimum is wide


FULL_BATCH = ("second_order",)
LAWS = (
    Law(the_carry_on_full_batches_stays_closed, FULL_BATCH, each(dtype=DTYPES, x64=(False, True))),
    Law(the_state_on_full_batches_does_not_depend_on_the_values, FULL_BATCH),
    Law(a_scan_over_lanes_is_the_loop_and_a_nan_stays_in_its_lane, FULL_BATCH),
    Law(nothing_moves_at_a_solution, FULL_BATCH),
    Law(long_after_convergence_everything_is_finite_and_still, FULL_BATCH),
)
