"""What the sweep benchmarks share: a training function as one would write it by hand, clocks and the machine's peak."""

import time
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from pydantic import Field

import regopt
from regopt import sweep
from regopt.data import batch_indices
from regopt.layers import MLP
from regopt.losses import cross_entropy


@dataclass(frozen=True)
class Job:
    """Settings of AdamW on a multilayer perceptron on handwritten digits.

    Attributes:
        settings: number of settings.
        steps: training steps of each.
        eval_every: steps between evaluations; ``steps`` is a multiple of it.
        batch_size: images in a batch.
        width: hidden units.
        seed: random seed of the weights and the batches.
    """

    settings: Annotated[int, Field(ge=16)] = 256
    steps: Annotated[int, Field(ge=1)] = 300
    eval_every: Annotated[int, Field(ge=1)] = 30
    batch_size: Annotated[int, Field(ge=1, le=1077)] = 128
    width: Annotated[int, Field(ge=1)] = 128
    seed: int = 0

    @property
    def gflop(self):
        """Floating-point operations of one setting's matrix products, in 10^9."""
        weights = 64 * self.width + self.width * 10
        return self.steps * 2 * self.batch_size * (2 * weights + self.width * 10) / 1e9


def digits_task(config):
    return sweep.supervised(
        lambda h, rngs: MLP((64, config.width, 10), rate=h.get("rate"), rngs=rngs),
        cross_entropy,
        lambda h: regopt.adamw(h["learning_rate"], weight_decay=h["weight_decay"]),
    )


def swept(config, key, data, numbers, *, task=None, **options):
    """The sweep; with the same task its programs are compiled once."""
    return sweep.run(
        task or digits_task(config),
        sweep.from_columns(numbers),
        data,
        steps=config.steps,
        eval_every=config.eval_every,
        batch_size=config.batch_size,
        key=jax.random.clone(key),
        **{"progress": True, **options},
    )


def engine(config, key, data, numbers, **options):
    """The engine; a refit of everything reuses the compiled program, so only training is timed."""
    result = swept(config, key, data, numbers, **options)
    return lambda: result.refit().run_seconds


def training_by_hand(config, key, data):
    """The obvious training function of two numbers: a row-major MLP on optax.adamw, in a scan, with all evaluations."""
    x, y = jnp.asarray(data.train[0]), jnp.asarray(data.train[1])
    x_validation, y_validation = (jnp.asarray(part) for part in data.validation)
    order = batch_indices(jax.random.clone(key), 0, config.steps, examples=len(x), batch_size=config.batch_size)
    order = order.reshape(-1, config.eval_every, config.batch_size)
    keys = jax.random.split(jax.random.clone(key))
    normal = jax.nn.initializers.lecun_normal()
    start = {
        "w1": normal(keys[0], (64, config.width)),
        "b1": jnp.zeros(config.width),
        "w2": normal(keys[1], (config.width, 10)),
        "b2": jnp.zeros(10),
    }

    def loss(params, x, y):
        hidden = jax.nn.relu(x @ params["w1"] + params["b1"])
        logits = hidden @ params["w2"] + params["b2"]
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def train(learning_rate, weight_decay):
        optimizer = optax.adamw(learning_rate, weight_decay=weight_decay)

        def step(carry, rows):
            params, state = carry
            value, grads = jax.value_and_grad(loss)(params, x[rows], y[rows])
            updates, state = optimizer.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), value

        def segment(carry, rows):
            carry, losses = jax.lax.scan(step, carry, rows)
            return carry, (jnp.mean(losses), loss(carry[0], x_validation, y_validation))

        return jax.lax.scan(segment, (start, optimizer.init(start)), order)

    return train


def looped(config, key, data, numbers):
    """Compiled once, called for one setting after another."""
    train = jax.jit(training_by_hand(config, key, data))
    pairs = [tuple(jnp.float32(column[i]) for column in numbers.values()) for i in range(config.settings)]
    return timed(lambda: [train(*pair) for pair in pairs])


def vmapped(config, key, data, numbers):
    """All settings in one vmap."""
    train = jax.jit(jax.vmap(training_by_hand(config, key, data)))
    columns = [jnp.asarray(column, jnp.float32) for column in numbers.values()]
    return timed(lambda: train(*columns))


def timed(work, *, warm=True):
    """A function that runs the work and returns its seconds; ``warm`` runs it once before, so that it is compiled."""

    def once():
        began = time.perf_counter()
        jax.block_until_ready(work())
        return time.perf_counter() - began

    if warm:
        once()
    return once


def sgemm_peak():
    """GFLOP/s of float32 matrix products, one on each device at once: the best median over three sizes."""
    devices = np.array(jax.local_devices())
    mesh = Mesh(devices, ("devices",))
    spec = PartitionSpec("devices")
    multiply = jax.jit(jax.shard_map(lambda a: a @ a, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))
    best = 0.0
    for size in (512, 1024, 2048):
        a = jax.device_put(jnp.ones((len(devices), size, size)), NamedSharding(mesh, spec))
        once = timed(partial(multiply, a))
        seconds = np.median([once() for _ in range(9)])
        best = max(best, len(devices) * 2 * size**3 / seconds / 1e9)
    return best


def rates_and_decays(config):
    """A learning rate and a weight decay for each setting, both from small to large."""
    return {
        "learning_rate": np.geomspace(1e-4, 1e-2, config.settings),
        "weight_decay": np.geomspace(1e-3, 1.0, config.settings),
    }


def in_turns(contenders, rounds, *, patience=np.inf):
    """The seconds of each contender, ``[contenders, rounds]``, and the median peak of the machine in between.

    A contender that takes more than ``patience`` times as long as the fastest in the first round is measured once; its
    seconds in the other rounds are NaN.
    """
    seconds, peaks = {name: [] for name in contenders}, []
    for _ in range(rounds):
        peaks.append(sgemm_peak())
        fastest = min((of[0] for of in seconds.values() if of), default=np.inf)
        for name, contender in contenders.items():
            is_slow = bool(seconds[name]) and seconds[name][0] > patience * fastest
            seconds[name].append(np.nan if is_slow else contender())
    return {
        "contenders": np.array(list(seconds)),
        "seconds": np.array(list(seconds.values())),
        "peak": np.array(np.median(peaks)),
        "devices": np.array(jax.local_device_count()),
    }


def ratio(arrays, slow, fast):
    """Median over the rounds of the time of one contender over that of another, in the same round."""
    names = arrays["contenders"].tolist()
    return float(np.nanmedian(arrays["seconds"][names.index(slow)] / arrays["seconds"][names.index(fast)]))
