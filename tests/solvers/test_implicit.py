"""The decorators of implicit differentiation against closed forms and differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regopt.solvers import custom_fixed_point, custom_root


def data():
    random = np.random.default_rng(0)
    return jnp.asarray(random.standard_normal((20, 4)), jnp.float32), jnp.asarray(
        random.standard_normal(20), jnp.float32
    )


def ridge(params, strength, x, y):
    residual = x @ params["w"] - y
    return jnp.sum(residual**2) / 2 + strength * jnp.sum(params["w"] ** 2) / 2


def closed_form(strength, x, y):
    return jnp.linalg.solve(x.T @ x + strength * jnp.eye(4), x.T @ y)


@custom_root(jax.grad(ridge), has_aux=True)
def ridge_solver(start, strength, *, x, y):
    del start
    return {"w": jax.lax.stop_gradient(closed_form(strength, x, y))}, jnp.int32(7)


@pytest.mark.parametrize("start", [None, {"w": jnp.zeros(4)}])
@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_a_root_has_the_derivatives_of_the_closed_form(start, mode):
    x, y = data()
    (found, rest) = ridge_solver(start, 2.0, x=x, y=y)
    np.testing.assert_allclose(found["w"], closed_form(2.0, x, y), rtol=1e-6)
    assert rest == 7
    slope = mode(lambda strength: ridge_solver(start, strength, x=x, y=y)[0]["w"])(2.0)
    np.testing.assert_allclose(slope, jax.jacfwd(closed_form)(2.0, x, y), rtol=1e-4)
    by_target = mode(lambda y: ridge_solver(start, 2.0, x=x, y=y)[0]["w"])(y)
    np.testing.assert_allclose(by_target, jax.jacfwd(closed_form, 2)(2.0, x, y), atol=1e-5)


def test_a_fixed_point_of_ones_own_is_differentiated_in_lanes():
    def contraction(x, a):
        return jnp.cos(a * x)

    @custom_fixed_point(contraction)
    def solve(start, a):
        return jax.lax.while_loop(lambda x: jnp.abs(contraction(x, a) - x) > 1e-6, lambda x: contraction(x, a), start)

    rates = jnp.array([0.3, 0.8])
    found = jax.vmap(lambda a: solve(jnp.ones(()), a))(rates)
    slopes = jax.jit(jax.vmap(jax.grad(lambda a: solve(jnp.ones(()), a))))(rates)
    expected = -found * jnp.sin(rates * found) / (1 + rates * jnp.sin(rates * found))
    np.testing.assert_allclose(slopes, expected, rtol=1e-5)


def test_an_equation_that_is_no_tree_like_x_is_refused():
    solve = custom_root(lambda x: jnp.sum(x))(lambda start: start)
    with pytest.raises(TypeError, match="a tree like x"):
        solve(jnp.ones(2))
