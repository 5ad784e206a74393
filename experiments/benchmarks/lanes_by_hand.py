"""The lanes of ``sweep_throughput`` as an expert would write them for this one model, without an engine.

Activations are feature-major, targets are one-hot before training begins, AdamW is written out, and a whole run with
its evaluations is one program. Each device runs it for as many lanes at a time as in the engine.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from contenders import timed
from regopt.data import batch_indices

B1, B2, EPS = 0.9, 0.999, 1e-8


def lanes_by_hand(config, key, data, numbers, chunk):
    """A function that trains all settings, ``chunk`` on a device at a time, and returns its seconds."""
    devices = np.array(jax.local_devices())
    mesh = Mesh(devices, ("lanes",))
    spread = PartitionSpec("lanes")
    train = jax.jit(
        jax.shard_map(
            jax.vmap(_training(config, key, data)), mesh=mesh, in_specs=spread, out_specs=spread, check_vma=False
        )
    )
    width = chunk * len(devices)
    columns = [np.resize(column, -(-config.settings // width) * width) for column in numbers.values()]
    sharding = NamedSharding(mesh, spread)
    calls = [
        tuple(jax.device_put(np.asarray(column[first : first + width], np.float32), sharding) for column in columns)
        for first in range(0, config.settings, width)
    ]
    return timed(lambda: [train(*call) for call in calls])


def _training(config, key, data):
    """The run of one setting: its parameters, and the mean loss and the validation loss of each segment."""
    x, y = map(jnp.asarray, data.train)
    held_out, labels = map(jnp.asarray, data.validation)
    targets = jax.nn.one_hot(y, 10)
    columns, rows = held_out.T, jax.nn.one_hot(labels, 10, axis=0)
    segments = config.steps // config.eval_every
    order = batch_indices(jax.random.clone(key), 0, config.steps, examples=len(x), batch_size=config.batch_size)
    order = order.reshape(segments, config.eval_every, config.batch_size)
    count = jnp.arange(1.0, config.steps + 1).reshape(segments, config.eval_every)
    first, last = jax.random.split(jax.random.clone(key))
    normal = jax.nn.initializers.lecun_normal()
    start = (
        normal(first, (64, config.width)).T,
        jnp.zeros(config.width),
        normal(last, (config.width, 10)).T,
        jnp.zeros(10),
    )

    def train(learning_rate, weight_decay):
        nothing = jax.tree.map(jnp.zeros_like, start)
        step = partial(_step, x, targets, learning_rate, weight_decay)

        def segment(carry, at):
            carry, losses = jax.lax.scan(step, carry, at)
            return carry, (jnp.mean(losses), _loss(carry[0], columns, rows))

        return jax.lax.scan(segment, (start, nothing, nothing), (count, order))

    return train


def _loss(params, x, targets):
    w1, b1, w2, b2 = params
    logits = w2 @ jax.nn.relu(w1 @ x + b1[:, None]) + b2[:, None]
    return jnp.mean(optax.losses.softmax_cross_entropy(logits, targets, axis=0))


def _step(x, targets, learning_rate, weight_decay, carry, at):
    """AdamW on the rows of a batch; ``at`` has the number of the step, from 1, and the rows."""
    (params, mu, nu), (count, rows) = carry, at
    value, grads = jax.value_and_grad(_loss)(params, x[rows].T, targets[rows].T)
    mu = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, mu, grads)
    nu = jax.tree.map(lambda n, g: B2 * n + (1 - B2) * g * g, nu, grads)
    scale, spread = 1 / (1 - B1**count), 1 / (1 - B2**count)

    def moved(p, m, n):
        return p - learning_rate * (scale * m / (jnp.sqrt(spread * n) + EPS) + weight_decay * p)

    return (jax.tree.map(moved, params, mu, nu), mu, nu), value
