"""What does batch normalisation do to the hidden inputs, to saturating units and to the learning rate in training?

A network of two layers of sigmoids learns digits with and without batch normalisation, with the same seeds at each
learning rate. The drift of the hidden inputs is the change of their mean from one evaluation to the next, in standard
deviations: that is internal covariate shift. It is not the difference between training and test images, which is small
throughout. Normalisation takes it away from what the units receive, not from what comes before the normalisation.
Without it sigmoids saturate at large rates and train slowly at small ones.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib.figure import Figure
from pydantic import Field

import regopt
from _draws import stream_of
from _style import BLUE, GREY, RED, band, paired_interval
from regopt.data import digits
from regopt.experiment import Claim
from regopt.layers import BatchNorm, Dense
from regopt.losses import accuracy, cross_entropy

PAPER = "Ioffe & Szegedy (2015)"
LECTURE = "the lecture on batch normalisation"
DEPTH, WIDTH, BATCH = 2, 50, 50
LEARNED = 0.1  # share of wrong test images below which a training counts as successful
SATURATED = 0.05  # distance of a sigmoid from 0 or 1


@dataclass(frozen=True)
class Config:
    """The trainings.

    Attributes:
        learning_rates: learning rates of gradient descent, ascending.
        seeds: number of paired trainings at each rate.
        steps: number of steps of each training.
        evaluations: number of evaluations of each training, the start included.
        seed: random seed of everything.
    """

    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    seeds: Annotated[int, Field(ge=3)] = 20
    steps: Annotated[int, Field(ge=20)] = 400
    evaluations: Annotated[int, Field(ge=3)] = 11
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class Network(nnx.Module):
    """Layers of sigmoids, with or without a normalisation of their inputs."""

    def __init__(self, *, normalised: bool, rngs: nnx.Rngs):
        self.layers = nnx.List(Dense(size, WIDTH, rngs=rngs) for size in [64] + [WIDTH] * (DEPTH - 1))
        self.norms = nnx.List(BatchNorm(WIDTH, rngs=rngs) for _ in range(DEPTH if normalised else 0))
        self.last = Dense(WIDTH, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """``[batch, 64] ->`` outputs, and the inputs of the last hidden units before and after normalisation."""
        before = after = x
        for place, layer in enumerate(self.layers):
            before = layer(x)
            after = self.norms[place](before) if self.norms else before
            x = jax.nn.sigmoid(after)
        return self.last(x), before, after


def run(config, key):
    """For ``[without and with, rates, seeds, evaluations]``: errors, drifts and shares of saturated units."""
    parts = [_trainings(config, jax.random.clone(key), normalised=normalised) for normalised in (False, True)]
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}


def _trainings(config, key, *, normalised):
    x, y = (jnp.asarray(each) for each in digits().train)
    test = tuple(jnp.asarray(each) for each in digits().test)
    networks = [Network(normalised=normalised, rngs=nnx.Rngs(each)) for each in jax.random.split(key, config.seeds)]
    stream = stream_of(key)
    structure = nnx.split(networks[0], nnx.Param, ...)[0]
    starts = jax.tree.map(lambda *each: np.stack(each), *[nnx.split(each, nnx.Param, ...)[1:] for each in networks])
    every = config.steps // (config.evaluations - 1)
    batches = stream.integers(len(y), size=(config.seeds, config.evaluations - 1, every, BATCH))

    def train(start, batches, rate):
        params, rest = start
        optimizer = regopt.sgd(rate)

        def step(carry, places):
            params, rest, state = carry

            def loss(params):
                model = nnx.merge(structure, params, rest, copy=True)
                outputs, _, _ = model(x[places])
                return cross_entropy(outputs, y[places]), nnx.split(model, nnx.Param, ...)[2]

            slopes, rest = jax.grad(loss, has_aux=True)(params)
            updates, state = optimizer.update(slopes, state, params)
            return (jax.tree.map(jnp.add, params, updates), rest, state), None

        def measured(params, rest):
            model = nnx.merge(structure, params, rest, copy=True)
            _, before, after = model(x[:360])  # as in training, with the statistics of these images
            model.eval()
            (_, _, seen), (outputs, _, unseen) = model(x[:360]), model(test[0])
            units = jax.nn.sigmoid(unseen)
            return {
                "errors": 1 - accuracy(outputs, test[1]),
                "saturated": jnp.mean((units < SATURATED) | (units > 1 - SATURATED)),
                "means": jnp.stack([jnp.mean(each, axis=0) for each in (before, after)]),
                "spreads": jnp.stack([jnp.std(each, axis=0) for each in (before, after)]),
                "unseen": jnp.mean(jnp.abs(jnp.mean(unseen, axis=0) - jnp.mean(seen, axis=0)) / jnp.std(seen, axis=0)),
                "unit": jnp.quantile(after[:, 0], jnp.array([0.15, 0.5, 0.85])),
            }

        def segment(carry, batches):
            carry, _ = jax.lax.scan(step, carry, batches)
            return carry, carry[:2]

        _, later = jax.lax.scan(segment, (params, rest, optimizer.init(params)), batches)
        kept = jax.tree.map(lambda first, others: jnp.concatenate([first[None], others]), (params, rest), later)
        return jax.lax.map(lambda each: measured(*each), kept)

    sweep = jax.vmap(jax.vmap(train, in_axes=(0, 0, None)), in_axes=(None, None, 0))
    found = jax.jit(sweep)(starts, batches, np.array(config.learning_rates, np.float32))
    means, spreads = found.pop("means"), found.pop("spreads")
    moved = jnp.abs(means[:, :, 1:] - means[:, :, :-1]) / spreads[:, :, :-1]
    drifts = jnp.mean(moved, axis=-1)  # [rates, seeds, evaluations - 1, before and after]
    return found | {"drift_before": drifts[..., 0], "drift": drifts[..., 1]}


def compared(config, arrays):
    """The place of the rate at which the network without normalisation ends with the smallest mean error."""
    return int(np.argmin(arrays["errors"][0, :, :, -1].mean(axis=1)))


def figure(config, arrays):
    """One unit's inputs over the training, drifts, errors by learning rate, and saturated units."""
    drawing = Figure(figsize=(12.5, 8), layout="constrained")
    (unit, drift), (errors, saturated) = drawing.subplots(2, 2)
    at = compared(config, arrays)
    rate = config.learning_rates[at]
    steps = np.linspace(0, config.steps, config.evaluations)
    names, colors = ("without", "with batch normalisation"), (RED, BLUE)
    for place, (name, color) in enumerate(zip(names, colors, strict=True)):
        low, middle, high = arrays["unit"][place, at, 0].T
        band(unit, steps, low, high, color)
        unit.plot(steps, middle, color=color)
        unit.text(0.98, 0.93 - 0.08 * place, name, color=color, transform=unit.transAxes, ha="right")
        drift.semilogy(steps[1:], arrays["drift"][place, at].mean(axis=0), "o-", color=color, ms=3, label=name)
        for axes, measure in ((errors, "errors"), (saturated, "saturated")):
            values = arrays[measure][place, :, :, -1]
            axes.semilogx(config.learning_rates, values.mean(axis=1), "o-", color=color, label=name)
            axes.semilogx(config.learning_rates, values, ".", color=color, alpha=0.25, ms=4)
            axes.set(xlabel="learning rate", ylim=(-0.02, 1.0))
    before = arrays["drift_before"][1, at].mean(axis=0)
    drift.semilogy(steps[1:], before, "--", color=BLUE, label="with it, before the normalisation")
    drift.semilogy(steps, arrays["unseen"][1, at].mean(axis=0), ":", color=GREY, label="training against test images")
    drift.legend(frameon=False, fontsize=9)
    unit.set(xlabel="training step", ylabel="its input: 15, 50 and 85 %")
    unit.set_title(f"one unit of the last hidden layer, learning rate {rate:g}", fontsize=11)
    drift.set(xlabel="training step", ylabel="change of the mean / standard deviation")
    drift.set_title("drift of the last layer's inputs since the last point", fontsize=11)
    errors.axhline(LEARNED, color=GREY, ls=":")
    errors.legend(frameon=False)
    errors.set_ylabel("test error at the end")
    errors.set_title(f"{config.seeds} paired trainings at each rate", fontsize=11)
    saturated.set_ylabel("share of saturated sigmoids")
    saturated.set_title(f"last hidden layer: within {SATURATED:g} of 0 or 1", fontsize=11)
    return drawing


def claims(config, arrays):
    """The drift and what it is not, saturating units, and the learning rates that train."""
    return _drift_claims(config, arrays) + _training_claims(config, arrays)


def _drift_claims(config, arrays):
    at = compared(config, arrays)
    drift = arrays["drift"][:, at].mean(axis=2)
    mean, half = paired_interval(drift[1], drift[0], 0.95)
    before = arrays["drift_before"][1, at].mean()
    shift = arrays["unseen"][:, at, :, -1].mean()
    return [
        Claim(f"drift of the units' inputs at rate {config.learning_rates[at]:g}, with less without normalisation "
              f"({mean:+.2f}, {config.seeds} paired seeds): upper end of its 95 % interval", f"{PAPER}, section 2", 0,
              mean + half, relation="at most"),
        Claim("with normalisation: drift before it over drift after it", f"{PAPER}, section 2", 1,
              float(before / drift[1].mean()), relation="at least"),
        Claim("means of the hidden inputs on training and on test images, in standard deviations (no drift)", LECTURE,
              0.1, float(shift), relation="at most"),
    ]  # fmt: skip


def _training_claims(config, arrays):
    errors, saturated = arrays["errors"][..., -1], arrays["saturated"][..., -1]
    usable = (errors.mean(axis=2) < LEARNED).sum(axis=1)
    best = errors.mean(axis=2).argmin(axis=1)
    mean, half = paired_interval(errors[1, best[1]], errors[0, best[0]], 0.95)
    fewer, width = paired_interval(saturated[1, -1], saturated[0, -1], 0.95)
    largest = [max(np.flatnonzero(row), default=-1) for row in errors.mean(axis=2) < LEARNED]
    return [
        Claim(f"learning rates of {len(config.learning_rates)} with a mean error below {LEARNED:g}, with less without "
              "normalisation", LECTURE, 1, float(usable[1] - usable[0]), relation="at least"),
        Claim(f"largest learning rate with a mean error below {LEARNED:g}, in places of the grid, with less without "
              "normalisation", LECTURE, 1, float(largest[1] - largest[0]), relation="at least"),
        Claim(f"test error, each at its best rate, with less without ({mean:+.3f}, {config.seeds} paired seeds): upper "
              "end of its 95 % interval", f"{PAPER}, section 4.1", 0, mean + half, relation="at most"),
        Claim(f"share of saturated units at rate {config.learning_rates[-1]:g}, with less without normalisation "
              f"({fewer:+.3f}): upper end of its 95 % interval", f"{PAPER}, section 2", 0, fewer + width,
              relation="at most"),
    ]  # fmt: skip


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
