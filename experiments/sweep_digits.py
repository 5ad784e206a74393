"""Which learning rate and weight decay suit AdamW on handwritten digits?

All settings (256 by default) train in one compiled program. The claims check what such a program must keep to be
trusted: a setting's result does not depend, bit for bit, on which settings train beside it, not even on settings that
    diverge.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

import regopt
from _style import heatmap, learning_curves
from regopt import sweep
from regopt.data import digits
from regopt.experiment import Claim
from regopt.layers import MLP
from regopt.losses import accuracy, cross_entropy

POISON = {"learning_rate": 1e30, "weight_decay": float("nan")}


@dataclass(frozen=True)
class Config:
    """The sweep.

    Attributes:
        points: number of levels of each of the two numbers, so there are points**2 settings.
        learning_rates: smallest and largest learning rate, in parameter units.
        weight_decays: smallest and largest weight decay, dimensionless.
        width: hidden units.
        batch_size: images in a batch.
        steps: training steps of each setting.
        eval_every: steps between evaluations.
        chunk: number of settings that a device trains at once; 0 measures what fits.
        test_accuracy: the lowest claimed test accuracy of the best setting.
        seed: random seed of the initial weights and the order of the images.
    """

    points: Annotated[int, Field(ge=3, le=1000)] = 16
    learning_rates: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1e-4, 1.0)
    weight_decays: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1e-4, 10.0)
    width: Annotated[int, Field(ge=1)] = 128
    batch_size: Annotated[int, Field(ge=1, le=1077)] = 128
    steps: Annotated[int, Field(ge=1)] = 300
    eval_every: Annotated[int, Field(ge=1)] = 30
    chunk: Annotated[int, Field(ge=0)] = 0
    test_accuracy: Annotated[float, Field(ge=0, le=1)] = 0.96
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def __post_init__(self):
        if self.steps % self.eval_every:
            raise ValueError(f"steps must be a multiple of eval_every = {self.eval_every}, got {self.steps}")
        for name in ("learning_rates", "weight_decays"):
            if getattr(self, name)[0] >= getattr(self, name)[1]:
                raise ValueError(f"{name} must ascend, got {getattr(self, name)}")


def run(config, key, saved):
    """Train the grid, then its best setting alone, then the grid with two settings poisoned."""
    data = digits()
    task = sweep.supervised(
        lambda _, rngs: MLP((64, config.width, 10), rngs=rngs),
        cross_entropy,
        lambda h: regopt.adamw(h["learning_rate"], weight_decay=h["weight_decay"]),
        metrics={"accuracy": accuracy},
    )
    space = {
        "learning_rate": sweep.log_uniform(*config.learning_rates),
        "weight_decay": sweep.log_uniform(*config.weight_decays),
    }

    def train(settings, **saved):
        return sweep.run(
            task,
            settings,
            data,
            steps=config.steps,
            eval_every=config.eval_every,
            batch_size=config.batch_size,
            key=key,
            chunk=config.chunk or None,
            progress=True,
            **saved,
        )

    settings = sweep.grid(space, points=config.points)
    result = train(settings, **saved)
    arrays = _arrays(settings, result)
    if result.interrupted:
        return arrays
    best = result.best()
    arrays["best"] = np.array(best.index)
    on_test = task.evaluate(result.state(best), data._replace(validation=data.test), best.setting)
    arrays["test_accuracy"] = np.asarray(on_test["validation_accuracy"])
    alone = result.refit(best)
    arrays["alone_differs"] = np.array(_differing(result, alone, np.array([best.index])))
    if alone.interrupted:
        return arrays | {"interrupted": np.array(True)}
    poisoned, rows = _poison(settings, best.index)
    others = np.setdiff1d(np.arange(len(settings)), rows)
    after = train(poisoned, **saved | {"out": saved["out"].with_name("poisoned")})
    arrays["interrupted"] = np.array(after.interrupted)
    arrays["poisoned_diverged"] = np.array(sum(after.status[rows] == "diverged"))
    arrays["others_differ"] = np.array(_differing(result, after, others))
    return arrays


def figure(config, arrays):
    """The validation loss over the grid with the best marked, and three learning curves."""
    drawing = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = drawing.subplots(1, 2)
    rates, decays = np.unique(arrays["learning_rate"]), np.unique(arrays["weight_decay"])
    final = np.where(arrays["status"] == "diverged", np.nan, arrays["kept_validation_loss"])
    order = np.argsort(np.where(np.isnan(final), np.inf, final))[: np.isfinite(final).sum()]
    if len(order) == 0:
        left.set_title("nothing was trained")
        return drawing
    best, middle, worst = order[0], order[len(order) // 2], order[-1]
    heatmap(
        left,
        rates,
        decays,
        final.reshape(len(rates), len(decays)),
        labels=("learning rate", "weight decay", "validation loss (nats)"),
        best=(arrays["learning_rate"][best], arrays["weight_decay"][best]),
    )
    left.set_title(f"{len(final)} settings in one program; star: the best, grey: diverged")
    learning_curves(
        right,
        arrays["steps"],
        {
            f"{name}: rate {arrays['learning_rate'][row]:.2g}, decay {arrays['weight_decay'][row]:.2g}": arrays[
                "validation_loss"
            ][row]
            for name, row in (("best", best), ("median", middle), ("worst finite", worst))
        },
        label="validation loss (nats)",
    )
    right.set_title("learning curves")
    return drawing


def claims(config, arrays):
    """The best setting is good and inside the grid; no result depends on the settings beside it."""
    best = int(arrays["best"])
    source = "regopt, sweep engine"
    on_edge = [
        arrays[name][best] in (arrays[name].min(), arrays[name].max()) for name in ("learning_rate", "weight_decay")
    ]
    return [
        Claim(
            "test accuracy of the setting with the best validation loss",
            "MLP 64-128-10 on scikit-learn's digits",
            config.test_accuracy,
            float(arrays["test_accuracy"]),
            relation="at least",
        ),
        Claim(
            "sides of the grid that the best setting lies on",
            "a range is wide enough when its optimum is inside",
            0,
            float(sum(on_edge)),
        ),
        Claim("bits differ: a setting alone, and among all", source, 0, float(arrays["alone_differs"])),
        Claim(
            "settings marked diverged: learning rate 1e30, weight decay NaN",
            source,
            2,
            float(arrays["poisoned_diverged"]),
        ),
        Claim("bits differ: the others beside two that diverge", source, 0, float(arrays["others_differ"])),
    ]


def table(config, arrays):
    """One row for each setting, at the last step that it was trained to."""
    import pandas

    columns = {
        name: arrays[name] for name in ("learning_rate", "weight_decay", "status", "last_step", "first_bad_step")
    }
    metrics = {name.removeprefix("kept_"): values for name, values in arrays.items() if name.startswith("kept_")}
    return pandas.DataFrame({**columns, **metrics})


def _arrays(settings, result):
    """The table and the curves as plain arrays."""
    return {
        **settings.numbers,
        **result.history.curves,
        **{f"kept_{name}": values for name, values in result.kept_metrics().items()},
        "steps": result.history.steps,
        "status": result.status,
        "last_step": result.history.last_step,
        "first_bad_step": result.history.first_bad_step,
        "settings_per_second": np.array(len(settings) / result.run_seconds),
        "compile_seconds": np.array(result.compile_seconds),
        "chunk": np.array(result.chunk),
        "interrupted": np.array(result.interrupted),
    }


def _differing(a, b, rows):
    """How many numbers of the learning curves differ between two results, by their bits."""
    pairs = [(a.history.curves[name][rows], b.history.curves[name][rows]) for name in a.history.curves]
    return sum(int(np.sum(x.view(np.int64) != y.view(np.int64))) for x, y in pairs)


def _poison(settings, best):
    """Two settings made hopeless, never the best one."""
    rows = np.array([row for row in range(3) if row != best][:2])
    columns = {name: column.copy() for name, column in settings.numbers.items()}
    columns["learning_rate"][rows[0]] = POISON["learning_rate"]
    columns["weight_decay"][rows[1]] = POISON["weight_decay"]
    return sweep.from_columns(columns), rows


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
