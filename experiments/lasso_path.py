"""In what order does the lasso take up the ten measurements of the diabetes data, and where would one stop?

The whole path from the strength at which all coefficients are zero down to least squares, against the published one
of least-angle regression; and, at strengths between the knots, against an iteration that knows nothing of knots:
proximal gradient steps with the penalty ``penalties.l1``.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

from _style import BLACK, BLUE, GREY, PALE, RED, end_labels, plain_ticks
from regopt import penalties
from regopt.data import DIABETES_NAMES, diabetes
from regopt.experiment import Claim
from regopt.solvers import lasso_path

PAPER = "Efron, Hastie, Johnstone & Tibshirani (2004), "
MOVES = ("bmi", "ltg", "map", "hdl", "sex", "glu", "tc", "tch", "ldl", "age", "-hdl", "hdl")  # minus: leaves
KNOTS = (949.435, 889.31, 452.90, 316.07, 130.13, 88.78, 68.97, 19.98, 5.48, 5.09, 2.18, 1.31)  # |x_j' residual|
AT_BEST = (0, -197.757, 522.265, 297.160, -103.946, 0, -223.926, 0, 514.749, 54.768)


@dataclass(frozen=True)
class Config:
    """How far the iteration that checks the path goes.

    Attributes:
        iterations: number of proximal gradient steps at each strength.
    """

    iterations: Annotated[int, Field(ge=1)] = 4000


def run(config, key):
    """The path, its residuals and Cp, and the solutions of proximal gradient steps between the knots."""
    del key  # nothing here is random
    with jax.enable_x64(True):
        x, y = diabetes()
        x, y = jnp.asarray(x), jnp.asarray(y - y.mean())
        path = jax.jit(lasso_path)(x, y)
        knots = int(jnp.sum(path.strengths > 0)) + 1
        coefficients = path.coefficients[:knots]
        residuals = jnp.sum((y - coefficients @ x.T) ** 2, axis=1)
        examples, features = x.shape
        noise = residuals[-1] / (examples - features - 1)
        # with the intercept among the parameters; on this path each knot's active set is that before its move
        parameters = 1 + jnp.sum(coefficients != 0, axis=1)
        between = jnp.sqrt(path.strengths[: knots - 2] * path.strengths[1 : knots - 1])
        solve = jax.jit(jax.vmap(lambda strength: proximal_gradient(x, y, strength, config.iterations)))
        arrays = {
            "correlations": path.strengths[:knots] * examples,
            "coefficients": coefficients,
            "moves": path.moves[: knots - 1],
            "residuals": residuals,
            "cp": residuals / noise - examples + 2 * parameters,
            "iterated": solve(between),
            "interpolated": jax.vmap(path.at)(between),
        }
        return jax.tree.map(np.asarray, arrays)


def proximal_gradient(x, y, strength, iterations):
    """Accelerated proximal gradient steps from zero on ``|X w - y|**2 / (2 n) + strength |w|_1``."""
    gram, products = x.T @ x / len(x), x.T @ y / len(x)
    step = 1 / jnp.linalg.eigvalsh(gram)[-1]
    prox = penalties.l1(strength).prox

    def iterate(carry, _):
        w, ahead, t = carry
        w_next = prox(ahead - step * (gram @ ahead - products), step)
        restart = jnp.vdot(ahead - w_next, w_next - w) > 0
        t = jnp.where(restart, 1.0, t)
        t_next = (1 + jnp.sqrt(1 + 4 * t**2)) / 2
        return (w_next, w_next + (t - 1) / t_next * (w_next - w), t_next), None

    zeros = jnp.zeros_like(products)
    return jax.lax.scan(iterate, (zeros, zeros, jnp.ones(())), length=iterations)[0][0]


def names(moves):
    """What each move is called: the measurement that enters, with a minus where it leaves."""
    return ["-" * int(move < 0) + DIABETES_NAMES[abs(move) - 1] for move in moves]


def figure(config, arrays):
    """The coefficients along the path, and Cp below."""
    lengths = np.abs(arrays["coefficients"]).sum(1)
    result = Figure(figsize=(9, 6.4), layout="constrained")
    slopes, cp = result.subplots(2, 1, sharex=True, height_ratios=[2.4, 1])
    best = int(np.argmin(arrays["cp"]))
    for axes in (slopes, cp):
        axes.vlines(lengths, 0, 1, transform=axes.get_xaxis_transform(), color=PALE, linewidth=0.8)
        axes.axvline(lengths[best], color=RED, linewidth=1)
    kept = arrays["coefficients"][best] != 0
    colors = [BLUE if inside else GREY for inside in kept]
    for j, color in enumerate(colors):
        slopes.plot(lengths, arrays["coefficients"][:, j], color=color, linewidth=1.6 if kept[j] else 1.1)
    end_labels(slopes, lengths[-1] * 1.01, arrays["coefficients"][-1], DIABETES_NAMES, colors, gap=62)
    slopes.set(ylabel="coefficient, for a measurement of length 1", xlim=(0, lengths[-1] * 1.08))
    note = "blue: in the model of smallest Cp\ngrey: the others\nvertical lines: knots"
    slopes.text(0.01, 0.03, note, transform=slopes.transAxes, color=GREY, fontsize="small")
    cp.plot(lengths, arrays["cp"], marker="o", color=BLACK, markersize=4)
    cp.set(xlabel="|w|₁", ylabel="Cp", yscale="log")
    plain_ticks(cp.yaxis, [10, 30, 100, 400])
    cp.text(lengths[best] * 0.99, 30, f"least Cp {arrays['cp'][best]:.4f}\nafter {best} moves", color=RED, ha="right")
    return result


def claims(config, arrays):
    """The published path, and that another algorithm meets it between the knots."""
    table = "table 1 and section 3.1; the path of R's lars 1.2 and of scikit-learn's lars_path"
    best = int(np.argmin(arrays["cp"]))
    agree = [ours == theirs for ours, theirs in zip(names(arrays["moves"]), MOVES, strict=False)]
    knots = np.array(KNOTS)
    length = min(len(knots), len(arrays["correlations"]) - 1)
    scale = np.max(np.abs(arrays["coefficients"]))
    return [
        Claim(
            f"moves, of {len(MOVES)}, in the published order; hdl enters, leaves and enters again",
            PAPER + table,
            len(MOVES),
            sum(agree) - abs(len(arrays["moves"]) - len(MOVES)),
        ),
        Claim(
            "largest difference of the knots |x_j' residual| from the published, in units of their last printed digit",
            PAPER + table,
            0.0,
            float(np.max(np.abs(arrays["correlations"][:length] - knots[:length])) / 0.01),
            tolerance=1.0,
        ),
        Claim("residual sum of squares of the empty model", PAPER + "figure 1", 2621009, arrays["residuals"][0], 13.0),
        Claim("residual sum of squares of least squares", PAPER + "figure 1", 1263983, arrays["residuals"][-1], 6.3),
        Claim("moves at the smallest Cp", PAPER + "(4.4)", 7, best),
        Claim("the smallest Cp", PAPER + "(4.4)", 8.8775, arrays["cp"][best], tolerance=5e-5),
        Claim(
            "largest difference of the ten coefficients at the smallest Cp from the published",
            PAPER + table,
            0.0,
            float(np.max(np.abs(arrays["coefficients"][best] - np.array(AT_BEST)))),
            tolerance=0.01,
        ),
        Claim(
            "between the knots, largest difference from proximal gradient steps, relative to the largest coefficient",
            "Beck & Teboulle (2009), theorem 4.4",
            0.0,
            float(np.max(np.abs(arrays["iterated"] - arrays["interpolated"])) / scale),
            tolerance=1e-9,
        ),
        Claim(
            "between the knots, coefficients that are zero by one of the two methods only, of 110",
            "both have exact zeros",
            0.0,
            int(np.sum((arrays["iterated"] == 0) != (arrays["interpolated"] == 0))),
        ),
    ]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
