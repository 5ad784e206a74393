"""Newton's methods and least squares: exact identities in float64, the papers' pseudo-code, and SciPy's solutions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import optimize

import regopt
from support.full_batch import logistic, quadratic, run

pytestmark = pytest.mark.usefixtures("double_precision")


def test_newton_ends_a_quadratic_in_one_step():
    path, _ = run(regopt.newton(), lambda x: x**2 / 2, np.array(3.0), 1)
    assert path[1] == 0
    _, minimum, value_fn = quadratic([0.1, 0.7, 3.0, 20.0])
    path, _ = run(regopt.newton(), value_fn, np.ones(4), 1)
    np.testing.assert_allclose(path[1], minimum, atol=1e-12)


@pytest.mark.parametrize("saddle_free", [False, True])
def test_newtons_step_is_that_of_the_dense_formula(saddle_free):
    def value_fn(params):
        return jnp.sum(jnp.cos(params["a"])) * params["b"] + params["b"] ** 3 - jnp.prod(params["a"])

    start = {"a": np.array([0.4, -1.1, 2.0]), "b": np.array(0.3)}
    optimizer = regopt.newton(regopt.schedules.inverse_time(0.7, 1.0), 0.35, saddle_free=saddle_free)
    path, states = run(optimizer, value_fn, start, 2)
    for step, rate in enumerate([0.7, 0.35]):
        at = np.append(path["a"][step], path["b"][step])
        flat = lambda v: value_fn({"a": v[:3], "b": v[3]})  # noqa: E731
        hessian, gradient = np.array(jax.hessian(flat)(jnp.asarray(at))), np.array(jax.grad(flat)(jnp.asarray(at)))
        values, vectors = np.linalg.eigh(hessian)
        assert values[0] < -0.4  # indefinite, also with the regularization
        values = np.abs(values) if saddle_free else values
        expected = at - rate * vectors @ (vectors.T @ gradient / (values + 0.35))
        np.testing.assert_allclose(np.append(path["a"][step + 1], path["b"][step + 1]), expected, rtol=1e-10)
        np.testing.assert_allclose(states[0][0].smallest_curvature[step], np.linalg.eigvalsh(hessian)[0], rtol=1e-10)


def test_newton_converges_quadratically_with_the_constant_of_the_theory():
    path, _ = run(regopt.newton(), lambda x: jnp.exp(x) - 2 * x, np.array(1.5), 4)
    errors = path - np.log(2)
    # f''' / (2 f'') = 1/2 where exp(x) = 2; the next term of the expansion is of the order of the error
    np.testing.assert_allclose(errors[4] / errors[3] ** 2, 0.5, rtol=1e-3)


def test_newton_on_logistic_regression():
    value_fn, start = logistic()
    path, _ = run(regopt.newton(), value_fn, start, 8)
    iterates = [jax.tree.map(lambda p, k=k: jnp.asarray(p[k]), path) for k in range(9)]
    norms = [float(optax.tree.norm(jax.grad(value_fn)(w))) for w in iterates[1:]]
    np.testing.assert_allclose(norms[:7], [0.396, 0.155, 0.058, 0.018, 0.0028, 9.6e-5, 1.1e-7], rtol=0.05)  # 2 digits
    assert norms[7] < 1e-12
    assert abs(float(value_fn(iterates[-1])) - 0.09959137548470549) < 1e-12


def test_newton_is_attracted_by_a_saddle_and_the_absolute_hessian_is_repelled():
    def value_fn(w):
        return w[0] ** 2 / 2 + w[1] ** 4 / 4 - w[1] ** 2 / 2

    for side in (0.04, -0.04):
        attracted, states = run(regopt.newton(), value_fn, np.array([0.5, side]), 10)
        np.testing.assert_allclose(attracted[-1], [0, 0], atol=1e-12)
        assert states[0][0].smallest_curvature[0] < -0.9  # what the state says of a step that need not descend
        repelled, _ = run(regopt.newton(saddle_free=True), value_fn, np.array([0.5, side]), 15)
        np.testing.assert_allclose(repelled[-1], [0, np.sign(side)], atol=1e-12)


def test_diagonal_newton_divides_by_the_diagonal_of_the_hessian():
    def value_fn(w):
        return jnp.sum(jnp.sin(w)) * w[0] + w[1] ** 2 * w[2] ** 3

    start = np.array([0.5, -1.2, -0.8])
    path, _ = run(regopt.diagonal_newton(0.6, 0.2), value_fn, start, 1)
    diagonal = np.diag(jax.hessian(value_fn)(jnp.asarray(start)))
    assert diagonal.min() < 0 < diagonal.max()
    expected = start - 0.6 * np.array(jax.grad(value_fn)(jnp.asarray(start))) / (np.abs(diagonal) + 0.2)
    np.testing.assert_allclose(path[1], expected, rtol=1e-12)


def observations():
    """Residuals of an exponential decay seen at 20 times, with noise: not zero at the solution."""
    times = np.linspace(0.0, 3.0, 20)
    seen = 2.5 * np.exp(-1.3 * times) + 0.5 + 0.05 * np.random.default_rng(1).normal(size=20)
    return lambda w: w[0] * jnp.exp(-w[1] * jnp.asarray(times)) + w[2] - jnp.asarray(seen)


def half_square(residual_fn):
    return lambda w: jnp.sum(residual_fn(w) ** 2) / 2


def by_madsen(residual_fn, w, damping, steps):
    """Algorithm 3.16 as printed, in NumPy: iterates, mu and gain ratios."""
    jacobian_fn, path, record = jax.jit(jax.jacobian(residual_fn)), [w], []
    mu, nu = None, 2.0
    for _ in range(steps):
        r, j = np.array(residual_fn(w)), np.array(jacobian_fn(jnp.asarray(w)))
        g, a = j.T @ r, j.T @ j
        mu = damping * a.diagonal().max() if mu is None else mu
        h = np.linalg.solve(a + mu * np.eye(len(w)), -g)
        trial = np.array(residual_fn(w + h))
        ratio = (r @ r / 2 - trial @ trial / 2) / (h @ (mu * h - g) / 2)
        if ratio > 0:
            w, mu, nu = w + h, mu * max(1 / 3, 1 - (2 * ratio - 1) ** 3), 2.0
        else:
            mu, nu = mu * nu, 2 * nu
        path.append(w)
        record.append((mu, nu, ratio))
    return np.array(path), np.array(record).T


def test_levenberg_marquardt_is_the_printed_algorithm():
    def residual_fn(w):  # of Rosenbrock's function
        return jnp.sqrt(2.0) * jnp.stack([10 * (w[1] - w[0] ** 2), 1 - w[0]])

    start = np.array([-1.2, 1.0])
    path, states = run(regopt.levenberg_marquardt(1e-3), half_square(residual_fn), start, 15, residual_fn)
    expected, (mu, nu, ratio) = by_madsen(residual_fn, start, 1e-3, 15)
    assert ratio.min() < 0 < ratio.max()  # steps of both kinds
    np.testing.assert_allclose(path, expected, rtol=1e-6)
    (state,) = states
    np.testing.assert_allclose(state.damping, mu, rtol=1e-6)
    np.testing.assert_allclose(state.growth, nu)
    np.testing.assert_allclose(state.gain_ratio, ratio, rtol=1e-4, atol=1e-6)


def test_levenberg_marquardt_recovers_from_a_damping_that_is_zero_to_rounding():
    """The Gauss-Newton method diverges from here; a mu of 0 could not grow."""
    start = np.array([2.0], np.float32)
    path, _ = run(regopt.levenberg_marquardt(1e-44), half_square(jnp.arctan), start, 80, jnp.arctan)
    undamped, _ = run(regopt.gauss_newton(), half_square(jnp.arctan), start, 4, jnp.arctan)
    np.testing.assert_allclose(path[-1], 0, atol=1e-6)
    assert np.abs(undamped[-1]) > 100


def test_without_full_rank_the_step_is_the_shortest_one():
    generator = np.random.default_rng(4)
    x, y = generator.normal(size=(30, 3)) @ generator.normal(size=(3, 6)), generator.normal(size=30)
    expected, *_ = np.linalg.lstsq(x, y, rcond=1e-10)

    def residual_fn(w):
        return jnp.asarray(x) @ w - jnp.asarray(y)

    for optimizer in (regopt.newton(), regopt.newton(saddle_free=True), regopt.gauss_newton()):
        path, _ = run(optimizer, half_square(residual_fn), np.zeros(6), 1, residual_fn)
        np.testing.assert_allclose(path[1], expected, rtol=1e-9)


def test_least_squares_against_scipy():
    residual_fn = observations()
    found = optimize.least_squares(lambda w: np.array(residual_fn(w)), [1.0, 1.0, 1.0], method="lm", xtol=1e-15)
    damped, _ = run(regopt.levenberg_marquardt(), half_square(residual_fn), np.ones(3), 30, residual_fn)
    undamped, _ = run(regopt.gauss_newton(), half_square(residual_fn), np.ones(3), 30, residual_fn)
    np.testing.assert_allclose(damped[-1], found.x, rtol=1e-6)  # SciPy's own Jacobian is by differences
    np.testing.assert_allclose(undamped[-1], damped[-1], rtol=1e-9)


def test_gauss_newtons_step_is_that_of_the_dense_formula():
    residual_fn, start = observations(), np.array([1.0, 0.5, 0.2])
    path, _ = run(regopt.gauss_newton(0.6, 0.3), half_square(residual_fn), start, 1, residual_fn)
    j, r = np.array(jax.jacobian(residual_fn)(jnp.asarray(start))), np.array(residual_fn(start))
    expected = start - 0.6 * np.linalg.solve(j.T @ j + 0.3 * np.eye(3), j.T @ r)
    np.testing.assert_allclose(path[1], expected, rtol=1e-11)


def test_newton_cg_solved_to_the_end_is_newton():
    hessian, minimum, value_fn = quadratic([0.5] * 2 + [2.0] * 3 + [9.0], seed=2)
    path, (states, _) = run(regopt.newton_cg(forcing=1e-10), value_fn, np.ones(6), 1)
    np.testing.assert_allclose(path[1], minimum, atol=1e-9)
    assert states.products[0] == 3  # one for each distinct eigenvalue
    capped, (states, _) = run(regopt.newton_cg(1, linesearch=optax.identity()), value_fn, np.ones(6), 1)
    g = hessian @ (1 - minimum)
    np.testing.assert_allclose(capped[1], 1 - g * (g @ g) / (g @ hessian @ g), rtol=1e-12)
    assert states.products[0] == 1


def test_newton_cg_solves_more_exactly_near_a_solution():
    hessian, minimum, value_fn = quadratic(np.geomspace(0.1, 50, 12), seed=6)
    start = minimum + 1e-6 * np.ones(12)
    path, (states, _) = run(regopt.newton_cg(linesearch=optax.identity()), value_fn, start, 1)
    before, after = np.linalg.norm((path - minimum) @ hessian, axis=1)
    assert after <= before**1.5  # sqrt|g| |g|
    assert 1 < states.products[0] < 12


def test_newton_cg_leaves_at_negative_curvature():
    def value_fn(w):
        return 2 * w[0] ** 2 - w[1] ** 2 / 2 + w[1] ** 4 / 4

    bare = regopt.newton_cg(linesearch=optax.identity())
    first, (states, _) = run(bare, value_fn, np.array([0.0, 0.3]), 1)  # the gradient itself has negative curvature
    np.testing.assert_allclose(first[1], [0, 0.3 + 0.3 - 0.3**3], rtol=1e-12)
    assert (bool(states.negative_curvature[0]), int(states.products[0])) == (True, 1)
    start = np.array([0.5, 0.3])
    bare = regopt.newton_cg(forcing=0.01, linesearch=optax.identity())
    later, (states, _) = run(bare, value_fn, start, 1)  # and here only the second direction
    g, h = np.array([4 * 0.5, 0.3**3 - 0.3]), np.diag([4.0, 3 * 0.3**2 - 1])
    np.testing.assert_allclose(later[1], start - g * (g @ g) / (g @ h @ g), rtol=1e-12)
    assert (bool(states.negative_curvature[0]), int(states.products[0])) == (True, 2)


def test_a_state_of_bfgs_may_be_donated():
    optimizer, params = regopt.bfgs(), jnp.zeros(3)

    def step(params, state):
        options = {"value": loss(params), "grad": jax.grad(loss)(params), "value_fn": loss}
        updates, state = optimizer.update(options["grad"], state, params, **options)
        return optax.apply_updates(params, updates), state

    def loss(params):
        return jnp.sum((params - 1) ** 4)

    assert float(loss(jax.jit(step, donate_argnums=(0, 1))(params, optimizer.init(params))[0])) < 3
