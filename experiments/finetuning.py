"""How much of full fine-tuning do adapters of low rank reach, and what does a setting of them cost in memory?

A small transformer first learns to predict the next character of Python source code. It is then trained further on
English prose, the documentation that Python's `help` shows: all of its parameters, or only adapters (LoRA) of three of
its layers, at several learning rates with the same seeds. The adapters are lanes over one backbone, which is held once;
the state of a lane has the adapters and their optimizer alone, however large the backbone is.
"""

import argparse
import inspect
import sys
import textwrap
from dataclasses import dataclass
from functools import partial
from pydoc_data.topics import topics
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib.figure import Figure
from pydantic import Field

import regopt
from _style import BLUE, GREY, ORANGE, note, paired_interval, plain_ticks
from regopt import sweep, training
from regopt.data import Splits
from regopt.experiment import Claim
from regopt.losses import cross_entropy

LORA = "Hu et al. (2022), section 4.1"
WINDOW, VOCABULARY = 32, 128
METHODS = ("full", "adapters")
BLOCKS = (1, 2, 4)  # of the backbones whose lanes are measured
BATCH = 16


@dataclass(frozen=True)
class Config:
    """The backbone and its trainings.

    Attributes:
        width: width of the transformer.
        pretraining: number of steps on source code.
        pretraining_rate: learning rate of these steps.
        steps: number of steps on prose.
        learning_rates: learning rates of the steps on prose, ascending.
        rank: rank of the adapters.
        seeds: number of paired trainings at each rate.
        seed: random seed of everything.
    """

    width: Annotated[int, Field(ge=8, multiple_of=4)] = 48
    pretraining: Annotated[int, Field(ge=20, multiple_of=2)] = 1500
    pretraining_rate: Annotated[float, Field(gt=0)] = 3e-3
    steps: Annotated[int, Field(ge=10, multiple_of=10)] = 300
    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = (1e-3, 3e-3, 1e-2)
    rank: Annotated[int, Field(ge=1)] = 4
    seeds: Annotated[int, Field(ge=2)] = 5
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class Block(nnx.Module):
    """Causal attention and two dense layers, each added to its normalised input."""

    def __init__(self, width: int, rngs: nnx.Rngs):
        self.attention = nnx.MultiHeadAttention(4, width, decode=False, rngs=rngs)
        self.norms = nnx.List(nnx.LayerNorm(width, rngs=rngs) for _ in range(2))
        self.up, self.down = nnx.Linear(width, 4 * width, rngs=rngs), nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[batch, characters, width] -> [batch, characters, width]``."""
        x = x + self.attention(self.norms[0](x), mask=nnx.make_causal_mask(x[..., 0]))
        return x + self.down(jax.nn.gelu(self.up(self.norms[1](x))))


class Transformer(nnx.Module):
    """Predicts the next character."""

    def __init__(self, width: int, blocks: int, rngs: nnx.Rngs):
        self.characters, self.places = (nnx.Embed(size, width, rngs=rngs) for size in (VOCABULARY, WINDOW))
        self.blocks = nnx.List(Block(width, rngs) for _ in range(blocks))
        self.last = nnx.Linear(width, VOCABULARY, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[batch, characters] -> [batch, characters, vocabulary]``."""
        x = self.characters(x) + self.places(jnp.arange(x.shape[-1]))
        for block in self.blocks:
            x = block(x)
        return self.last(x)


class Adapted(nnx.Module):
    """A layer, and a product of two thin matrices beside it, which is zero at the start."""

    def __init__(self, base: nnx.Linear, rank: int, rngs: nnx.Rngs):
        self.base = base
        self.adapter = nnx.LoRA(base.in_features, rank, base.out_features, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[..., inputs] -> [..., outputs]``."""
        return self.base(x) + self.adapter(x)


def adapted(backbone, rank, rngs):
    """The backbone with adapters in the dense layers of its last block and in its last layer."""
    model = nnx.clone(backbone)
    block = model.blocks[-1]
    block.up, block.down = Adapted(block.up, rank, rngs), Adapted(block.down, rank, rngs)
    model.last = Adapted(model.last, rank, rngs)
    return model


def windows(text, most):
    """Windows of a text, each with the window one character later; every tenth is for validation."""
    characters = np.frombuffer(text.encode("ascii", "replace"), np.uint8).astype(np.int32)[:most]
    count = (len(characters) - 1) // WINDOW
    x, y = (characters[shift : shift + count * WINDOW].reshape(count, WINDOW) for shift in (0, 1))
    held_out = np.arange(count) % 10 == 0
    return Splits((x[~held_out], y[~held_out]), (x[held_out], y[held_out]))


def loss(logits, y):
    """Nats per character."""
    return cross_entropy(logits.reshape(-1, VOCABULARY), y.reshape(-1))


def task_of(model, trainable=None):
    return sweep.supervised(model, loss, lambda h: regopt.adamw(h["learning_rate"]), trainable=trainable)


def tasks_on(backbone, rank):
    """The two ways to train a backbone further."""
    return {
        "full": task_of(lambda _h, _rngs: nnx.clone(backbone)),
        "adapters": task_of(lambda _, rngs: adapted(backbone, rank, rngs), nnx.LoRAParam),
    }


def run(config, key):
    """Losses on prose ``[methods, rates, seeds, evaluations]``, that of the backbone, and the bytes of a lane."""
    first, second = jax.random.split(key)
    code = windows("".join(inspect.getsource(module) for module in (argparse, inspect, textwrap)), 200_000)
    prose = windows("\n".join(topics[name] for name in sorted(topics)), 100_000)
    trained = pretrained(config, code, first)
    backbone = Transformer(config.width, 1, nnx.Rngs(0))
    nnx.update(backbone, nnx.State(trained))
    tasks = tasks_on(backbone, config.rank)
    settings = sweep.grid(
        {"learning_rate": sweep.choice(list(config.learning_rates)), "seed": sweep.seeds(config.seeds)}
    )
    losses = []
    for name in METHODS:
        result = sweep.run(
            tasks[name], settings, prose, steps=config.steps, eval_every=config.steps // 5, batch_size=BATCH,
            key=jax.random.clone(second), chunk=1,  # one lane fills a core's cache; to find that out takes a program
        )  # fmt: skip
        shape = len(config.learning_rates), config.seeds, 5
        losses.append(result.history.curves["validation_loss"].reshape(shape))
    x, y = prose.validation
    return {
        "losses": np.stack(losses),
        "before": jax.jit(lambda model: loss(model(x), y))(backbone),
        "bytes": lane_bytes(config),
    }


@partial(jax.jit, static_argnums=0)
def pretrained(config, code, key):
    """The parameters of a transformer after training on source code."""
    return training.fit(
        task_of(lambda _, rngs: Transformer(config.width, 1, rngs)), {"learning_rate": config.pretraining_rate}, code,
        steps=config.pretraining, eval_every=config.pretraining // 2, batch_size=BATCH, key=key,
    ).state.params  # fmt: skip


def lane_bytes(config):
    """Bytes of the state of a lane ``[methods, blocks of the backbone]``, from the shapes alone."""
    found = np.zeros((len(METHODS), len(BLOCKS)))
    for column, blocks in enumerate(BLOCKS):

        def states(key, blocks=blocks):
            tasks = tasks_on(Transformer(config.width, blocks, nnx.Rngs(0)), config.rank)
            return [tasks[name].init(jax.random.clone(key), {"learning_rate": 1e-3}) for name in METHODS]

        for row, state in enumerate(jax.eval_shape(states, jax.random.key(0))):
            found[row, column] = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    return found


def best_rates(arrays):
    """For each method the place of the learning rate with the lowest mean loss at the end."""
    return arrays["losses"][..., -1].mean(axis=2).argmin(axis=1)


def figure(config, arrays):
    """Losses on prose over the steps, by learning rate, and the bytes of a lane by the size of the backbone."""
    drawing = Figure(figsize=(13, 4.2), layout="constrained")
    curves, rates, memory = drawing.subplots(1, 3)
    steps = config.steps // 5 * np.arange(1, 6)
    names, colors = ("all parameters", f"adapters of rank {config.rank}"), (ORANGE, BLUE)
    for row, (name, color, best) in enumerate(zip(names, colors, best_rates(arrays), strict=True)):
        shown = np.concatenate([np.full((config.seeds, 1), arrays["before"]), arrays["losses"][row, best]], axis=1)
        curves.plot(np.append(0, steps), shown.T, color=color, lw=0.8, alpha=0.5)
        curves.plot([], [], color=color, label=name)
        rates.semilogx(config.learning_rates, arrays["losses"][row, :, :, -1], ".", color=color)
        rates.semilogx(config.learning_rates, arrays["losses"][row, :, :, -1].mean(axis=1), color=color)
        memory.loglog(BLOCKS, arrays["bytes"][row] / 1e3, "o-", color=color)
        note(
            memory, name, (BLOCKS[1], arrays["bytes"][row, 1] / 1e3), color, (0, 10), ha="right" if row == 0 else "left"
        )
    curves.legend(frameon=False)
    curves.set(xlabel="step on prose", ylabel="validation loss (nats per character)", title="each at its best rate")
    rates.axhline(arrays["before"], color=GREY, ls=":")
    note(rates, "before", (config.learning_rates[0], arrays["before"]), GREY, (0, -12))
    rates.set(xlabel="learning rate", ylabel="validation loss at the end", title=f"{config.seeds} seeds and their mean")
    plain_ticks(memory.xaxis, BLOCKS)
    memory.set(xlabel="blocks of the backbone", ylabel="kB of a lane at rest", title="state of a setting")
    return drawing


def claims(config, arrays):
    """What adapters reach, and what a lane of them holds."""
    full, adapters = (arrays["losses"][row, best, :, -1] for row, best in enumerate(best_rates(arrays)))
    before = float(arrays["before"])
    mean, half = paired_interval((before - adapters) / (before - full), np.zeros(config.seeds), 0.95)
    size = arrays["bytes"]
    return [
        Claim("fine-tuning of all parameters: loss on prose over that of the backbone as it is", LORA, 1,
              float(full.mean() / before), relation="at most"),
        Claim(f"adapters: share of what full fine-tuning gains ({mean:.2f}, {config.seeds} seeds), lower end of its 95 "
              "% interval", LORA, 0.5, mean - half, relation="at least"),
        Claim(f"bytes of a lane of adapters over a backbone of {BLOCKS[-1]} blocks, less those over 1 block",
              "compiled shapes", 0, float(size[1, -1] - size[1, 0])),
        Claim(f"{BLOCKS[-1]} blocks: bytes of a lane of adapters over those of a lane of all parameters",
              "compiled shapes", 0.05, float(size[1, -1] / size[0, -1]), relation="at most"),
    ]  # fmt: skip


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
