"""Second-order methods beside the laws of the catalogue: sense off the convex, slopes of an inverse, line searches."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import regopt
from regopt.optimizers._linesearch import line_search
from regopt.optimizers._newton import solve_symmetric
from regopt.testing import CATALOGUE, Row
from support.full_batch import run

OF_A_VALUE = [row for row in CATALOGUE if row.kind == "second_order" and not row.needs_residuals]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("row", OF_A_VALUE, ids=lambda row: row.name)
@pytest.mark.parametrize("curvature", [(-1.0, 2.0), (0.0, 2.0), (0.0, 0.0), (-1.0, -3.0)], ids=str)
def test_an_indefinite_or_singular_hessian_gives_a_finite_step(row: Row, curvature):
    def value_fn(w):
        return jnp.sum(jnp.asarray(curvature, w.dtype) * w**2) / 2 + 0.1 * w[0] + 0.2 * w[1]

    start = np.array([0.4, 0.3], np.float32)
    path, states = run(row.make(**{"learning_rate": 0.3} if "learning_rate" in row.numbers else {}), value_fn, start, 1)
    assert np.isfinite(path).all()
    plain_newton = row.factory is regopt.newton and row.build is None
    if plain_newton and min(curvature) < 0:
        assert states[0][0].smallest_curvature[0] < 0  # it says so
    else:
        assert value_fn(path[1]) < value_fn(path[0])


def test_newton_without_curvature_stays_where_it_is():
    path, states = run(regopt.newton(), lambda w: 0.5 * jnp.sum(w), np.ones(3, np.float32), 1)
    np.testing.assert_array_equal(path[1], path[0])
    assert states[0][0].smallest_curvature[0] == 0


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("values", [(2.0, -0.7, 0.4), (1.5, 1.5, 1.5), (-0.8, 0.8, 2.0)], ids=str)
def test_slopes_through_the_inverse_are_those_of_differences(values, absolute):
    """Also where eigenvalues coincide, or differ in their sign alone."""
    with jax.enable_x64(True):
        generator = np.random.default_rng(2)
        vectors, _ = np.linalg.qr(generator.normal(size=(3, 3)))
        matrix, turn = vectors * np.array(values) @ vectors.T, generator.normal(size=(3, 3))
        turn, vector, change = turn + turn.T, generator.normal(size=3), generator.normal(size=3)

        def along(t):
            pieces = matrix + t * turn, vector + t * change, jnp.asarray(0.3 + 0.5 * t)
            return solve_symmetric(*pieces, absolute)[0]

        slope = jax.jvp(along, (0.0,), (1.0,))[1]
        differences = (along(1e-6) - along(-1e-6)) / 2e-6
        np.testing.assert_allclose(slope, differences, rtol=1e-6, atol=1e-7)
        backward = jax.jacrev(along)(0.0)
        np.testing.assert_allclose(backward, slope, rtol=1e-12)


def test_the_slope_of_the_smallest_eigenvalue_is_the_change_along_its_vector():
    """``d lambda = v' dA v``, for an eigenvalue that stands alone."""
    with jax.enable_x64(True):
        generator = np.random.default_rng(2)
        vectors, _ = np.linalg.qr(generator.normal(size=(3, 3)))
        matrix, turn = vectors * np.array([2.0, -0.7, 0.4]) @ vectors.T, generator.normal(size=(3, 3))
        turn = turn + turn.T

        def smallest(t):
            return solve_symmetric(matrix + t * turn, jnp.ones(3), jnp.asarray(0.3), False)[1]

        value, slope = jax.jvp(smallest, (0.0,), (1.0,))
        assert float(value) == pytest.approx(-0.7, rel=1e-12)
        assert float(slope) == pytest.approx(vectors[:, 1] @ turn @ vectors[:, 1], rel=1e-10)


def test_sixteen_bit_parameters_are_computed_in_float32():
    seen = set()

    def value_fn(params):
        seen.add(params["w"].dtype.name)
        return jnp.sum((params["w"].astype(jnp.float32) - 1 / 3) ** 2)

    params = {"w": jnp.ones(3, jnp.bfloat16)}
    for optimizer in (regopt.newton(), regopt.bfgs(), regopt.nonlinear_cg()):
        updates, _ = optimizer.update(
            {"w": jnp.full(3, 4 / 3, jnp.bfloat16)}, optimizer.init(params), params, value_fn=value_fn
        )
        assert updates["w"].dtype == jnp.bfloat16
    assert seen == {"float32"}


@pytest.mark.parametrize("make", [regopt.newton, regopt.diagonal_newton, regopt.gauss_newton])
def test_a_sixteen_bit_step_times_the_learning_rate_is_rounded_once(make):
    """The value is ``3 |w - 1/3|**2 / 2``; a second rounding costs up to another half of the last place."""
    params = jnp.linspace(0.5, 2.0, 64, dtype=jnp.bfloat16)
    grads = 3 * (params - jnp.asarray(1 / 3, params.dtype))
    optimizer = make(learning_rate=0.7)
    if make is regopt.gauss_newton:
        step, function = np.float64(params) - 1 / 3, {"residual_fn": lambda w: jnp.sqrt(3.0) * (w - 1 / 3)}
    else:
        step, function = np.float64(grads) / 3, {"value_fn": lambda w: 1.5 * jnp.sum((w - 1 / 3) ** 2)}
    updates, _ = optimizer.update(grads, optimizer.init(params), params, **function)
    last_place = 2.0 ** (np.floor(np.log2(0.7 * step)) - 7)
    assert np.max(np.abs(np.float64(updates) + 0.7 * step) / last_place) < 0.501


@pytest.mark.parametrize("search", ["zoom", "backtracking"])
def test_a_line_search_comes_back_from_values_that_are_not_finite(search):
    def value_fn(w):
        return -jnp.log(w[0]) + w[0]  # NaN below 0, and the first step is a long one

    path, _ = run(regopt.nonlinear_cg(linesearch=search), value_fn, np.array([20.0], np.float32), 12)
    np.testing.assert_allclose(path[-1], 1, rtol=1e-3)
    assert np.all(path > 0)


def test_a_line_search_that_finds_no_decrease_stays():
    """At the kink of a sum of absolute values, with one of its subgradients: every step goes up."""
    x, slope = jnp.zeros(2), jnp.ones(2)
    for name in ("zoom", "backtracking"):
        link = line_search(name)
        change, state = link.update(-slope, link.init(x), x, grad=slope, value_fn=lambda w: jnp.sum(jnp.abs(w)))
        np.testing.assert_array_equal(change, 0)
        assert state.step == 0


def test_backtracking_halves_until_the_decrease_is_sufficient():
    def value_fn(w):
        return jnp.sum(w**2)

    link, x = line_search("backtracking"), jnp.array([1.0])
    change, state = link.update(jnp.array([-7.0]), link.init(x), x, grad=2 * x, value_fn=value_fn)
    assert (float(state.step), float(change[0])) == (0.25, -1.75)  # 1 - 7 and 1 - 3.5 lie higher, 1 - 1.75 does not


def test_extra_arguments_are_accepted_and_missing_ones_named():
    params, grads = jnp.array([1.0, 2.0]), jnp.array([1.0, 2.0])
    for optimizer in (regopt.newton(), regopt.bfgs(), regopt.lbfgs(), regopt.nonlinear_cg(), regopt.newton_cg()):
        assert isinstance(optimizer, optax.GradientTransformationExtraArgs)
        state = optimizer.init(params)
        for missing in ({}, {"value": 1.0}):
            with pytest.raises(ValueError, match=r"call update\(grads, state, params, value_fn=\.\.\.\)"):
                optimizer.update(grads, state, params, **missing)
        extra = {"value": jnp.float32(2.5), "grad": grads, "anything": 1}
        optimizer.update(grads, state, params, value_fn=lambda w: jnp.sum(w**2) / 2, **extra)
    least = regopt.levenberg_marquardt()
    with pytest.raises(ValueError, match="residual_fn"):
        least.update(grads, least.init(params), params, value_fn=jnp.sum)


def test_bad_arguments_are_refused():
    for make, message in [
        (lambda: regopt.newton(regularization=-1.0), r"regularization must lie in \[0, inf\), got -1.0"),
        (lambda: regopt.diagonal_newton(-0.5), r"learning_rate must lie in \[0, inf\), got -0.5"),
        (lambda: regopt.gauss_newton(1.0, float("nan")), r"regularization must lie in \[0, inf\), got nan"),
        (lambda: regopt.levenberg_marquardt(0.0), r"damping must lie in \(0, inf\), got 0.0"),
        (lambda: regopt.newton_cg(0), r"max_iterations must lie in \[1, inf\), got 0"),
        (lambda: regopt.newton_cg(forcing=1.0), r"forcing must lie in \[0, 1\), got 1.0"),
        (lambda: regopt.lbfgs(memory_size=0), "memory_size must be at least 1, got 0"),
        (lambda: regopt.nonlinear_cg(variant="hager"), "variant must be one of polak_ribiere, .*, got 'hager'"),
        (lambda: regopt.bfgs(linesearch="exact"), "linesearch must be \"zoom\", .*, got 'exact'"),
    ]:
        with pytest.raises(ValueError, match=message):
            make()
