"""How far off is a linear fit, and how much better does it look on the data that it was fitted to?

The textbook's exact answers for a fixed set of inputs, least squares by the number of features, ridge by its strength
and nearest neighbours by their number, against fits to many draws of the noise.
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

from _style import BLACK, BLUE, GREEN, GREY, RED, band
from regopt.analysis import bias_variance
from regopt.experiment import Claim

BOOK = "Hastie, Tibshirani & Friedman (2009), "
HOERL_KENNARD = "Hoerl & Kennard (1970), "


@dataclass(frozen=True)
class Config:
    """The inputs, the noise, and how often it is drawn.

    Attributes:
        examples: number N of training inputs.
        features: how many features least squares uses, ascending; ridge uses the last number.
        alphas: strengths of ridge, in units of the eigenvalues of X'X.
        neighbours: numbers of nearest neighbours.
        noise: variance of a target.
        draws: number of draws of the noise; half of them are the other half with the signs turned.
        seed: random seed of the inputs and the noise.
    """

    examples: Annotated[int, Field(ge=2)] = 60
    features: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (5, 10, 15, 20, 30)
    alphas: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (
        0.1,
        0.3,
        1.0,
        3.0,
        10.0,
        30.0,
        100.0,
    )
    neighbours: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 2, 3, 5, 8, 12, 20, 30)
    noise: Annotated[float, Field(gt=0)] = 1.0
    draws: Annotated[int, Field(ge=2)] = 100_000
    seed: Annotated[int, Field(ge=0)] = 0


def run(config, key):
    """Errors by theory and by measurement, for the three families."""
    del key  # the draws are NumPy's, from the seed
    random = np.random.default_rng(config.seed)
    with jax.enable_x64(True):
        x = random.standard_normal((config.examples, max(config.features)))
        coefficients = random.standard_normal(x.shape[1]) / np.arange(1, x.shape[1] + 1)
        half = random.normal(scale=config.noise**0.5, size=(config.draws // 2, config.examples))
        noise = np.concatenate([half, -half])
        arrays = {
            **least_squares(config, x, x @ coefficients, noise),
            **ridge(config, x, coefficients, noise),
            **nearest_neighbours(config, random, noise),
        }
        return jax.tree.map(np.asarray, arrays)


@partial(jax.jit, static_argnums=0)
def least_squares(config, x, truth, noise):
    """By the number of features: variance of the predictions and optimism, both means over the inputs."""
    variance, optimism, training, in_sample = [], [], [], []
    for features in config.features:
        basis = jnp.linalg.qr(x[:, :features])[0]
        fits = (truth + noise) @ basis @ basis.T
        variance.append(jnp.mean(jnp.var(fits, axis=0)))
        training.append(jnp.mean(jnp.square(truth + noise - fits)))
        in_sample.append(config.noise + jnp.mean(jnp.square(fits - truth)))
        optimism.append(in_sample[-1] - training[-1])
    count = jnp.asarray(config.features)
    exact_variance = bias_variance.least_squares_variance
    exact_optimism = bias_variance.least_squares_optimism
    return {
        "variance": jnp.stack(variance),
        "optimism": jnp.stack(optimism),
        "training_error": jnp.stack(training),
        "in_sample_error": jnp.stack(in_sample),
        "exact_variance": jax.vmap(lambda p: exact_variance(p, config.examples, config.noise))(count),
        "exact_optimism": jax.vmap(lambda p: exact_optimism(p, config.examples, config.noise))(count),
    }


@partial(jax.jit, static_argnums=0)
def ridge(config, x, coefficients, noise):
    """Squared error of the coefficients by alpha, and its slope where alpha is 0."""
    eigenvalues, vectors = jnp.linalg.eigh(x.T @ x)
    rotated = vectors.T @ coefficients
    # X'y in the eigenvectors' basis
    products = eigenvalues * rotated + noise @ x @ vectors

    def measured(alpha):
        return jnp.mean(jnp.sum(jnp.square(products / (eigenvalues + alpha) - rotated), axis=1))

    exact = partial(bias_variance.ridge_error, eigenvalues, rotated, noise=config.noise)
    alphas = jnp.asarray(config.alphas)
    bias, variance = jax.vmap(exact)(alphas)
    return {
        "alphas": alphas,
        "ridge_bias": bias,
        "ridge_variance": variance,
        "ridge_error": jax.lax.map(measured, alphas),
        "unpenalised_error": sum(exact(0.0)),
        "slope": jax.grad(measured)(0.0),
        "exact_slope": jax.grad(lambda alpha: sum(exact(alpha)))(0.0),
        "stated_slope": -2 * config.noise * jnp.sum(eigenvalues**-2),
    }


def nearest_neighbours(config, random, noise):
    """Squared error on new targets at one point near the end of a parabola, by the number of neighbours."""
    inputs = random.uniform(0, 3, size=config.examples)
    point = 2.6
    truth, near = point**2 / 3, np.argsort(np.abs(inputs - point))
    values = np.square(inputs)[near] / 3

    @jax.jit
    def exact():
        error = bias_variance.nearest_neighbours_error
        return jnp.stack([error(truth, values[:k], config.noise) for k in config.neighbours])

    predictions = [np.mean(values[:k] + noise[:, near[:k]], axis=1) for k in config.neighbours]
    return {
        "neighbours_error": np.array([config.noise + np.mean(np.square(each - truth)) for each in predictions]),
        "exact_neighbours_error": exact(),
        "neighbours_bias": np.array([np.square(truth - np.mean(values[:k])) for k in config.neighbours]),
    }


def figure(config, arrays):
    """Three panels: lines are the formulas, points the measurements."""
    result = Figure(figsize=(12, 4), layout="constrained")
    squares, shrunk, near = result.subplots(1, 3)
    features = config.features
    squares.plot(features, arrays["in_sample_error"], color=RED, marker="o")
    squares.plot(features, arrays["training_error"], color=BLUE, marker="o")
    band(squares, features, arrays["training_error"], arrays["training_error"] + arrays["exact_optimism"], GREY)
    squares.text(features[-1], arrays["in_sample_error"][-1] * 1.04, "new noise", color=RED, ha="right")
    squares.text(features[-1], arrays["training_error"][-1] * 0.8, "own data", color=BLUE, ha="right")
    squares.margins(y=0.12)
    middle = (arrays["in_sample_error"][-2] + arrays["training_error"][-2]) / 2
    squares.text(features[-2], middle, "optimism\n2 p σ² / N", ha="center", va="center")
    squares.set(xlabel="features p of least squares", ylabel="mean squared error at the N inputs")
    squares.set_title("least squares: its own data show too small an error", fontsize="medium")
    squares.set_ylim(0, None)

    shrunk.axhline(arrays["unpenalised_error"], color=GREY, linestyle=":")
    shrunk.text(arrays["alphas"][-1], arrays["unpenalised_error"] * 0.97, "least squares", ha="right", va="top")
    shrunk.plot(arrays["alphas"], arrays["ridge_bias"], color=GREEN)
    shrunk.plot(arrays["alphas"], arrays["ridge_variance"], color=BLUE)
    shrunk.text(arrays["alphas"][0], 0.05 * arrays["unpenalised_error"], "squared bias", color=GREEN)
    shrunk.text(arrays["alphas"][0], 0.86 * arrays["unpenalised_error"], "variance", color=BLUE, va="top")
    shrunk.plot(arrays["alphas"], arrays["ridge_bias"] + arrays["ridge_variance"], color=BLACK)
    shrunk.plot(arrays["alphas"], arrays["ridge_error"], "o", color=BLACK)
    shrunk.set(
        xscale="log", xlabel="strength of ridge, alpha", ylabel="squared error of the coefficients", ylim=(0, None)
    )
    shrunk.set_title("ridge (lines: formulas, points: measured)", fontsize="medium")

    neighbours = config.neighbours
    near.plot(neighbours, arrays["exact_neighbours_error"], color=BLACK)
    near.plot(neighbours, arrays["neighbours_error"], "o", color=BLACK)
    near.plot(neighbours, arrays["neighbours_bias"], color=GREEN)
    near.text(neighbours[-1], arrays["neighbours_bias"][-1] + 0.05, "squared bias", color=GREEN, ha="right")
    near.set_title("nearest neighbours", fontsize="medium")
    near.set(xlabel="nearest neighbours k", ylabel="squared error on a new target", ylim=(0, None))
    return result


def claims(config, arrays):
    """Each formula against its measurement: the worst relative difference."""

    def worst(statement, source, exact, measured):
        difference = float(np.max(np.abs(np.asarray(measured) / np.asarray(exact) - 1)))
        return Claim(f"{statement}: worst relative difference", source, 0.0, difference, tolerance=0.01)

    ridge_error = arrays["ridge_bias"] + arrays["ridge_variance"]
    return [
        worst(
            "variance of least squares is noise p / N", BOOK + "(7.12)", arrays["exact_variance"], arrays["variance"]
        ),
        worst(
            "training error is too small by 2 noise p / N",
            BOOK + "(7.24)",
            arrays["exact_optimism"],
            arrays["optimism"],
        ),
        worst(
            "error of ridge is sum (a c / (l + a))**2 + noise sum l / (l + a)**2",
            HOERL_KENNARD + "(4.4)-(4.5)",
            ridge_error,
            arrays["ridge_error"],
        ),
        worst(
            "error of k neighbours is noise + bias**2 + noise / k",
            BOOK + "(7.10)",
            arrays["exact_neighbours_error"],
            arrays["neighbours_error"],
        ),
        worst(
            "slope of ridge's error where alpha is 0, -2 noise sum l**-2, measured on the fits",
            HOERL_KENNARD + "theorem 4.3",
            arrays["stated_slope"],
            arrays["slope"],
        ),
        Claim(
            "slope of ridge's error where alpha is 0, by the derivative of the formula: relative difference",
            HOERL_KENNARD + "theorem 4.3",
            0.0,
            float(arrays["exact_slope"] / arrays["stated_slope"] - 1),
            tolerance=1e-12,
        ),
    ]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
