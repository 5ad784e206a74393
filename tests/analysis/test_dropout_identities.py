"""The identities of dropout in float64, against sums over all masks written out in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special

from regopt import analysis

pytestmark = pytest.mark.usefixtures("double_precision")

GENERATOR = np.random.default_rng(3)
W, INPUTS, TARGET = GENERATOR.normal(size=10), GENERATOR.normal(size=10), 0.7
RATES = [0.2, 0.5, 0.7, GENERATOR.uniform(0.05, 0.95, 10)]
SOFTPLUS, HALF_SQUARE = jax.nn.softplus, lambda eta: eta**2 / 2
each_rate = pytest.mark.parametrize("rate", RATES, ids=["0.2", "0.5", "0.7", "one for each unit"])


@pytest.fixture
def generator():
    return np.random.default_rng(5)


def ensemble(rate, units=10):
    """Masks and probabilities by itertools, not by the code under test."""
    masks = np.array(list(itertools.product([0.0, 1.0], repeat=units)))
    return masks, np.prod(np.where(masks > 0, 1 - np.asarray(rate), rate), axis=1)


def close(a, b, rtol=1e-13, atol=1e-14):
    """Equal up to rounding of a sum over 1024 masks."""
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


@each_rate
def test_masks_and_their_probabilities(rate):
    masks, probabilities = analysis.enumerate_masks(rate, 10)
    expected = {tuple(mask): p for mask, p in zip(*ensemble(rate), strict=True)}
    assert len({tuple(mask) for mask in np.asarray(masks)}) == 1024
    close(probabilities, [expected[tuple(mask)] for mask in np.asarray(masks)])
    close(jnp.sum(probabilities), 1.0)


@each_rate
def test_the_expected_error_is_that_of_the_mean_unit_and_half_a_penalty(rate):
    masks, probabilities = ensemble(rate)
    errors = (TARGET - masks @ (W * INPUTS)) ** 2 / 2
    close(analysis.dropout_error(W, INPUTS, TARGET, masks), errors)
    close(analysis.expected_dropout_error(W, INPUTS, TARGET, rate), probabilities @ errors)
    close(analysis.ensemble_error(W, INPUTS, TARGET, rate), (TARGET - probabilities @ masks @ (W * INPUTS)) ** 2 / 2)


@each_rate
def test_the_mean_gradient_is_that_of_the_mean_unit_and_a_shrinkage(rate):
    masks, probabilities = ensemble(rate)
    gradients = -(TARGET - masks @ (W * INPUTS))[:, None] * masks * INPUTS
    mean_unit = jax.grad(analysis.ensemble_error)(jnp.asarray(W), INPUTS, TARGET, rate)
    close(probabilities @ gradients, mean_unit + np.asarray(rate) * (1 - np.asarray(rate)) * W * INPUTS**2)
    close(probabilities @ gradients, jax.grad(analysis.expected_dropout_error)(jnp.asarray(W), INPUTS, TARGET, rate))


@each_rate
def test_the_geometric_mean_of_a_logistic_unit_is_one_pass(rate):
    masks, probabilities = ensemble(rate)
    outputs = special.expit(masks @ (W * INPUTS) + 0.3)
    top, bottom = (np.prod(o**probabilities) for o in (outputs, 1 - outputs))
    nwgm = analysis.normalized_geometric_mean(outputs, probabilities)
    close(nwgm, top / (top + bottom))
    close(nwgm, special.expit(np.sum((1 - np.asarray(rate)) * W * INPUTS) + 0.3))
    assert abs(nwgm - probabilities @ outputs) > 1e-4  # not the arithmetic mean


@each_rate
def test_weight_scaling_is_exact_for_a_softmax_on_dropped_inputs(generator, rate):
    masks, probabilities = ensemble(rate)
    x, second = generator.normal(size=10), generator.normal(size=(10, 4)) / 4
    bias, keep = generator.normal(size=4) / 4, np.broadcast_to(1 - np.asarray(rate), 10)
    log_p = special.log_softmax((masks * x) @ second + bias, axis=1)
    geometric = np.exp(probabilities @ log_p)
    result = analysis.geometric_ensemble(log_p, probabilities)
    close(result, geometric / geometric.sum())
    close(result, special.softmax(keep * x @ second + bias))


@each_rate
def test_weight_scaling_is_exact_for_a_deep_linear_network_and_not_with_relu(rate, generator):
    """Five inputs and five hidden units, all of them dropped."""
    masks, probabilities = ensemble(rate)
    x, first, second = (generator.normal(size=shape) for shape in (5, (5, 5), (5, 4)))
    keep = np.broadcast_to(1 - np.asarray(rate), 10)

    def gap(activation):
        def logits(mask):
            return (mask[..., 5:] * activation((mask[..., :5] * x) @ first)) @ second

        log_p = special.log_softmax(logits(masks), axis=-1)
        return analysis.geometric_ensemble(log_p, probabilities) - special.softmax(logits(keep))

    close(gap(lambda h: h), 0)
    assert np.max(np.abs(gap(lambda h: np.maximum(h, 0)))) > 1e-3


def noised(x, w, rate, log_partition):
    masks, probabilities = ensemble(rate, x.shape[1])
    eta = np.einsum("mj,ij,j->mi", masks, x, w / (1 - np.asarray(rate)))
    return probabilities @ log_partition(eta).sum(axis=1) - log_partition(x @ w).sum()


@pytest.mark.parametrize("rate", [0.1, 0.6, np.array([0.1, 0.3, 0.5, 0.7])])
def test_the_noising_penalty(generator, rate):
    x, w = generator.normal(size=(12, 4)), generator.normal(size=4)
    logistic = analysis.noising_penalty(x, w, rate, SOFTPLUS)
    close(logistic, noised(x, w, rate, lambda eta: np.logaddexp(eta, 0)), rtol=1e-12)
    expected = np.sum(rate / (1 - rate) * w**2 * np.diag(x.T @ x)) / 2
    for penalty in (analysis.noising_penalty, analysis.quadratic_penalty):
        close(penalty(x, w, rate, HALF_SQUARE), expected, rtol=1e-12)
    p = special.expit(x @ w)
    expected = np.sum((p * (1 - p))[:, None] * x**2 * rate / (1 - rate) * w**2) / 2
    close(analysis.quadratic_penalty(x, w, rate, SOFTPLUS), expected, rtol=1e-12)


def test_the_logistic_approximation_becomes_exact_with_the_weights_and_not_with_the_rate(generator):
    x, w = generator.normal(size=(30, 6)), generator.normal(size=6)

    def error(scale, rate):
        exact = analysis.noising_penalty(x, scale * w, rate, SOFTPLUS)
        return float(analysis.quadratic_penalty(x, scale * w, rate, SOFTPLUS) / exact - 1)

    assert abs(error(0.01, 0.5)) < 1e-3
    assert abs(error(0.02, 0.5)) < 1e-3
    assert abs(error(1.0, 1e-5)) > 1e-2


@pytest.mark.parametrize("rate", [0.2, 0.6, np.array([0.1, 0.5, 0.3])])
def test_dropout_least_squares_is_a_ridge_with_a_strength_for_each_feature(generator, rate):
    x, y = generator.normal(size=(20, 3)) * [0.5, 1.0, 3.0], generator.normal(size=20)
    masks, probabilities = ensemble(rate, 3)

    def loss(w):
        return probabilities @ ((y - np.einsum("mj,ij,j->mi", masks, x, w)) ** 2).sum(axis=1)

    trained = optimize.minimize(loss, np.zeros(3), tol=1e-14).x
    close(analysis.dropout_least_squares(x, y, rate), (1 - np.asarray(rate)) * trained, rtol=1e-5, atol=1e-6)
    penalised = np.vstack([x, np.diag(np.sqrt(rate / (1 - rate) * np.sum(x**2, axis=0)))])
    by_rows = np.linalg.lstsq(penalised, np.concatenate([y, np.zeros(3)]), rcond=None)[0]
    close(analysis.dropout_least_squares(x, y, rate), by_rows, rtol=1e-12)


def test_the_penalty_is_largest_at_one_half_for_trained_weights_and_grows_with_the_rate_for_deployed_ones():
    rates = jnp.linspace(0.01, 0.99, 99)

    def penalty(rate, weights):
        error = analysis.expected_dropout_error(weights, INPUTS, TARGET, rate)
        return error - analysis.ensemble_error(weights, INPUTS, TARGET, rate)

    trained = jax.vmap(lambda rate: penalty(rate, jnp.asarray(W)))(rates)
    deployed = jax.vmap(lambda rate: penalty(rate, jnp.asarray(W) / (1 - rate)))(rates)
    assert rates[jnp.argmax(trained)] == 0.5
    assert np.all(np.diff(deployed) > 0)
    close(deployed, jax.vmap(lambda r: analysis.quadratic_penalty(INPUTS[None], W, r, HALF_SQUARE))(rates), rtol=1e-12)


def test_slopes_in_the_rate_are_finite_and_ranges_are_checked(generator):
    x, y = generator.normal(size=(6, 3)), generator.normal(size=6)
    w = generator.normal(size=3)
    for rate in (0.0, 0.4, 0.99):
        for number in (
            lambda r: analysis.expected_dropout_error(w, x[0], TARGET, r),
            lambda r: analysis.noising_penalty(x, w, r, SOFTPLUS),
            lambda r: analysis.quadratic_penalty(x, w, r, SOFTPLUS),
            lambda r: jnp.sum(analysis.dropout_least_squares(x, y, r)),
        ):
            assert np.isfinite(jax.jit(jax.grad(number))(rate))
    with pytest.raises(ValueError, match=r"rate must lie in \[0, 1\), got 1.0"):
        analysis.quadratic_penalty(x, w, 1.0, SOFTPLUS)
    with pytest.raises(ValueError, match=r"units must lie in \[1, 20\], got 21"):
        analysis.enumerate_masks(0.5, 21)


def test_float32_in_float32_out():
    with jax.enable_x64(False):
        w, i = jnp.asarray(W, jnp.bfloat16), jnp.asarray(INPUTS, jnp.float32)
        assert analysis.expected_dropout_error(w, i, TARGET, 0.3).dtype == jnp.float32
        assert analysis.noising_penalty(i[None], w, 0.3, SOFTPLUS).dtype == jnp.float32
