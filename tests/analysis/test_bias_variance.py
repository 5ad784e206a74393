"""Decompositions of error: exact identities in double precision, and replicas of learners whose parts are known."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import entropy

from regopt.analysis import bias_variance
from regopt.analysis.bias_variance import (
    decompose,
    decompose_cross_entropy,
    decompose_kohavi_wolpert,
    decompose_zero_one,
    variance_components,
)

pytestmark = pytest.mark.usefixtures("double_precision")


def drawn(shape=(7, 5), seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize("of", ["truth", "observations"])
@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 2)])
def test_squared_parts_sum_to_the_measured_error(of, shape):
    predictions, targets = drawn(shape), drawn(shape[1:], seed=1)
    found = decompose(predictions, targets, 0.7, of=of)
    np.testing.assert_allclose(found.points.bias + found.points.variance + 0.7, found.points.error, atol=1e-13)
    measured = np.mean(np.square(predictions - targets[None]), axis=0)
    np.testing.assert_allclose(found.points.error, measured + (0.7 if of == "truth" else 0), atol=1e-13)
    np.testing.assert_allclose(found.points.variance, np.var(predictions, axis=0, ddof=1), atol=1e-13)
    np.testing.assert_allclose(found.mean.bias, np.mean(found.points.bias), atol=1e-13)


def test_the_bias_is_unbiased_where_the_plug_in_is_not():
    """Two replicas of an unbiased learner: the plug-in sees a squared bias of Var / 2."""
    generator = np.random.default_rng(2)
    runs = jnp.asarray(generator.normal(size=(4000, 2, 3)))  # truth 0, variance 1
    found = jax.vmap(lambda p: decompose(p, jnp.zeros(3)))(runs)
    error = 4 * np.std(found.mean.bias) / np.sqrt(4000)  # four standard errors
    assert abs(np.mean(found.mean.bias)) < error
    assert abs(np.mean(found.plug_in_bias) - 0.5) < 4 * np.std(found.plug_in_bias) / np.sqrt(4000)
    shifted = jax.vmap(lambda p: decompose(p, jnp.full(3, 2.0)))(runs)
    assert abs(np.mean(shifted.mean.bias) - 4) < 4 * np.std(shifted.mean.bias) / np.sqrt(4000)


def test_noise_in_the_targets_is_taken_out_of_the_bias():
    generator = np.random.default_rng(3)
    predictions = jnp.asarray(1 + 0.5 * generator.normal(size=(400, 2000)))
    targets = jnp.asarray(1.2 * generator.normal(size=2000))  # truth 0
    found = decompose(predictions, targets, 1.2**2, of="observations")
    scatter = np.std(found.points.bias) / np.sqrt(2000)
    assert abs(found.mean.bias - 1) < 4 * scatter
    inside = decompose(predictions, targets, of="observations")
    np.testing.assert_allclose(inside.mean.bias - found.mean.bias, 1.2**2, atol=1e-12)


def test_standard_errors_are_those_of_leaving_one_out():
    predictions, targets = drawn((9, 4)), drawn((4,), seed=1)
    found = decompose(predictions, targets, 0.3).standard_error
    for name in ("bias", "variance", "error"):
        left_out = [getattr(decompose(jnp.delete(predictions, i, axis=0), targets, 0.3).mean, name) for i in range(9)]
        expected = np.sqrt(8 / 9 * np.sum((left_out - np.mean(left_out)) ** 2))
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-10)
    two = decompose(predictions[:2], targets).standard_error
    assert np.isinf(two.bias)
    assert np.isfinite(two.error)


def test_standard_errors_cover_the_truth():
    generator = np.random.default_rng(4)
    runs = jnp.asarray(generator.normal(size=(2000, 20, 10)))
    found = jax.vmap(lambda p: decompose(p, jnp.full(10, 0.5)))(runs)
    for part, truth in (("bias", 0.25), ("variance", 1.0)):
        score = (getattr(found.mean, part) - truth) / getattr(found.standard_error, part)
        assert 0.85 < np.std(score) < 1.2  # one, up to the small number of replicas


def distributions(shape, seed):
    return np.random.default_rng(seed).dirichlet(np.ones(shape[-1]), size=shape[:-1])


def test_cross_entropy_parts_are_the_kullback_leibler_divergences():
    p, t = distributions((6, 5, 4), 0), distributions((5, 4), 1)
    found = decompose_cross_entropy(jnp.log(p), jnp.asarray(t))
    geometric = np.exp(np.mean(np.log(p), axis=0))
    geometric = geometric / geometric.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(found.points.bias, entropy(t, geometric, axis=-1), atol=1e-14)
    spread = np.mean([entropy(geometric, each, axis=-1) for each in p], axis=0)
    np.testing.assert_allclose(found.points.variance, spread, atol=1e-14)
    np.testing.assert_allclose(found.points.noise, entropy(t, axis=-1), atol=1e-14)
    error = -np.mean(np.sum(t * np.log(p), axis=-1), axis=0)
    np.testing.assert_allclose(found.points.error, error, atol=1e-14)
    total = found.points.bias + found.points.variance + found.points.noise
    np.testing.assert_allclose(total, error, atol=1e-14)
    arithmetic = entropy(t, p.mean(axis=0), axis=-1)
    assert np.abs(arithmetic - found.points.bias).max() > 0.1  # the slip that the geometric mean avoids


def test_cross_entropy_takes_labels_logits_and_zeros():
    logits = drawn((4, 3, 5)) * 100
    labels = jnp.array([0, 3, 4])
    found = decompose_cross_entropy(logits, labels)
    one_hot = decompose_cross_entropy(logits + 7.0, jax.nn.one_hot(labels, 5))
    np.testing.assert_allclose(found.points.bias, one_hot.points.bias, atol=1e-10)
    np.testing.assert_array_equal(found.points.noise, 0)
    never = jnp.log(jnp.array([[[1.0, 0.0]], [[0.5, 0.5]]]))
    assert np.isinf(decompose_cross_entropy(never, jnp.array([1])).mean.error)
    right = decompose_cross_entropy(never, jnp.array([0]))
    assert np.isfinite(right.mean.error)
    assert not any(np.isnan(part).any() for part in right.points)


def test_cross_entropy_standard_errors_are_those_of_leaving_one_out():
    log_p, labels = jnp.log(distributions((6, 5, 4), 0)), jnp.array([0, 1, 2, 3, 0])
    found = decompose_cross_entropy(log_p, labels).standard_error
    left_out = [decompose_cross_entropy(jnp.delete(log_p, i, axis=0), labels).mean.variance for i in range(6)]
    np.testing.assert_allclose(found.variance, np.sqrt(5 / 6 * np.sum((left_out - np.mean(left_out)) ** 2)), rtol=1e-10)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_domingos_parts_recombine_to_the_error(classes):
    generator = np.random.default_rng(classes)
    predictions = jnp.asarray(generator.integers(0, classes, size=(9, 40)))
    t = generator.dirichlet(np.ones(classes), size=40)
    found = decompose_zero_one(predictions, jnp.asarray(t), classes)
    frequencies = np.stack([np.mean(np.asarray(predictions) == k, axis=0) for k in range(classes)], axis=-1)
    error = 1 - np.sum(frequencies * t, axis=-1)
    np.testing.assert_allclose(found.error, error, atol=1e-15)
    np.testing.assert_allclose(found.c1 * found.noise + found.bias + found.c2 * found.variance, error, atol=1e-15)
    assert 0 < np.mean(found.bias) < 1


def test_with_two_classes_variance_helps_on_biased_points():
    predictions = jnp.array([[0, 1], [0, 1], [0, 1], [1, 0], [1, 0]])
    found = decompose_zero_one(predictions, jnp.array([1, 1]), classes=2)
    np.testing.assert_allclose(found.bias, [1, 0])
    np.testing.assert_allclose(found.c2, [-1, 1], atol=1e-15)
    np.testing.assert_allclose(found.error, [0.6, 0.4], atol=1e-15)


def test_kohavi_wolpert_is_unbiased_and_exact():
    """Every outcome of 4 replicas enumerated with its probability: the expectation is that of the definition."""
    p, t = np.array([0.2, 0.5, 0.3]), np.array([0.6, 0.3, 0.1])
    outcomes = np.array(list(itertools.product(range(3), repeat=4)))
    weights = np.prod(p[outcomes], axis=1)
    found = decompose_kohavi_wolpert(jnp.asarray(outcomes.T), jnp.tile(t, (81, 1)), 3)
    np.testing.assert_allclose(weights @ found.points.bias, np.sum((p - t) ** 2) / 2, atol=1e-15)
    np.testing.assert_allclose(weights @ found.points.variance, (1 - np.sum(p**2)) / 2, atol=1e-15)
    total = found.points.bias + found.points.variance + found.points.noise
    np.testing.assert_allclose(total, found.points.error, atol=1e-15)
    np.testing.assert_allclose(weights @ found.points.error, 1 - p @ t, atol=1e-15)
    naive = np.sum(p * (1 - p)) / 4 / 2  # what a plug-in adds at four replicas
    frequencies = np.stack([np.mean(outcomes == k, axis=1) for k in range(3)], axis=-1)
    plug_in = weights @ np.sum((frequencies - t) ** 2, axis=-1) / 2
    np.testing.assert_allclose(plug_in - weights @ found.points.bias, naive, atol=1e-15)


def test_kohavi_wolpert_standard_errors_are_those_of_leaving_one_out():
    predictions, labels = jnp.asarray(np.random.default_rng(0).integers(0, 3, size=(6, 8))), jnp.arange(8) % 3
    found = decompose_kohavi_wolpert(predictions, labels, 3).standard_error
    left_out = [decompose_kohavi_wolpert(jnp.delete(predictions, i, axis=0), labels, 3).mean.bias for i in range(6)]
    np.testing.assert_allclose(found.bias, np.sqrt(5 / 6 * np.sum((left_out - np.mean(left_out)) ** 2)), rtol=1e-10)


def test_variance_components_are_those_that_were_put_in():
    generator = np.random.default_rng(5)
    runs, sets, seeds = 3000, 6, 4
    data = 2.0 * generator.normal(size=(runs, sets, 1))
    seed = 1.0 * generator.normal(size=(runs, 1, seeds))
    both = 0.5 * generator.normal(size=(runs, sets, seeds))
    found = jax.vmap(variance_components)(jnp.asarray(data + seed + both))
    for name, truth in (("data", 4.0), ("seed", 1.0), ("interaction", 0.25), ("total", 5.25)):
        part = np.asarray(getattr(found, name))
        assert abs(part.mean() - truth) < 4 * part.std() / np.sqrt(runs), name
    np.testing.assert_allclose(found.data + found.seed + found.interaction, found.total, atol=1e-12)


def test_variance_components_are_mean_covariances_between_seeds_and_between_sets():
    """What two seeds share over training sets is the data's share, exactly; and the other way round."""
    predictions = drawn((5, 4))
    found = variance_components(predictions)
    for part, columns in ((found.data, predictions), (found.seed, predictions.T)):
        covariances = np.cov(columns, rowvar=False)
        apart = covariances[~np.eye(len(covariances), dtype=bool)]
        np.testing.assert_allclose(part, apart.mean(), atol=1e-14)


FUNCTIONS = [
    (lambda p: decompose(p, jnp.ones(5), 0.3), (7, 5)),
    (lambda p: decompose_cross_entropy(p, jnp.array([0, 1, 2])), (4, 3, 3)),
    (variance_components, (3, 4, 5)),
]


@pytest.mark.parametrize(("function", "shape"), FUNCTIONS, ids=["squared", "cross entropy", "components"])
def test_decompositions_jit_vmap_and_differentiate(function, shape):
    predictions = drawn(shape)
    both = jnp.stack([predictions, predictions * 0.5])
    lanes = jax.jit(jax.vmap(function))(both)
    for leaf, alone in zip(jax.tree.leaves(lanes), jax.tree.leaves(function(both[1])), strict=True):
        np.testing.assert_allclose(leaf[1], alone, atol=1e-12)
    slope = jax.jit(jax.grad(lambda p: sum(jnp.sum(leaf) for leaf in jax.tree.leaves(function(p)))))(predictions)
    assert np.isfinite(slope).all()
    assert np.any(slope != 0)


@pytest.mark.parametrize(
    ("targets", "line"),
    [
        ([[0.5, 0.2], [1.0, 0.0]], "targets must be distributions, .* got row 0 with the sum 0.7"),
        ([[0.5, 0.5], [1.5, -0.5]], "targets must be distributions, .* got row 1 .* smallest entry -0.5"),
        ([[2.0, -1.0], [1.0, 0.0]], "targets must be distributions, .* got row 0"),
        ([0.0, 1.0], "targets must have shape .* or be integer labels, got labels of float"),
    ],
)
def test_rows_that_are_no_distributions_and_labels_that_are_no_integers_are_refused(targets, line):
    logits, labels = jnp.zeros((3, 2, 2)), jnp.zeros((3, 2), jnp.int32)
    targets = jnp.array(targets)
    for call in (
        lambda: bias_variance.decompose_cross_entropy(logits, targets),
        lambda: bias_variance.decompose_zero_one(labels, targets, classes=2),
        lambda: bias_variance.decompose_kohavi_wolpert(labels, targets, classes=2),
    ):
        with pytest.raises(ValueError, match=line) as error:
            call()
        assert "\n" not in str(error.value)
    softmax = jax.nn.softmax(jnp.linspace(-5, 5, 2000, dtype=jnp.float32).reshape(2, 1000))
    bias_variance.decompose_cross_entropy(jnp.zeros((2, 2, 1000)), softmax)


def test_labels_jit_and_vmap():
    predictions, labels = jnp.asarray(np.random.default_rng(0).integers(0, 3, size=(2, 6, 8))), jnp.arange(8) % 3
    for function in (decompose_zero_one, decompose_kohavi_wolpert):
        lanes = jax.jit(jax.vmap(lambda p, f=function: f(p, labels, 3)))(predictions)
        for leaf, alone in zip(
            jax.tree.leaves(lanes), jax.tree.leaves(function(predictions[1], labels, 3)), strict=True
        ):
            np.testing.assert_allclose(leaf[1], alone, atol=1e-12)


TWO, ONE = np.zeros((2, 3)), np.zeros(3)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: decompose(TWO[:1], ONE), r"two replicas at least, got \(1, 3\)"),
        (lambda: decompose(TWO * np.nan, ONE), "predictions must be finite, got 6 that are not"),
        (lambda: decompose(TWO, np.zeros(4)), r"targets must have shape \(3,\), .* got \(4,\)"),
        (lambda: decompose(TWO, ONE, -1.0), r"noise must lie in \[0, inf\), got -1.0"),
        (lambda: decompose(TWO, ONE, of="data"), 'of must be "truth" or "observations", got .data.'),
        (lambda: decompose_cross_entropy(np.zeros((2, 3, 4)), np.zeros(3)), r"targets must have shape \(3, 4\)"),
        (
            lambda: decompose_cross_entropy(np.zeros((2, 3, 4)), np.full(3, 4)),
            r"targets must lie in \[0, 3\], got 4 to 4",
        ),
        (lambda: decompose_zero_one(TWO, np.zeros(3, int), 2), "predictions must be integer labels, got float"),
        (lambda: decompose_zero_one(TWO.astype(int) - 1, np.zeros(3, int), 2), r"predictions must lie in \[0, 1\]"),
        (lambda: decompose_kohavi_wolpert(np.zeros((1, 3), int), np.zeros(3, int), 2), "two replicas at least"),
        (lambda: variance_components(np.zeros((1, 3))), "two of each at least"),
        (lambda: variance_components(np.full((2, 3), np.inf)), "predictions must be finite"),
        (lambda: bias_variance.ridge_error(ONE, ONE, -1.0, 1.0), r"alpha must lie in \[0, inf\), got -1.0"),
        (
            lambda: bias_variance.ridge_error(ONE, ONE, 1.0, 1.0, of="risk"),
            'of must be "coefficients" or "predictions"',
        ),
        (lambda: bias_variance.min_norm_error(0.0, 1.0, 1.0), r"gamma must lie in \(0, inf\), got 0.0"),
        (lambda: bias_variance.stieltjes(1.0, 0.0), r"strength must lie in \(0, inf\), got 0.0"),
        (
            lambda: bias_variance.conditional_error(ONE, 1.0, 1.0),
            r"x must have shape \[examples, features\], got \(3,\)",
        ),
        (lambda: bias_variance.nearest_neighbours_error(0.0, ONE, -1.0), r"noise must lie in \[0, inf\), got -1.0"),
    ],
)
def test_bad_input_is_one_clear_line(call, line):
    with pytest.raises(ValueError, match=line) as error:
        call()
    assert "\n" not in str(error.value)
