"""What the course derives by hand: backpropagation against autodiff, convexity against known sets, averages by sums."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import regopt
from regopt import analysis

pytestmark = pytest.mark.usefixtures("double_precision")


def key(seed=0):
    return jax.random.key(seed)


def network(widths=(3, 5, 4, 2)):
    draws = np.random.default_rng(0)
    return [(jnp.asarray(draws.normal(size=(b, a))), jnp.asarray(draws.normal(size=b))) for a, b in pairwise(widths)]


def objective(layers, x, y, activation, loss, strength):
    f = {"tanh": jnp.tanh, "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "identity": lambda z: z}[activation]
    a = x
    for place, (w, b) in enumerate(layers):
        z = w @ a + b[:, None]
        a = f(z) if place < len(layers) - 1 else z
    mean = jnp.sum((a - y) ** 2) / 2 if loss == "squared" else -jnp.sum(y * jax.nn.log_softmax(a, axis=0))
    return mean / x.shape[1] + strength / 2 * sum(jnp.sum(w**2) for w, _ in layers)


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid", "identity"])
@pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
def test_backpropagation_is_autodiff(activation, loss):
    x = jax.random.normal(key(1), (3, 7))
    y = jax.nn.softmax(jax.random.normal(key(2), (2, 7)), axis=0)
    case = {"activation": activation, "loss": loss, "strength": 0.3}
    found = jax.jit(lambda layers: analysis.backpropagate(layers, x, y, **case))(network())
    value, gradient = jax.jit(jax.value_and_grad(lambda layers: objective(layers, x, y, **case)))(network())
    assert float(found.objective) == pytest.approx(float(value), rel=1e-13)
    for mine, theirs in zip(jax.tree.leaves(found.layers), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-14)


def test_the_jacobian_is_the_product_of_those_of_the_layers():
    x, layers = jnp.array([0.3, -1.0, 0.7]), network()

    def last(x):
        for w, b in layers:
            x = jax.nn.sigmoid(w @ x + b)
        return x

    one, two, three = analysis.layer_jacobians(layers, x, activation="sigmoid")
    np.testing.assert_allclose(three @ two @ one, jax.jacobian(last)(x), atol=1e-15)


def test_an_average_is_the_weighted_sum():
    values = np.random.default_rng(0).normal(size=(12, 2))
    weights = np.array([[0.1 * 0.9 ** (t - s) if s <= t else 0.0 for s in range(12)] for t in range(12)])
    plain = analysis.exponential_average(jnp.asarray(values), 0.9, bias_correction=False)
    np.testing.assert_allclose(plain, weights @ values, atol=1e-14)
    corrected = analysis.exponential_average(jnp.asarray(values), 0.9)
    np.testing.assert_allclose(corrected, weights @ values / weights.sum(axis=1)[:, None], atol=1e-13)
    assert weights.sum(axis=1)[9] == pytest.approx(1 - 0.9**10)


def test_the_average_of_gradients_is_the_velocity_of_ema_momentum():
    gradients = jnp.asarray(np.random.default_rng(1).normal(size=(6, 3)))
    optimizer, w = regopt.ema_momentum(1.0, 0.8), jnp.zeros(3)
    state, moves = optimizer.init(w), []
    for g in gradients:
        update, state = optimizer.update(g, state, w)
        moves.append(-update)
    expected = analysis.exponential_average(gradients, 0.8, bias_correction=False)
    np.testing.assert_allclose(jnp.stack(moves), expected, atol=1e-14)


def ball(centre):
    return lambda x: jnp.sum(jnp.square(x - jnp.array(centre))) <= 1


def uniform(key):
    return jax.random.uniform(key, (2,), minval=-2.5, maxval=2.5)


def test_an_intersection_is_convex_and_a_union_is_not():
    left, right = ball((-0.7, 0.0)), ball((0.7, 0.0))
    assert not analysis.nonconvex_set(lambda x: left(x) & right(x), uniform, key(), draws=20000).found
    left, right = ball((-1.1, 0.0)), ball((1.1, 0.0))
    either = analysis.nonconvex_set(lambda x: left(x) | right(x), uniform, key(), draws=2000)
    assert either.found
    between = either.weight * either.first + (1 - either.weight) * either.second
    assert left(either.first) | right(either.first)
    assert left(either.second) | right(either.second)
    assert not left(between) | right(between)


@pytest.mark.parametrize(
    ("function", "convex"),
    [
        (lambda x: jnp.sum(x**2), True),
        (lambda x: jax.nn.logsumexp(x), True),
        (lambda x: 3 * x[0] - x[1], True),  # equality in Jensen's inequality is no counter-example
        (lambda x: jnp.sum(jnp.cos(x)), False),
        (lambda x: x[0] * x[1], False),
    ],
)
def test_jensen_and_the_hessian_agree(function, convex):
    found = analysis.nonconvex_function(function, uniform, key())
    assert bool(found.found) is not convex
    point, smallest = analysis.negative_curvature(function, uniform, key())
    assert (float(smallest) < -1e-9) is not convex
    np.testing.assert_allclose(np.linalg.eigvalsh(jax.hessian(function)(point))[0], smallest, atol=1e-12)
    if found.found:
        a, b, t = found.first, found.second, found.weight
        assert function(t * a + (1 - t) * b) > t * function(a) + (1 - t) * function(b)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: analysis.backpropagate([], jnp.ones((1, 1)), jnp.ones((1, 1))), "layers must"),
        (lambda: analysis.backpropagate(network(), jnp.ones((3, 1)), jnp.ones((2, 1)), loss="hinge"), "loss must be"),
        (lambda: analysis.layer_jacobians(network(), jnp.ones(3), activation="gelu"), "activation must be"),
        (lambda: analysis.exponential_average(jnp.ones(3), 1.0), "decay must lie"),
        (lambda: analysis.nonconvex_set(uniform, uniform, key(), draws=0), "draws must be"),
        (lambda: analysis.nonconvex_function(3, uniform, key()), "function must be"),
        (lambda: analysis.negative_curvature(uniform, 3, key()), "sample must be"),
    ],
)
def test_a_wrong_argument_is_refused_with_its_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()
