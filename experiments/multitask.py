"""Does a second task on the same trunk help the first one?

The first target and the eight of the second task depend on the same four hidden features of the inputs. The first one
is noisy and known for few inputs, the others for many. A network with a trunk that both share (`layers.MultiTask`) is
trained on the first task alone, together with the related one, and together with one of other features. Errors are
those at the best step of each training. The trunk receives the weighted sum of the tasks' gradients.
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
from _style import BLUE, GREY, RED, paired_interval
from regopt.experiment import Claim
from regopt.layers import MLP, Dense, MultiTask
from regopt.losses import multi_task, squared_error

CARUANA = "Caruana (1997), section 2"
BOOK = "Goodfellow et al. (2016), section 7.7"
KINDS = ("alone", "related task", "unrelated task")
COLORS = (GREY, BLUE, RED)
FEATURES, TARGETS = 4, 8  # of the inputs, and of the second task


@dataclass(frozen=True)
class Config:
    """Two targets of the same inputs.

    Attributes:
        inputs: number of inputs.
        examples: number of training examples of the first task.
        others: number of training examples of the second task, those of the first one included.
        width: units of the trunk.
        noise: standard deviation of the first target's noise; the second has none.
        weight: weight of the second task in the loss.
        steps: training steps.
        learning_rate: learning rate of Adam.
        repeats: number of paired repetitions.
        seed: random seed of everything.
    """

    inputs: Annotated[int, Field(ge=2)] = 20
    examples: Annotated[int, Field(ge=20)] = 50
    others: Annotated[int, Field(ge=20)] = 1000
    width: Annotated[int, Field(ge=2)] = 16
    noise: Annotated[float, Field(ge=0)] = 0.5
    weight: Annotated[float, Field(gt=0)] = 4.0
    steps: Annotated[int, Field(ge=10, multiple_of=10)] = 400
    learning_rate: Annotated[float, Field(gt=0)] = 0.01
    repeats: Annotated[int, Field(ge=5)] = 20
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def build(config, key):
    """A trunk with two heads: its structure and its parameters."""
    rngs = nnx.Rngs(params=key)
    heads = {name: Dense(config.width, size, rngs=rngs) for name, size in (("first", 1), ("second", TARGETS))}
    return nnx.split(MultiTask(MLP((config.inputs, config.width), rngs=rngs), heads))


def run(config, key):
    """Test errors of the first task over the training, ``[repeats, kinds, evaluations]``, and a gradient's parts."""
    structure, _ = build(config, jax.random.key(0))
    return {"errors": _errors(config, structure, key), "gradient_gap": _gradient_gap(config, structure)}


def _errors(config, structure, key):
    optimizer = regopt.adam(config.learning_rate)
    stream = stream_of(key)

    def normal(*shape):
        return stream.normal(size=(config.repeats, *shape)).astype(np.float32)

    many = max(config.others, config.examples)
    drawn = (normal(2, config.inputs, FEATURES) / np.sqrt(np.float32(config.inputs)),
             normal(2, FEATURES, TARGETS) / np.sqrt(np.float32(FEATURES)),
             normal(2, many, config.inputs), config.noise * normal(config.examples))  # fmt: skip
    starts = [build(config, each)[1] for each in jax.random.split(key, config.repeats)]

    def repeat(start, mix, readouts, inputs, error):
        (first, second), (x, new) = readouts, inputs

        def features(x, which):
            return jnp.tanh(2 * x @ mix[which])

        y = features(x[: config.examples], 0) @ first[:, 0] + error

        def train(targets_of_second, weight):
            targets = {"first": y[:, None], "second": targets_of_second}
            loss = multi_task({"first": squared_error, "second": squared_error}, {"first": 1.0, "second": weight})

            def step(carry, _):
                params, state = carry

                def both(params):
                    outputs = nnx.merge(structure, params)(x)
                    return loss({**outputs, "first": outputs["first"][: config.examples]}, targets)

                slopes = jax.grad(both)(params)
                updates, state = optimizer.update(slopes, state, params)
                return (jax.tree.map(jnp.add, params, updates), state), None

            def segment(carry, _):
                carry, _ = jax.lax.scan(step, carry, length=10)
                found = nnx.merge(structure, carry[0])(new)["first"][:, 0]
                return carry, jnp.mean(jnp.square(found - features(new, 0) @ first[:, 0]))

            return jax.lax.scan(segment, (start, optimizer.init(start)), length=config.steps // 10)[1]

        related, unrelated = features(x, 0) @ second, features(x, 1) @ second
        seconds, weights = jnp.stack([related, related, unrelated]), jnp.array([0, config.weight, config.weight])
        return jax.vmap(train)(seconds, weights)

    return jax.jit(jax.vmap(repeat))(jax.tree.map(lambda *each: np.stack(each), *starts), *drawn)


def _gradient_gap(config, structure):
    """The trunk's gradient under the sum of both losses, less the weighted sum of those of each, relative."""
    params = build(config, jax.random.key(1))[1]
    x = np.random.default_rng(2).normal(size=(30, config.inputs)).astype(np.float32)
    targets = {"first": x[:, :1], "second": x[:, :TARGETS]}
    measures = {"first": squared_error, "second": squared_error}

    def slopes(first, second):
        loss = multi_task(measures, {"first": first, "second": second})
        found = jax.grad(lambda params: loss(nnx.merge(structure, params)(x), targets))(params)
        return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(found["trunk"])])

    weights = np.array([[1.0, config.weight], [1.0, 0.0], [0.0, 1.0]], np.float32)
    both, first, second = np.asarray(jax.jit(jax.vmap(slopes))(*weights.T))
    return np.linalg.norm(both - first - config.weight * second) / np.linalg.norm(both)


def figure(config, arrays):
    """Test errors of the first task over the training, and the paired differences at the best point of each."""
    drawing = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = drawing.subplots(1, 2)
    steps = 10 * np.arange(1, arrays["errors"].shape[2] + 1)
    for place, (name, color) in enumerate(zip(KINDS, COLORS, strict=True)):
        curves = arrays["errors"][:, place]
        left.plot(steps, curves.T, color=color, lw=0.5, alpha=0.3)
        left.plot(steps, curves.mean(axis=0), color=color, lw=2.5, label=name)
    left.legend(frameon=False)
    left.set(xlabel="training step", ylabel="test error of the first task", ylim=(0, 1.5))
    left.set_title(f"{config.repeats} repetitions, and their means", fontsize=11)
    best = arrays["errors"].min(axis=2)
    for place, color in enumerate(COLORS[1:]):
        differences = best[:, place + 1] - best[:, 0]
        mean, half = paired_interval(best[:, place + 1], best[:, 0], 0.95)
        right.plot(differences, np.full(len(differences), place) + 0.15, "o", color=color, alpha=0.4)
        right.errorbar(mean, place - 0.1, xerr=half, fmt="s", color=color, capsize=4)
    right.axvline(0, color=GREY, ls=":")
    right.set_yticks([0, 1], [f"with {name}" for name in KINDS[1:]])
    right.set(ylim=(-0.5, 1.5), xlabel="change of the test error (paired; squares: mean, 95 % interval)")
    right.set_title("each at its best step", fontsize=11)
    return drawing


def claims(config, arrays):
    """The gradient is a sum; a related task helps, and it helps more than an unrelated one."""
    best = arrays["errors"].min(axis=2)
    related, half = paired_interval(best[:, 1], best[:, 0], 0.95)
    unrelated, other = paired_interval(best[:, 1], best[:, 2], 0.95)
    return [
        Claim(
            "gradient of the trunk less the weighted sum of the tasks' gradients, relative",
            CARUANA,
            0,
            float(arrays["gradient_gap"]),
            1e-5,
        ),
        Claim(
            f"best test error of the first task, related less alone ({related:+.3f}): upper end of its 95 % interval",
            BOOK,
            0,
            related + half,
            relation="at most",
        ),
        Claim(
            f"first task's test error, related less unrelated, mean {unrelated:+.3f}: upper end of its 95 % interval",
            BOOK,
            0,
            unrelated + other,
            relation="at most",
        ),
    ]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
