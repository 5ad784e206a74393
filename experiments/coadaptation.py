"""Are hidden units less alike after training with dropout, and is it the same to update a random part of the weights?

A network with one hidden layer is trained on digits in three ways with the same seeds: plainly, with dropout of its
hidden units, and with `drop_updates`, where each weight skips its update with the same probability. Two measures of
co-adaptation are taken with the noise off: the mean correlation of two hidden units, in magnitude, and the error of the
network when half of the hidden units are removed without further training. The lecture says that correlated units are
what dropout prevents, and that a random fraction of the weights should be updated. Measured here, dropout hardly
changes the correlation, but makes the network bear the loss of its units; skipped updates do neither.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib.figure import Figure
from pydantic import Field

import regopt
from _style import BLUE, GREY, ORANGE, interval, note, paired_interval
from regopt import sweep, transforms
from regopt.data import Splits, digits
from regopt.experiment import Claim
from regopt.layers import Dense, Dropout
from regopt.losses import accuracy, cross_entropy

HINTON = "Srivastava et al. (2014), section 7"
CHILD = "Xu et al. (2021), section 2"
LECTURE = "the lecture on dropout, co-adaptation"
METHODS = ("plain", "dropout", "drop_updates")
COLORS = (GREY, BLUE, ORANGE)
MEASURES = ("correlation", "halved", "error")
REMOVALS = 10  # random halves of the hidden units that are removed


@dataclass(frozen=True)
class Config:
    """The trainings.

    Attributes:
        examples: training images.
        width: hidden units.
        rate: probability that a unit is dropped, and that a weight is not updated.
        learning_rate: learning rate of Nesterov's momentum.
        steps: number of steps of each training.
        seeds: number of paired trainings of each method.
        seed: random seed of everything.
    """

    examples: Annotated[int, Field(ge=50, le=1077)] = 300
    width: Annotated[int, Field(ge=8)] = 64
    rate: Annotated[float, Field(gt=0, lt=1)] = 0.5
    learning_rate: Annotated[float, Field(gt=0)] = 0.05
    steps: Annotated[int, Field(ge=20, multiple_of=4)] = 800
    seeds: Annotated[int, Field(ge=3)] = 20
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class Network(nnx.Module):
    """A hidden layer with dropout; it returns its hidden units beside its outputs."""

    def __init__(self, width: int, rate: jax.Array, rngs: nnx.Rngs):
        self.first, self.last = Dense(64, width, rngs=rngs), Dense(width, 10, rngs=rngs)
        self.dropout = Dropout(rate, rngs=rngs)

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """``[batch, 64] ->`` outputs, hidden units, and outputs without half of them ``[removals, batch, 10]``."""
        hidden = jax.nn.relu(self.first(x))
        width = hidden.shape[-1]
        places = np.stack([np.random.default_rng(each).permutation(width) for each in range(REMOVALS)])
        kept = jnp.asarray(2.0 * (places < width // 2), hidden.dtype)  # twice those that stay, as in inverted dropout
        return {
            "outputs": self.last(self.dropout(hidden)),
            "hidden": hidden,
            "halved": self.last(kept[:, None] * hidden[None]),
        }


def correlation(found, targets):
    """Mean magnitude of the correlation of two hidden units that are not constant."""
    del targets
    centred = found["hidden"] - jnp.mean(found["hidden"], axis=0, keepdims=True)
    size = jnp.linalg.norm(centred, axis=0)
    alive = size > 1e-3
    scaled = centred / jnp.where(alive, size, 1)[None]
    pairs = alive[:, None] & alive[None] & ~jnp.eye(len(size), dtype=bool)
    return jnp.sum(jnp.abs(scaled.T @ scaled) * pairs) / jnp.maximum(jnp.sum(pairs), 1)


def halved(found, targets):
    """Mean error of the network without half of its hidden units."""
    return 1 - jnp.mean(jax.vmap(lambda outputs: accuracy(outputs, targets))(found["halved"]))


def run(config, key):
    """Measures over the training ``[methods, seeds, evaluations]``, and the share of weights that an update leaves."""
    data = digits()
    train = tuple(each[: config.examples] for each in data.train)
    names = ("dropout", "stay")
    rates = {"plain": (0.0, 0.0), "dropout": (config.rate, 0.0), "drop_updates": (0.0, config.rate)}
    columns = np.repeat(np.array([rates[name] for name in METHODS], np.float32), config.seeds, axis=0)
    settings = sweep.from_columns(
        {name: columns[:, place] for place, name in enumerate(names)}
        | {"seed": np.tile(np.arange(config.seeds), len(METHODS))}
    )

    def optimizer(h):
        drawn = jax.random.fold_in(jax.random.key(config.seed), h["seed"])
        return optax.chain(regopt.nesterov(config.learning_rate, 0.9), transforms.drop_updates(drawn, h["stay"]))

    task = sweep.supervised(
        lambda h, rngs: Network(config.width, h["dropout"], rngs),
        lambda found, targets: cross_entropy(found["outputs"], targets),
        optimizer,
        metrics={
            "correlation": correlation,
            "halved": halved,
            "error": lambda found, targets: 1 - accuracy(found["outputs"], targets),
        },
    )
    result = sweep.run(
        task, settings, Splits(train, data.test), steps=config.steps, eval_every=config.steps // 4, batch_size=50,
        key=key, noise="per lane",
    )  # fmt: skip
    shape = len(METHODS), config.seeds, 4
    found = {name: result.history.curves[f"validation_{name}"].reshape(shape) for name in MEASURES}
    return found | {"unmoved": _unmoved(config)}


def _unmoved(config):
    """The share of 100,000 parameters that one step leaves as they are."""
    optimizer = optax.chain(regopt.sgd(0.1), transforms.drop_updates(jax.random.key(config.seed), config.rate))
    params = jnp.ones(100_000)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    return jnp.mean(jnp.asarray(jax.tree.leaves(updates)[0]) == 0)


def differences(config, arrays, measure, method):
    """Mean of the paired differences from plain training at the end, and half of its 95 % interval."""
    values = arrays[measure][..., -1]
    return paired_interval(values[METHODS.index(method)], values[0], 0.95)


def figure(config, arrays):
    """Both measures and the error over the training, and the paired differences at the end."""
    drawing = Figure(figsize=(13, 4.2), layout="constrained")
    *panels, last = drawing.subplots(1, 4)
    steps = config.steps // 4 * np.arange(1, 5)
    titles = ("correlation of two units", "error without half of the units", "test error")
    for axes, measure, title in zip(panels, MEASURES, titles, strict=True):
        for values, name, color in zip(arrays[measure], METHODS, COLORS, strict=True):
            axes.plot(steps, values.T, color=color, lw=0.5, alpha=0.3)
            axes.plot(steps, values.mean(axis=0), color=color, lw=2.5, label=name)
        axes.set(xlabel="training step", ylim=(0, None))
        axes.set_title(title, fontsize=11)
    panels[0].legend(frameon=False)
    panels[1].set_ylabel("share of the test images")
    for row, measure in enumerate(MEASURES):
        for place, (name, color) in enumerate(zip(METHODS[1:], COLORS[1:], strict=True)):
            mean, half = differences(config, arrays, measure, name)
            height = 2 - row - 0.2 * place
            interval(last, mean, half, height, color)
            note(last, f"{mean:+.3f}", (-0.02, height), color, (-6, 0), ha="right", va="center", fontsize=9)
    last.axvline(0, color=GREY, ls=":")
    last.set_yticks([2, 1, 0], ["correlation", "error, halved", "test error"])
    last.set_xlabel(f"less plain training ({config.seeds} paired seeds, 95 %)")
    return drawing


def claims(config, arrays):
    """What dropout changes, and that skipped updates do not change it."""
    found = {
        (measure, name): differences(config, arrays, measure, name) for measure in MEASURES for name in METHODS[1:]
    }
    seeds = f"{config.seeds} paired seeds"
    mean, half = found["halved", "dropout"]
    other, other_half = found["halved", "drop_updates"]
    correlated, correlated_half = found["correlation", "dropout"]
    error = 4 * np.sqrt(config.rate * (1 - config.rate) / 100_000)  # four standard errors
    few = config.seeds < 20  # too few for an effect of this size
    fall = Claim(
        f"mean correlation of two hidden units, dropout less plain ({correlated:+.3f}, {seeds}): upper end of its 95 % "
        "interval",
        LECTURE, 0, correlated + correlated_half, relation="at most",
    )  # fmt: skip
    return [
        *([] if few else [fall]),
        Claim("drop_updates: share of the weights that a step leaves as they are", CHILD, config.rate,
              float(arrays["unmoved"]), float(error)),
        Claim(f"error without half of the hidden units, dropout less plain ({mean:+.3f}, {seeds}): upper end of its "
              "95 % interval", HINTON, 0, mean + half, relation="at most"),
        Claim("mean correlation of two hidden units: change by dropout over its value without, in magnitude", LECTURE,
              0.1, float(abs(correlated) / arrays["correlation"][0, :, -1].mean()), relation="at most"),
        Claim(f"error without half of the hidden units, drop_updates less plain ({other:+.3f}): of what dropout gains, "
              "at most a quarter (upper end of the 95 % interval)", LECTURE, 0.25, float((-other + other_half) / -mean),
              relation="at most"),
    ]  # fmt: skip


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
