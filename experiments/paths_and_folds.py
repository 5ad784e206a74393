"""Which inputs does the lasso take, in which order, and which strength do ten folds favour?

Paths and cross-validation on two data sets with published results: the prostate data of "The Elements of Statistical
Learning", and the diabetes data of the paper on least-angle regression. Each fit has a duality gap that proves it.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

import jax
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

from _draws import stream_of
from _style import BLACK, BLUE, GREEN, GREY, ORANGE, PALE, PURPLE, RED, SKY, end_labels
from regopt import penalties, solvers
from regopt.data import DIABETES_NAMES, PROSTATE_NAMES, diabetes, prostate
from regopt.experiment import Claim

BOOK = "Hastie, Tibshirani & Friedman (2009), table 3.3"
PAPER = "Efron, Hastie, Johnstone & Tibshirani (2004)"
COLOURS = (BLACK, ORANGE, BLUE, GREEN, PURPLE, SKY, RED, GREY, "darkgoldenrod", "saddlebrown")
ENTRIES = ("bmi", "ltg", "map", "hdl", "sex", "glu", "tc", "tch", "ldl", "age")  # the order in which they first enter
LASSO = (0.533, 0.169, 0, 0.002, 0.094, 0, 0, 0)  # the slopes of the book's lasso
SHRINKAGE = 0.3748  # |w|_1 over that of least squares at which the lasso has these slopes


@dataclass(frozen=True)
class Config:
    """The paths.

    Attributes:
        strengths: number of strengths.
        ratio: the last strength over the first one.
        folds: number of folds of the cross-validation.
        tolerance: tolerance of the duality gaps, relative to the objective where that is above 1.
        seed: random seed of the folds.
    """

    strengths: Annotated[int, Field(ge=10)] = 400
    ratio: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    folds: Annotated[int, Field(ge=2)] = 10
    tolerance: Annotated[float, Field(gt=0)] = 1e-9
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def run(config, key):
    """Paths and scores of both data sets."""
    with jax.enable_x64(True):
        prostate_key, diabetes_key = jax.random.split(key)
        men = prostate()
        everyone = np.concatenate([men.train[0], men.test[0]])
        deviation = everyone.std(0, ddof=1)
        x, y = men.train[0] / men.train[0].std(0), men.train[1]
        found = follow(config, prostate_key, x, y)
        # the slopes for inputs with deviation 1 over all men, as printed
        found["coefficients"] = found["coefficients"] / men.train[0].std(0) * deviation
        others = follow(config, diabetes_key, *diabetes_inputs())
        return {f"prostate_{name}": value for name, value in found.items()} | {
            f"diabetes_{name}": value for name, value in others.items()
        }


def diabetes_inputs():
    """The inputs with mean 0 and deviation 1, and the targets."""
    x, y = diabetes()
    return (x - x.mean(0)) / x.std(0), y


def follow(config, key, x, y):
    """The path on all rows and the scores of the folds, from one program."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    folds = stream_of(key).permutation(len(y)) % config.folds
    model = solvers.LinearModel(solvers.gaussian())

    @jax.jit
    def validate(x, y):
        start = model.start(x)
        strengths = solvers.strength_grid(model, penalties.l1, start, x, y, size=config.strengths, ratio=config.ratio)
        return strengths, solvers.cross_validate(
            model, penalties.l1, start, x, y, folds=folds, strengths=strengths, tolerance=config.tolerance
        )

    strengths, found = jax.tree.map(np.asarray, validate(x, y))
    return {
        "strengths": strengths,
        "coefficients": found.path.params["coefficients"],
        "scores": 2 * found.scores,  # mean squared errors
        "gaps": found.path.gap / np.maximum(found.path.objective, 1),
        "best": found.best,
        "simplest": found.one_standard_error,
        "lengths": np.abs(found.path.params["coefficients"]).sum(axis=1),
        "least_squares_length": np.abs(np.linalg.lstsq(x - x.mean(axis=0), y - y.mean())[0]).sum(),
    }


def figure(config, arrays):
    """For each data set, the coefficients along the path and the errors of the folds."""
    drawing = Figure(figsize=(11, 7.5), layout="constrained")
    rows = drawing.subplots(2, 2)
    sets = (("prostate", PROSTATE_NAMES), ("diabetes", DIABETES_NAMES))
    for (left, right), (name, names) in zip(rows, sets, strict=True):
        draw(left, right, {key[len(name) + 1 :]: value for key, value in arrays.items() if key.startswith(name)}, names)
        left.set_title(name, fontsize="medium", loc="left")
    return drawing


def draw(left, right, found, names):
    """The two panels of a data set."""
    shares = found["lengths"] / found["least_squares_length"]
    for j in range(len(names)):
        left.plot(shares, found["coefficients"][:, j], color=COLOURS[j])
    gap = 0.045 * np.ptp(found["coefficients"])
    end_labels(left, 1.02, found["coefficients"][-1], names, COLOURS, gap=gap, fontsize="small")
    left.axhline(0, color=PALE, linewidth=0.8, zorder=0)
    left.set(xlabel="|w|₁ / |w|₁ of least squares", ylabel="slope", xlim=(0, 1.2), xticks=np.linspace(0, 1, 6))
    mean = found["scores"].mean(0)
    error = found["scores"].std(0, ddof=1) / len(found["scores"]) ** 0.5
    right.fill_between(shares, mean - error, mean + error, color=PALE)
    right.plot(shares, mean, color=BLUE)
    for place, color, words in ((found["best"], BLACK, "least"), (found["simplest"], ORANGE, "one standard error")):
        for axes in (left, right):
            axes.axvline(shares[place], color=color, linewidth=0.8, linestyle="--")
        right.text(shares[place], mean.max(), f" {words}", color=color, va="top", rotation=90, ha="right")
    right.set(xlabel="|w|₁ / |w|₁ of least squares", ylabel="mean squared error of held-out rows")


def claims(config, arrays):
    """The published slopes and order of entries, the certificates, and the rule of one standard error."""
    order = entries(arrays["diabetes_coefficients"])
    place = int(np.argmin(np.abs(arrays["prostate_lengths"] / arrays["prostate_least_squares_length"] - SHRINKAGE)))
    apart = np.abs(arrays["prostate_coefficients"][place] - np.array(LASSO)).max()
    gaps = max(float(arrays[f"{name}_gaps"].max()) for name in ("prostate", "diabetes"))
    result = [
        Claim(
            "prostate: largest difference from the book's slopes, at the nearest strength of the grid",
            BOOK,
            0.02,
            float(apart),
            relation="at most",
        ),
        Claim(
            "diabetes: inputs that enter in the order of the paper, of ten",
            f"{PAPER}, section 3.1",
            10.0,
            float(sum(a == b for a, b in zip(order, ENTRIES, strict=True))),
        ),
        Claim("largest relative duality gap of a fit", "the solver", config.tolerance, gaps, relation="at most"),
    ]
    for name in ("prostate", "diabetes"):
        strengths = arrays[f"{name}_strengths"]
        ratio = strengths[arrays[f"{name}_simplest"]] / strengths[arrays[f"{name}_best"]]
        statement = f"{name}: strength by the rule of one standard error over the best one"
        result.append(Claim(statement, "Hastie et al. (2009), section 7.10", 1.0, float(ratio), relation="at least"))
    return result


def entries(coefficients):
    """The names in the order in which the coefficients first differ from 0."""
    first = np.argmax(coefficients != 0, axis=0)
    return [DIABETES_NAMES[j] for j in np.argsort(first, kind="stable")]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
