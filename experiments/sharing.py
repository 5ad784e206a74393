"""What lies between two models of their own and one model for both?

A penalty on the distance between their weights: at strength 0 each task has its own least squares, at a large one both
have that of the pooled data, and between lies what is best for two tasks that are alike but not the same. Weights that
are shared outright have the sum of the gradients of their places. Goodfellow et al. (2016), section 7.9.
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
from _style import BLUE, GREEN, ORANGE, band, note
from regopt import penalties
from regopt.experiment import Claim

BOOK = "Goodfellow et al. (2016), section 7.9"
STRENGTHS = np.geomspace(1e-4, 1e4, 33)


@dataclass(frozen=True)
class Config:
    """Two linear tasks.

    Attributes:
        examples: number of examples of each task.
        features: number of features of both tasks.
        difference: expected length of the difference of the two true weight vectors, relative to theirs.
        noise: standard deviation of the targets' noise.
        draws: number of pairs of tasks.
        seed: random seed of the tasks and the data.
    """

    examples: Annotated[int, Field(ge=10)] = 20
    features: Annotated[int, Field(ge=1, le=9)] = 8
    difference: Annotated[float, Field(gt=0)] = 0.3
    noise: Annotated[float, Field(gt=0)] = 1.0
    draws: Annotated[int, Field(ge=10)] = 400
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def run(config, key):
    """Errors and weights over the strength of the tie, its ends, a proximal run, and the gradient of shared weights."""
    with jax.enable_x64(True):
        tasks = draw(config, stream_of(key))
        one = jax.tree.map(lambda x: x[0], tasks)
        return over_strengths(tasks) | ends(one) | proximal_run(one) | shared_gradient(one)


def draw(config, stream):
    """For each draw two designs, their targets, and the true weights."""
    shape = config.draws, 2, config.examples, config.features
    x, error = stream.normal(size=shape), stream.normal(scale=config.noise, size=shape[:3])
    common = stream.normal(size=(config.draws, 1, config.features)) / np.sqrt(config.features)
    own = stream.normal(size=(config.draws, 2, config.features)) / np.sqrt(2 * config.features)
    truth = common + config.difference * own
    return x, np.einsum("stnf,stf->stn", x, truth) + error, truth


def solve(x, y, strength):
    """``argmin sum_t |y_t - X_t w_t|^2 / (2 n) + strength / 2 |w_1 - w_2|^2``, by its linear equations; ``[2, d]``."""
    examples, features = x.shape[1:]
    gram, cross = jnp.einsum("tnf,tng->tfg", x, x) / examples, jnp.einsum("tnf,tn->tf", x, y) / examples
    pull = strength * jnp.eye(features)
    system = jnp.block([[gram[0] + pull, -pull], [-pull, gram[1] + pull]])
    return jnp.linalg.solve(system, cross.ravel()).reshape(2, features)


def over_strengths(tasks):
    """The mean squared error of the weights, which is that on new examples less the noise, with its standard error."""

    @jax.jit
    @jax.vmap
    def errors(strength):
        found = jax.vmap(lambda x, y: solve(x, y, strength))(*tasks[:2])
        return jnp.sum(jnp.square(found - tasks[2]), axis=2).mean(axis=1)  # [draws]

    error = np.asarray(errors(STRENGTHS))
    best = np.argmin(error.mean(axis=1))
    return {
        "error": error.mean(axis=1),
        "gain": np.array([np.mean(error[end] - error[best]) for end in (0, -1)]),
        "gain_error": np.array([np.std(error[end] - error[best]) / np.sqrt(error.shape[1]) for end in (0, -1)]),
        "band": error.std(axis=1) / np.sqrt(error.shape[1]),
    }


@jax.jit
def ends(task):
    """Distance of the tied weights to separate and to pooled least squares, relative, over the strength."""
    x, y, _ = task
    separate = jnp.stack([jnp.linalg.lstsq(x[t], y[t])[0] for t in (0, 1)])
    pooled = jnp.linalg.lstsq(x.reshape(-1, x.shape[2]), y.ravel())[0][None]
    path = jax.vmap(lambda strength: solve(x, y, strength))(jnp.asarray(STRENGTHS))
    far = jnp.stack([solve(x, y, strength) for strength in (1e-9, 1e9)])
    return {
        "path": path,
        "separate": separate,
        "pooled": pooled[0],
        "to_separate": jnp.linalg.norm(far[0] - separate) / jnp.linalg.norm(separate),
        "to_pooled": jnp.linalg.norm(far[1] - pooled) / jnp.linalg.norm(pooled),
    }


@jax.jit
def proximal_run(task):
    """Gradient steps on both tasks, each followed by the prox of ``tie``: distance to the equations' weights."""
    x, y, _ = task
    strength, steps = 0.7, 2000
    rate = 1 / jnp.max(jnp.linalg.norm(jnp.swapaxes(x, 1, 2) @ x, ord=2, axis=(1, 2)) / x.shape[1])
    prox = penalties.tie("first", "second", strength).prox

    def loss(params):
        return sum(jnp.mean(jnp.square(y[t] - x[t] @ params[name])) / 2 for t, name in enumerate(("first", "second")))

    def step(params, _):
        moved = jax.tree.map(lambda w, g: w - rate * g, params, jax.grad(loss)(params))
        return prox(moved, rate), None

    start = {name: jnp.zeros(x.shape[2]) for name in ("first", "second")}
    after, _ = jax.lax.scan(step, start, length=steps)
    expected = solve(x, y, strength)
    found = jnp.stack([after["first"], after["second"]])
    slip = solve(x, y, 2 * strength)  # the strength of |w_1 - w_2|^2 without its half
    return {
        "proximal_distance": jnp.linalg.norm(found - expected) / jnp.linalg.norm(expected),
        "without_half_distance": jnp.linalg.norm(found - slip) / jnp.linalg.norm(expected),
    }


@jax.jit
def shared_gradient(task):
    """A network with one matrix in two layers: the gradient of the shared one, and the sum of those of its places."""
    x, y, truth = task
    features = x.shape[2]
    params = {
        "first": jnp.outer(truth[0], truth[1]) + jnp.eye(features),
        "second": jnp.zeros((features, features)),  # not used while it is shared
        "last": truth[0],
    }

    def loss(params):
        hidden = jnp.tanh(jnp.tanh(x[0] @ params["first"]) @ params["second"])
        return jnp.mean(jnp.square(y[0] - hidden @ params["last"])) / 2

    shared = jax.grad(lambda params: loss(penalties.share(params, "first", "second")))(params)
    places = jax.grad(loss)(penalties.share(params, "first", "second"))
    total = places["first"] + places["second"]
    return {
        "gradient_of_sum": jnp.linalg.norm(shared["first"] - total) / jnp.linalg.norm(total),
        "gradient_of_one": jnp.linalg.norm(places["first"] - total) / jnp.linalg.norm(total),
    }


def figure(config, arrays):
    """Weights of the two tasks over the strength, and their mean error."""
    drawing = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = drawing.subplots(1, 2)
    order = np.argsort(-np.abs(arrays["separate"][0] - arrays["separate"][1]))[:3]
    for place, color in zip(order, (BLUE, ORANGE, GREEN), strict=False):
        for task, style in ((0, "-"), (1, "--")):
            left.semilogx(STRENGTHS, arrays["path"][:, task, place], style, color=color)
            left.plot(STRENGTHS[0] / 2.5, arrays["separate"][task, place], "o", color=color)
        left.plot(STRENGTHS[-1] * 2.5, arrays["pooled"][place], "s", color=color)
    left.set(xlabel="strength of the tie", ylabel="weight")
    left.set_title(
        "three weights of two tasks (solid, dashed)\ndots: separate least squares, squares: pooled", fontsize=11
    )
    error, spread = arrays["error"], 2 * arrays["band"]
    right.semilogx(STRENGTHS, error, color=BLUE)
    band(right, STRENGTHS, error - spread, error + spread, BLUE)
    best = np.argmin(error)
    right.plot(STRENGTHS[best], error[best], "o", color=BLUE)
    for words, at, offset, align in (
        ("separate", 0, (0, 8), "left"),
        ("one for both", -1, (0, 8), "right"),
        ("best", best, (0, -16), "center"),
    ):
        height = error[at] + (spread[at] if at != best else 0)
        note(right, words, (STRENGTHS[at], height), offset=offset, ha=align)
    right.set(xlabel="strength of the tie", ylabel="squared error of the weights")
    right.set_ylim(0, 1.15 * np.max(error + spread))
    right.set_title("mean over pairs of tasks (band: two standard errors)", fontsize=11)
    return drawing


def claims(config, arrays):
    """The two ends, the optimum between, the prox, and the gradient of what is shared."""
    gain, error = arrays["gain"], arrays["gain_error"]
    return [
        Claim(
            "strength 1e-9: distance to separate least squares, relative", BOOK, 0.0, float(arrays["to_separate"]), 1e-6
        ),
        Claim("strength 1e9: distance to pooled least squares, relative", BOOK, 0.0, float(arrays["to_pooled"]), 1e-6),
        Claim(
            "error at the best strength below that of separate weights, in standard errors",
            BOOK,
            4.0,
            float(gain[0] / error[0]),
            relation="at least",
        ),
        Claim(
            "error at the best strength below that of one model for both, in standard errors",
            BOOK,
            4.0,
            float(gain[1] / error[1]),
            relation="at least",
        ),
        Claim(
            "proximal steps with strength / 2 |w_A - w_B|^2: distance to the linear equations' weights, relative",
            "Parikh & Boyd (2014), section 4.2",
            0.0,
            float(arrays["proximal_distance"]),
            tolerance=1e-9,
        ),
        Claim(
            "proximal steps: distance to the weights for strength |w_A - w_B|^2 without the half",
            BOOK,
            0.01,
            float(arrays["without_half_distance"]),
            relation="at least",
        ),
        Claim(
            "gradient of a shared matrix, less the sum over its two places, relative",
            BOOK,
            0.0,
            float(arrays["gradient_of_sum"]),
            tolerance=1e-12,
        ),
        Claim(
            "gradient of a shared matrix at one place alone, less the sum over both, relative",
            BOOK,
            0.1,
            float(arrays["gradient_of_one"]),
            relation="at least",
        ),
    ]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
