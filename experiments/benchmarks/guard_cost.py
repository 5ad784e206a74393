"""What does a guard cost, beside optax's clipping and its check of finite updates, on the leaves of a transformer?

``guard(adam, 1.0)`` and ``apply_if_finite(chain(clip_by_global_norm(1.0), adam))`` take turns on the same trees of 12
leaves for each layer. Each figure is a median over the rounds, in processor time, which other programs disturb less.
Programs are compiled from cold. Run it on an otherwise idle machine:

    taskset -c 0 python experiments/benchmarks/guard_cost.py configs/guard_cost/default.toml

A claim here is a bar that regopt should clear; what fails is printed as failing.
"""

import sys
import time
from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from pydantic import Field

import regopt
from regopt.experiment import Claim

CONTENDERS = {
    "guard(adam)": lambda: regopt.guard(regopt.adam(1e-3), 1.0),
    "apply_if_finite(clip, adam)": lambda: optax.apply_if_finite(
        optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)), 5
    ),
}
LEAVES = 12  # of a layer


@dataclass(frozen=True)
class Config:
    """How much is measured.

    Attributes:
        layers: numbers of layers of the two transformers.
        width: width of the model.
        steps: updates in one measurement.
        rounds: measurements of each contender, in turn.
        compilations: compilations of each contender, in turn.
    """

    layers: tuple[int, int] = (6, 41)
    width: Annotated[int, Field(ge=1)] = 128
    steps: Annotated[int, Field(ge=1)] = 5
    rounds: Annotated[int, Field(ge=1)] = 7
    compilations: Annotated[int, Field(ge=1)] = 3


def run(config, key):
    """Seconds of an update ``[layers, contender, round]``, and to trace and compile ``[layers, contender, number]``."""
    seconds = np.zeros((len(config.layers), len(CONTENDERS), config.rounds))
    built = np.zeros((len(config.layers), len(CONTENDERS), config.compilations))
    for i, layers in enumerate(config.layers):
        params = transformer(key, layers, config.width)
        compiled(optax.sgd(1e-3), params)  # the first program of a kind compiles slower
        programs = []
        for turn in range(config.compilations):
            programs = [compiled(make(), params) for make in CONTENDERS.values()]
            built[i, :, turn] = [took for _, _, took in programs]
        carries = [carry for _, carry, _ in programs]
        grads = jax.tree.map(lambda w: 0.1 * w, params)
        for turn in range(config.rounds):
            for k, (step, _, _) in enumerate(programs):
                began = time.process_time()
                for _ in range(config.steps):
                    carries[k] = step(*carries[k], grads)
                jax.block_until_ready(carries[k])
                seconds[i, k, turn] = (time.process_time() - began) / config.steps
    return {"seconds": seconds, "built": built}


def transformer(key, layers, width):
    """Attention and a perceptron in each layer, with biases: 12 leaves."""
    shapes = {f"{name}.kernel": (width, width) for name in "qkvo"} | {f"{name}.bias": (width,) for name in "qkvo"}
    shapes |= {"up.kernel": (width, 4 * width), "up.bias": (4 * width,)}
    shapes |= {"down.kernel": (4 * width, width), "down.bias": (width,)}
    keys = jax.random.split(key, (layers, len(shapes)))
    return [
        {name: 0.02 * jax.random.normal(keys[layer, i], shape) for i, (name, shape) in enumerate(shapes.items())}
        for layer in range(layers)
    ]


def compiled(optimizer, params):
    """The step, its first carry, and the seconds of processor time to trace and compile it."""

    def step(params, state, grads):
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    carry = jax.tree.map(lambda x: jnp.array(x, copy=True), (params, optimizer.init(params)))
    began = time.process_time()
    program = jax.jit(step, donate_argnums=(0, 1)).lower(*carry, params).compile()
    return program, carry, time.process_time() - began


def table(config, arrays):
    """Milliseconds of an update, seconds to compile, and the ratios."""
    import pandas

    milli = 1e3 * np.median(arrays["seconds"], axis=-1)
    return pandas.DataFrame(
        {
            "leaves": LEAVES * np.array(config.layers),
            "guard (ms)": milli[:, 0],
            "optax (ms)": milli[:, 1],
            "guard / optax": ratio(arrays["seconds"]),
            "guard, compile (s)": np.median(arrays["built"], axis=-1)[:, 0],
            "optax, compile (s)": np.median(arrays["built"], axis=-1)[:, 1],
            "compile, guard / optax": ratio(arrays["built"]),
        }
    )


def ratio(seconds):
    """Median over the rounds of the time over optax's in the same round, for each tree."""
    return np.median(seconds[:, 0] / seconds[:, 1], axis=-1)


def figure(config, arrays):
    """Time of an update and to compile, over the number of leaves."""
    result = Figure(figsize=(9, 4), layout="constrained")
    panels = result.subplots(1, 2)
    times = {
        "milliseconds of an update": 1e3 * np.median(arrays["seconds"], axis=-1),
        "seconds to compile": np.median(arrays["built"], axis=-1),
    }
    for axes, (label, values) in zip(panels, times.items(), strict=True):
        for k, name in enumerate(CONTENDERS):
            axes.plot(LEAVES * np.array(config.layers), values[:, k], "o-", label=name)
        axes.set(xlabel="leaves", ylabel=label, ylim=(0, None))
    panels[0].legend()
    return result


def claims(config, arrays):
    """The bars."""
    source = "medians of alternating rounds"
    growth = config.layers[1] / config.layers[0]
    result = []
    for i, layers in enumerate(config.layers):
        for name, value in (
            ("time of an update", ratio(arrays["seconds"])[i]),
            ("time to compile", ratio(arrays["built"])[i]),
        ):
            statement = f"{LEAVES * layers} leaves: {name} over optax's"
            result.append(Claim(statement, source, 1.5, float(value), relation="at most"))
    few, many = np.median(arrays["built"][:, 0], axis=-1)
    slower = many / few / growth
    return [*result, Claim("time to compile a leaf, many over few", source, 1.3, float(slower), relation="at most")]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
