"""What is noise on the gradient good for?

Gradient descent stays in the first valley it meets, and a network whose weights are all zero has the gradient zero in
its hidden layer for ever. Normal noise on the gradient, with a variance that decays as eta / (1 + t)^.55
(`add_gradient_noise`), leaves both. The variance is that of the formula; too little of it changes nothing, and none
leads all runs to the deeper valley.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from pydantic import Field

import regopt
from _style import BLUE, GREEN, GREY, ORANGE, RED, note
from regopt.data import digits
from regopt.experiment import Claim
from regopt.transforms import add_gradient_noise

PAPER = "Neelakantan et al. (2015), equation 1"
BOOK = "Goodfellow et al. (2016), section 8.2"
TILT = 0.15


@dataclass(frozen=True)
class Config:
    """A tilted double well, and a network that starts at zero.

    Attributes:
        etas: variances of the noise at the first step, ascending from 0.
        runs: number of runs in the well for each variance.
        steps: number of steps of each run.
        learning_rate: learning rate of gradient descent in the well.
        network_eta: variance of the noise for the network.
        network_steps: number of training steps of the network.
        network_rate: learning rate of the network.
        repeats: number of trainings of the network.
        seed: random seed of everything.
    """

    etas: tuple[Annotated[float, Field(ge=0)], ...] = (0.0, 1.0, 3.0, 10.0, 20.0)
    runs: Annotated[int, Field(ge=100)] = 2000
    steps: Annotated[int, Field(ge=100)] = 2000
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    network_eta: Annotated[float, Field(gt=0)] = 0.01
    network_steps: Annotated[int, Field(ge=20)] = 300
    network_rate: Annotated[float, Field(gt=0)] = 0.5
    repeats: Annotated[int, Field(ge=2)] = 20
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def well(w):
    """Two valleys, the left one deeper."""
    return w**4 / 4 - w**2 / 2 + TILT * w


def run(config, key):
    """Where the runs end, the variance of the noise over the steps, and the losses of the networks."""
    well_key, noise_key, network_key = jax.random.split(key, 3)
    return _wells(config, well_key) | _variance(config, noise_key) | _networks(config, network_key)


def _wells(config, key):
    start = jnp.float32(0.9)  # in the shallow valley

    def one(key, eta):
        optimizer = optax.chain(add_gradient_noise(key, eta), regopt.sgd(config.learning_rate))

        def step(carry, _):
            w, state = carry
            updates, state = optimizer.update(jax.grad(well)(w), state, w)
            return (w + updates, state), w + updates

        return jax.lax.scan(step, (start, optimizer.init(start)), length=config.steps)[1]

    def ends(eta):
        paths = jax.vmap(lambda key: one(key, eta))(jax.random.split(jax.random.clone(key), config.runs))
        return jnp.mean(paths < 0, axis=0), paths[:3, ::10]

    share, paths = jax.jit(lambda etas: jax.lax.map(ends, etas))(jnp.array(config.etas))
    return {"share": share, "paths": paths}


def _variance(config, key):
    """Mean square of the noise of some steps, over many entries."""
    eta, entries = 0.5, jnp.zeros(100_000)
    transform = add_gradient_noise(key, eta)

    def step(state, _):
        noise, state = transform.update(entries, state)
        return state, jnp.mean(jnp.square(jnp.asarray(jax.tree.leaves(noise)[0])))

    squares = jax.jit(lambda: jax.lax.scan(step, transform.init(entries), length=50)[1])()
    return {"variance": squares, "variance_expected": eta / (1 + np.arange(50)) ** 0.55}


def _networks(config, key):
    """Losses ``[repeats, with and without, steps]`` of a network that starts with zero weights."""
    x, y = (jnp.asarray(each[:300]) for each in digits().train)
    start = {"w": jnp.zeros((64, 16)), "b": jnp.zeros(16), "v": jnp.zeros((16, 10))}

    def loss(params):
        log_p = jax.nn.log_softmax(jnp.tanh(x @ params["w"] + params["b"][None]) @ params["v"])
        return -jnp.mean(jnp.take_along_axis(log_p, y[:, None], axis=1))

    def train(key, eta):
        optimizer = optax.chain(add_gradient_noise(key, eta), regopt.sgd(config.network_rate))

        def step(carry, _):
            params, state = carry
            value, slopes = jax.value_and_grad(loss)(params)
            updates, state = optimizer.update(slopes, state, params)
            return (jax.tree.map(jnp.add, params, updates), state), value

        return jax.lax.scan(step, (start, optimizer.init(start)), length=config.network_steps)[1]

    etas = jnp.array([0.0, config.network_eta])
    both = jax.vmap(lambda key: jax.vmap(lambda eta: train(key, eta))(etas))
    found = jax.jit(both)(jax.random.split(key, config.repeats))
    return {
        "losses": found,
        "start_slope": max(float(jnp.max(jnp.abs(g))) for g in jax.tree.leaves(jax.grad(loss)(start))),
    }


def figure(config, arrays):
    """The well with its runs, the share that left, and the networks."""
    drawing = Figure(figsize=(14, 4.4), layout="constrained")
    left, middle, right = drawing.subplots(1, 3)
    w = np.linspace(-1.6, 1.5, 200)
    left.plot(w, well(w), color=GREY, lw=2)
    left.plot(0.9, well(0.9), "o", color=BLUE)
    note(left, "start", (0.9, well(0.9)), BLUE, (0, 10), ha="center")
    left.set(xlabel="w", ylabel="loss", title="a shallow valley and a deep one")
    colors = (GREY, GREEN, BLUE, ORANGE, RED)
    for place, eta in enumerate(config.etas):
        color = colors[place % len(colors)]
        middle.semilogx(np.arange(1, config.steps + 1), arrays["share"][place], color=color, label=f"$\\eta$ = {eta:g}")
    middle.legend(frameon=False)
    middle.set(xlabel="step", ylabel="share of the runs", ylim=(-0.02, 1.02), title="in the deep valley")
    for place, (name, color) in enumerate((("without noise", GREY), ("with noise", BLUE))):
        curves = arrays["losses"][:, place]
        right.plot(curves.T, color=color, lw=0.8, alpha=0.5)
        note(
            right, name, (config.network_steps * 0.6, curves[:, int(config.network_steps * 0.6)].mean()), color, (0, 10)
        )
    right.set(
        xlabel="step", ylabel="training loss (nats)", ylim=(0, 2.6), title="digits, all weights zero at the start"
    )
    return drawing


def claims(config, arrays):
    """The variance, the escape from a valley by noise, and the network that noise sets in motion."""
    share = arrays["share"][:, -1]
    without, noisy = arrays["losses"][:, 0], arrays["losses"][:, 1]
    gap = np.max(np.abs(arrays["variance"] / arrays["variance_expected"] - 1))
    return [
        Claim(
            "variance of the noise over eta / (1 + t)^.55, largest relative gap in 50 steps", PAPER, 0, float(gap), 0.02
        ),
        Claim("without noise: share of the runs that left the shallow valley", BOOK, 0, float(share[0])),
        Claim(
            f"eta = {config.etas[1]:g}: share that left the shallow valley",
            PAPER,
            0.01,
            float(share[1]),
            relation="at most",
        ),
        Claim(
            f"eta = {config.etas[-1]:g}: share in the deep valley at the end, a third at least",
            PAPER,
            1 / 3,
            float(share[-1]),
            relation="at least",
        ),
        Claim("all weights zero: largest entry of the gradient", BOOK, 0, float(arrays["start_slope"]), 1e-7),
        Claim(
            "without noise: change of the loss over the whole training",
            BOOK,
            0,
            float(np.max(np.abs(without - without[:, :1]))),
            1e-6,
        ),
        Claim(
            "with noise: largest loss at the end over that at the start",
            PAPER,
            0.5,
            float(np.max(noisy[:, -1] / noisy[:, 0])),
            relation="at most",
        ),
    ]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
