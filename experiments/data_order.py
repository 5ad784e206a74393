"""In which order should training visit its examples?

On least squares with a constant learning rate, a new permutation in each epoch ends nearer to the minimum than draws
with replacement do. On handwritten digits easy examples first (a curriculum), hard ones first, and random order are
compared in paired runs. The curriculum is ahead of hard examples first at the beginning, and ends behind random order.
"""

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

import regopt
from _draws import stream_of
from _style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, paired_interval
from regopt.data import batch_indices, curriculum_indices, digits
from regopt.experiment import Claim

BOOK = "Goodfellow et al. (2016), section 8.1.3"
BENGIO = "Bengio et al. (2009), section 3, on other data"
LINEAR = ("with replacement", "one fixed order", "a new order each epoch")
ORDERS = ("random", "easy first", "hard first")


@dataclass(frozen=True)
class Config:
    """Least squares, and a network on digits.

    Attributes:
        examples: rows of the least squares problem.
        epochs: passes over them.
        learning_rate: learning rate of gradient descent on them, relative to the largest curvature of one example.
        images: training images of the network.
        steps: training steps of the network.
        batch: images in a batch.
        start: share of the images that a curriculum starts with.
        length: share of the steps after which the curriculum has all images.
        repeats: number of paired repetitions.
        supported: orders that are claimed to be better than random beyond the noise of the repetitions.
        unclear: orders that are claimed not to be better than random beyond this noise.
        seed: random seed of everything.
    """

    examples: Annotated[int, Field(ge=10)] = 100
    epochs: Annotated[int, Field(ge=10)] = 100
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.2
    images: Annotated[int, Field(ge=100, le=1000)] = 500
    steps: Annotated[int, Field(ge=20)] = 300
    batch: Annotated[int, Field(ge=1)] = 32
    start: Annotated[float, Field(gt=0, le=1)] = 0.2
    length: Annotated[float, Field(ge=0, le=1)] = 0.5
    repeats: Annotated[int, Field(ge=5)] = 20
    supported: tuple[Literal["easy first", "hard first"], ...] = ()
    unclear: tuple[Literal["easy first", "hard first"], ...] = ("easy first",)
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def run(config, key):
    """Distances to the minimum over the epochs, and curves on digits."""
    linear_key, digits_key = jax.random.split(key)
    return _least_squares(config, linear_key) | _digits(config, digits_key)


def _least_squares(config, key):
    """Squared distances ``[repeats, orders, epochs]``, relative to the start."""
    n, features = config.examples, 5

    stream = stream_of(key)
    inputs = stream.normal(size=(config.repeats, n, features)).astype(np.float32)
    targets = stream.normal(size=(config.repeats, n)).astype(np.float32)
    draws = stream.integers(n, size=(config.repeats, config.epochs, n))

    def repeat(key, x, y, drawn):
        best = jnp.linalg.lstsq(x, y)[0]
        rate = config.learning_rate / jnp.max(jnp.sum(x**2, axis=1))
        new = batch_indices(key, 0, config.epochs * n, examples=n, batch_size=1).reshape(config.epochs, n)
        fixed = jnp.broadcast_to(new[0], new.shape)

        def descend(rows):
            def step(w, i):
                return w - rate * (x[i] @ w - y[i]) * x[i], None

            def epoch(w, rows):
                w, _ = jax.lax.scan(step, w, rows)
                return w, jnp.sum(jnp.square(w - best)) / jnp.sum(jnp.square(best))

            return jax.lax.scan(epoch, jnp.zeros(features), rows)[1]

        return jax.vmap(descend)(jnp.stack([drawn, fixed, new]))

    keys = jax.random.split(key, config.repeats)
    return {"distance": jax.jit(jax.vmap(repeat))(keys, inputs, targets, draws)}


def _digits(config, key):
    """Test errors ``[repeats, orders, evaluations]``; an image is hard if a linear model is wrong on it."""
    data = digits()
    x, y = (jnp.asarray(each[: config.images]) for each in data.train)
    test_x, test_y = (jnp.asarray(each) for each in data.test)
    difficulty = jax.jit(_difficulty)(x, y)
    optimizer = regopt.heavy_ball(0.05, 0.9)
    stream = stream_of(key)

    def he(*shape):
        return stream.normal(scale=np.sqrt(2 / shape[0]), size=(config.repeats, *shape)).astype(np.float32)

    starts = {"w": he(64, 32), "b": np.zeros((config.repeats, 32), np.float32), "v": he(32, 10)}

    def logits(params, x):
        return jax.nn.relu(x @ params["w"] + params["b"][None]) @ params["v"]

    def repeat(order_key, start):
        def indices(difficulty, share):
            return curriculum_indices(
                jax.random.clone(order_key), 0, config.steps, difficulty, batch_size=config.batch, start=share,
                length=config.length * config.steps,
            )  # fmt: skip

        def train(rows):
            def loss(params, rows):
                log_p = jax.nn.log_softmax(logits(params, x[rows]))
                return -jnp.mean(jnp.take_along_axis(log_p, y[rows][:, None], axis=1))

            def step(carry, rows):
                params, state = carry
                updates, state = optimizer.update(jax.grad(loss)(params, rows), state, params)
                params = jax.tree.map(jnp.add, params, updates)
                return (params, state), jnp.mean(jnp.argmax(logits(params, test_x), axis=1) != test_y)

            return jax.lax.scan(step, (start, optimizer.init(start)), rows)[1][9::10]

        shares = jnp.array([1.0, config.start, config.start])
        rows = jax.vmap(indices)(jnp.stack([difficulty, difficulty, -difficulty]), shares)
        return jax.vmap(train)(rows)

    errors = jax.jit(jax.vmap(repeat))(jax.random.split(key, config.repeats), starts)
    return {"errors": errors, "difficulty": difficulty}


def _difficulty(x, y):
    """The cross-entropy of each image under a softmax regression with a penalty."""
    w = jnp.zeros((64, 10))

    def losses(w):
        return -jnp.take_along_axis(jax.nn.log_softmax(x @ w), y[:, None], axis=1)[:, 0]

    step = jax.grad(lambda w: jnp.mean(losses(w)) + 5e-3 * jnp.sum(w**2))
    return losses(jax.lax.fori_loop(0, 200, lambda _, w: w - 0.5 * step(w), w))


def figure(config, arrays):
    """Distances over the epochs, errors over the steps, and what the orders change."""
    drawing = Figure(figsize=(14, 4.4), layout="constrained")
    left, middle, right = drawing.subplots(1, 3)
    epochs = np.arange(1, config.epochs + 1)
    for place, (name, color) in enumerate(zip(LINEAR, (RED, ORANGE, BLUE), strict=True)):
        left.semilogy(epochs, arrays["distance"][:, place].mean(axis=0), color=color, label=name)
    left.legend(frameon=False)
    left.set(xlabel="epoch", ylabel="squared distance to the minimum", title="least squares, constant learning rate")
    steps = np.arange(1, arrays["errors"].shape[2] + 1) * 10
    for place, (name, color) in enumerate(zip(ORDERS, (GREY, GREEN, PURPLE), strict=True)):
        middle.semilogy(steps, 100 * arrays["errors"][:, place].mean(axis=0), color=color, label=name)
    middle.axvline(config.length * config.steps, color=GREY, ls=":")
    middle.legend(frameon=False)
    middle.set(xlabel="training step", ylabel="test error (%)", title="digits (dotted: all images in use)")
    for place, color in enumerate((GREEN, PURPLE)):
        mean, half = _change(arrays, place + 1)
        values = 100 * (arrays["errors"][:, place + 1, -1] - arrays["errors"][:, 0, -1])
        right.plot(
            values, np.full(len(values), place) + np.linspace(0.1, 0.25, len(values)), "o", color=color, alpha=0.4
        )
        right.errorbar(mean, place - 0.1, xerr=half, fmt="s", color=color, capsize=4)
    right.axvline(0, color=GREY, ls=":")
    right.set_yticks([0, 1], ORDERS[1:])
    right.set(
        ylim=(-0.5, 1.5),
        xlabel="change of the final test error, points (squares: mean, 95 %)",
        title="against random order",
    )
    return drawing


def _change(arrays, place):
    return paired_interval(100 * arrays["errors"][:, place, -1], 100 * arrays["errors"][:, 0, -1], 0.95)


def claims(config, arrays):
    """Permutations beat draws with replacement on least squares; what a curriculum does on digits."""
    tail = np.log(arrays["distance"][:, :, -config.epochs // 2 :].mean(axis=2))
    gain, half = paired_interval(tail[:, 2], tail[:, 0], 0.95)
    result = [
        Claim(
            f"log of the distance, new order less with replacement, mean {gain:+.2f}: upper end of its 95 % interval",
            BOOK,
            0,
            gain + half,
            relation="at most",
        )
    ]
    for names, relation, words in (
        (config.supported, "at most", "better than random order"),
        (config.unclear, "at least", "not shown to be better than random order"),
    ):
        for name in names:
            mean, half = _change(arrays, ORDERS.index(name))
            statement = f"{name}, {words}: change of the test error in points, mean {mean:+.2f}; upper end of its 95 %"
            result.append(Claim(f"{statement} interval", BENGIO, 0, mean + half, relation=relation))
    early = arrays["errors"][:, :, 1]
    slow, width = paired_interval(early[:, 2], early[:, 1], 0.95)
    return [
        *result,
        Claim(
            "digits after 20 steps: test error, hard first less easy first: lower end of its 95 % interval",
            BENGIO,
            0,
            slow - width,
            relation="at least",
        ),
    ]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
