"""Devices to compile for that are not there, and the lane programs of small tasks compiled for them."""

import functools
import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import regopt
from regopt import sweep
from regopt.data import Splits
from regopt.layers import MLP, convolution_by_product
from regopt.losses import cross_entropy
from regopt.sweep.accelerators._cost import cost_of
from regopt.sweep.accelerators._request import compiled, requests
from regopt.sweep.accelerators._targets import ENVIRONMENT, devices_of_target, missing_extra, target_of
from regopt.sweep.engine._config import SweepConfig

RNG = np.random.default_rng(0)
SETTINGS = sweep.from_columns({"learning_rate": np.geomspace(1e-3, 0.1, 8)})
TARGETS = {"tpu": target_of("tpu v5e:2x2"), "cuda": target_of("nvidia h200:4")}


@functools.cache
def devices_of(platform):
    """Four devices that are only compiled for; the test is skipped where their compiler is not installed."""
    missing = missing_extra(platform)
    if missing is not None:
        pytest.skip(missing)
    settings = {name: value for name, value in ENVIRONMENT[platform].items() if not name.startswith("JAX_")}
    if settings.get("XLA_FLAGS", "") not in os.environ.get("XLA_FLAGS", ""):  # read when JAX starts
        pytest.skip(f"to compile for {platform} in this process, start it with XLA_FLAGS={settings['XLA_FLAGS']}")
    before = dict(os.environ)
    os.environ.update({name: value for name, value in settings.items() if name != "XLA_FLAGS"})
    try:
        return devices_of_target(TARGETS[platform])
    finally:
        os.environ.clear()
        os.environ.update(before)


class Compiled(NamedTuple):
    """A group of a sweep whose programs are compiled."""

    form: object
    programs: object
    cost: object  # of a training step; its FLOP are not counted


def compile_sweep(task, data, *, platform="tpu", settings=SETTINGS, count=1, **options):
    """The programs of the one group of a sweep, compiled for so many devices."""
    devices = devices_of(platform)[:count]
    config = SweepConfig(task, settings, data, **({"steps": 6, "eval_every": 3} | options))
    (request,) = requests(config)
    form, programs = compiled(request, devices)
    cost = cost_of(programs.segment, 0.0, config.eval_every, TARGETS[platform].speed, "bfloat16")
    return Compiled(form, programs, cost)


def images(examples=64, batch=16):
    x = RNG.normal(size=(examples, 64)).astype(np.float32)
    y = RNG.integers(0, 10, examples).astype(np.int32)
    return Splits((x, y), (x[:batch], y[:batch]))


def characters(examples=32, window=8):
    x = RNG.integers(0, 16, (examples, window)).astype(np.int32)
    return Splits((x, x), (x[:4], x[:4]))


class Convolutions(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Conv(1, 4, (3, 3), conv_general_dilated=convolution_by_product, rngs=rngs)
        self.last = nnx.Linear(8 * 8 * 4, 10, rngs=rngs)

    def __call__(self, x):
        x = jax.nn.relu(self.first(x.reshape(-1, 8, 8, 1)))
        return self.last(x.reshape(len(x), -1))


class Transformer(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(16, 8, rngs=rngs)
        self.norm = nnx.LayerNorm(8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.up, self.down = nnx.Linear(8, 16, rngs=rngs), nnx.Linear(16, 8, rngs=rngs)
        self.last = nnx.Linear(8, 16, rngs=rngs)

    def __call__(self, x):
        x = self.embed(x)
        x = x + self.attention(self.norm(x), mask=nnx.make_causal_mask(x[..., 0]))
        return self.last(x + self.down(jax.nn.gelu(self.up(x))))


class Adapted(nnx.Module):
    def __init__(self, body, rngs):
        self.body = nnx.LoRA(64, 4, 16, base_module=body, rngs=rngs)
        self.head = nnx.Linear(16, 10, rngs=rngs)

    def __call__(self, x):
        return self.head(jax.nn.relu(self.body(x)))


def per_character(outputs, targets):
    return cross_entropy(outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1))


def adamw(h):
    return regopt.adamw(h["learning_rate"])


def small(features=(64, 16, 10), optimizer=adamw, **options):
    return sweep.supervised(lambda h, rngs: MLP(features, rngs=rngs, **options), cross_entropy, optimizer)


def lora():
    body = nnx.Linear(64, 16, rngs=nnx.Rngs(0))
    return sweep.supervised(
        lambda h, rngs: Adapted(body, rngs), cross_entropy, adamw, trainable=["body/lora_*", "head/**"]
    )


TASKS = {
    "MLP": lambda: (small(), images()),
    "MLP with dropout": lambda: (small(rate=0.2), images()),
    "CNN": lambda: (sweep.supervised(lambda h, rngs: Convolutions(rngs), cross_entropy, adamw), images()),
    "transformer": lambda: (sweep.supervised(lambda h, rngs: Transformer(rngs), per_character, adamw), characters()),
    "LoRA": lambda: (lora(), images()),
}


def least_squares(make, *, residuals=False):
    """A task with a matrix and a bias whose optimizer may ask for the objective, and for its residuals if told."""

    def init(key, h):
        params = {"w": jax.random.normal(key, (4, 3)), "b": jnp.zeros(3)}
        return params, make(h).init(params)

    def step(state, batch, key, h):
        params, opt_state = state
        x, y = batch

        def residual_fn(params):
            return x @ params["w"] + params["b"][None] - y

        def value_fn(params):
            return jnp.mean(jnp.square(residual_fn(params)))

        value, grads = jax.value_and_grad(value_fn)(params)
        extra = {"value": value, "grad": grads, "value_fn": value_fn}
        extra |= {"residual_fn": residual_fn} if residuals else {}
        updates, opt_state = optax.with_extra_args_support(make(h)).update(grads, opt_state, params, **extra)
        return (optax.apply_updates(params, updates), opt_state), {"loss": value}

    def evaluate(state, data, h):
        x, y = data.validation
        return {"validation_loss": jnp.mean(jnp.square(x @ state[0]["w"] + state[0]["b"][None] - y))}

    return sweep.Task(init, step, evaluate, modes={"validation_loss": "min"})


def pairs(examples=16):
    x, y = RNG.normal(size=(examples, 4)).astype(np.float32), RNG.normal(size=(examples, 3)).astype(np.float32)
    return Splits((x, y), (x, y))
