"""What every second-order method keeps: closed carries, dtypes, lanes, rest at a solution, and sense off the convex."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import regopt
from regopt.optimizers._linesearch import line_search
from regopt.optimizers._newton import solve_symmetric
from support import laws
from support.catalogue.row import Row
from support.catalogue.second_order import ROWS
from support.full_batch import run

each_row = pytest.mark.parametrize("row", ROWS, ids=laws.identify)
SLEEPERS = [row for row in ROWS if row.factory not in (regopt.gauss_newton, regopt.levenberg_marquardt)]


def shapes(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype.name), tree)


def update(row, numbers, params, state, gradient_dtype):
    """One update on the catalogue's problem; inputs may be abstract."""

    def value_fn(params):
        return jnp.sum(jnp.square(laws.residuals(params))) / 2

    grads = jax.tree.map(lambda g: g.astype(gradient_dtype), jax.grad(value_fn)(params))
    return row.make(**numbers).update(grads, state, params, value_fn=value_fn, residual_fn=laws.residuals)


@each_row
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16, jnp.float64], ids=lambda d: d.__name__)
@pytest.mark.parametrize("x64", [False, True], ids=["", "x64"])
def test_the_carry_is_closed_with_traced_numbers(row: Row, dtype, x64):
    with jax.enable_x64(x64 or dtype == jnp.float64):
        params = laws.parameters(dtype)
        numbers = {name: jax.ShapeDtypeStruct((), jnp.float32) for name in row.numbers}
        before = jax.eval_shape(lambda numbers: row.make(**numbers).init(params), numbers)
        updates, after = jax.eval_shape(lambda n, s: update(row, n, params, s, jnp.float32), numbers, before)
        assert shapes(before) == shapes(after)
        assert shapes(updates) == shapes(params)


@each_row
def test_the_state_does_not_depend_on_the_values_and_init_works_on_abstract_parameters(row: Row):
    params = laws.parameters(jnp.float32)
    first = row.make().init(params)
    second = row.make(**{name: values[1] for name, values in row.numbers.items()}).init(params)
    assert shapes(first) == shapes(second) == shapes(jax.eval_shape(row.make().init, params))


@pytest.mark.sampled(2)
@each_row
def test_a_scan_over_lanes_of_strengths_is_the_loop_and_a_nan_stays_in_its_lane(row: Row):
    """Lanes with their own L2 strength; the least-squares methods see it as residuals."""
    with jax.enable_x64(True):
        start = jax.tree.map(lambda w: np.asarray(w, np.float64), laws.parameters(jnp.float32))

        def train(strength):
            def residual_fn(params):
                decay = jnp.sqrt(strength) * params["layer"]["kernel"].ravel()
                return jnp.concatenate([laws.residuals(params), decay])

            def value_fn(params):
                return jnp.sum(jnp.square(residual_fn(params))) / 2

            optimizer = row.make()

            def step(carry, _):
                params, state = carry
                grads = jax.grad(value_fn)(params)
                updates, state = optimizer.update(grads, state, params, value_fn=value_fn, residual_fn=residual_fn)
                return (optax.apply_updates(params, updates), state), value_fn(params)

            params = jax.tree.map(jnp.asarray, start)
            return jax.lax.scan(step, (params, optimizer.init(params)), length=4)[0][0]

        strengths = jnp.array([0.02, 0.3, 2.0])
        many = jax.jit(jax.vmap(train))
        lanes = many(strengths)
        one = jax.jit(train)
        for i, strength in enumerate(strengths):
            for a, b in zip(jax.tree.leaves(lanes), jax.tree.leaves(one(strength)), strict=True):
                np.testing.assert_allclose(a[i], b, rtol=1e-7, atol=1e-9)
        poisoned = many(strengths.at[0].set(jnp.nan))
        for a, b in zip(jax.tree.leaves(lanes), jax.tree.leaves(poisoned), strict=True):
            np.testing.assert_array_equal(a[1:], b[1:])


@each_row
def test_nothing_moves_at_a_solution(row: Row):
    """Zero gradient from the start: zero steps, zero changes of the gradient, zero denominators."""

    def residual_fn(params):
        return jnp.stack([params["a"] - 1, 2 * params["b"] + 1])

    def value_fn(params):
        return jnp.sum(jnp.square(residual_fn(params))) / 2

    start = {"a": np.float32(1.0), "b": np.float32(-0.5)}
    path, states = run(row.make(), value_fn, start, 3, residual_fn)
    np.testing.assert_array_equal(path["a"], 1)
    np.testing.assert_array_equal(path["b"], -0.5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(states))


@each_row
def test_long_after_convergence_everything_is_finite_and_still(row: Row):
    def residual_fn(w):
        return jnp.stack([w[0] - 0.7, 3 * (w[1] + w[0] ** 2), 0.5 + w[0] * w[1]])

    path, states = run(row.make(), lambda w: jnp.sum(residual_fn(w) ** 2) / 2, np.ones(2, np.float32), 400, residual_fn)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((path, states)))
    np.testing.assert_allclose(path[-1], path[-100], atol=2e-3)  # in float32 a flat minimum is wide


@pytest.mark.sampled(3)
@pytest.mark.parametrize("row", SLEEPERS, ids=laws.identify)
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
