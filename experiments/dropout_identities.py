"""What does dropout do on average, and which of the formulas in print say so?

Everything but one moment check is exact, in double precision, by sums over all masks: the expected error of a linear
unit, the geometric mean of the ensemble of masks, the penalty in generalised linear models, and the ridge regression
that dropout least squares is. p is the probability of keeping a unit, the rate is 1 - p.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field
from scipy.special import log_softmax, softmax

from _draws import stream_of
from _style import BLACK, BLUE, GREEN, GREY, ORANGE, RED, note
from regopt import analysis, noise
from regopt.experiment import Claim

BOOK, BALDI = "Goodfellow et al. (2016)", "Baldi & Sadowski (2013)"
WAGER, SRIVASTAVA = "Wager, Wang & Liang (2013), section 2", "Srivastava et al. (2014), section 9.1"
SCALES = (0.01, 0.02, 0.25, 0.5, 1.0)  # norms of the logistic regression's weights; the first two for the order
SMALL = 1e-6  # a rate that stands for the limit at 0


@dataclass(frozen=True)
class Config:
    """The unit, the network and the regressions.

    Attributes:
        units: number of units that are dropped, so there are 2**units masks.
        examples: number of examples of the regressions.
        rates: number of dropout rates on the curves.
        draws: number of draws of Gaussian dropout, for its moments.
        seed: random seed of the weights, the inputs and the draws.
    """

    units: Annotated[int, Field(ge=4, le=12)] = 10
    examples: Annotated[int, Field(ge=12)] = 40
    rates: Annotated[int, Field(ge=3)] = 37
    draws: Annotated[int, Field(ge=100)] = 20_000
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def run(config, key):
    """The identities, and the curves over the rate."""
    with jax.enable_x64(True):
        generator = stream_of(key)
        rates = np.linspace(0.05, 0.95, config.rates)
        found = {"rates": rates} | linear_unit(config, generator, rates) | ensembles(config, generator, rates)
        return found | penalties(config, generator, rates) | least_squares(config, generator) | moments(config, key)


def linear_unit(config, generator, rates):
    """The expected error and its gradient by enumeration, by formula, and as printed without the half."""
    w, inputs, target = generator.normal(size=config.units), generator.normal(size=config.units), 0.7

    def at(rate):
        masks, probabilities = analysis.enumerate_masks(rate, config.units)

        def mean_error(w):
            return probabilities @ analysis.dropout_error(w, inputs, target, masks)

        right = analysis.expected_dropout_error(w, inputs, target, rate)
        without = analysis.ensemble_error(w, inputs, target, rate)
        slopes = [
            jax.grad(f)(jnp.asarray(w)) for f in (mean_error, lambda w: expected(w, rate), lambda w: mean(w, rate))
        ]
        return {
            "mean_error": mean_error(w),
            "formula_error": right,
            "ensemble_error": without,
            "printed_error": without + 2 * (right - without),
            "slope_gap": jnp.max(jnp.abs(slopes[0] - slopes[1])),
            "printed_shrinkage": jnp.max(2 * (slopes[1] - slopes[2]) / (slopes[0] - slopes[2])),
        }

    def expected(w, rate):
        return analysis.expected_dropout_error(w, inputs, target, rate)

    def mean(w, rate):
        return analysis.ensemble_error(w, inputs, target, rate)

    @jax.jit
    def over(rates):
        masks, probabilities = analysis.enumerate_masks(0.2, config.units)
        ratio = probabilities @ masks @ (w * inputs) / np.sum(w * inputs)
        return jax.vmap(at)(rates) | {"mean_sum_ratio": ratio}

    return over(rates)


def ensembles(config, generator, rates):
    """Geometric means over masks against one pass with scaled weights, half of the units hidden in the deep ones."""
    half = config.units // 2
    x, first = generator.normal(size=half), generator.normal(size=(half, half))
    second, bias = generator.normal(size=(half, 4)), generator.normal(size=4)
    own, inputs = generator.uniform(0.1, 0.9, config.units), generator.normal(size=config.units)
    wide = generator.normal(size=(config.units, 4)) / 2
    gaps = {"logistic": [], "softmax": [], "linear": [], "relu": [], "arithmetic": []}
    enumerate_masks = jax.jit(analysis.enumerate_masks, static_argnums=1)
    geometric_ensemble = jax.jit(analysis.geometric_ensemble)
    normalized_geometric_mean = jax.jit(analysis.normalized_geometric_mean)
    for rate in [*rates, own]:
        masks, probabilities = map(np.asarray, enumerate_masks(rate, config.units))
        keep = np.broadcast_to(1 - rate, config.units)

        def logits(mask, activation, h=half):
            return (mask[..., h:] * activation((mask[..., :h] * x) @ first)) @ second + bias

        def one_layer(mask):
            return (mask * inputs) @ wide

        def geometric_gap(outputs, masks=masks, probabilities=probabilities, keep=keep):
            ensemble = geometric_ensemble(log_softmax(outputs(masks), axis=-1), probabilities)
            return np.max(np.abs(np.asarray(ensemble) - softmax(outputs(keep))))

        outputs, once = (1 / (1 + np.exp(-one_layer(mask)[..., 0])) for mask in (masks, keep))
        gaps["logistic"].append(abs(float(normalized_geometric_mean(outputs, probabilities)) - once))
        gaps["arithmetic"].append(abs(probabilities @ outputs - once))
        gaps["softmax"].append(geometric_gap(one_layer))
        gaps["linear"].append(geometric_gap(lambda mask, f=logits: f(mask, lambda h: h)))
        gaps["relu"].append(geometric_gap(lambda mask, f=logits: f(mask, lambda h: np.maximum(h, 0))))
    return {f"gap_{name}": np.array(values) for name, values in gaps.items()}


def penalties(config, generator, rates):
    """The penalty in trained and in deployed weights, and how good the quadratic one is in logistic regression."""
    x, w = generator.normal(size=(config.examples, config.units)), generator.normal(size=config.units)
    w /= np.linalg.norm(w)

    def half_square(eta):
        return jnp.square(eta) / 2

    def ratio(scale, rate, log_partition):
        return jnp.stack(
            [f(x, scale * w, rate, log_partition) for f in (analysis.quadratic_penalty, analysis.noising_penalty)]
        )

    over_rates = jax.jit(jax.vmap(lambda scale, rate: ratio(scale, rate, jax.nn.softplus), (None, 0)))
    grid = np.concatenate([[SMALL], rates])
    both = np.stack([over_rates(scale, grid) for scale in SCALES])

    @jax.jit
    @jax.vmap
    def linear(rate):
        return *ratio(1.0, rate, half_square), analysis.quadratic_penalty(x, (1 - rate) * w, rate, half_square)

    quadratic, exact, trained = map(np.asarray, linear(rates))
    eta, terms = (x @ w)[:, None], x * w
    slope = 1 / (1 + np.exp(-eta))
    single = np.logaddexp(eta - terms, 0) - np.logaddexp(eta, 0) + terms * slope  # one unit dropped, to first order
    return {
        "wager_error": both[..., 0] / both[..., 1] - 1,
        "wager_limit": np.sum(slope * (1 - slope) * terms**2) / 2 / np.sum(single) - 1,
        "linear_error": np.max(np.abs(quadratic / exact - 1)),
        "deployed": quadratic,
        "trained": trained,
    }


def least_squares(config, generator):
    """Dropout least squares from the gradient of the mean loss over all masks, and as ridge regression."""
    x, rate = generator.normal(size=(config.examples, config.units)), 0.2
    x = x * np.geomspace(0.3, 3, config.units)
    y = x @ generator.normal(size=config.units) + generator.normal(size=config.examples)
    masks, probabilities = map(np.asarray, jax.jit(analysis.enumerate_masks, static_argnums=1)(rate, config.units))
    second_moments = np.einsum("m,mi,mj->ij", probabilities, masks, masks)
    trained = np.linalg.solve(second_moments * (x.T @ x), (1 - rate) * x.T @ y)  # where the mean gradient is 0
    ridge = np.asarray(jax.jit(analysis.dropout_least_squares)(x, y, rate))
    gram = x.T @ x
    printed = np.linalg.solve(gram + rate * (1 - rate) * np.diag(np.diag(gram)), x.T @ y)
    return {
        "ridge_gap": np.max(np.abs((1 - rate) * trained - ridge)),
        "trained_weight_strength_gap": np.linalg.norm(printed - ridge) / np.linalg.norm(ridge),
    }


def moments(config, key):
    """Mean and variance of one unit under dropout and under Gaussian dropout, over their expected values."""
    rate = 0.3

    @jax.jit
    def draw(key):
        ones, kinds = jnp.ones(config.draws), (noise.dropout, noise.gaussian_dropout)
        return [kind(each, ones, rate) for kind, each in zip(kinds, jax.random.split(key), strict=True)]

    draws = draw(key)
    return {
        "unit_means": np.array([np.mean(d) for d in draws]),
        "unit_variance_ratios": np.array([np.var(d) for d in draws]) * (1 - rate) / rate,
    }


def figure(config, arrays):
    """The expected error with its half, the penalty in both weights, and the quadratic penalty's error."""
    drawing = Figure(figsize=(13.5, 4.4), layout="constrained")
    error, size, wager = drawing.subplots(1, 3)
    rates = arrays["rates"]
    formula, printed, mean = (
        arrays[f"{name}_error"] - arrays["ensemble_error"] for name in ("formula", "printed", "mean")
    )
    error.plot(rates, printed, "--", color=RED)
    error.plot(rates, formula, color=BLUE)
    error.plot(rates[::3], mean[::3], "o", color=BLACK, markersize=4)
    note(error, "printed in the lecture, no half", (0.5, printed.max()), RED, (0, 6), ha="center")
    note(error, "½ Σ p (1 - p) w² I²", (0.5, formula.max()), BLUE, (0, -36), ha="center")
    note(error, "dots: mean over all masks", (0.5, formula.max() / 2), BLACK, (0, -24), ha="center")
    error.set(xlabel="dropout rate 1 - p", ylabel="expected error - error of the mean output")
    error.set_ylim(0, 1.15 * printed.max())
    error.set_title("a linear unit under dropout")
    trained, deployed = (arrays[name] / arrays["trained"].max() for name in ("trained", "deployed"))
    size.plot(rates, trained, color=ORANGE)
    size.plot(rates, deployed, color=GREEN)
    size.plot(0.5, 1, "o", color=ORANGE)
    note(size, "weights of training w\np (1 - p) w²", (0.5, 1), ORANGE, (0, -36), ha="center")
    note(size, "weights of inference\nw' = p w:\n(1 - p) / p w'²", (0.4, 3.4), GREEN, (0, 0), ha="right")
    size.set(xlabel="dropout rate 1 - p", ylabel="penalty (largest orange one = 1)", ylim=(0, 5))
    size.set_title("which rate penalises most?")
    shown = 1 + int(np.sum(rates < 0.76))
    for scale, errors, color in zip(SCALES[2:], arrays["wager_error"][2:], (GREEN, ORANGE, RED), strict=True):
        curve = 100 * errors
        curve, grid = curve[:shown], np.concatenate([[0], rates])[:shown]
        wager.plot(grid, curve, color=color)
        note(wager, f"|w| = {scale:g}", (grid[-1], curve[-1]), color, (4, -4), ha="left")
    wager.axhline(0, color=GREY, linewidth=0.8)
    wager.set(xlim=(-0.03, 0.97), xlabel="dropout rate 1 - p", ylabel="quadratic / exact penalty - 1 (%)")
    wager.set_title("logistic regression: exact for small weights")
    return drawing


def claims(config, arrays):
    """The exact numbers, the printed slips beside the right values, and what is not exact."""
    return [
        *_error_claims(arrays),
        *_ensemble_claims(arrays),
        *_rate_claims(arrays),
        *_wager_claims(arrays),
        *_ridge_claims(arrays),
        *_gaussian_claims(config, arrays),
    ]


def _error_claims(arrays):
    """The mean error over all masks, with its half, and the scale at inference."""
    names = ("formula", "ensemble", "printed", "mean")
    error, ensemble, printed, mean = (arrays[f"{name}_error"] for name in names)
    middle = len(error) // 2
    return [
        exact("mean error over all masks and E_N + 1/2 sum p (1 - p) w^2 I^2", BALDI, mean - error),
        exact("mean gradient and the gradient of that", BALDI, arrays["slope_gap"]),
        Claim(
            "penalty without the half, as printed in the lecture, over what the mean error has: factor",
            f"{BALDI}; Bishop & Bishop (2024), (9.73)",
            2.0,
            float(((printed - ensemble) / (mean - ensemble))[middle]),
            tolerance=1e-9,
        ),
        Claim(
            "shrinkage in the gradient without the half, over the mean gradient's: factor",
            BALDI,
            2.0,
            float(arrays["printed_shrinkage"][middle]),
            tolerance=1e-9,
        ),
        Claim(
            "mean input of the next unit at p = 0.8 over the full one: p (the lecture prints 1 - p = 0.2)",
            f"{BOOK}, section 7.12",
            0.8,
            float(arrays["mean_sum_ratio"]),
            tolerance=1e-13,
        ),
    ]


def _ensemble_claims(arrays):
    """Which ensembles over masks one pass with scaled weights is, and which not."""
    return [
        exact("geometric mean of a logistic unit, sigma(E S), all rates", BALDI, arrays["gap_logistic"]),
        exact("geometric ensemble of a softmax and one pass, all rates", f"{BOOK}, (7.66)", arrays["gap_softmax"]),
        exact(
            "geometric ensemble of a deep linear network, all layers dropped, and one pass",
            f"{BOOK}, section 7.12",
            arrays["gap_linear"],
        ),
        Claim(
            "one pass with ReLU is an approximation of the geometric ensemble: largest gap in probability",
            f"{BOOK}, section 7.12",
            0.01,
            float(np.max(arrays["gap_relu"])),
            relation="at least",
        ),
        Claim(
            "arithmetic mean of a logistic unit is not one pass: largest gap",
            BALDI,
            0.001,
            float(np.max(arrays["gap_arithmetic"])),
            relation="at least",
        ),
    ]


def _rate_claims(arrays):
    """Whether a rate of one half is the strongest penalty."""
    return [
        Claim(
            "rate of the largest penalty p (1 - p) w^2 in weights of training (the lecture's reason for one half)",
            BALDI,
            0.5,
            float(arrays["rates"][np.argmax(arrays["trained"])]),
            tolerance=1e-9,
        ),
        Claim(
            "smallest step of the penalty (1 - p) / p w^2 in weights of inference over rising rates: no maximum",
            SRIVASTAVA,
            0.0,
            float(np.min(np.diff(arrays["deployed"]))),
            relation="at least",
        ),
    ]


def _wager_claims(arrays):
    """The quadratic penalty against the exact one."""
    limit, found = float(arrays["wager_limit"]), arrays["wager_error"]
    middle = len(arrays["formula_error"]) // 2
    return [
        exact("least squares: quadratic penalty over exact one, - 1", WAGER, arrays["linear_error"], 1e-11),
        Claim(
            f"logistic: quadratic penalty over exact one, - 1, as the rate goes to 0: {100 * limit:.2f} %, not 0",
            f"{WAGER}; one unit dropped at a time",
            limit,
            float(found[-1, 0]),
            tolerance=1e-4,
        ),
        Claim(
            "logistic: quadratic penalty over exact one, - 1, its size as the rate goes to 0, at least half a per cent",
            WAGER,
            0.005,
            abs(limit),
            relation="at least",
        ),
        Claim(
            "logistic, rate 1/2: order of its error in the size of the weights, so exact for small ones",
            WAGER,
            2.0,
            float(np.log2(found[1, 1 + middle] / found[0, 1 + middle])),
            tolerance=0.02,
        ),
    ]


def _ridge_claims(arrays):
    """Dropout in least squares as ridge regression."""
    return [
        exact("dropout least squares and ridge with (1 - p) / p diag(X'X)", SRIVASTAVA, arrays["ridge_gap"], 1e-11),
        Claim(
            "ridge with p (1 - p) diag(X'X) on the weights of inference is another: relative distance",
            SRIVASTAVA,
            1e-3,
            float(arrays["trained_weight_strength_gap"]),
            relation="at least",
        ),
    ]


def _gaussian_claims(config, arrays):
    """Mean and variance of Gaussian dropout, within four standard errors."""
    deviation = 4 / np.sqrt(config.draws)
    return [
        Claim(
            "mean of Gaussian dropout at rate 0.3",
            "Srivastava et al. (2014), section 10",
            1.0,
            float(arrays["unit_means"][1]),
            tolerance=float(deviation * np.sqrt(3 / 7)),
        ),
        Claim(
            "variance of Gaussian dropout at rate 0.3 over rate / (1 - rate)",
            "Srivastava et al. (2014), section 10",
            1.0,
            float(arrays["unit_variance_ratios"][1]),
            tolerance=float(deviation * np.sqrt(2)),
        ),
    ]


def exact(statement, source, gap, tolerance=1e-13):
    """A claim that two things differ by rounding only."""
    return Claim(f"{statement}: largest difference", source, 0.0, float(np.max(np.abs(gap))), tolerance=tolerance)


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
