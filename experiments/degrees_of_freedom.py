"""How many degrees of freedom does the lasso have?

The definition is by covariances of predictions with targets. For the lasso it is the expected number of coefficients
that are not 0: search costs as much as shrinkage saves. So Stein's estimate of the risk needs one fit alone.
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import jax
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

from _draws import stream_of
from _style import BLACK, BLUE, GREY, ORANGE, note
from regopt import penalties, solvers
from regopt.experiment import Claim

PAPER = "Zou, Hastie & Tibshirani (2007)"


@dataclass(frozen=True)
class Config:
    """The regressions.

    Attributes:
        examples: number of examples.
        features: number of features.
        replicates: number of targets that are drawn for the same inputs.
        strengths: number of strengths of the path.
        noise: standard deviation of the targets about their means.
        tolerance: tolerance of the relative difference of the two numbers, averaged along the path.
        seed: random seed of the inputs and of the targets.
    """

    examples: Annotated[int, Field(ge=10)] = 60
    features: Annotated[int, Field(ge=3)] = 12
    replicates: Annotated[int, Field(ge=10)] = 4000
    strengths: Annotated[int, Field(ge=3)] = 15
    noise: Annotated[float, Field(gt=0)] = 1.0
    tolerance: Annotated[float, Field(gt=0)] = 0.03
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def run(config, key):
    """Along the path: degrees of freedom by covariance, numbers of coefficients, risks, and Stein's estimates."""
    stream = stream_of(key)
    x = stream.normal(size=(config.examples, config.features)) / 2
    x = x + stream.normal(size=(config.examples, 1)) / 2  # correlated
    x = x - x.mean(axis=0)
    mean = x @ np.where(np.arange(config.features) % 3 == 0, 1.0, 0.0)
    y = mean + config.noise * stream.normal(size=(config.replicates, config.examples))
    with jax.enable_x64(True):
        strengths, coefficients, gaps = map(np.asarray, paths(config, x, mean, y))
    predictions = coefficients @ x.T
    shifted = (y - mean)[:, None]  # the mean is known, so the covariance needs no second mean
    by_covariance = np.sum(shifted * predictions, axis=2) / config.noise**2
    active = np.sum(coefficients != 0, axis=2)
    error = np.sum((y[:, None] - predictions) ** 2, axis=2)
    stein = (error + 2 * config.noise**2 * active) / config.examples - config.noise**2
    risk = np.mean((predictions - mean) ** 2, axis=2)
    return {
        "strengths": strengths,
        "covariance": by_covariance.mean(axis=0),
        "covariance_error": by_covariance.std(axis=0) / config.replicates**0.5,
        "active": active.mean(axis=0),
        "risk": risk.mean(axis=0),
        "stein": stein.mean(axis=0),
        "largest_gap": gaps.max(),
    }


@partial(jax.jit, static_argnums=0)
def paths(config, x, mean, y):
    """The strengths, the coefficients ``[replicates, strengths, features]`` and the duality gaps."""
    model = solvers.LinearModel(solvers.gaussian(), intercept=False)
    start, penalty = model.start(x), penalties.l1
    strengths = solvers.strength_grid(model, penalty, start, x, mean, size=config.strengths, ratio=0.01)
    found = jax.lax.map(lambda y: solvers.path(model, penalty, start, x, y, strengths=strengths, tolerance=1e-10), y)
    return strengths, found.params["coefficients"], found.gap


def figure(config, arrays):
    """The two numbers along the path, and the risk with its estimate."""
    drawing = Figure(figsize=(9.5, 4), layout="constrained")
    left, right = drawing.subplots(1, 2)
    strengths = arrays["strengths"]
    bars = 2 * arrays["covariance_error"]
    left.errorbar(strengths, arrays["covariance"], bars, fmt="o", color=ORANGE, markersize=5, capsize=2)
    left.semilogx(strengths, arrays["active"], color=BLUE)
    left.axhline(config.features, color=GREY, linewidth=0.8)
    note(left, "least squares", (strengths[0], config.features), GREY, (0, -12), ha="left")
    left.text(0.97, 0.1, "line: mean number of coefficients ≠ 0", transform=left.transAxes, color=BLUE, ha="right")
    left.text(0.97, 0.03, "points: covariances ± 2 errors", transform=left.transAxes, color=ORANGE, ha="right")
    left.set(xlabel="strength", ylabel="degrees of freedom", title="degrees of freedom of the lasso")
    right.semilogx(strengths, arrays["risk"], color=BLACK)
    right.semilogx(strengths, arrays["stein"], "o", color=BLUE, markersize=5)
    right.text(0.97, 0.93, "line: risk", transform=right.transAxes, color=BLACK, ha="right")
    right.text(0.97, 0.86, "points: mean of Stein's estimate", transform=right.transAxes, color=BLUE, ha="right")
    right.set(xlabel="strength", ylabel="mean squared error of the predicted means", title="risk of the lasso")
    for axes in (left, right):
        axes.invert_xaxis()
    return drawing


def claims(config, arrays):
    """The theorem, and the estimate that follows."""
    apart = np.abs(arrays["covariance"] - arrays["active"])
    return [
        Claim(
            "mean |degrees of freedom by covariance - mean number of coefficients| over the mean number",
            f"{PAPER}, Theorem 1",
            config.tolerance,
            float(apart.mean() / arrays["active"].mean()),
            relation="at most",
        ),
        Claim(
            "degrees of freedom by covariance less mean number of coefficients, largest, in standard errors",
            f"{PAPER}, Theorem 1",
            4.0,
            float((apart / np.maximum(arrays["covariance_error"], 1e-12)).max()),
            relation="at most",
        ),
        Claim(
            "mean |Stein's estimate - risk| over the mean risk",
            f"{PAPER}, equation (1.5); Stein (1981)",
            2 * config.tolerance,
            float(np.abs(arrays["stein"] - arrays["risk"]).mean() / arrays["risk"].mean()),
            relation="at most",
        ),
        Claim("largest duality gap of a fit", "the solver", 1e-7, float(arrays["largest_gap"]), relation="at most"),
    ]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
