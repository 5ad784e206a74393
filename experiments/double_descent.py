"""Why does the error of least squares peak where it first fits its data, fall again past that, and not with ridge?

Random Gaussian designs against three published formulas: exact for finite n (Belkin, Hsu & Xu), asymptotic (Hastie,
Montanari, Rosset & Tibshirani), and ridge at its best strength (Dobriban & Wager). Errors are conditional on the
inputs, so no test set adds noise of its own.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

from _draws import stream_of
from _style import BLUE, GREEN, GREY, ORANGE, RED, note
from regopt.analysis import bias_variance
from regopt.experiment import Claim

FIXED_N, FEATURES, FIXED_NOISE = 40, 100, 0.25  # of the paper's figure
CHECKED = (34, 46, 100)
SNR = 4.0
RIDGE_SIGNAL, RIDGE_GAMMAS, RIDGE_ERRORS = 5.0, (0.5, 1.0, 2.0), (0.74166, 1.79129, 3.10850)


@dataclass(frozen=True)
class Config:
    """The random designs.

    Attributes:
        features: how many of 100 features are used with 40 examples; 34, 46 and 100 are among them.
        replicas: number of designs of 40 examples for each of these three.
        ratios: numbers of features for an example at which the limit is compared.
        examples: number of examples of the designs that stand for the asymptotic limit.
        designs: number of such designs for each ratio.
        seed: random seed of all designs.
    """

    features: tuple[Annotated[int, Field(ge=1, le=100)], ...] = CHECKED
    replicas: Annotated[int, Field(ge=100)] = 6000
    ratios: Annotated[tuple[Annotated[float, Field(gt=0, le=10)], ...], Field(min_length=1)] = (0.6, 2.0)
    examples: Annotated[int, Field(ge=20)] = 200
    designs: Annotated[int, Field(ge=2)] = 40
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def __post_init__(self):
        if missing := set(CHECKED) - set(self.features):
            raise ValueError(f"features must hold {CHECKED}, got none of {sorted(missing)}")


def run(config, key):
    """Conditional errors of random designs beside their formulas."""
    stream = stream_of(key)
    with jax.enable_x64(True):
        return finite(config, stream) | asymptotic(config, stream) | tuned_ridge(config, stream)


def finite(config, stream):
    """40 examples, D = 100 features with |b|^2 = 1 spread evenly, so p of them hold p / D."""
    used = np.array(config.features)
    many = max(config.replicas // 40, 50)
    means, errors = [], []
    for p in used:
        count = config.replicas if p in CHECKED else many
        total = designs(stream, count, (FIXED_N, int(p)), p / FEATURES, unexplained(p))
        total = total.sum(axis=1) + unexplained(p)
        means.append(total.mean())
        errors.append(total.std() / np.sqrt(len(total)))
    axis = np.arange(1, FEATURES + 1)
    exact = bias_variance.min_norm_error_exact
    curve = jax.jit(jax.vmap(lambda p: exact(p, FIXED_N, p / FEATURES, 1 - p / FEATURES, FIXED_NOISE)))
    at = np.asarray(curve(np.concatenate([axis, used]).astype(float)))
    return {
        "used": used,
        "finite_mean": np.array(means),
        "finite_standard_error": np.array(errors),
        "finite_axis": axis,
        "finite_exact": at[: len(axis)],
        "finite_exact_used": at[len(axis) :],
    }


def unexplained(p):
    """Noise and the features left out, which act as noise."""
    return FIXED_NOISE + 1 - p / FEATURES


def asymptotic(config, stream):
    """Bias and variance at a signal-to-noise ratio of 4, on both sides of interpolation."""
    gammas = np.array(config.ratios)
    found = []
    for gamma in gammas:
        shape = (config.examples, round(gamma * config.examples))
        found.append(designs(stream, config.designs, shape, SNR, 1.0).mean(axis=0))
    dense = np.linspace(1.01, 6, 5000)
    axis = np.concatenate([np.linspace(0.05, 0.97, 100), np.linspace(1.03, 6, 300)])

    @jax.jit
    def limits(snr):
        every = np.concatenate([dense, axis, gammas])
        return jax.vmap(lambda g: jnp.stack(bias_variance.min_norm_error(g, snr, 1.0)))(every)

    strong, weak = (np.asarray(limits(snr)) for snr in (SNR, 0.9))
    ends = np.cumsum([len(dense), len(axis)])
    above, curves, at = np.split(strong, ends)
    above, weak = above.sum(axis=1), weak[: ends[0]].sum(axis=1)
    return {
        "gammas": gammas,
        "measured": np.array(found),
        "limit": at,
        "axis": axis,
        "axis_limit": curves,
        "second_minimum_at": dense[np.argmin(above)],
        "second_minimum": np.min(above),
        "weak_signal_rises": np.max(np.diff(weak)),
    }


def tuned_ridge(config, stream):
    """Ridge at its best strength, measured and in the limit."""
    examples = config.examples * 3 // 2
    measured = []
    for gamma in RIDGE_GAMMAS:
        shape = (examples, round(gamma * examples))
        parts = designs(stream, config.designs, shape, RIDGE_SIGNAL, 1.0, gamma / RIDGE_SIGNAL)
        measured.append(parts.sum(axis=1).mean())
    axis = np.linspace(0.05, 6, 300)
    snr = np.r_[np.full(len(axis), SNR), np.full(len(RIDGE_GAMMAS), RIDGE_SIGNAL)]
    error = jax.jit(jax.vmap(lambda g, snr: bias_variance.optimal_ridge_error(g, snr, 1.0)))
    curve, published = np.split(np.asarray(error(np.r_[axis, RIDGE_GAMMAS], snr)), [len(axis)])
    return {
        "ridge_measured": np.array(measured),
        "ridge_limit": published,
        "ridge_axis": axis,
        "ridge_curve": curve,
    }


def designs(stream, count, shape, signal, noise, strength=0.0):
    """Squared bias and variance of random Gaussian designs, ``[count, 2]``."""
    pieces = [stream.normal(size=(min(500, count - done), *shape)) for done in range(0, count, 500)]
    return np.concatenate([errors(x, signal, noise, strength) for x in pieces])


@jax.jit
def errors(x, signal, noise, strength):
    """Squared bias and variance for each design, ``[designs, 2]``."""

    def one(x):
        return jnp.stack(bias_variance.conditional_error(x, signal, noise, strength))

    return jax.lax.map(one, x, batch_size=min(len(x), 64))


def figure(config, arrays):
    """The exact curve with its replicas; bias and variance in the limit; ridge beside least squares."""
    drawing = Figure(figsize=(13, 4.3), layout="constrained")
    exact, parts, ridge = drawing.subplots(1, 3)
    exact.plot(arrays["finite_axis"], arrays["finite_exact"], color=BLUE)
    bars = 4 * arrays["finite_standard_error"]
    exact.errorbar(arrays["used"], arrays["finite_mean"], bars, fmt="o", color=ORANGE, markersize=4)
    exact.axvline(FIXED_N, color=GREY, linewidth=0.8)
    note(exact, "p = n", (FIXED_N, 0.85), GREY, (5, 0))
    note(exact, "line: exact", (70, 3.2), BLUE)
    note(exact, "points: random designs\n(bars: 4 standard errors)", (50, 15), ORANGE)
    exact.set(
        yscale="log", ylim=(0.8, 30), xlabel="features used, p (n = 40, D = 100)", ylabel="expected squared error"
    )
    exact.set_title("minimum-norm least squares, finite n")
    for place, (name, color, at) in enumerate((("squared bias", BLUE, (3.6, 2.4)), ("variance", RED, (1.7, 3.6)))):
        lines = arrays["axis_limit"][:, place]
        for side in (arrays["axis"] < 1, arrays["axis"] > 1):
            parts.plot(arrays["axis"][side], lines[side], color=color)
        parts.plot(arrays["gammas"], arrays["measured"][:, place], "o", color=color, markersize=4)
        note(parts, name, at, color)
    parts.set(ylim=(0, 8), xlabel="features / examples", ylabel="squared error / noise variance")
    parts.set_title("in the limit (points: random designs)")
    total = arrays["axis_limit"].sum(axis=1)
    for side in (arrays["axis"] < 1, arrays["axis"] > 1):
        ridge.plot(arrays["axis"][side], total[side], color=BLUE)
    ridge.plot(arrays["ridge_axis"], arrays["ridge_curve"], color=GREEN)
    ridge.plot(arrays["second_minimum_at"], arrays["second_minimum"], "o", color=BLUE)
    note(ridge, "second minimum", (2, 3), BLUE, (-4, 26))
    note(ridge, "least squares of smallest norm", (1.4, 5.5), BLUE)
    note(ridge, "ridge, best strength", (2.4, 2.3), GREEN)
    ridge.set(ylim=(0, 8), xlabel="features / examples", ylabel="squared error / noise variance")
    ridge.set_title("the best ridge has no peak")
    return drawing


def claims(config, arrays):
    """The published numbers, each with its tolerance."""
    belkin, hastie = "Belkin, Hsu & Xu (2020), theorem 1", "Hastie et al. (2022), theorem 1"
    result = []
    for p in CHECKED:
        at = int(np.flatnonzero(arrays["used"] == p)[0])
        ratio = float(arrays["finite_mean"][at] / arrays["finite_exact_used"][at])
        statement = f"n = 40, {p} of 100 features: error of random designs over the exact one"
        result.append(Claim(statement, belkin, 1.0, ratio, tolerance=0.03))
    for gamma, measured, limit in zip(arrays["gammas"], arrays["measured"], arrays["limit"], strict=True):
        wide = abs(gamma - 1) <= 0.3
        ratio = float(measured[1] / limit[1])
        statement = f"variance of random designs over its limit, {gamma:g} features for an example"
        result.append(Claim(statement, hastie, 1.0, ratio, tolerance=0.12 if wide else 0.02))
    over = arrays["gammas"] > 1
    off = arrays["measured"][over, 0] / arrays["limit"][over, 0] - 1
    result += [
        Claim("squared bias past interpolation: worst error relative to its limit", hastie, 0.0, worst(off), 0.03),
        Claim(
            "ratio of the second minimum, sqrt(SNR) / (sqrt(SNR) - 1) at SNR = 4",
            hastie,
            2.0,
            float(arrays["second_minimum_at"]),
            tolerance=0.002,
        ),
        Claim(
            "error at the second minimum, 2 sqrt(SNR) - 1 noise variances",
            hastie,
            3.0,
            float(arrays["second_minimum"]),
            1e-6,
        ),
        Claim(
            "with SNR < 1 the error only falls past interpolation: largest rise",
            hastie,
            0.0,
            float(arrays["weak_signal_rises"]),
            relation="at most",
        ),
    ]
    source = "Dobriban & Wager (2018), theorem 2.1"
    for gamma, known, limit, measured in zip(
        RIDGE_GAMMAS, RIDGE_ERRORS, arrays["ridge_limit"], arrays["ridge_measured"], strict=True
    ):
        statement = f"best ridge, {gamma:g} features for an example: error in the limit"
        result.append(Claim(statement, source, known, float(limit), tolerance=6e-6))
        statement = f"best ridge, {gamma:g} features for an example: random designs over the limit"
        result.append(Claim(statement, source, 1.0, float(measured / limit), tolerance=0.01))
    rises = float(np.min(np.diff(arrays["ridge_curve"])))
    result.append(
        Claim("the best ridge's error grows with the ratio: smallest step", source, 0.0, rises, 0, "at least")
    )
    return result


def worst(values):
    """The largest magnitude."""
    return float(np.max(np.abs(values)))


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
