"""The models of ``lane_models``, written as for a single training, without regard to lanes."""

import inspect
import string
import textwrap
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import regopt
from regopt import sweep
from regopt.data import Splits, digits
from regopt.layers import MLP, BatchNorm, Dense, convolution_by_product
from regopt.losses import cross_entropy

CHANNELS = (16, 32)
WINDOW, VOCABULARY = 32, 128  # characters of a window of text; ASCII
WIDTH = 64  # of the transformer
EPISODES, MOMENTS = 8, 100  # of the pole in one step of REINFORCE


class Job(NamedTuple):
    """What is trained, on which data, for how long.

    Attributes:
        task: a task with one number, ``learning_rate``.
        data: examples.
        steps: training steps of a setting, before the config scales them.
        batch_size: examples in a batch; None gives every step all of them.
    """

    task: sweep.Task
    data: Splits
    steps: int
    batch_size: int | None


class CNN(nnx.Module):
    """Two convolutions with windows of 3 x 3, the second with steps of 2, and a dense layer, for images of 8 x 8."""

    def __init__(self, convolution, *, normalised: bool = False, rngs: nnx.Rngs):
        layer = partial(nnx.Conv, kernel_size=(3, 3), conv_general_dilated=convolution, rngs=rngs)
        self.convolutions = nnx.List([layer(1, CHANNELS[0]), layer(CHANNELS[0], CHANNELS[1], strides=2)])
        self.norms = nnx.List(BatchNorm(channels, rngs=rngs) for channels in CHANNELS if normalised)
        self.last = Dense(16 * CHANNELS[1], 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[batch, 64] -> [batch, 10]``."""
        x = x.reshape(-1, 8, 8, 1)
        for place, convolution in enumerate(self.convolutions):
            x = convolution(x)
            x = jax.nn.relu(self.norms[place](x) if self.norms else x)
        return self.last(x.reshape(len(x), -1))


class Block(nnx.Module):
    """A block of a transformer: causal attention and two dense layers, each added to its normalised input."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.attention = nnx.MultiHeadAttention(4, width, decode=False, rngs=rngs)
        self.norms = nnx.List(nnx.LayerNorm(width, rngs=rngs) for _ in range(2))
        self.up, self.down = nnx.Linear(width, 4 * width, rngs=rngs), nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[batch, characters, width] -> [batch, characters, width]``."""
        x = x + self.attention(self.norms[0](x), mask=nnx.make_causal_mask(x[..., 0]))
        return x + self.down(jax.nn.gelu(self.up(self.norms[1](x))))


class Transformer(nnx.Module):
    """Predicts the next character."""

    def __init__(self, width: int = WIDTH, blocks: int = 2, *, rngs: nnx.Rngs):
        self.characters = nnx.Embed(VOCABULARY, width, rngs=rngs)
        self.places = nnx.Embed(WINDOW, width, rngs=rngs)
        self.blocks = nnx.List(Block(width, rngs=rngs) for _ in range(blocks))
        self.last = nnx.Linear(width, VOCABULARY, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[batch, characters] -> [batch, characters, vocabulary]``."""
        x = self.characters(x) + self.places(jnp.arange(x.shape[-1]))
        for block in self.blocks:
            x = block(x)
        return self.last(x)


def jobs() -> dict[str, Job]:
    """The jobs by the names of their models."""
    images, text = digits(), windows()
    classified = partial(Job, data=images, batch_size=128)
    return {
        "MLP": classified(_supervised(lambda _, rngs: MLP((64, 128, 10), rngs=rngs)), steps=200),
        "CNN": classified(_supervised(lambda _, rngs: CNN(jax.lax.conv_general_dilated, rngs=rngs)), steps=20),
        "CNN by product": classified(_supervised(lambda _, rngs: CNN(convolution_by_product, rngs=rngs)), steps=20),
        "BatchNorm CNN": classified(
            _supervised(lambda _, rngs: CNN(jax.lax.conv_general_dilated, normalised=True, rngs=rngs)), steps=20
        ),
        "transformer": Job(_supervised(lambda _, rngs: Transformer(rngs=rngs)), text, 20, 16),
        "REINFORCE": Job(reinforce(), Splits(np.zeros(1, np.float32), np.zeros(1, np.float32)), 20, None),
    }


def windows(modules=(inspect, string, textwrap)) -> Splits:
    """Windows of the source text of modules, each with the window one character later."""
    text = "".join(inspect.getsource(module) for module in modules).encode("ascii", "replace")
    characters = np.frombuffer(text, np.uint8).astype(np.int32)
    count = (len(characters) - 1) // WINDOW
    x, y = (characters[shift : shift + count * WINDOW].reshape(count, WINDOW) for shift in (0, 1))
    held_out = np.arange(count) % 20 == 0
    return Splits((x[~held_out], y[~held_out]), (x[held_out], y[held_out]))


def reinforce() -> sweep.Task:
    """The policy gradient for a pole on a cart, with the mean return as the baseline."""

    def init(key, h):
        params = {
            "first": 0.5 * jax.random.normal(key, (4, 32)),
            "last": 0.1 * jax.random.normal(jax.random.fold_in(key, 1), (32, 2)),
        }
        return params, _adamw(h).init(params)

    def step(state, batch, key, h):
        del batch
        params, opt_state = state
        grads, returned = jax.grad(_surrogate, has_aux=True)(params, key)
        updates, opt_state = _adamw(h).update(grads, opt_state, params)
        return (jax.tree.map(jnp.add, params, updates), opt_state), {"loss": -returned}

    def evaluate(state, data, h):
        del data, h
        return {"validation_loss": -_surrogate(state[0], jax.random.key(1))[1]}

    return sweep.Task(init, step, evaluate, modes={"validation_loss": "min"})


def _surrogate(params, key):
    """The loss whose gradient is the policy gradient, and the mean number of moments until the pole falls."""

    def moment(carry, key):
        x, stands = carry
        logits = jnp.tanh(x @ params["first"]) @ params["last"]
        action = jax.random.categorical(key, logits)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), action[:, None], axis=1)[:, 0]
        x = _moved(x, action)
        after = stands * ((jnp.abs(x[:, 0]) < 2.4) & (jnp.abs(x[:, 2]) < 0.21))
        return (x, after), (chosen * stands, stands)

    first, rest = jax.random.split(key)
    start = 0.05 * jax.random.uniform(first, (EPISODES, 4), minval=-1.0)
    keys = jax.random.split(rest, MOMENTS)
    _, (chosen, rewards) = jax.lax.scan(moment, (start, jnp.ones(EPISODES)), keys)
    to_go = jnp.cumsum(rewards[::-1], axis=0)[::-1]
    advantage = jax.lax.stop_gradient(to_go - jnp.mean(to_go, axis=1, keepdims=True))
    return -jnp.mean(jnp.sum(chosen * advantage, axis=0)), jnp.mean(jnp.sum(rewards, axis=0))


def _moved(x, action):
    """A moment of 20 ms of the cart and the pole, pushed to one side or the other."""
    _, speed, angle, turning = x.T
    force, length, mass, total = 20.0 * action.astype(x.dtype) - 10.0, 0.5, 0.1, 1.1
    pushed = (force + mass * length * turning**2 * jnp.sin(angle)) / total
    turned = (9.8 * jnp.sin(angle) - jnp.cos(angle) * pushed) / (length * (4 / 3 - mass * jnp.cos(angle) ** 2 / total))
    moved = pushed - mass * length * turned * jnp.cos(angle) / total
    change = jnp.stack([speed, moved, turning, turned], axis=1)
    return x + 0.02 * change


def _supervised(model: Any) -> sweep.Task:
    return sweep.supervised(model, _per_character, _adamw)


def _per_character(outputs, targets):
    return cross_entropy(outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1))


def _adamw(h):
    return regopt.adamw(h["learning_rate"])
