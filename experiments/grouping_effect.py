"""What does the elastic net do with correlated inputs, and the lasso not?

It gives them like coefficients: the difference of two is bounded by their correlation and the squared penalty, and
inputs that are equal get equal ones. The lasso picks one. Zou & Hastie (2005), with their example of three copies each
of two hidden factors.
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
from _style import BLUE, GREEN, ORANGE, RED, note
from regopt import penalties
from regopt.experiment import Claim

PAPER = "Zou & Hastie (2005)"
STRENGTHS = (0.03, 0.3, 3.0)  # of the squared penalty, the paper's lambda_2 with inputs of length 1
COLORS = (BLUE, ORANGE, GREEN)


@dataclass(frozen=True)
class Config:
    """The regressions.

    Attributes:
        examples: number of examples of each regression.
        designs: number of designs drawn at each correlation.
        correlations: number of correlations, from weak to 1 - 1e-6.
        steps: number of steps of the proximal gradient method.
        seed: random seed of the data.
    """

    examples: Annotated[int, Field(ge=20)] = 60
    designs: Annotated[int, Field(ge=2)] = 20
    correlations: Annotated[int, Field(ge=3)] = 16
    steps: Annotated[int, Field(ge=100)] = 4000
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def run(config, key):
    """Pairs of inputs at many correlations, equal inputs, and the paths of the paper's example."""
    stream = stream_of(key)
    with jax.enable_x64(True):
        return pairs(config, stream) | equal_inputs(config, stream) | paths(config, stream)


def standardized(x):
    """Inputs with mean 0 and length 1, as in the paper."""
    x = x - x.mean(axis=-2, keepdims=True)
    return x / np.sqrt(np.sum(x**2, axis=-2, keepdims=True))


def solve(x, y, l1, l2, steps, start=None):
    """``argmin_b |y - X b|^2 + l2 |b|^2 + l1 |b|_1`` by the accelerated proximal gradient method; the naive net."""
    strength, l1_ratio = penalties.elastic_net_numbers(l1 / 2, l2)  # of half the objective
    prox = penalties.elastic_net(strength, l1_ratio).prox
    rate = 1 / jnp.linalg.norm(x.T @ x, ord=2)

    def step(carry, count):
        b, before = carry
        ahead = b + count / (count + 3) * (b - before)
        after = prox(ahead - rate * x.T @ (x @ ahead - y), rate)
        restart = jnp.vdot(ahead - after, after - b) > 0  # momentum that points uphill is dropped
        return (after, jnp.where(restart, after, b)), None

    start = jnp.zeros(x.shape[1]) if start is None else start
    return jax.lax.scan(step, (start, start), jnp.arange(steps, dtype=x.dtype))[0][0]


def regressions(config, stream, designs, mixes):
    """Ten inputs, the first two of about the correlations ``1 - mix``, and y; for each mix the same designs."""
    draws = stream.normal(size=(designs, config.examples, 10))
    x = np.tile(draws, (len(mixes), 1, 1, 1))
    share = np.sqrt(mixes)[:, None, None]
    x[..., 1] = np.sqrt(1 - share**2) * x[..., 0] + share * x[..., 1]
    x = standardized(x)
    y = x @ np.array([3.0, 3.0, 2.0, -2.0, 1.0, 0, 0, 0, 0, 0])
    y = y + 0.3 * stream.normal(size=(designs, config.examples))
    return x, y - y.mean(axis=-1, keepdims=True)


def pairs(config, stream):
    """The differences between the two coefficients, over the length of y, and the correlations."""

    def difference(x, y, l2):
        b = solve(x, y, 0.1, l2, config.steps)
        gap = jnp.abs(b[0] - b[1]) / jnp.sum(jnp.abs(y))
        exact = jnp.vdot(x[:, 0] - x[:, 1], y - x @ b) / l2  # what the optimality conditions give
        return gap, jnp.vdot(x[:, 0], x[:, 1]), b[0] * b[1] > 0, jnp.abs(b[0] - b[1] - exact) / jnp.max(jnp.abs(b))

    over_designs = jax.vmap(jax.vmap(difference, in_axes=(0, 0, None)), in_axes=(0, 0, None))
    over_strengths = jax.jit(jax.vmap(over_designs, in_axes=(None, None, 0)))
    x, y = regressions(config, stream, config.designs, np.geomspace(0.9, 1e-6, config.correlations))
    gap, correlation, same_sign, residual = over_strengths(x, y, np.array(STRENGTHS))
    return {"gap": gap, "correlation": correlation, "same_sign": same_sign, "residual": residual}


def equal_inputs(config, stream):
    """Coefficients of an input that is there twice, the net's and the lasso's, from a start that favours either."""
    (((x,),), ((y,),)) = regressions(config, stream, 1, [0.5])
    x[:, 1] = x[:, 0]
    starts = 4 * np.eye(2, 10)

    @jax.jit
    @jax.vmap
    def from_starts(start):
        net, lasso = (solve(x, y, 0.1, l2, config.steps, start) for l2 in (0.3, 0.0))
        return net[:2], lasso[:2], jnp.sum((y - x @ lasso) ** 2) + 0.1 * jnp.sum(jnp.abs(lasso))

    net, lasso, objective = from_starts(starts)
    return {"net_equal": net, "lasso_equal": lasso, "lasso_objectives": objective}


def paths(config, stream):
    """Coefficients of the paper's six inputs, for the lasso and the net, over the strength of the l1 part."""
    z = stream.uniform(0, 20, size=(100, 2))
    y = z[:, 0] + 0.1 * z[:, 1] + stream.normal(size=100)
    signs = np.array([1.0, -1.0, 1.0])
    x = np.concatenate([z[:, :1] * signs, z[:, 1:] * signs], axis=1) + stream.normal(size=(100, 6)) / 4
    x, y = standardized(x), y - y.mean()
    largest = 2 * np.max(np.abs(x.T @ y))  # from here on all coefficients are 0
    l1 = largest * np.geomspace(1.0, 1e-3, 60)
    over_strengths = jax.jit(jax.vmap(lambda l1, l2: solve(x, y, l1, l2, config.steps), in_axes=(0, None)))
    net, lasso = over_strengths(l1, 0.5), over_strengths(l1, 0.0)
    return {"l1": l1 / largest, "path_lasso": lasso, "path_net": net}


def figure(config, arrays):
    """Differences below their bounds, and the paths of the two penalties."""
    drawing = Figure(figsize=(13.5, 4.4), layout="constrained")
    left, *others = drawing.subplots(1, 3)
    for l2, color, gap, correlation, same in zip(
        STRENGTHS, COLORS, arrays["gap"], arrays["correlation"], arrays["same_sign"], strict=True
    ):
        distance = 1 - correlation[same]
        left.loglog(distance, np.maximum(gap[same], 1e-12), ".", markersize=4, alpha=0.5, color=color)
        ends = np.array([distance.min(), distance.max()])
        left.loglog(ends, np.sqrt(2 * ends) / l2, color=color)
        at = ends[1], np.sqrt(2 * ends[1]) / l2
        note(left, f"$\\lambda_2$ = {l2:g}", at, color, (5, 0), va="center")
    left.set_xlim(1e-7, 200)
    left.set_xticks(10.0 ** np.arange(-6, 1, 2))
    left.set(xlabel="1 - correlation of the two inputs", ylabel="difference of coefficients / $|y|_1$")
    left.set_title("lines: the bound; dots: regressions")
    for axes, name, title in zip(others, ("lasso", "net"), ("lasso", "elastic net, $\\lambda_2$ = 0.5"), strict=True):
        path = arrays[f"path_{name}"]
        for place in range(6):
            color = COLORS[0] if place < 3 else RED
            axes.semilogx(arrays["l1"], path[:, place], color=color, ls=("-", "--", ":")[place % 3])
        axes.invert_xaxis()
        axes.set(xlabel="strength of the l1 part / the largest", ylabel="coefficient", title=title)
        axes.text(0.03, 0.09, "blue: three copies of the strong factor", transform=axes.transAxes, color=COLORS[0])
        axes.text(0.03, 0.03, "red: three copies of the weak one", transform=axes.transAxes, color=RED)
    low = min(arrays[f"path_{name}"].min() for name in ("lasso", "net"))
    high = max(arrays[f"path_{name}"].max() for name in ("lasso", "net"))
    for axes in others:
        axes.set_ylim(1.7 * low, 1.2 * high)
    return drawing


def claims(config, arrays):
    """The bound, equal coefficients of equal inputs, and the lasso's indifference."""
    bound = np.sqrt(2 * np.maximum(1 - arrays["correlation"], 0)) / np.array(STRENGTHS)[:, None, None]
    ratio = arrays["gap"] / bound
    both = arrays["net_equal"], arrays["lasso_equal"]
    apart, apart_lasso = (np.abs(np.diff(x, axis=1)).max() / np.abs(x).max() for x in both)
    objectives = arrays["lasso_objectives"]
    strong = np.abs(arrays["path_net"][:, :3])
    picked = np.abs(arrays["path_lasso"][:, :3])
    spread, spread_lasso = ((x.max(1) - x.min(1)).max() / x.max() for x in (strong, picked))
    return [
        Claim(
            f"{arrays['same_sign'].sum()} regressions: largest |b_i - b_j| / |y|_1 over sqrt(2 (1 - r)) / lambda_2",
            f"{PAPER}, Theorem 1",
            1.0,
            float(ratio[arrays["same_sign"]].max()),
            relation="at most",
        ),
        Claim(
            "b_i - b_j less (x_i - x_j)' (y - X b) / lambda_2: largest, relative to the largest coefficient",
            f"{PAPER}, proof of Theorem 1",
            0.0,
            float(arrays["residual"][arrays["same_sign"]].max()),
            tolerance=1e-6,
        ),
        Claim(
            "coefficients of two equal inputs, started far apart: difference over the larger, elastic net",
            f"{PAPER}, Lemma 2",
            0.0,
            float(apart),
            tolerance=1e-6,
        ),
        Claim(
            "two equal inputs, started far apart: difference over the larger, lasso",
            f"{PAPER}, Lemma 2",
            0.5,
            float(apart_lasso),
            relation="at least",
        ),
        Claim(
            "the lasso's objective from two starts that end in different coefficients: difference, relative",
            f"{PAPER}, Lemma 2",
            0.0,
            float(np.ptp(objectives) / objectives[0]),
            tolerance=1e-12,
        ),
        Claim(
            "paths of three copies of a factor: largest spread of their sizes over the largest size, elastic net",
            f"{PAPER}, section 5",
            0.1,
            float(spread),
            relation="at most",
        ),
        Claim(
            "three copies of a factor: spread of their sizes over the largest, lasso",
            f"{PAPER}, section 5",
            0.5,
            float(spread_lasso),
            relation="at least",
        ),
    ]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
