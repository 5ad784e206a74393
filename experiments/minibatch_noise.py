"""How noisy is a minibatch gradient, and what does a batch size cost?

A batch of B out of N examples has the gradient of all of them on average, with the variance ``s**2 / B`` if it is drawn
with replacement and ``s**2 / B * (N - B) / (N - 1)`` without, where s**2 is the mean squared distance of an example's
gradient from the full one. Measured for a network on handwritten digits, on the batches that regopt trains on; beside
it the time of an epoch, and how far a few epochs come, from one example in a batch to all of them.
"""

import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from matplotlib.figure import Figure
from pydantic import Field

import regopt
from _style import BLACK, BLUE, GREEN, RED, note, plain_ticks
from regopt import sweep
from regopt.data import batch_indices, digits
from regopt.experiment import Claim
from regopt.layers import MLP
from regopt.losses import accuracy, cross_entropy
from regopt.schedules import steps_from_epochs
from regopt.training import train_steps

BOOK = "Goodfellow et al. 2016, section 8.1.3"
COCHRAN = "Cochran 1977, theorem 2.2, summed over the parameters"
EXAMPLES = 1077  # training images of the digits


@dataclass(frozen=True)
class Config:
    """The network, the batches, and how long to train.

    Attributes:
        width: hidden units.
        warm_up: steps of training before the noise is measured.
        batch_sizes: numbers of images in a batch, ascending from 1; a batch of all images is added.
        draws: number of batches for each variance.
        epochs: passes over the data for the comparison of batch sizes.
        learning_rates: smallest and largest learning rate, in parameter units per gradient unit.
        rates: number of learning rates, evenly spaced on a log scale.
        repeats: number of timings of an epoch; the shortest counts.
        tolerance: relative tolerance of the variances.
        seed: random seed of everything.
    """

    width: Annotated[int, Field(ge=1)] = 128
    warm_up: Annotated[int, Field(ge=0)] = 100
    batch_sizes: tuple[Annotated[int, Field(ge=1, lt=EXAMPLES)], ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768)
    draws: Annotated[int, Field(ge=100)] = 10000
    epochs: Annotated[int, Field(ge=1)] = 5
    learning_rates: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (3e-3, 3.0)
    rates: Annotated[int, Field(ge=2)] = 10
    repeats: Annotated[int, Field(ge=1)] = 20
    tolerance: Annotated[float, Field(gt=0)] = 0.03
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def __post_init__(self):
        if list(self.batch_sizes) != sorted(set(self.batch_sizes)) or self.batch_sizes[0] != 1:
            raise ValueError(f"batch_sizes must ascend from 1, got {self.batch_sizes}")


def run(config, key):
    """The noise at one point of the training; then an epoch's time and a few epochs' loss for each batch size."""
    data = jax.tree.map(jnp.asarray, digits())
    task = sweep.supervised(
        lambda _, rngs: MLP((64, config.width, 10), rngs=rngs),
        cross_entropy,
        lambda h: regopt.sgd(h["learning_rate"]),
        metrics={"accuracy": accuracy},
    )
    keys = jax.random.split(key, 3)
    sizes = (*config.batch_sizes, EXAMPLES)
    return {
        "batch_sizes": np.array(sizes),
        **_noise(config, task, data, keys[0]),
        "flops": _arithmetic(task, data),
        "epoch_seconds": np.array([_epoch_seconds(config, task, data, size, keys[1]) for size in sizes]),
        **_after_epochs(config, task, data, sizes, keys[2]),
    }


def figure(config, arrays):
    """Noise, time of an epoch, and loss after a few epochs, over the batch size."""
    drawing = Figure(figsize=(14, 4.4), layout="constrained")
    axes = drawing.subplots(1, 3)
    _draw_noise(axes[0], arrays)
    _draw_time(axes[1], arrays)
    _draw_losses(axes[2], config, arrays)
    for each in axes:
        each.set(xscale="log", xlabel="examples in a batch")
        plain_ticks(each.xaxis, [1, 10, 100, 1000])
        each.grid(alpha=0.3)
    return drawing


def claims(config, arrays):
    """The two variances over all batch sizes, what each of them would be wrong by, and the law of small returns."""
    return _variance_claims(config, arrays) + _cost_claims(config, arrays)


def _variance_claims(config, arrays):
    """The variances of both ways to draw a batch, against their formulas."""
    sizes, exact, drawn = arrays["batch_sizes"], expected(arrays), arrays["variances"]
    part = sizes < EXAMPLES
    gaps = np.abs(drawn[part] / exact[part] - 1).max(axis=0)
    errors = np.abs(drawn[part] - exact[part]) / arrays["standard_errors"][part]
    half = int(np.argmin(np.abs(sizes - EXAMPLES / 2)))
    return [
        *(
            Claim(
                f"variance of the gradient of a batch drawn {how}, over {formula}, minus 1: largest over batch sizes",
                COCHRAN,
                0,
                float(gap),
                tolerance=config.tolerance,
            )
            for how, formula, gap in zip(
                ("without replacement", "with replacement"), ("s^2/B (N-B)/(N-1)", "s^2/B"), gaps, strict=True
            )
        ),
        Claim(
            f"variances of both ways less their formulas, in standard errors of {config.draws} draws: the largest",
            COCHRAN,
            4,
            float(errors.max()),
            relation="at most",
        ),
        Claim(
            f"s^2/B over the measured variance without replacement, at B = {sizes[half]}: the factor is no detail",
            COCHRAN,
            float((EXAMPLES - 1) / (EXAMPLES - sizes[half])),
            float(exact[half, 1] / drawn[half, 0]),
            tolerance=2 * config.tolerance,
        ),
        Claim(
            "variance without replacement of the batch of all examples, over s^2",
            COCHRAN,
            0,
            float(drawn[-1, 0] / arrays["s2"]),
            tolerance=1e-6,
        ),
    ]


def _cost_claims(config, arrays):
    """What larger batches cost, and what they buy."""
    slope = np.polyfit(np.log(arrays["batch_sizes"]), np.log(arrays["variances"][:, 1]) / 2, 1)[0]
    best = arrays["losses"].min(axis=1)
    return [
        Claim(
            "arithmetic of the gradient of all examples over that of one, over their number: O(n) against O(1)",
            BOOK,
            1.0,
            float(arrays["flops"][1] / arrays["flops"][0] / EXAMPLES),
            tolerance=0.05,
        ),
        Claim(
            "exponent of the standard deviation in the batch size, drawn with replacement: 100 times the work, a tenth "
            "of the noise",
            BOOK,
            -0.5,
            float(slope),
            tolerance=0.01,
        ),
        Claim(
            f"validation loss after {config.epochs} epochs (nats): full batch minus best batch size, "
            "each at its best learning rate",
            BOOK,
            0,
            float(best[-1] - best.min()),
            relation="at least",
        ),
    ]


def expected(arrays):
    """The two formulas for each batch size, ``[sizes, 2]``: without replacement, and with."""
    sizes = arrays["batch_sizes"]
    independent = arrays["s2"] / sizes
    return np.stack([independent * (EXAMPLES - sizes) / (EXAMPLES - 1), independent], axis=1)


def _noise(config, task, data, key):
    """Mean squared distance of a batch's gradient from the full one, over many batches of each size."""
    init_key, train_key, draw_key = jax.random.split(key, 3)
    h = {"learning_rate": 0.1}
    state = task.init(init_key, h)
    common = {"batch_size": 32, "order_key": train_key, "noise_key": train_key}
    state, _ = train_steps(task, state, data, h, first_step=0, steps=config.warm_up, **common)
    gram = _gram(task, state, data)

    def distance(row):
        share = jnp.zeros(EXAMPLES, jnp.float32).at[row].add(1 / row.shape[0])
        return share @ (gram @ share)

    @partial(jax.jit, static_argnums=1)
    def distances(key, size):
        without_key, with_key = jax.random.split(key)
        without = batch_indices(without_key, 0, config.draws, examples=EXAMPLES, batch_size=size)
        repeated = jax.random.randint(with_key, (config.draws, size), 0, EXAMPLES, jnp.int32)
        return jnp.stack([jax.lax.map(distance, rows, batch_size=250) for rows in (without, repeated)])

    sizes = (*config.batch_sizes, EXAMPLES)
    draw_keys = jax.random.split(draw_key, len(sizes))
    found = np.array([distances(key, size) for key, size in zip(draw_keys, sizes, strict=True)], np.float64)
    return {
        "s2": np.mean(np.diag(gram).astype(np.float64)),
        "variances": found.mean(axis=2),
        "standard_errors": found.std(axis=2, ddof=1) / np.sqrt(config.draws),
    }


def _gram(task, state, data):
    """Inner products of the examples' gradients, each less the full gradient, ``[N, N]``."""

    def gradient(x, y):
        def loss(params):
            return cross_entropy(task.predict(state._replace(params=params), x[None], {}), y[None])

        return ravel_pytree(jax.grad(loss)(state.params))[0]

    gradients = jax.jit(jax.vmap(gradient))(*data.train)
    centred = np.asarray(gradients, np.float64)
    centred -= centred.mean(axis=0)
    return jnp.asarray(centred @ centred.T, jnp.float32)


def _arithmetic(task, data):
    """Floating-point operations of the gradient of one example and of all, as the program counts them."""
    state = task.init(jax.random.key(0), {"learning_rate": 0.01})

    def gradient(params, x, y):
        return jax.grad(lambda p: cross_entropy(task.predict(state._replace(params=p), x, {}), y).mean())(params)

    def count(examples):
        x, y = jax.tree.map(lambda leaf: leaf[:examples], data.train)
        cost: Any = jax.jit(gradient).lower(state.params, x, y).cost_analysis()
        return cost["flops"]

    return np.array([count(1), count(EXAMPLES)])


def _epoch_seconds(config, task, data, size, key):
    """Wall-clock time of one epoch, compiled beforehand."""
    h = {"learning_rate": 0.01}
    steps = steps_from_epochs(1, EXAMPLES, size)

    @jax.jit
    def epoch(state, key):
        keys = {"order_key": key, "noise_key": key}
        return train_steps(task, state, data, h, first_step=0, steps=steps, batch_size=size, **keys)[0]

    state = jax.block_until_ready(epoch(task.init(jax.random.key(0), h), key))
    seconds = []
    for _ in range(config.repeats):
        begin = time.perf_counter()
        jax.block_until_ready(epoch(state, key))
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def _after_epochs(config, task, data, sizes, key):
    """Validation loss after the epochs for each batch size and learning rate; infinite where it diverged."""
    settings = sweep.grid({"learning_rate": sweep.log_uniform(*config.learning_rates)}, points=config.rates)
    losses = []
    for size in sizes:
        steps = steps_from_epochs(config.epochs, EXAMPLES, size)
        result = sweep.run(
            task, settings, data, steps=steps, eval_every=steps, batch_size=size, key=jax.random.clone(key)
        )
        final = result.kept_metrics()["validation_loss"]
        losses.append(np.where(result.status == "diverged", np.inf, final))
    return {"learning_rate": settings.numbers["learning_rate"], "losses": np.array(losses)}


def _draw_noise(axes, arrays):
    sizes = arrays["batch_sizes"]
    fine = {**arrays, "batch_sizes": np.unique(np.concatenate([np.geomspace(1, EXAMPLES - 1, 300), [EXAMPLES - 0.5]]))}
    lines = np.sqrt(expected(fine))
    for i, color in enumerate((RED, BLUE)):
        part = sizes < EXAMPLES if i == 0 else sizes > 0
        axes.plot(fine["batch_sizes"], lines[:, i], color=color, lw=1.2)
        axes.plot(sizes[part], np.sqrt(arrays["variances"][part, i]), "o", color=color, ms=5 - i)
    spread = float(np.sqrt(arrays["s2"]))
    axes.text(1.2, spread / 25, "without replacement:\n$s^2/B\\;(N-B)/(N-1)$", color=RED, va="top")
    axes.text(30, spread / 2.2, "with: $s^2/B$", color=BLUE)
    axes.set(
        yscale="log",
        ylim=(spread / 400, spread * 1.5),
        ylabel="root mean square of the gradient's error",
        title="noise; points: measured, lines: theory",
    )


def _draw_time(axes, arrays):
    milliseconds = 1e3 * arrays["epoch_seconds"]
    axes.plot(arrays["batch_sizes"], milliseconds, "o-", color=GREEN)
    _fit_range(axes, milliseconds)
    axes.set(ylabel="time of an epoch (ms)", title="time on the machine that drew this")


def _draw_losses(axes, config, arrays):
    best = arrays["losses"].argmin(axis=1)
    rows = np.arange(len(best))
    axes.plot(arrays["batch_sizes"], arrays["losses"][rows, best], "o-", color=BLACK)
    heights = np.log(arrays["losses"][rows, best])
    for row in rows:
        around = heights[[max(row - 1, 0), min(row + 1, len(rows) - 1)]]
        steep, below = np.ptp(around) > 0.5, heights[row] < around.mean()
        at = arrays["batch_sizes"][row], np.exp(heights[row])
        offset, align = ((-7, 2), "right") if steep else ((0, -10 if below else 9), "center")
        rate = f"{arrays['learning_rate'][best[row]]:.2g}"
        note(axes, rate, at, BLACK, offset, ha=align, va="center", fontsize=9)
    _fit_range(axes, np.exp(heights))
    axes.set(
        ylabel="validation loss (nats)",
        title=f"loss after {config.epochs} epochs; numbers: learning rate",
    )


def _fit_range(axes, values):
    """A logarithmic axis a little wider than the values, with ticks at 1, 2, 5, 10, ..."""
    low, high = values.min() / 1.3, values.max() * 1.3
    ticks = [m * 10.0**e for e in range(-4, 5) for m in (1, 2, 5) if low <= m * 10.0**e <= high]
    axes.set(yscale="log", ylim=(low, high))
    plain_ticks(axes.yaxis, ticks)


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
