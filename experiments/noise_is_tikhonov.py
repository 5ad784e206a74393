"""To which penalty does noise on inputs, on weights or on labels amount?

Noise on the inputs of a linear model is ridge regression; on those of a nonlinear one, a penalty on slope and
curvature up to the fourth power of the noise. Noise on the weights of a linear model adds a constant. Smoothed labels
put the best logits at a finite distance.
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

from _draws import stream_of
from _style import BLACK, BLUE, GREEN, GREY, ORANGE, RED, note, plain_ticks
from regopt import losses, noise
from regopt.analysis.quadratic import ridge_solution
from regopt.experiment import Claim

BOOK, BISHOP = "Goodfellow et al. (2016)", "Bishop (1995)"
CLASSES, SMOOTHING = 10, 0.1
DEVIATIONS = np.array([0.0125, 0.025, 0.05, 0.1, 0.2])  # of the noise on the inputs of the nonlinear model
SPREADS = ("others", "all")


@dataclass(frozen=True)
class Config:
    """The regression and the noise.

    Attributes:
        examples: number of examples of the regression.
        features: number of features of the regression.
        deviation: standard deviation of the noise on inputs and weights, in their units.
        copies: numbers of noisy copies of the data, ascending.
        repeats: number of repeats for each number of copies.
        seed: random seed of the data and the noise.
    """

    examples: Annotated[int, Field(ge=10)] = 40
    features: Annotated[int, Field(ge=1, le=8)] = 4
    deviation: Annotated[float, Field(gt=0)] = 0.5
    copies: tuple[Annotated[int, Field(ge=2)], ...] = (100, 300, 1000, 3000, 10_000)
    repeats: Annotated[int, Field(ge=2)] = 20
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def __post_init__(self):
        if len(self.copies) < 2 or list(self.copies) != sorted(set(self.copies)):
            raise ValueError(f"copies must be at least two numbers that ascend, got {self.copies}")


def run(config, key):
    """Ridge by noisy copies, the expansion of a nonlinear model's error, weight noise and smoothed labels."""
    with jax.enable_x64(True):
        copies_key, weights_key = jax.random.split(key)
        generator = stream_of(key)
        x = generator.normal(size=(config.examples, config.features))
        y = x @ np.ones(config.features) + generator.normal(size=config.examples)
        found = noisy_copies(config, copies_key, x, y) | weight_noise(config, weights_key, x, y)
        return found | nonlinear() | smoothed_labels()


def noisy_copies(config, key, x, y):
    """Least squares on K noisy copies, its distance to ridge with a = n s^2, and to ridge with half of it."""
    solve = jax.jit(ridge_solution)
    ridge, half, plain = (np.asarray(solve(x, y, factor * config.deviation**2)) for factor in (1.0, 0.5, 0.0))

    def moments(key, copies):
        """Mean of X'X and of X'y over copies, one copy after the other."""

        def add(carry, key):
            noisy = noise.gaussian_noise(key, x, config.deviation)
            return (carry[0] + noisy.T @ noisy / copies, carry[1] + noisy.T @ y / copies), None

        zeros = jnp.zeros((config.features, config.features)), jnp.zeros(config.features)
        return jax.lax.scan(add, zeros, jax.random.split(key, copies))[0]

    distances = []
    for place, copies in enumerate(config.copies):
        keys = jax.random.split(jax.random.fold_in(key, place), config.repeats)
        gram, cross = map(np.asarray, jax.jit(jax.vmap(lambda key, copies=copies: moments(key, copies)))(keys))
        solutions = np.linalg.solve(gram, cross[..., None])[..., 0]
        distances.append([np.linalg.norm(solutions - w, axis=1) / np.linalg.norm(ridge) for w in (ridge, half)])
    distances = np.sqrt(np.mean(np.square(np.array(distances)), axis=2))  # root mean square over repeats
    return {
        "ridge_distance": distances[:, 0],
        "half_ridge_distance": distances[:, 1],
        "shrinkage": np.linalg.norm(ridge) / np.linalg.norm(plain),
    }


def normal_mean(function, deviation, points=60):
    """Mean of ``function(deviation * z)`` over a standard normal z, by Gauss-Hermite quadrature: exact to rounding."""
    at, weights = np.polynomial.hermite_e.hermegauss(points)
    return jnp.sum(weights * function(deviation * at)) / np.sqrt(2 * np.pi)


@jax.jit
def nonlinear():
    """What input noise adds to the squared error of a small network, and what the expansion leaves out."""
    x, target = 0.4, 0.9

    def model(x):
        return jnp.tanh(2 * x - 0.3) + 0.5 * jnp.sin(3 * x)

    f, slope = model(x), jax.grad(model)(x)
    curvature = jax.grad(jax.grad(model))(x)
    means = jax.vmap(lambda s: normal_mean(lambda e: (model(x + e) - target) ** 2, s))(DEVIATIONS)
    added = means - (f - target) ** 2
    return {
        "added": added,
        "remainder": jnp.abs(added - DEVIATIONS**2 * (slope**2 + (f - target) * curvature)),
        "slope_only_remainder": jnp.abs(added - DEVIATIONS**2 * slope**2),
    }


@partial(jax.jit, static_argnums=0)
def weight_noise(config, key, x, y):
    """What noise on the weights adds to the mean squared error of a linear model, and what it does to the gradient."""
    draws = 10_000 * config.repeats
    w = ridge_solution(x, y, 0.1)

    def loss(w):
        return jnp.mean(jnp.square(x @ w - y))

    keys = jax.random.split(key, draws)
    noisy = jax.vmap(lambda key: noise.gaussian_noise(key, w, config.deviation))(keys)
    added = jax.vmap(loss)(noisy) - loss(w)
    shift = jax.vmap(jax.grad(loss))(noisy) - jax.grad(loss)(w)[None]
    expected = config.deviation**2 * jnp.mean(jnp.sum(jnp.square(x), axis=1))
    return {
        "weight_noise_ratio": jnp.mean(added) / expected,
        "weight_noise_error": jnp.std(added) / expected / np.sqrt(draws),
        "gradient_shift": jnp.max(jnp.abs(jnp.mean(shift, axis=0) / jnp.std(shift, axis=0))) * np.sqrt(draws),
    }


@jax.jit
def smoothed_labels():
    """The least smoothed cross-entropy and the gap of the logits there, by Newton's method; losses over the gap."""
    label = jnp.array([3])
    gaps = jnp.linspace(0.0, 10.0, 201)
    found = {"gaps": gaps}

    def loss(gap, smoothing, spread):
        logits = gap * jax.nn.one_hot(label, CLASSES)
        return losses.smoothed_cross_entropy(logits, label, smoothing, spread=spread)

    for spread in SPREADS:
        slope = partial(jax.grad(loss), smoothing=SMOOTHING, spread=spread)
        gap = jax.lax.fori_loop(
            0, 20, lambda _, gap, slope=slope: gap - slope(gap) / jax.grad(slope)(gap), jnp.asarray(4.0)
        )
        target = losses.smooth_labels(label, CLASSES, SMOOTHING, spread=spread)
        found |= {
            f"gap_{spread}": gap,
            f"least_{spread}": loss(gap, SMOOTHING, spread),
            f"entropy_{spread}": -jnp.sum(target * jnp.log(target)),
            f"curve_{spread}": jax.vmap(lambda gap, spread=spread: loss(gap, SMOOTHING, spread))(gaps),
        }
    return found | {"curve_none": jax.vmap(lambda gap: loss(gap, 0.0, "all"))(gaps)}


def figure(config, arrays):
    """Distance to ridge over copies, what the expansion leaves, and the loss under smoothed labels."""
    drawing = Figure(figsize=(13.5, 4.4), layout="constrained")
    copies, expansion, labels = drawing.subplots(1, 3)
    number, distance = np.array(config.copies), arrays["ridge_distance"]
    copies.loglog(number, arrays["half_ridge_distance"], "o-", color=RED)
    copies.loglog(number, distance, "o-", color=BLUE)
    copies.loglog(number, distance[0] * np.sqrt(number[0] / number), ":", color=GREY)
    note(copies, "to ridge with n s² / 2", (number[-1], arrays["half_ridge_distance"][-1]), RED, (0, -14), ha="right")
    note(copies, "to ridge with n s²", (number[0], distance[0]), BLUE, (10, 4), ha="left")
    note(copies, "dotted: 1 / sqrt(copies)", (number[0], distance[-1]), GREY, (0, 0), ha="left")
    copies.set(xlabel="noisy copies of the data", ylabel="relative distance of the weights (rms)")
    copies.set_title("least squares on noisy copies")
    for name, color, words, place, offset in (
        ("added", BLACK, "all that the noise adds", 4, (8, -4)),
        ("slope_only_remainder", ORANGE, "less s² f'²:\norder 2", 4, (8, -26)),
        ("remainder", GREEN, "less s² (f'² + (f - t) f''): order 4", 1, (10, -8)),
    ):
        expansion.loglog(DEVIATIONS, np.abs(arrays[name]), "o-", color=color)
        note(expansion, words, (DEVIATIONS[place], np.abs(arrays[name][place])), color, offset, ha="left")
    expansion.set(xlabel="deviation s of the input noise", ylabel="squared error")
    expansion.set_xlim(0.01, 2.2)
    plain_ticks(expansion.xaxis, DEVIATIONS)
    expansion.set_title("a nonlinear model: what an expansion leaves")
    for name, color, words, offset in (
        ("none", GREY, "no smoothing: ever further", (-4, 14)),
        ("others", BLUE, "0.1 / 9 for each other class", (-4, 8)),
        ("all", RED, "0.1 / 10 for every class", (-4, -52)),
    ):
        labels.plot(arrays["gaps"], arrays[f"curve_{name}"], color=color)
        note(labels, words, (10, arrays[f"curve_{name}"][-1]), color, offset, ha="right")
    for spread, color in (("others", BLUE), ("all", RED)):
        labels.plot(arrays[f"gap_{spread}"], arrays[f"least_{spread}"], "o", color=color)
    labels.set(xlabel="logit of the label - the others'", ylabel="cross-entropy (nats)", ylim=(0, 2.4))
    labels.set_title("smoothed labels; dots: minima")
    return drawing


def claims(config, arrays):
    """Ridge, the orders of the expansions, the constant, and the two optima of smoothed labels."""
    return [
        *_copy_claims(config, arrays),
        *_noise_claims(arrays),
        *_many_copies_claims(config, arrays),
        *_label_claims(arrays),
    ]


def _copy_claims(config, arrays):
    """Least squares on noisy copies against ridge."""
    number, distance = np.array(config.copies), arrays["ridge_distance"]
    expected = float(distance[0] * np.sqrt(number[0] / number[-1]))
    return [
        Claim(
            f"distance to ridge with a = n s^2, over its 1/sqrt(K) course from {number[0]} to {number[-1]} copies",
            f"{BISHOP}; {BOOK}, section 7.5",
            1.0,
            float(distance[-1]) / expected,
            tolerance=0.35,
        ),
        Claim(
            f"{number[-1]} copies: distance to ridge with a = n s^2 / 2, over that to a = n s^2",
            f"{BISHOP}; {BOOK}, section 7.5",
            3.0,
            float(arrays["half_ridge_distance"][-1] / distance[-1]),
            relation="at least",
        ),
    ]


def _noise_claims(arrays):
    """The expansions for noise on inputs and on weights."""
    orders = {name: np.diff(np.log2(arrays[name])) for name in ("remainder", "slope_only_remainder")}
    return [
        Claim(
            "order in s of what s^2 (f'^2 + (f - t) f'') leaves of the error that input noise adds",
            BISHOP,
            4.0,
            float(orders["remainder"][0]),
            tolerance=0.1,
        ),
        Claim(
            "order in s of what s^2 f'^2 alone, without the curvature, leaves of the error that input noise adds",
            BISHOP,
            2.0,
            float(orders["slope_only_remainder"][0]),
            tolerance=0.1,
        ),
        Claim(
            "linear model: what weight noise adds, over s^2 E|x|^2",
            f"{BOOK}, (7.31) to (7.34)",
            1.0,
            float(arrays["weight_noise_ratio"]),
            tolerance=4 * float(arrays["weight_noise_error"]),
        ),
        Claim(
            "linear model: what weight noise adds to the gradient, in standard errors (it moves no minimum)",
            f"{BOOK}, (7.34)",
            0.0,
            float(arrays["gradient_shift"]),
            tolerance=4.0,
        ),
    ]


def _many_copies_claims(config, arrays):
    """How near ridge is, where there are copies enough to say so."""
    number = config.copies
    if number[-1] < 10_000:
        return []
    return [
        Claim(
            f"{number[-1]} copies: relative distance to ridge with a = n s^2",
            f"{BISHOP}; {BOOK}, section 7.5",
            0.006,
            float(arrays["ridge_distance"][-1]),
            relation="at most",
        )
    ]


def _label_claims(arrays):
    """The best gap between logits and the least cross-entropy of smoothed labels."""
    result = []
    others = np.log((1 - SMOOTHING) * (CLASSES - 1) / SMOOTHING)
    every = np.log(1 + CLASSES * (1 - SMOOTHING) / SMOOTHING)
    for spread, gap, source in (
        ("others", others, f"{BOOK}, section 7.5.1"),
        ("all", every, "Szegedy et al. (2016), section 7"),
    ):
        result += [
            Claim(
                f"smoothing 0.1 over {spread} of 10 classes: best gap between logits, {gap:.4f}",
                source,
                float(gap),
                float(arrays[f"gap_{spread}"]),
                tolerance=1e-9,
            ),
            Claim(
                f"smoothing 0.1 over {spread} of 10 classes: least cross-entropy, the entropy of the target",
                source,
                0.544805 if spread == "others" else float(arrays["entropy_all"]),
                float(arrays[f"least_{spread}"]),
                tolerance=5e-7 if spread == "others" else 1e-12,
            ),
        ]
    return result


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
