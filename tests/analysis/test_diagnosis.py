"""The table of training and validation error with all its cases, and learning curves against SciPy's fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import curve_fit

from regopt import analysis
from regopt.analysis import advice, diagnose, fit_learning_curve, read_learning_curve

TABLE = [  # training, validation, case, with a goal of 0.1 and a gap of 0.05
    (0.02, 0.05, analysis.GOOD, "good"),
    (0.02, 0.30, analysis.OVERFITS, "variance"),
    (0.30, 0.33, analysis.UNDERFITS, "bias"),
    (0.30, 0.50, analysis.BOTH, "underfits and overfits"),
    (0.30, 0.05, analysis.SUSPICIOUS, "better than training"),
    (0.30, 0.25, analysis.UNDERFITS, "bias"),
    (0.10, 0.10, analysis.GOOD, "good"),
]


@pytest.mark.parametrize(("train", "validation", "code", "words"), TABLE)
def test_the_table(train, validation, code, words):
    assert int(diagnose(train, validation, goal=0.1, gap=0.05)) == code
    assert words in advice(code).lower()


def test_codes_come_in_the_shape_of_the_errors_and_traced():
    train, validation = (jnp.array([row[place] for row in TABLE]) for place in (0, 1))
    codes = jax.jit(jax.vmap(lambda a, b: diagnose(a, b, jnp.float32(0.1), jnp.float32(0.05))))(train, validation)
    np.testing.assert_array_equal(codes, [row[2] for row in TABLE])
    np.testing.assert_array_equal(diagnose(train, validation, 0.1, 0.05), codes)


def test_another_goal_is_another_diagnosis():
    assert int(diagnose(0.3, 0.33, goal=0.5, gap=0.05)) == analysis.GOOD
    assert int(diagnose(0.3, 0.5, goal=0.1, gap=0.3)) == analysis.UNDERFITS


@pytest.mark.parametrize(("limit", "scale", "rate"), [(0.1, 2.0, 0.5), (0.0, 1.0, 0.3), (0.25, 30.0, 1.2)])
def test_a_power_law_is_found_again(limit, scale, rate):
    examples = np.geomspace(20, 5000, 8)
    with jax.enable_x64(True):
        found = fit_learning_curve(jnp.asarray(examples), jnp.asarray(limit + scale * examples**-rate))
    np.testing.assert_allclose(found.limit, limit, atol=2e-3)  # the grid of rates
    np.testing.assert_allclose(found.rate, rate, atol=5e-3)
    np.testing.assert_allclose(found.scale, scale, rtol=0.03)
    assert float(found.residual) < 2e-3


def test_noisy_errors_are_fitted_as_scipy_does():
    generator = np.random.default_rng(0)
    examples = np.geomspace(20, 5000, 12)
    errors = 0.1 + 2.0 * examples**-0.6 + 0.003 * generator.normal(size=12)
    theirs, _ = curve_fit(lambda n, c, a, b: c + a * n**-b, examples, errors, p0=[0.1, 1, 0.5])
    with jax.enable_x64(True):
        ours = fit_learning_curve(jnp.asarray(examples), jnp.asarray(errors))
    np.testing.assert_allclose([ours.limit, ours.rate], [theirs[0], theirs[2]], atol=5e-3)  # the grid of rates


def test_an_error_that_does_not_fall_is_a_limit():
    found = fit_learning_curve(jnp.array([10.0, 100.0, 1000.0]), jnp.array([0.2, 0.3, 0.31]))
    assert float(found.scale) == 0
    np.testing.assert_allclose(found.limit, 0.27, rtol=1e-5)


def test_curves_are_fitted_inside_jit_and_vmap():
    examples = jnp.array([20.0, 80.0, 320.0, 1280.0])
    errors = jnp.array([0.1 + 2 * examples**-0.5, 0.3 + 1 * examples**-0.8])
    lanes = jax.jit(jax.vmap(fit_learning_curve, in_axes=(None, 0)))(examples, errors)
    np.testing.assert_allclose(lanes.limit, [0.1, 0.3], atol=5e-3)
    slope = jax.grad(lambda e: fit_learning_curve(examples, e).limit)(errors[0])
    assert np.isfinite(slope).all()


def test_what_a_learning_curve_says():
    examples = np.geomspace(50, 3200, 7)
    falling, flat = 0.05 + 2 * examples**-0.5, 0.2 + 3 * examples**-0.9
    assert "More data helps" in read_learning_curve(examples, 0.02 * np.ones(7), falling, goal=0.07)
    needed = float(read_learning_curve(examples, 0.02 * np.ones(7), falling, goal=0.07).split("about ")[1].split()[0])
    assert needed == pytest.approx(10_000, rel=0.2)
    said = read_learning_curve(examples, 0.18 * np.ones(7), flat, goal=0.1)
    assert "will not reach 0.1" in said
    assert "reduce the bias" in said
    assert "goal is reached" in read_learning_curve(examples, 0.02 * np.ones(7), falling, goal=0.2)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: diagnose(-0.1, 0.1, 0.1, 0.1), r"train_error must lie in \[0, inf\), got -0.1"),
        (lambda: diagnose(0.1, float("nan"), 0.1, 0.1), "validation_error must lie in"),
        (lambda: diagnose(0.1, 0.1, -1, 0.1), "goal must lie in"),
        (lambda: advice(9), r"code must lie in \[0, 4\], got 9"),
        (lambda: fit_learning_curve(np.ones(2), np.ones(2)), r"must have one shape \[n >= 3\]"),
        (lambda: fit_learning_curve(np.zeros(3), np.ones(3)), r"examples must lie in \(0, inf\)"),
    ],
)
def test_bad_input_is_one_clear_line(call, line):
    with pytest.raises(ValueError, match=line):
        call()
