"""How many features can be left out before the lasso is solved, and what does that save?

The gap-safe rule leaves out only features that are 0 at the minimum. The strong rule guesses more, and its guesses must
be checked. Both start from the solution at the last strength of the path.
"""

import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

from _style import BLACK, BLUE, GREY, ORANGE, note
from regopt import penalties, solvers
from regopt.experiment import Claim

SAFE = "Ndiaye, Fercoq, Gramfort & Salmon (2017), Theorem 6"
STRONG = "Tibshirani et al. (2012), section 3"
PENALTY = partial(penalties.l1, mask={"coefficients": True, "intercept": False})


@dataclass(frozen=True)
class Config:
    """The data and the path.

    Attributes:
        examples: number of examples.
        features: number of features, of which one in 50 has an effect.
        strengths: number of strengths of the path.
        ratio: the last strength over the first one.
        repeats: how often each way to solve the path is timed.
        first_share: the share that the gap-safe rule keeps in the first quarter of the path, at most.
        time_ratio: the time on working sets over that on all features, at most.
        seed: random seed of the data.
    """

    examples: Annotated[int, Field(ge=10)] = 200
    features: Annotated[int, Field(ge=50)] = 2000
    strengths: Annotated[int, Field(ge=3)] = 50
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.05
    repeats: Annotated[int, Field(ge=1)] = 3
    first_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    time_ratio: Annotated[float, Field(gt=0)] = 0.5
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def run(config, key):
    """Along the path, the features of the solutions and those that the two rules keep; seconds of two solvers."""
    with jax.enable_x64(True):
        keys = jax.random.split(key, 3)
        x = jax.random.normal(keys[0], (config.examples, config.features))
        effects = jnp.where(jnp.arange(config.features) % 50 == 0, 1.0, 0.0)
        y = x @ (effects * jax.random.normal(keys[1], effects.shape))
        y = y + 2 * jax.random.normal(keys[2], y.shape)
        model = solvers.LinearModel(solvers.gaussian())
        strengths = solvers.strength_grid(
            model, PENALTY, model.start(x), x, y, size=config.strengths, ratio=config.ratio
        )
        found = solvers.path(model, PENALTY, model.start(x), x, y, strengths=strengths, tolerance=1e-12)

        @jax.jit
        def rules(step):
            params, last, strength = step
            safe = solvers.gap_safe(model, PENALTY(strength), params, x, y)
            at_solution = solvers.gap_safe(model, PENALTY(last), params, x, y)
            slopes = jax.grad(model)(params, x, y)["coefficients"]
            return safe, at_solution, jnp.abs(slopes) > 2 * strength - last

        before = jax.tree.map(lambda w: w[:-1], found.params)
        safe, at_solution, strong = jax.lax.map(rules, (before, strengths[:-1], strengths[1:]))
        return {
            "strengths": strengths,
            "support": found.params["coefficients"] != 0,
            "safe": safe,
            "at_solution": at_solution,
            "strong": strong,
            "seconds": seconds(config, model, x, y, strengths),
            "largest_gap": found.gap.max(),
        }


def seconds(config, model, x, y, strengths):
    """Processor seconds of the path with and without working sets, the median of the repeats."""

    def on_all(x, y):
        return solvers.path(
            model, PENALTY, model.start(x), x, y, strengths=strengths, solver="proximal_gradient", tolerance=1e-8
        )

    def on_working_sets(x, y):
        return solvers.path(
            model, PENALTY, model.start(x), x, y, strengths=strengths, solver="working_set", tolerance=1e-8
        )

    result = []
    for program in (jax.jit(on_all), on_working_sets):
        jax.block_until_ready(program(x, y))
        times = []
        for _ in range(config.repeats):
            began = time.process_time()
            jax.block_until_ready(program(x, y))
            times.append(time.process_time() - began)
        result.append(np.median(times))
    return np.array(result)


def figure(config, arrays):
    """The shares along the path, and the two times."""
    drawing = Figure(figsize=(9.5, 4), layout="constrained")
    left, right = drawing.subplots(1, 2, width_ratios=[2, 1])
    relative = arrays["strengths"] / arrays["strengths"][0]
    rows = [
        ("gap-safe, from the last strength's solution", relative[1:], arrays["safe"], ORANGE),
        ("strong rule, from the same", relative[1:], arrays["strong"], BLUE),
        ("gap-safe, at the solution itself", relative[:-1], arrays["at_solution"], GREY),
        ("not 0 in the solution", relative, arrays["support"], BLACK),
    ]
    for name, places, kept, color in rows:
        left.loglog(places, np.maximum(kept.mean(1), 0.3 / config.features), color=color, label=name)
    left.invert_xaxis()
    left.set(xlabel="strength / the largest", ylabel="share", title="share of the features that a rule keeps")
    left.legend(frameon=False, fontsize="small", loc="lower right")
    right.bar(["all features", "working sets"], arrays["seconds"], color=[GREY, BLUE], width=0.6)
    for place, seconds in enumerate(arrays["seconds"]):
        note(right, f"{seconds:.2g} s", (place, seconds), BLACK, (0, 3), ha="center")
    right.margins(y=0.1)
    right.set(ylabel="processor seconds", title="time of the path")
    return drawing


def claims(config, arrays):
    """Safety, and what is left out."""
    support = arrays["support"]
    lost = int((support[1:] & ~arrays["safe"]).sum() + (support[:-1] & ~arrays["at_solution"]).sum())
    guessed = support[1:] & ~arrays["strong"]
    first, kept = config.strengths // 4, arrays["safe"].mean(1)
    return [
        Claim("features of a solution that the gap-safe rule leaves out", SAFE, 0.0, float(lost)),
        Claim(
            "features of a solution that the strong rule leaves out, over all features of solutions",
            STRONG,
            0.01,
            float(guessed.sum() / max(support.sum(), 1)),
            relation="at most",
        ),
        Claim(
            "features that the strong rule keeps over those of the solution, mean",
            STRONG,
            4.0,
            float(arrays["strong"][1:].sum() / max(support[2:].sum(), 1)),
            relation="at most",
        ),
        Claim(
            "share that the gap-safe rule keeps from the last solution, first quarter of the path",
            SAFE,
            config.first_share,
            float(kept[:first].mean()),
            relation="at most",
        ),
        Claim(
            "share that the gap-safe rule keeps, last quarter over first: more at small strengths",
            SAFE,
            1.0,
            float(kept[-first:].mean() / kept[:first].mean()),
            relation="at least",
        ),
        Claim(
            "share that the gap-safe rule keeps at the solution itself over that of the solution",
            SAFE,
            1.5,
            float(arrays["at_solution"][1:].sum() / max(support[1:-1].sum(), 1)),
            relation="at most",
        ),
        Claim(
            "time on working sets over that on all features",
            "Massias, Gramfort & Salmon (2018)",
            config.time_ratio,
            float(arrays["seconds"][1] / arrays["seconds"][0]),
            relation="at most",
        ),
        Claim("largest duality gap of a fit", "the solver", 1e-9, float(arrays["largest_gap"]), relation="at most"),
    ]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
