"""When is early stopping the same as an L2 penalty, and by how much do the two differ?

Everything here is exact, in double precision: a quadratic objective, where each eigendirection has its own
equivalent strength; the rule of thumb strength = 1 / (learning_rate * steps) and how it fails; and the bounds on the
risk of stopping relative to ridge, over random designs. `network_equivalence` asks the same of trained networks.
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field
from scipy.optimize import minimize_scalar
from sklearn.linear_model import ElasticNet

from _style import BLUE, GREEN, GREY, ORANGE, RED, note
from regopt import penalties
from regopt.analysis import quadratic
from regopt.experiment import Claim

TRIDIAGONAL = np.array([[2.0, -1.0, 0.0], [-1.0, 2.0, -1.0], [0.0, -1.0, 2.0]])
FIRST_AXIS = np.array([1.0, 0.0, 0.0])  # w* of the lecture's example
LENGTHS = np.array([0.1, 0.171, 0.855, 3.4])  # learning_rate * eigenvalue * steps
OFF_BY = np.array([0.05, 0.085, 0.37, 0.90])  # the rule of thumb there, as a fraction
RISK_RATIO, TUNED_RATIO = 1.685909, 1.2147
BOOK, PAPER = "Goodfellow et al. (2016)", "Ali, Kolter & Tibshirani (2019)"

equivalent_strength = jax.jit(quadratic.equivalent_strength)
early_stopping_shrinkage = jax.jit(quadratic.early_stopping_shrinkage)
ridge_solution = jax.jit(quadratic.ridge_solution, static_argnums=3)


@dataclass(frozen=True)
class Config:
    """The quadratic and the random designs.

    Attributes:
        learning_rate: learning rate of gradient descent on the quadratic, in 1 / eigenvalue.
        steps: numbers of steps after which stopping and the penalty are compared.
        designs: number of random regression problems for the bounds on the risk.
        seed: random seed of the designs.
    """

    learning_rate: Annotated[float, Field(gt=0, lt=0.25)] = 0.01
    steps: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (50, 100, 200, 400, 800)
    designs: Annotated[int, Field(ge=2)] = 200
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def run(config, key):
    """The exact identities, the rule of thumb, and the risks."""
    with jax.enable_x64(True):
        found = tridiagonal() | rule_of_thumb(config) | trajectories(config) | risk_bounds() | counterexample()
        found |= printed_slips() | singular_hessian() | penalty_scales()
        return found | random_designs(config, np.asarray(jax.random.key_data(key)))


@jax.jit
def tridiagonal():
    """The lecture's example at strength 2, and early stopping as a penalty in each direction."""
    hessian, w_star = jnp.asarray(TRIDIAGONAL), jnp.asarray(FIRST_AXIS)
    pair = quadratic.eigendecomposition(hessian)
    strengths = quadratic.equivalent_strength(pair[0], 0.1, 30)
    return {
        "example_solution": quadratic.l2_solution(hessian, w_star, 2.0),
        "example_parameters": quadratic.effective_parameters(pair[0], 2.0),
        "stopped": quadratic.gradient_descent_path(pair, w_star, 0.1, 30),
        "penalised": quadratic.l2_solution(pair, w_star, strengths),
        "iterated": iterate(TRIDIAGONAL, FIRST_AXIS, 0.1, 30),
    }


def iterate(hessian, w_star, learning_rate, steps):
    """Gradient descent from the origin, step by step."""
    w = np.zeros_like(w_star)
    for _ in range(steps):
        w = w - learning_rate * hessian @ (w - w_star)
    return w


def rule_of_thumb(config):
    """How far 1 / (learning_rate steps) is from each direction's strength, and from the best single one."""
    rate = config.learning_rate
    lengths = np.concatenate([LENGTHS, np.geomspace(0.01, 10, 100)])
    exact = equivalent_strength(lengths / (rate * 50), rate, 50.0)
    expansion = np.array([1e-3, 2e-3]) / (rate * 100)
    second = 1 / (rate * 100) - expansion * 101 / 200
    left_over = second - np.asarray(equivalent_strength(expansion, rate, 100.0))
    curvatures = np.linspace(0.001, 0.05, 50)
    return {
        "lengths": lengths,
        "rule_error": 1 - np.asarray(exact) * rate * 50,
        "order_left_over": np.log2(left_over[1] / left_over[0]),
        "best_strengths": np.array([best_strength(curvatures, rate, steps) for steps in config.steps]),
    }


def best_strength(curvatures, learning_rate, steps):
    """The single strength whose shrinkage is nearest to that of an early stop, in least squares."""
    stopped = np.asarray(early_stopping_shrinkage(curvatures, learning_rate, float(steps)))

    def misfit(log_strength):
        return np.sum((stopped - curvatures / (curvatures + np.exp(log_strength))) ** 2)

    centre = -np.log(learning_rate * steps)
    return np.exp(minimum(misfit, centre - 3, centre + 3)[0])


def minimum(function, low, high):
    """Where a function of one number has its minimum, and the minimum."""
    found: Any = minimize_scalar(function, bounds=(low, high), method="bounded", options={"xatol": 1e-9})
    return found.x, found.fun


def printed_slips():
    """The first-order form of the penalty, and the ridge solution, each beside what is printed."""
    strengths, curvature = np.array([100.0, 200.0]), 0.7
    left_over = strengths / (curvature + strengths) - (1 - curvature / strengths)
    generator = np.random.default_rng(0)
    x, y, a = generator.normal(size=(20, 3)), generator.normal(size=20), 3.0

    def gradient(w):
        return 2 * x.T @ (x @ w - y) + a * w

    right = np.asarray(ridge_solution(x, y, a / 2, "sklearn.Ridge"))
    printed = np.asarray(ridge_solution(x, y, a, "sklearn.Ridge"))
    return {
        "penalty_order": np.log2(left_over[0] / left_over[1]),
        "ridge_gradient": np.max(np.abs(gradient(right))),
        "printed_ridge_gradient": np.linalg.norm(gradient(printed)) / np.linalg.norm(a * printed),
    }


def singular_hessian():
    """Least squares with more inputs than examples: eigenvalues that are 0, and the gradient at its L2 solution."""
    generator = np.random.default_rng(1)
    x, y, a = generator.normal(size=(3, 6)), generator.normal(size=3), 0.5
    eigenvalues = np.linalg.eigvalsh(x.T @ x)
    w = np.asarray(ridge_solution(x, y, a, "sklearn.Ridge"))
    return {
        "zero_eigenvalues": np.sum(np.abs(eigenvalues) < 1e-12),
        "singular_gradient": np.max(np.abs(x.T @ (x @ w - y) + a * w)),
    }


def penalty_scales():
    """Gradients of the penalised objectives in print, at the minimum of regopt's for the converted number or not."""
    generator = np.random.default_rng(2)
    x, n, k, mix = generator.normal(size=(30, 4)), 30, 0.7, 0.6
    y = x @ np.array([1.0, -2.0, 0.05, 0.0]) + generator.normal(size=n)
    # slopes of the printed penalties over w
    slopes: dict[penalties.Library, float] = {"keras": 2 * k, "pytorch": k, "deeplearning.ai": k / n}
    converted, same = [], []
    for library, slope in slopes.items():
        for residuals, a in ((converted, penalties.l2_strength(k, library, examples=n)), (same, k)):
            w = np.asarray(ridge_solution(x, y, float(a)))
            residuals.append(np.max(np.abs(x.T @ (x @ w - y) / n + slope * w)))

    def stationary(strength, ratio):
        """By how much scikit-learn's fit misses the conditions of |Xw - y|^2 / n + k (mix |w|^2 + (1 - mix) |w|_1)."""
        net = ElasticNet(alpha=strength, l1_ratio=ratio, fit_intercept=False, tol=1e-14, max_iter=100_000)
        w = net.fit(x, y).coef_
        gradient, kink = 2 * x.T @ (x @ w - y) / n + 2 * k * mix * w, k * (1 - mix)
        return np.max(np.where(w == 0, np.maximum(np.abs(gradient) - kink, 0), np.abs(gradient + kink * np.sign(w))))

    library = "keras.MeanSquaredError"
    numbers = penalties.elastic_net_numbers(
        penalties.l1_strength(k * (1 - mix), library), penalties.l2_strength(k * mix, library)
    )
    return {
        "converted": np.array(converted),
        "same_number": np.array(same),
        "elastic_net": stationary(*map(float, numbers)),
        "elastic_net_printed": stationary(k, mix),
    }


@partial(jax.jit, static_argnums=0)
def trajectories(config):
    """Paths in two eigendirections of curvature 1 and 0.1, by steps and by strength."""
    pair, w_star = (jnp.array([0.1, 1.0]), jnp.eye(2)), jnp.ones(2)
    times = np.geomspace(0.05, 200, 200)
    steps = times / config.learning_rate
    return {
        "path_stopped": quadratic.gradient_descent_path(pair, w_star, config.learning_rate, steps),
        "path_penalised": jax.vmap(lambda a: quadratic.l2_solution(pair, w_star, a))(jnp.asarray(1 / times)),
        "path_times": times,
    }


def risk_bounds():
    """The largest ratio of a stop's risk to ridge's in one direction, x = eigenvalue * time."""
    at, largest = minimum(lambda x: -risk_ratio(x), 0.1, 10)
    _, tuned = minimum(lambda x: -tuned_ratio(x), 0.1, 10)
    time = 2.0  # one direction, no signal, and the eigenvalue at which the bound is reached
    stop, ridge = risks(np.array([at / time]), np.zeros(1), 10, np.array([time]))
    grid = np.geomspace(0.02, 50, 300)
    return {
        "largest_ratio": -largest,
        "largest_ratio_at": at,
        "largest_tuned_ratio": -tuned,
        "attained_ratio": float(stop[0] / ridge[0]),
        "ratio_x": grid,
        "ratio": risk_ratio(grid),
        "tuned_ratio": tuned_ratio(grid),
    }


def risk_ratio(x):
    """Variance of gradient flow over that of ridge at strength 1 / time."""
    return (-np.expm1(-x) * (1 + x) / x) ** 2


def tuned_ratio(x):
    """Bayes risk of gradient flow at time 1 / strength over ridge's, both at the best strength."""
    return (1 + x) * (np.exp(-2 * x) + np.expm1(-x) ** 2 / x)


def counterexample():
    """-w**2 on |w| <= 1 has its minima at the border; with a penalty it has them at 0 or nowhere."""
    strengths = np.array([0.5, 1.0, 1.9, 2.1, 4.0, 8.0])
    w = np.linspace(-100, 100, 20_001)
    minima = np.array([np.abs(w[np.argmin(-(w**2) + a / 2 * w**2)]) for a in strengths])
    hessian, w_star = jnp.asarray(TRIDIAGONAL), jnp.asarray(FIRST_AXIS)
    grid = np.geomspace(1e-3, 1e3, 60)
    radii = jax.jit(jax.vmap(lambda a: quadratic.penalty_radius(hessian, w_star, a)))(grid)
    return {
        "constrained_minimum": np.max(np.abs(w[np.abs(w) <= 1])),
        "penalised_minima": minima,
        "radius_strengths": grid,
        "radii": radii,
    }


def random_designs(config, entropy):
    """Largest ratios of the risks over designs of many shapes, signals and times."""
    generator = np.random.default_rng(entropy)
    times, around = np.geomspace(1e-2, 1e4, 301), np.geomspace(1e-2, 1e2, 301)
    largest, tuned = [], []
    for _ in range(config.designs):
        features, examples = int(generator.integers(2, 40)), int(generator.integers(5, 60))
        scales = np.exp(generator.normal(scale=2, size=features))
        x = generator.normal(size=(examples, features)) * scales
        values, vectors = np.linalg.eigh(x.T @ x / examples)
        values = np.where(values > 1e-10 * values[-1], values, 0)
        signal = vectors.T @ generator.normal(size=features) * generator.choice([0.0, 0.1, 1.0, 10.0])
        room = (0, 40 - features)  # one shape, one program; a direction without curvature or signal adds no risk
        values, signal = np.pad(values, room), np.pad(signal, room)
        stop, ridge = map(np.asarray, risks(values, signal, examples, times))
        largest.append(np.max(stop / ridge))
        prior = float(np.exp(generator.normal(scale=2)))  # a signal of this standard deviation in every direction
        best_time = examples * prior**2  # ridge at strength noise / (examples prior**2) is the Bayes rule
        signal = np.where(np.arange(40) < features, prior, 0)
        stop, ridge = map(np.asarray, risks(values, signal, examples, best_time * around))
        tuned.append(np.min(stop) / np.min(ridge))
    return {"design_ratios": np.array(largest), "design_tuned_ratios": np.array(tuned)}


@jax.jit
def risks(values, signal, examples, times):
    """Risk of gradient flow at each time, and of ridge at strength 1 / time; noise of variance 1."""

    def at(time):
        return [
            quadratic.shrinkage_risk(shrinkage, values, signal, 1.0, examples)
            for shrinkage in (
                quadratic.gradient_flow_shrinkage(values, time),
                quadratic.l2_shrinkage(values, 1 / time),
            )
        ]

    return jax.vmap(at)(times)


def figure(config, arrays):
    """Shrinkage paths, the rule of thumb's error, and the ratio of the risks."""
    drawing = Figure(figsize=(13, 4.4), layout="constrained")
    paths, rule, ratio = drawing.subplots(1, 3)
    for name, color, label in (("stopped", BLUE, "gradient descent"), ("penalised", RED, "L2 penalty")):
        path = arrays[f"path_{name}"]
        paths.plot(path[:, 1], path[:, 0], color=color, label=label)
    marks = np.searchsorted(arrays["path_times"], [0.3, 1, 3, 10, 30])
    for mark in marks:
        ends = arrays["path_stopped"][mark], arrays["path_penalised"][mark]
        paths.plot([end[1] for end in ends], [end[0] for end in ends], color=GREY, linewidth=0.8, marker=".")
    paths.plot(1, 1, "k*", markersize=12)
    note(paths, "minimum w*", (1, 1), offset=(-8, -4), ha="right", va="top")
    note(paths, "start", (0, 0), offset=(2, 12))
    paths.set(xlabel="w along curvature 1", ylabel="w along curvature 0.1")
    paths.set_title("same time, grey: strength = 1 / (rate steps)")
    paths.legend(frameon=False, loc="upper left")
    order = np.argsort(arrays["lengths"])
    rule.plot(arrays["lengths"][order], 100 * arrays["rule_error"][order], color=BLUE)
    rule.plot(LENGTHS, 100 * OFF_BY, "o", color=ORANGE)
    for x, y in zip(LENGTHS, OFF_BY, strict=True):
        note(rule, f"{100 * y:g} %", (x, 100 * y), offset=(-8, 4), ha="right")
    rule.set(xscale="log", ylim=(0, 105), xlabel="rate x curvature x steps", ylabel="1 / (rate steps) too large by (%)")
    rule.set_title("the rule of thumb, direction by direction")
    ratio.plot(arrays["ratio_x"], arrays["ratio"], color=RED)
    ratio.plot(arrays["ratio_x"], arrays["tuned_ratio"], color=GREEN)
    ratio.axhline(1, color=GREY, linewidth=0.8)
    note(ratio, "pure noise,\n1 / time", (5, 1.45), RED, (0, 6))
    note(ratio, "both tuned", (0.25, 1.12), GREEN, (-4, 0))
    for x, y in ((float(arrays["largest_ratio_at"]), RISK_RATIO), (3.2136, TUNED_RATIO)):
        note(ratio, f"{y:.4f}", (x, y), offset=(0, 5), ha="center")
    ratio.set(xscale="log", ylim=(0.9, 1.85), xlabel="curvature x time", ylabel="risk of stopping / risk of ridge")
    ratio.set_title("the worst single direction")
    return drawing


def claims(config, arrays):
    """The exact numbers, the printed slips beside the right values, and the bounds."""
    return [
        *_exact_claims(arrays),
        *_order_claims(config, arrays),
        *_ridge_claims(arrays),
        *_scale_claims(arrays),
        *_rule_claims(arrays),
        *bounds(arrays),
    ]


def _exact_claims(arrays):
    """The tridiagonal example, and an early stop as an L2 penalty in each direction."""
    exact = np.array([13 / 28, -1 / 7, -1 / 28])
    return [
        Claim(
            "tridiagonal example at strength 2: distance to 13/28, -1/7, -1/28",
            f"{BOOK}, (7.10)",
            0.0,
            worst(arrays["example_solution"], exact),
            tolerance=1e-14,
        ),
        Claim(
            "tridiagonal example at strength 2: effective number of parameters, 19/14",
            "Bishop (2006), (3.91)",
            19 / 14,
            float(arrays["example_parameters"]),
            tolerance=1e-14,
        ),
        Claim(
            "30 steps and the L2 solution with each direction's own strength: largest difference",
            f"{BOOK}, (7.41)",
            0.0,
            worst(arrays["stopped"], arrays["penalised"]),
            tolerance=1e-13,
        ),
        Claim(
            "closed form of gradient descent and 30 iterated steps: largest difference",
            f"{BOOK}, (7.40)",
            0.0,
            worst(arrays["stopped"], arrays["iterated"]),
            tolerance=1e-13,
        ),
    ]


def _order_claims(config, arrays):
    """The orders of the expansions that relate strength and steps."""
    slope = np.polyfit(np.log(config.steps), np.log(arrays["best_strengths"]), 1)[0]
    return [
        Claim(
            "order of what 1/(rate steps) - l (steps+1)/(2 steps) leaves, in l",
            f"{BOOK}, (7.44), one term on",
            2.0,
            float(arrays["order_left_over"]),
            tolerance=0.01,
        ),
        Claim(
            "best single strength against steps: log-log slope (as printed in the lecture: +1, strength ~ rate steps)",
            f"{BOOK}, (7.45)",
            -1.05,
            float(slope),
            tolerance=0.01,
        ),
        Claim(
            "order of a / (l + a) - (1 - l / a) in 1 / a, a the strength (printed in the lecture: 1 - a l)",
            f"{BOOK}, (7.44)",
            2.0,
            float(arrays["penalty_order"]),
            tolerance=0.01,
        ),
    ]


def _ridge_claims(arrays):
    """The minimum of the ridge objective, and that it is not at the printed solution."""
    return [
        Claim(
            "gradient of |Xw - y|^2 + a/2 |w|^2 at (X'X + a/2 I)^-1 X'y, largest entry",
            "Hoerl & Kennard (1970), (2.1)",
            0.0,
            float(arrays["ridge_gradient"]),
            tolerance=1e-12,
        ),
        Claim(
            "ridge gradient at (X'X + a I)^-1 X'y, as printed in the lecture and the book, over a |w|: no minimum",
            f"{BOOK}, (7.15) and (7.17)",
            1.0,
            float(arrays["printed_ridge_gradient"]),
            tolerance=1e-12,
        ),
    ]


def _scale_claims(arrays):
    """A Hessian with zero eigenvalues, and the scales of penalties in print."""
    same = arrays["same_number"][[0, 2]]  # the middle one is regopt's own scale
    return [
        Claim("3 examples of 6 inputs: eigenvalues of the convex loss that are 0 (printed: positive definite)",
              f"{BOOK}, section 7.1.1", 3, float(arrays["zero_eigenvalues"])),
        Claim("gradient of the penalised loss at its L2 solution all the same, largest entry",
              f"{BOOK}, (7.17)", 0, float(arrays["singular_gradient"]), 1e-12),
        Claim("three scales of L2 in print, number converted: largest gradient of the objective as printed",
              "the lectures' objectives, regopt.penalties.CONVENTIONS", 0, float(arrays["converted"].max()), 1e-12),
        Claim("three scales of L2 in print, one number for all: gradient of those that differ, smallest",
              "the lectures' objectives, regopt.penalties.CONVENTIONS", 0.1, float(same.min()), relation="at least"),
        Claim("elastic net as printed, numbers converted for scikit-learn: largest miss of the optimality conditions",
              "Zou & Hastie (2005), (3)", 0, float(arrays["elastic_net"]), 1e-9),
        Claim("elastic net with the printed mix as l1_ratio, which libraries mix the other way round: miss",
              "Zou & Hastie (2005), (3)", 0.1, float(arrays["elastic_net_printed"]), relation="at least"),
    ]  # fmt: skip


def _rule_claims(arrays):
    """By how much the rule is off."""
    result = []
    for length, known, error in zip(LENGTHS, OFF_BY, arrays["rule_error"], strict=False):
        statement = f"1 / (rate steps) is too large by this fraction where rate x eigenvalue x steps = {length:g}"
        result.append(Claim(statement, f"{BOOK}, (7.42)", float(known), float(error), tolerance=0.006))
    return result


def bounds(arrays):
    """What holds for every design, and what a penalty cannot do."""
    return [
        Claim(
            "largest risk of stopping at t over ridge at 1/t, random designs and times",
            f"{PAPER}, theorem 1 (printed there: 1.6862, rounded up)",
            RISK_RATIO,
            float(np.max(arrays["design_ratios"])),
            relation="at most",
        ),
        Claim(
            "supremum of the risk of stopping at t over ridge at 1/t, one direction without signal",
            f"{PAPER}, theorem 1",
            RISK_RATIO,
            float(arrays["attained_ratio"]),
            tolerance=1e-6,
        ),
        Claim(
            "curvature x time at which that ratio of risks has its supremum",
            f"{PAPER}, lemma 7",
            1.793282,
            float(arrays["largest_ratio_at"]),
            tolerance=1e-5,
        ),
        Claim(
            "largest ratio of the two risks at their best tuning, random designs",
            f"{PAPER}, theorem 3 (1.22 in the abstract)",
            TUNED_RATIO,
            float(np.max(arrays["design_tuned_ratios"])),
            relation="at most",
        ),
        Claim(
            "bound of the ratio of the two risks at their best tuning, the largest over one direction",
            f"{PAPER}, theorem 3",
            TUNED_RATIO,
            float(arrays["largest_tuned_ratio"]),
            tolerance=5e-5,
        ),
        Claim(
            "smallest ratio at best tuning: ridge is the Bayes rule",
            f"{PAPER}, section 5",
            1.0,
            float(np.min(arrays["design_tuned_ratios"])),
            tolerance=1e-12,
            relation="at least",
        ),
        Claim(
            "largest change of the equivalent radius from one strength to the next larger: always falling",
            f"{BOOK}, section 7.2",
            0.0,
            float(np.max(np.diff(arrays["radii"]))),
            relation="at most",
        ),
        Claim(
            "-w**2 on |w| <= 1: strengths, of six, whose penalised minimum has |w| = 1 as the constrained one has",
            "equivalence of penalty and constraint needs convexity; Boyd & Vandenberghe (2004), 5.5.3",
            0.0,
            float(np.sum(arrays["penalised_minima"] == arrays["constrained_minimum"])),
        ),
    ]


def worst(a, b):
    """The largest difference of two arrays."""
    return float(np.max(np.abs(a - b)))


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
