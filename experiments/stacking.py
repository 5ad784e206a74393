"""May the combiner of a stack learn on the data that its members have learned?

Some texts print that K models are trained on all data, and then a combiner on their predictions. A member that
interpolates, such as the nearest neighbour, has no error there and gets all the weight, and the stack is as bad.
With predictions for examples that a member has not seen (Wolpert 1992) the stack comes close to the member that turns
out to be the best, without knowing which one that is.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

from _style import BLACK, BLUE, GREY, RED, paired_interval
from regopt.ensembles import nearest_neighbours, ridge, stacking
from regopt.experiment import Claim

WOLPERT = "Wolpert (1992), section 2"
BREIMAN = "Breiman (1996), Stacked regressions, section 3"


def powers(degree):
    return lambda x: jnp.concatenate([x**p for p in range(1, degree + 1)], axis=1)


MEMBERS = {
    "line": ridge(1e-8),
    "cubic": ridge(1e-8, basis=powers(3)),
    "9th degree": ridge(1e-8, basis=powers(9)),
    "1 neighbour": nearest_neighbours(1),
    "5 neighbours": nearest_neighbours(5),
    "15 neighbours": nearest_neighbours(15),
}


@dataclass(frozen=True)
class Config:
    """A wave with noise on an interval.

    Attributes:
        examples: number of training examples.
        test: number of inputs at which the error is measured, without noise.
        noise: standard deviation of the targets' noise.
        folds: folds of the out-of-fold predictions.
        repeats: number of training sets.
        seed: random seed of the data.
    """

    examples: Annotated[int, Field(ge=30)] = 80
    test: Annotated[int, Field(ge=50)] = 400
    noise: Annotated[float, Field(gt=0)] = 0.5
    folds: Annotated[int, Field(ge=2, le=30)] = 10
    repeats: Annotated[int, Field(ge=10)] = 100
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def truth(x):
    return jnp.sin(3 * x) + 0.5 * x


def run(config, key):
    """Weights and errors of both stacks, and errors of the members, for each training set."""
    honest = stacking(list(MEMBERS.values()), folds=config.folds)
    printed = stacking(list(MEMBERS.values()), folds=None)

    def repeat(key):
        x_key, noise_key, fit_key = jax.random.split(key, 3)
        x = jax.random.uniform(x_key, (config.examples, 1), minval=-1.5, maxval=1.5)
        y = truth(x[:, 0]) + config.noise * jax.random.normal(noise_key, (config.examples,))
        grid = jnp.linspace(-1.5, 1.5, config.test)[:, None]
        found = {}
        for name, method in (("out-of-fold", honest), ("printed", printed)):
            stacked = method.fit(jax.random.clone(fit_key), x, y)
            members = method.members(stacked, grid)
            found[f"weights, {name}"] = stacked.weights
            found[f"error, {name}"] = jnp.mean(jnp.square(method.predict(stacked, grid) - truth(grid[:, 0])))
            found[f"seen, {name}"] = jnp.mean(jnp.square(stacked.features - y[:, None]), axis=0)
        found["members"] = jnp.mean(jnp.square(members - truth(grid[:, 0])[None]), axis=1)
        return found

    with jax.enable_x64(True):
        return jax.jit(lambda keys: jax.lax.map(repeat, keys))(jax.random.split(key, config.repeats))


def figure(config, arrays):
    """What each combiner sees of the members, the weights that it chooses, and the errors that result."""
    drawing = Figure(figsize=(12, 4.6), layout="constrained")
    left, middle, right = drawing.subplots(1, 3)
    places = np.arange(len(MEMBERS))[::-1]
    kinds = (("printed", RED, 0.18), ("out-of-fold", BLUE, -0.18))
    for name, color, shift in kinds:
        left.barh(places + shift, arrays[f"seen, {name}"].mean(axis=0), 0.34, color=color, label=f"{name} predictions")
        middle.barh(places + shift, arrays[f"weights, {name}"].mean(axis=0), 0.34, color=color)
    new = arrays["members"].mean(axis=0) + config.noise**2
    left.plot(new, places, "|", color=BLACK, ms=18, mew=2, label="on new examples")
    middle.legend(*left.get_legend_handles_labels(), loc="upper right", fontsize=9, frameon=False)
    left.set(xlabel="squared error", title="what the combiner sees")
    middle.set(xlabel="mean weight", title="what it makes of it")
    for axes in (left, middle):
        axes.set_yticks(places, MEMBERS)
    rows = [*((name, arrays["members"][:, i], GREY) for i, name in enumerate(MEMBERS))]
    rows += [(f"stack, {name}", arrays[f"error, {name}"], color) for name, color, _ in kinds]
    for place, (_, values, color) in enumerate(reversed(rows)):
        right.boxplot(values, positions=[place], orientation="horizontal", widths=0.6, sym="", patch_artist=True,
                      boxprops={"facecolor": color, "alpha": 0.6}, medianprops={"color": BLACK})  # fmt: skip
    right.set_yticks(range(len(rows)), [name for name, _, _ in reversed(rows)])
    right.set(xscale="log", xlabel="squared distance to the truth", title=f"{config.repeats} training sets")
    return drawing


def claims(config, arrays):
    """The printed form rewards the member that interpolates; out-of-fold predictions do not."""
    interpolator = list(MEMBERS).index("1 neighbour")
    errors = arrays["members"]
    best = int(np.argmin(errors.mean(axis=0)))
    printed, honest = arrays["error, printed"], arrays["error, out-of-fold"]
    gain, half = paired_interval(printed, honest, 0.95)
    loss, loss_half = paired_interval(honest, errors[:, best], 0.95)
    seen = arrays["seen, out-of-fold"].mean(axis=0) - config.noise**2
    return [
        Claim(
            "printed form: weight of the nearest neighbour, smallest over the training sets",
            WOLPERT,
            1,
            float(arrays["weights, printed"][:, interpolator].min()),
            1e-6,
        ),
        Claim(
            "printed form: its error over that of the nearest neighbour alone, less 1, largest",
            WOLPERT,
            0,
            float(np.max(np.abs(printed / errors[:, interpolator] - 1))),
            1e-4,
        ),
        Claim(
            "out-of-fold: mean weight of the nearest neighbour",
            WOLPERT,
            0.1,
            float(arrays["weights, out-of-fold"][:, interpolator].mean()),
            relation="at most",
        ),
        Claim(
            f"squared error, printed less out-of-fold: lower end of the 95 % interval over {config.repeats} pairs",
            WOLPERT,
            0,
            gain - half,
            relation="at least",
        ),
        *_best_claims(config, loss + loss_half, float(errors[:, best].mean()), list(MEMBERS)[best]),
        Claim(
            "what the combiner sees, less the noise, over the error on new examples: nearest neighbour, out-of-fold",
            WOLPERT,
            1,
            float(seen[interpolator] / errors[:, interpolator].mean()),
            0.25,
        ),
    ]


def _best_claims(config, upper, error, best):
    """How near the stack comes to the member that turns out to be the best, given enough training sets to tell."""
    if config.repeats < 100:
        return []
    statement = f"out-of-fold less the member that is best on average ({best}), upper end over its error"
    return [Claim(statement, BREIMAN, 0.25, upper / error, relation="at most")]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
