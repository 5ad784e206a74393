"""The decorators of implicit differentiation against closed forms and differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import root

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


class Unequal:
    """A container that is compared by identity."""

    def __init__(self, root):
        self.root = root


jax.tree_util.register_pytree_node(Unequal, lambda node: ((node.root,), None), lambda _, children: Unequal(*children))


def test_containers_without_an_equality_are_trees_too():
    @custom_root(lambda x, a: Unequal(x.root**2 - a))
    def solve(start, a):
        return Unequal(jnp.sqrt(a) + 0 * start.root)

    assert jax.grad(lambda a: solve(Unequal(jnp.ones(())), a).root)(4.0) == 0.25
    wrong = custom_root(lambda x: Unequal(x.root[:1]))(lambda start: start)
    with pytest.raises(TypeError, match="a tree like x"):
        wrong(Unequal(jnp.ones(2)))


@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_unknowns_of_half_precision_have_derivatives(dtype, mode):
    solve = custom_root(lambda x, a: x**2 - a)(lambda start, a: jnp.sqrt(a))
    slope = mode(solve, argnums=1)(None, jnp.array([4.0, 16.0], dtype))
    assert slope.dtype == dtype
    np.testing.assert_array_equal(slope.astype(jnp.float32), [[0.25, 0], [0, 0.125]])


def test_a_solver_on_the_host_is_differentiated_through_a_callback():
    def equation(w, a):
        return w**3 + w.sum() - a

    @custom_root(equation)
    def solve(start, a):
        def on_host(start, a):
            return root(equation, np.asarray(start), np.asarray(a)).x.astype(start.dtype)

        return jax.pure_callback(on_host, start, start, a)

    a = jnp.array([1.0, 2.0])
    slope = jax.jit(jax.jacobian(solve, argnums=1))(jnp.ones(2), a)
    found = solve(jnp.ones(2), a)
    np.testing.assert_allclose(equation(found, a), np.zeros(2), atol=1e-5)
    np.testing.assert_allclose(slope, np.linalg.inv(np.diag(3 * found**2) + 1), rtol=1e-4)
