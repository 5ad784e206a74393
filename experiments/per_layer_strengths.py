"""Is a strength for each layer, or for each unit, worth more than the best single one?

Hypergradients find strengths of an L2 penalty by descent on the validation loss, as many as there are; a sweep of 256
runs finds a single one. Both have the same budget of arithmetic. Strengths for each unit also overfit the validation
examples, so what counts is the test loss, run by run: each has its own split of the digits and its own initial weights.
"""

import sys
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from pydantic import Field

import regopt
from _draws import stream_of
from _style import BLACK, BLUE, GREEN, RED, SCALE, interval, note, paired_interval
from regopt import penalties, sweep
from regopt.data import Splits, digits
from regopt.experiment import Claim
from regopt.layers import MLP
from regopt.losses import accuracy, cross_entropy

METHODS = ("sweep, single", "descent, single", "descent, per layer", "descent, per unit")
COLOURS = (BLACK, BLUE, GREEN, RED)
MEASURES = ("validation_loss", "test_loss", "test_error")
PIXELS = 64


@dataclass(frozen=True)
class Config:
    """The data, the network, and the two searches.

    Attributes:
        runs: splits of the data, each with its own initial weights.
        examples: training images of a run.
        validation: validation images of a run; all other images are for the test.
        width: hidden units.
        learning_rate: learning rate of momentum, in parameter units per gradient unit.
        momentum: factor of the old velocity, dimensionless.
        batch_size: images in a batch.
        steps: steps of a training.
        lanes: number of strengths that the sweep tries in each run.
        strengths: smallest and largest of these strengths, in loss units per squared parameter unit.
        start: strength at which the descent starts, in the same unit.
        rounds: number of hypergradients that a descent takes.
        descent_rate: learning rate of the descent's Adam, in units of log strength.
        level: level of the confidence intervals.
        seed: random seed of everything.
    """

    runs: Annotated[int, Field(ge=2)] = 20
    examples: Annotated[int, Field(ge=10, le=1000)] = 100
    validation: Annotated[int, Field(ge=10, le=500)] = 100
    width: Annotated[int, Field(ge=1)] = 16
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    batch_size: Annotated[int, Field(ge=1)] = 50
    steps: Annotated[int, Field(ge=1)] = 100
    lanes: Annotated[int, Field(ge=3)] = 256
    strengths: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1e-4, 1.0)
    start: Annotated[float, Field(gt=0)] = 0.01
    rounds: Annotated[int, Field(ge=1)] = 79
    descent_rate: Annotated[float, Field(gt=0)] = 0.2
    level: Annotated[float, Field(gt=0, lt=1)] = 0.99
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def __post_init__(self):
        if self.batch_size > self.examples:
            raise ValueError(f"batch_size must be at most examples = {self.examples}, got {self.batch_size}")
        if self.strengths[0] >= self.strengths[1]:
            raise ValueError(f"strengths must ascend, got {self.strengths}")


def run(config, key):
    """The sweep, then the three descents, and what the strengths that each has found are worth."""
    images, labels = (np.concatenate(parts) for parts in zip(*digits(), strict=True))
    generator = stream_of(key)
    orders = np.stack([generator.permutation(len(labels)) for _ in range(config.runs)])
    cuts = [config.examples, config.examples + config.validation]
    rows = np.split(orders, cuts, axis=1)
    task, units = task_of(config), PIXELS + config.width
    swept, curves, interrupted = by_sweep(config, task, (images, labels), rows, key)
    if interrupted:
        return {"interrupted": np.array(True)}
    splits = Splits(*((jnp.asarray(images)[r], jnp.asarray(labels)[r]) for r in rows))
    tied = np.stack([np.zeros(units, int), np.repeat([0, 1], [PIXELS, config.width]), np.arange(units)])
    found = by_descent(config, task, splits, tied, key)
    cost_of_step, cost_of_slope = flops(config, task, splits)
    return {
        **{name: np.concatenate([values[None], found[name]]) for name, values in swept.items()},
        "path": found["path"],
        "accepted": found["accepted"],
        "sweep_loss": curves,
        "flops": np.array(
            [config.lanes * config.steps * cost_of_step]
            + [config.rounds * config.steps * (cost_of_step + cost_of_slope)] * len(tied)
        ),
    }


def figure(config, arrays):
    """The descents beside the sweep, the differences run by run, and the strengths of the pixels."""
    drawing = Figure(figsize=(14, 4.8), layout="constrained")
    left, middle, right = drawing.subplots(1, 3, width_ratios=(1.1, 1.2, 0.9))
    _draw_descents(left, arrays)
    _draw_differences(middle, config, arrays)
    _draw_pixels(drawing, right, arrays)
    return drawing


def claims(config, arrays):
    """Equal budgets, the same single strength, and what more strengths do on seen and on unseen examples."""
    rows = differences(config, arrays)
    source = "measured, paired runs on digits"
    edge = np.isin(arrays["sweep_loss"].argmin(1), [0, arrays["sweep_loss"].shape[1] - 1])

    return [
        Claim(
            "arithmetic of a descent over that of the sweep (FLOP)",
            "XLA's count of one step and of its derivative",
            1.0,
            float(arrays["flops"][1] / arrays["flops"][0]),
            relation="at most",
        ),
        Claim("runs whose best single strength lies on the edge of the sweep", "measured", 0, float(edge.sum())),
        Claim(
            "validation loss: single strength by descent minus by sweep, mean of the runs (nats)",
            "both look for the same minimum",
            0.0,
            float(rows[METHODS[1], "validation_loss"].mean),
            tolerance=0.005,
        ),
        *(
            Claim(
                f"{measure.replace('_', ' ')}: per unit minus best single, upper end of the interval (nats)",
                source,
                0.0,
                float(rows[METHODS[3], measure].high),
                relation="at most",
            )
            for measure in ("validation_loss", "test_loss")
        ),
        Claim(
            "share of the gain in validation loss, per unit over best single, that is a gain in test loss",
            "measured: the rest is overfitting of the validation images, as one strength has none",
            0.5,
            float(rows[METHODS[3], "test_loss"].mean / rows[METHODS[3], "validation_loss"].mean),
            relation="at most",
        ),
    ]


def table(config, arrays):
    """One row for each way to choose the strengths and measure: mean over the runs, and difference to the sweep's."""
    import pandas

    rows = differences(config, arrays)
    return pandas.DataFrame(
        [
            {
                "method": method,
                "measure": measure,
                "mean": arrays[measure][i].mean(),
                "difference": rows[method, measure].mean,
                "low": rows[method, measure].low,
                "high": rows[method, measure].high,
                "flops": arrays["flops"][i],
            }
            for i, method in enumerate(METHODS)
            for measure in MEASURES
        ]
    )


class Difference(NamedTuple):
    """A paired difference to the sweep's best strength: mean over the runs, and half the width of its interval."""

    mean: float
    half: float

    @property
    def low(self):
        """The lower end."""
        return self.mean - self.half

    @property
    def high(self):
        """The upper end."""
        return self.mean + self.half


def differences(config, arrays):
    """By method and measure."""
    return {
        (name, measure): Difference(*paired_interval(values, arrays[measure][0], config.level))
        for measure in MEASURES
        for name, values in zip(METHODS, arrays[measure], strict=True)
    }


def task_of(config):
    """A small network with a strength for each input of a layer, ``h["strengths"]`` [pixels + width]."""

    def optimizer(h):
        of_pixels, of_hidden = jnp.split(h["strengths"], [PIXELS])  # one for all weights out of an input
        first = jnp.broadcast_to(of_pixels, (config.width, PIXELS))
        second = jnp.broadcast_to(of_hidden, (10, config.width))
        by_layer = {"layers": {0: {"kernel": first, "bias": 0.0}, 1: {"kernel": second, "bias": 0.0}}}
        return regopt.regularize(regopt.heavy_ball(config.learning_rate, config.momentum), penalties.l2(by_layer))

    task = sweep.supervised(
        lambda _, rngs: MLP((PIXELS, config.width, 10), rngs=rngs),
        cross_entropy,
        optimizer,
        metrics={"accuracy": accuracy},
    )

    def evaluate(state, data, h):
        seen = task.evaluate(state, data, h)["validation_loss"]
        test = task.evaluate(state, data._replace(validation=data.test), h)
        return dict(zip(MEASURES, (seen, test["validation_loss"], 1 - test["validation_accuracy"]), strict=True))

    return task._replace(evaluate=evaluate)


def by_sweep(config, task, examples, rows, key):
    """Each run's best single strength on a grid, and the validation loss on all of it; all runs side by side."""

    def spread(h):
        return {**h, "strengths": jnp.full(PIXELS + config.width, h["strength"])}

    def evaluate(state, data, h):
        places = (jnp.asarray(part, jnp.int32)[h["replica"]] for part in rows[1:])
        validation, test = (tuple(x[chosen] for x in data.train) for chosen in places)
        return task.evaluate(state, Splits(data.train, validation, test), spread(h))

    one = task._replace(
        init=lambda key, h: task.init(key, spread(h)),
        step=lambda state, batch, key, h: task.step(state, batch, key, spread(h)),
        evaluate=evaluate,
        predict=None,
    )
    grid, every = np.geomspace(config.strengths[0], config.strengths[1], config.lanes), np.arange(config.runs)
    columns = {
        "strength": np.tile(grid, config.runs),
        "replica": np.repeat(every, config.lanes),
        "seed": np.repeat(every, config.lanes),
    }
    result = sweep.run(
        one,
        sweep.from_columns(columns),
        Splits(examples, examples),
        steps=config.steps,
        eval_every=config.steps,
        batch_size=config.batch_size,
        key=key,
        resamples=rows[0],
        progress=True,
    )
    at_end = {name: result.history.curves[name][:, -1].reshape(config.runs, config.lanes) for name in MEASURES}
    losses = np.where(np.isfinite(at_end["validation_loss"]), at_end["validation_loss"], np.inf)
    best = losses.argmin(1)
    found = {name: values[every, best] for name, values in at_end.items()}
    found["strengths"] = np.repeat(grid[best][:, None], PIXELS + config.width, axis=1)
    return found, losses, result.interrupted


def by_descent(config, task, splits, tied, key):
    """The descents of all runs in one program: ``tied`` [ways, units] says which units share a strength."""

    def one(groups, data, seed):
        def spread(h):
            return {"strengths": h["shared"][groups], "seed": h["seed"]}

        shared = task._replace(
            init=lambda key, h: task.init(key, spread(h)),
            step=lambda state, batch, key, h: task.step(state, batch, key, spread(h)),
            evaluate=lambda state, data, h: task.evaluate(state, data, spread(h)),
            predict=None,
        )

        def slope(h):
            options = {"steps": config.steps, "batch_size": config.batch_size, "key": key}
            return sweep.hypergradient(shared, h, data, fixed={"seed": seed}, **options)

        start = {"shared": jnp.full(tied.shape[1], config.start)}  # those that no group names have slope 0
        found = sweep.tune(slope, start, regopt.adam(config.descent_rate), rounds=config.rounds)
        at_best = {name: found.metrics[name][found.round] for name in MEASURES}
        return at_best | {
            "strengths": found.h["shared"][groups],
            "path": found.values,
            "accepted": found.accepted,
        }

    over_runs = jax.vmap(one, in_axes=(None, 0, 0))
    over_both = jax.jit(jax.vmap(over_runs, in_axes=(0, None, None)))
    found = over_both(jnp.asarray(tied, jnp.int32), splits, jnp.arange(config.runs))
    return {name: np.asarray(values) for name, values in found.items()}


def flops(config, task, splits):
    """Floating-point operations of a training step, and of one trained again and differentiated on the way back."""
    h = {"strengths": jnp.full(PIXELS + config.width, config.start)}
    batch = jax.tree.map(lambda x: x[0, : config.batch_size], splits.train)
    state = task.init(jax.random.key(0), h)

    def step(state, h):
        return task.step(state, batch, jax.random.key(0), h)[0]

    def slope(state, h, change):
        after, pull_back = jax.vjp(step, state, h)
        return after, pull_back(change)

    change = jax.tree.map(
        lambda x: x if jnp.issubdtype(x.dtype, jnp.inexact) else np.zeros(x.shape, jax.dtypes.float0), state
    )
    lowered = jax.jit(step).lower(state, h), jax.jit(slope).lower(state, h, change)
    counts: list[Any] = [one.compile().cost_analysis() for one in lowered]
    return [count["flops"] for count in counts]


def _draw_descents(axes, arrays):
    """Mean over the runs of the best so far, against the arithmetic done."""
    spent = np.linspace(0, 1, arrays["path"].shape[-1] + 1)[1:] * arrays["flops"][1] / 1e9
    best = np.minimum.accumulate(np.where(arrays["accepted"], arrays["path"], np.inf), axis=-1).mean(1)
    single = arrays["validation_loss"][0].mean()
    axes.axhline(single, color=COLOURS[0], lw=1.5)
    for i, (values, color) in enumerate(zip(best, COLOURS[1:], strict=True)):
        axes.plot(spent, values, color=color, lw=2, ls=":" if i == 0 else "-", zorder=3 - i)
    runs = arrays["path"].shape[1]
    axes.set(
        xlabel="arithmetic of the descent in one run (GFLOP)",
        ylabel="validation loss (nats), best so far",
        title=f"mean of {runs} runs",
        xlim=(0, spent[-1] * 1.02),
        ylim=(0, 1.1 * best.max()),
    )
    names = (
        "single: descent (dotted), sweep (black)",
        "per layer: 2 strengths",
        f"per unit: {arrays['strengths'].shape[-1]} strengths",
    )
    for height, name, color in zip((0.32, 0.25, 0.18), names, COLOURS[1:], strict=True):
        axes.text(0.03, height - 0.12, name, color=color, transform=axes.transAxes)


def _draw_differences(axes, config, arrays):
    rows = differences(config, arrays)
    names = {"validation_loss": "validation loss (nats)", "test_loss": "test loss (nats)", "test_error": "test error"}
    for i, measure in enumerate(names):
        for j, (method, color) in enumerate(zip(METHODS[1:], COLOURS[1:], strict=True)):
            row, at = rows[method, measure], -4 * i - j
            interval(axes, row.mean, row.half, at, color)
            note(axes, f"{row.mean:+.4f}", (max(row.high, 0), at), color, (6, 0), va="center")
    axes.axvline(0, color=BLACK, lw=1)
    reach = max(abs(row.low) for row in rows.values())
    axes.set(
        yticks=[-4 * i - 1 for i in range(len(names))],
        yticklabels=list(names.values()),
        xlim=(-1.1 * reach, 0.45 * reach),
        xlabel="minus that of the sweep's best single strength; better to the left",
        title=f"paired, {config.level:.0%} intervals (hollow: holds 0)",
    )


def _draw_pixels(drawing, axes, arrays):
    """Geometric mean over the runs of the strengths that a descent gives the pixels."""
    side = int(np.sqrt(PIXELS))
    strengths = np.exp(np.log(arrays["strengths"][3, :, :PIXELS]).mean(0)).reshape(side, side)
    shown = axes.imshow(strengths, norm=LogNorm(), cmap=SCALE)
    axes.set(xticks=[], yticks=[], title="strength of each pixel, per unit")
    drawing.colorbar(shown, ax=axes, label="loss per squared weight, geometric mean of the runs", shrink=0.85)


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
