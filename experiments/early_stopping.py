"""When should training stop, and what should happen after?

A network is trained on 300 handwritten digits, a fifth of them labelled wrongly, until it knows the errors by heart.
Algorithm 7.1 stops it, with several patiences as lanes of one program; Algorithms 7.2 and 7.3 then use the validation
examples as well. All are compared on the test set, run by run: each run has its own split, its own errors in the
labels and its own initial weights, shared by all that is compared.
"""

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib.figure import Figure
from pydantic import Field

import regopt
from _draws import stream_of
from _style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, RED, interval, note, paired_interval
from regopt import sweep
from regopt.data import Splits, digits
from regopt.experiment import Claim
from regopt.layers import MLP
from regopt.losses import accuracy, cross_entropy, squared_error
from regopt.training import continue_training, fit, retrain

BOOK = "Goodfellow, Bengio & Courville 2016, Algorithm "
AFTER = {
    "never stopped": "no early stopping",
    "by updates": "7.2, as many updates",
    "by epochs": "7.2, as many epochs",
    "continued": "7.3, continued",
}


@dataclass(frozen=True)
class Config:
    """The data, the network, and when to stop.

    Attributes:
        runs: splits of the data, each with its own errors and initial weights.
        examples: training images of a run.
        validation: validation images of a run; all other images are for the test.
        label_noise: share of labels replaced by a wrong one, in all three parts.
        width: hidden units.
        learning_rate: learning rate of momentum, in parameter units per gradient unit.
        momentum: factor of the old velocity, dimensionless.
        batch_size: images in a batch.
        steps: steps of the longest training, and the most that Algorithm 7.3 adds.
        eval_every: steps between evaluations.
        patiences: evaluations without improvement to wait for, ascending.
        patience: the patience that Algorithms 7.2 and 7.3 follow and that all others are compared with.
        level: level of the confidence intervals.
        claimed: which of the ways to go on are claimed to differ from the stop in test loss, in the direction of
            the book: worse without a stop, better on all data. The others are measured.
        seed: random seed of everything.
    """

    runs: Annotated[int, Field(ge=2)] = 48
    examples: Annotated[int, Field(ge=10, le=1000)] = 300
    validation: Annotated[int, Field(ge=10, le=500)] = 100
    label_noise: Annotated[float, Field(ge=0, le=1)] = 0.2
    width: Annotated[int, Field(ge=1)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 0.05
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    batch_size: Annotated[int, Field(ge=1)] = 50
    steps: Annotated[int, Field(ge=1)] = 600
    eval_every: Annotated[int, Field(ge=1)] = 10
    patiences: tuple[Annotated[int, Field(ge=1)], ...] = (1, 2, 4, 8, 16)
    patience: Annotated[int, Field(ge=1)] = 8
    level: Annotated[float, Field(gt=0, lt=1)] = 0.99
    claimed: tuple[Literal["never stopped", "by updates", "by epochs", "continued"], ...] = ("never stopped",)
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def __post_init__(self):
        if self.steps % self.eval_every:
            raise ValueError(f"steps must be a multiple of eval_every = {self.eval_every}, got {self.steps}")
        if self.batch_size > self.examples:
            raise ValueError(f"batch_size must be at most examples = {self.examples}, got {self.batch_size}")
        if list(self.patiences) != sorted(set(self.patiences)):
            raise ValueError(f"patiences must ascend, got {self.patiences}")
        if self.patience not in self.patiences:
            raise ValueError(f"patience must be one of patiences = {self.patiences}, got {self.patience}")


def run(config, key):
    """Every run, one after another, so that one that has stopped costs nothing more; its patiences side by side."""
    whole = digits()
    images, labels = (np.concatenate([part[i] for part in whole]) for i in range(2))
    task = sweep.supervised(
        lambda _, rngs: MLP((64, config.width, 10), rngs=rngs),
        cross_entropy,
        lambda _: regopt.heavy_ball(config.learning_rate, config.momentum),
        metrics={"accuracy": accuracy},
    )

    def one(drawn):
        (x, y, given), key = drawn
        cuts = [config.examples, config.examples + config.validation]
        data = Splits(*zip(jnp.split(x, cuts), jnp.split(given, cuts), strict=True))
        return _compare(config, task, data, y[cuts[1] :], key)

    stream = stream_of(key)
    drawn = [_shuffled(config, images, labels, stream) for _ in range(config.runs)]
    drawn = tuple(np.stack(each) for each in zip(*drawn, strict=True))
    found = jax.jit(lambda *drawn: jax.lax.map(one, drawn))(drawn, jax.random.split(key, config.runs))
    return {
        **{name: np.asarray(values) for name, values in found.items()},
        **_two_targets(config),
    }


def figure(config, arrays):
    """One run's curves with the stops of all patiences, and what else could be done, compared with one of them."""
    drawing = Figure(figsize=(12.5, 5.2), layout="constrained")
    left, right = drawing.subplots(1, 2)
    _draw_stops(left, config, arrays)
    _draw_differences(right, config, arrays)
    return drawing


def claims(config, arrays):
    """What the algorithms do exactly, and the differences that are beyond the noise."""
    return _stop_claims(config, arrays) + _after_claims(config, arrays) + _effects(config, arrays)


def _stop_claims(config, arrays):
    """Algorithm 7.1: the stop, and the best step before it."""
    best, last = arrays["best_step"], arrays["last_step"]
    waited = (last - best) / config.eval_every
    gaps = np.abs(waited - np.array(config.patiences))[arrays["stopped"]]
    return [
        Claim(
            "largest rise of the best validation loss, from a patience to the next larger one, over all runs (nats)",
            BOOK + "7.1",
            0,
            float(np.max(np.diff(arrays["best_loss"], axis=1))),
            relation="at most",
        ),
        Claim(
            "evaluations from the best one to the stop, minus the patience: largest magnitude over all stopped runs",
            BOOK + "7.1",
            0,
            float(gaps.max()) if gaps.size else float("nan"),
        ),
    ]


def _after_claims(config, arrays):
    """Algorithms 7.2 and 7.3: what follows the stop."""
    examples, validation, batch = config.examples, config.validation, config.batch_size
    at_stop = arrays["best_step"][:, config.patiences.index(config.patience)]
    updates, epochs = arrays["updates"].T
    passes = np.abs(epochs * batch / (examples + validation) - at_stop * batch / examples)
    below = arrays["continued_losses"][:, 0] <= arrays["continued_losses"][:, 1]
    wrong = (below != arrays["converged"]) | (~below & (arrays["continued_steps"] != config.steps))
    return [
        Claim(
            "updates of the retraining by updates, minus i*: largest magnitude",
            BOOK + "7.2",
            0,
            float(np.max(np.abs(updates - at_stop))),
        ),
        Claim(
            "passes over the data of the retraining by epochs, minus those up to i*: largest magnitude, half an update",
            BOOK + "7.2",
            batch / (examples + validation) / 2,
            float(passes.max()),
            tolerance=1e-9,
            relation="at most",
        ),
        Claim(
            "runs whose flag 'converged' contradicts the losses measured again, or that gave up before the bound",
            BOOK + "7.3",
            0,
            float(wrong.sum()),
        ),
        Claim(
            "excess of the validation loss over its threshold after the most steps allowed, for one input that has "
            "target 0 in training and 2 in validation: the algorithm would never end",
            BOOK + "7.3 (the book: not guaranteed to terminate)",
            0.5,
            float(arrays["two_targets_excess"]),
            tolerance=1e-3,
        ),
    ]


def table(config, arrays):
    """One row for each thing compared: mean difference from the stop, and the half width of its interval."""
    import pandas

    rows = _rows(config, arrays)
    return pandas.DataFrame(
        [
            {"what": name, "measure": measure, "difference": mean, "half_width": half}
            for name, by_measure in rows
            for measure, (mean, half) in by_measure.items()
        ]
    )


def _draw_stops(axes, config, arrays):
    steps, validation = (
        np.arange(1, config.steps // config.eval_every + 1) * config.eval_every,
        arrays["validation_loss"][0],
    )
    last, best = arrays["last_step"][0], arrays["best_step"][0]
    shown = steps <= min(steps[-1], 1.6 * last.max())
    end, top = steps[shown][-1], validation[shown].max()
    for values, color, name in ((arrays["train_loss"][0], GREY, "training"), (validation, BLACK, "validation")):
        axes.plot(steps[shown], values[shown], color=color, lw=2)
        note(axes, name, (end, values[shown][-1]), color, (6, 0), va="center")
    colors = [BLUE, ORANGE, GREEN, RED, PURPLE]
    for i, patience in enumerate(config.patiences):
        color, height = colors[i % len(colors)], top * (1.62 - 0.09 * i)
        at_stop, at_best = (np.interp(step, steps, validation) for step in (last[i], best[i]))
        axes.plot([last[i], last[i]], [at_stop, height], color=color, lw=1)
        axes.plot(last[i], at_stop, "s", color=color, ms=6)
        axes.plot(best[i], at_best, "*", color=color, ms=16 - 2 * i, markeredgecolor=BLACK, markeredgewidth=0.5)
        what = f"patience {patience}: {'stops' if arrays['stopped'][0, i] else 'ends'} at {last[i]}, keeps {best[i]}"
        note(axes, what, (last[i], height), color, (4, -2), fontsize=9)
    axes.set(
        xlabel="training step",
        ylabel="loss (nats)",
        xlim=(0, end * 1.22),
        ylim=(0, top * 1.75),
        title="one run: star, the state kept; square, the stop",
    )


def _draw_differences(axes, config, arrays):
    rows = _rows(config, arrays)[::-1]
    measures = {"loss, given labels": (BLUE, "as noisy as in training"), "loss, true labels": (ORANGE, "true")}
    intervals = [(name, [by_measure[m] for m in measures]) for name, by_measure in rows]
    off = {name for name, pairs in intervals if name == AFTER["never stopped"]}  # far beyond the others
    reach = 1.25 * max(abs(mean) + half for name, pairs in intervals if name not in off for mean, half in pairs)
    for i, (_, pairs) in enumerate(intervals):
        for (mean, half), (color, _), shift in zip(pairs, measures.values(), (0.14, -0.14), strict=True):
            if abs(mean) + half > reach:
                side = np.sign(mean)
                axes.annotate(
                    f"{mean:+.2f} ± {half:.2f}",
                    (side * reach, i + shift),
                    xytext=(side * reach * 0.5, i + shift),
                    arrowprops={"arrowstyle": "->", "color": color},
                    color=color,
                    va="center",
                    ha="right" if side > 0 else "left",
                )
                continue
            interval(axes, mean, half, i + shift, color)
    axes.axvline(0, color=BLACK, lw=1)
    axes.axhline(len(AFTER) - 0.5, color=GREY, lw=0.8, ls=":")
    for (color, name), height in zip(measures.values(), (0.99, 0.94), strict=True):
        axes.text(0.015, height, f"test labels: {name}", color=color, transform=axes.transAxes, va="top")
    axes.set(
        yticks=range(len(intervals)),
        yticklabels=[name for name, _ in intervals],
        xlim=(-reach, reach),
        ylim=(-0.6, len(intervals) + 0.1),
        xlabel=f"test loss minus that of the stop with patience {config.patience} (nats); better to the left",
        title=f"{len(arrays['best_step'])} paired runs: mean, {config.level:.0%} interval (hollow: holds 0)",
    )


def _shuffled(config, images, labels, stream):
    """A run's own order of the images, their true labels, and the labels that it is given, some of them wrong."""
    order = stream.permutation(len(labels))
    x, y = images[order], labels[order]
    flipped = stream.uniform(size=len(y)) < config.label_noise
    given = np.where(flipped, (y + stream.integers(1, 10, len(y))) % 10, y)
    return x, y, given.astype(y.dtype)


def _compare(config, task, data, truth, key):
    """Algorithm 7.1 for every patience, then everything that can follow one of them."""
    common = {"batch_size": config.batch_size, "key": key}
    evaluated = {**common, "steps": config.steps, "eval_every": config.eval_every}
    full = fit(task, {}, data, **evaluated)
    stops = jax.vmap(lambda patience: fit(task, {}, data, patience=patience, **evaluated))(
        jnp.array(config.patiences, jnp.int32)
    )
    at = config.patiences.index(config.patience)
    state, best_step = jax.tree.map(lambda x: x[at], (stops.state, stops.best_step))
    anew = [retrain(task, {}, data, best_step, steps=config.steps, by=by, **common) for by in ("updates", "epochs")]
    more = continue_training(task, {}, data, state, best_step, **evaluated)

    def on_test(state):
        given = task.evaluate(state, data._replace(validation=data.test), {})
        true = task.evaluate(state, data._replace(validation=(data.test[0], truth)), {})
        return jnp.stack([given["validation_loss"], true["validation_loss"], true["validation_accuracy"]])

    at_stop = task.evaluate(state, data._replace(validation=data.train), {})["validation_loss"]
    return {
        "train_loss": full.metrics["train_loss"],
        "validation_loss": full.metrics["validation_loss"],
        "best_step": stops.best_step,
        "best_loss": stops.best_metric,
        "last_step": stops.last_step,
        "stopped": stops.stopped,
        "test_stopped": jax.vmap(on_test)(stops.state),
        "test_after": jnp.stack([on_test(one.state) for one in (full, *anew, more)]),
        "updates": jnp.stack([one.last_step for one in anew]),
        "converged": more.converged,
        "continued_steps": more.last_step - best_step,
        "continued_losses": jnp.stack([task.evaluate(more.state, data, {})["validation_loss"], at_stop]),
    }


def _two_targets(config):
    """Algorithm 7.3 where it cannot end: what training has fitted, the validation example contradicts."""
    task = sweep.supervised(
        lambda _, rngs: nnx.Linear(1, 1, use_bias=False, kernel_init=nnx.initializers.zeros, rngs=rngs),
        squared_error,
        lambda _: regopt.sgd(0.1),
    )
    x = np.ones((1, 1), np.float32)
    data = Splits((x, 0 * x), (x, 2 * x))
    fitted = task.init(jax.random.key(0), {})
    found = continue_training(task, {}, data, fitted, 0, steps=config.steps, eval_every=config.eval_every)
    excess = found.metrics["validation_loss"][-1] - found.threshold
    return {"two_targets_excess": np.where(found.converged, np.nan, excess)}


def _rows(config, arrays):
    """What is compared, with its paired difference from the stop of reference in each measure."""
    stopped, at = arrays["test_stopped"], config.patiences.index(config.patience)
    rows = [(f"patience {p}", stopped[:, i]) for i, p in enumerate(config.patiences) if i != at]
    rows += [(name, arrays["test_after"][:, i]) for i, name in enumerate(AFTER.values())]
    measures = ("loss, given labels", "loss, true labels", "accuracy, true labels")
    return [
        (name, {m: paired_interval(values[:, i], stopped[:, at, i], config.level) for i, m in enumerate(measures)})
        for name, values in rows
    ]


def _effects(config, arrays):
    """The differences that are claimed, each by the end of its interval that is nearer to 0."""
    runs, found = len(arrays["best_step"]), dict(_rows(config, arrays))
    result = []
    for key, name in AFTER.items():
        if key in config.claimed:
            mean, half = found[name]["loss, given labels"]
            worse = key == "never stopped"
            result.append(
                Claim(
                    f"test loss of '{name}' minus that of the stop (nats): {'lower' if worse else 'upper'} end of the "
                    f"{config.level:.0%} interval over {runs} runs, its mean {mean:+.4f}",
                    f"{BOOK}{'7.1' if worse else '7.2' if key.startswith('by') else '7.3'}, on digits",
                    0,
                    mean - half if worse else mean + half,
                    relation="at least" if worse else "at most",
                )
            )
    return result


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
