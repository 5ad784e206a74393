"""What does one update cost, beside optax, on few large leaves and on many small ones?

The same optimizers on the same trees: in a loop inside one program (``lax.scan``) and as one call of a compiled step
from Python, whose time goes mostly to handing over buffers when there are many. The contenders take turns, and each
figure is a median over the rounds. Run it on an otherwise idle machine:

    taskset -c 0,1 python experiments/benchmarks/update_cost.py configs/update_cost/default.toml

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
from _style import BLUE, GREY, ORANGE
from regopt.experiment import Claim

# number of leaves, their shape, lanes side by side, and the factor by which a scan does more updates than ``steps``
TREES = {
    "4 leaves of 2^20": (4, (2**20,), None, 1),
    "128 leaves of 16 x 16": (128, (16, 16), None, 50),
    "1000 leaves of 64": (1000, (64,), None, 50),
    "32 lanes of 128 leaves": (128, (16, 16), 32, 5),
}
OPTIMIZERS = {
    "heavy ball": (lambda rate: regopt.heavy_ball(rate, 0.9), lambda rate: optax.sgd(rate, 0.9)),
    "RMSProp": (regopt.rmsprop, lambda rate: optax.rmsprop(rate, decay=0.9, eps=1e-6)),
    "Adam": (regopt.adam, optax.adam),
    "AdamW": (
        lambda rate: regopt.adamw(rate, weight_decay=1e-2),
        lambda rate: optax.adamw(rate, weight_decay=1e-2),
    ),
}
LOOPS = ("in a scan", "called from Python")
OURS, THEIRS, FLAT = "regopt", "optax", "optax.flatten(regopt)"


@dataclass(frozen=True)
class Config:
    """How much is measured.

    Attributes:
        steps: updates in one measurement from Python; a scan of small leaves does more, to hide the time of its call.
        rounds: measurements of each contender, in turn.
        optimizers: the number of optimizers, counted from the last of the four.
    """

    steps: Annotated[int, Field(ge=1)] = 20
    rounds: Annotated[int, Field(ge=1)] = 7
    optimizers: Annotated[int, Field(ge=1, le=4)] = 4


def run(config, key):
    """Seconds of an update ``[tree, optimizer, loop, contender, round]``, and to trace and compile the scan."""
    chosen = list(OPTIMIZERS)[-config.optimizers :]
    seconds = np.zeros((len(TREES), len(chosen), len(LOOPS), 3, config.rounds))
    built = np.zeros((len(TREES), len(chosen), 3))
    for i, (leaves, shape, lanes, longer) in enumerate(TREES.values()):
        params = tree_of(jax.random.fold_in(key, i), leaves, shape, lanes)
        Contender(config, optax.sgd, params, lanes, longer)  # the first program of a kind compiles slower
        for j, name in enumerate(chosen):
            ours, theirs = OPTIMIZERS[name]
            makers = (ours, theirs, lambda rate, ours=ours: optax.flatten(ours(rate)))
            programs = [Contender(config, make, params, lanes, longer) for make in makers]
            built[i, j] = [program.seconds for program in programs]
            for turn in range(config.rounds):
                for k, program in enumerate(programs):
                    seconds[i, j, 0, k, turn] = program.scan()
                for k, program in enumerate(programs):
                    seconds[i, j, 1, k, turn] = program.loop()
    return {
        "trees": np.array(list(TREES)),
        "optimizers": np.array(chosen),
        "seconds": seconds,
        "built": built,
        "copy_bandwidth": np.array(copy_bandwidth(config)),
    }


def tree_of(key, leaves, shape, lanes):
    """Random weights in a list."""
    full = shape if lanes is None else (lanes, *shape)
    return [jax.random.normal(jax.random.fold_in(key, leaf), full) for leaf in range(leaves)]


class Contender:
    """The update of one optimizer as a scan and as a step, compiled; with lanes the rate of each is its own."""

    def __init__(self, config, make, params, lanes, longer):
        self.steps, self.scanned = config.steps, config.steps * longer
        self.grads = [0.1 * leaf for leaf in params]
        rates = 1e-3 if lanes is None else jnp.geomspace(1e-4, 1e-2, lanes)

        def init(rate, params):
            return params, make(rate).init(params)

        def step(rate, carry, grads):
            params, state = carry
            updates, state = make(rate).update(grads, state, params)
            return optax.apply_updates(params, updates), state

        if lanes is not None:
            init, step = jax.vmap(init), jax.vmap(step)

        def steps(rate, carry, grads):
            def scaled(carry, scale):  # XLA would move products of constant gradients out of the loop
                return step(rate, carry, [scale * leaf for leaf in grads]), None

            return jax.lax.scan(scaled, carry, jnp.linspace(0.5, 1.5, self.scanned))[0]

        self.rates = rates
        self.carry = jax.tree.map(lambda x: jnp.array(x, copy=True), jax.jit(init)(rates, params))
        began = time.perf_counter()
        self.many = jax.jit(steps, donate_argnums=1).lower(rates, self.carry, self.grads).compile()
        self.seconds = time.perf_counter() - began
        self.one = jax.jit(step, donate_argnums=1).lower(rates, self.carry, self.grads).compile()

    def scan(self):
        """Seconds of an update inside a program."""
        began = time.perf_counter()
        self.carry = jax.block_until_ready(self.many(self.rates, self.carry, self.grads))
        return (time.perf_counter() - began) / self.scanned

    def loop(self):
        """Seconds of an update called from Python."""
        began = time.perf_counter()
        for _ in range(self.steps):
            self.carry = self.one(self.rates, self.carry, self.grads)
        jax.block_until_ready(self.carry)
        return (time.perf_counter() - began) / self.steps


def copy_bandwidth(config):
    """Bytes per second of a pass in place over as many arrays as Adam uses for the large leaves."""
    arrays = [jnp.full(2**20, float(number)) for number in range(16)]
    add = jax.jit(lambda xs: [x + 1 for x in xs], donate_argnums=0).lower(arrays).compile()
    seconds = []
    for _ in range(config.rounds):
        began = time.perf_counter()
        for _ in range(config.steps):
            arrays = add(arrays)
        jax.block_until_ready(arrays)
        seconds.append((time.perf_counter() - began) / config.steps)
    return 2 * sum(x.nbytes for x in arrays) / np.median(seconds)


def table(config, arrays):
    """Microseconds of an update, and the ratio to optax, median over the rounds of the ratio in each."""
    import pandas

    rows = []
    for i, tree in enumerate(arrays["trees"]):
        for j, optimizer in enumerate(arrays["optimizers"]):
            for loop, name in enumerate(LOOPS):
                micro = 1e6 * np.median(arrays["seconds"][i, j, loop], axis=-1)
                rows.append(
                    {
                        "tree": tree,
                        "optimizer": optimizer,
                        "loop": name,
                        "regopt (us)": micro[0],
                        "optax (us)": micro[1],
                        "regopt / optax": ratio(arrays, i, j, loop, 0),
                        "flat / optax": ratio(arrays, i, j, loop, 2),
                        "compile, regopt / optax": arrays["built"][i, j, 0] / arrays["built"][i, j, 1],
                        "compile, flat / optax": arrays["built"][i, j, 2] / arrays["built"][i, j, 1],
                    }
                )
    return pandas.DataFrame(rows)


def ratio(arrays, tree, optimizer, loop, contender):
    """Median over the rounds of the time over optax's in the same round."""
    seconds = arrays["seconds"][tree, optimizer, loop]
    return float(np.median(seconds[contender] / seconds[1]))


def figure(config, arrays):
    """Time over optax's for each tree, optimizer and loop."""
    result = Figure(figsize=(10, 4.4), layout="constrained")
    panels = result.subplots(1, 2, sharey=True)
    rows = np.arange(len(TREES))[::-1]
    colours = (BLUE, ORANGE)
    for loop, axes in enumerate(panels):
        axes.axvline(1, color=GREY, linewidth=1)
        for contender, colour, label in ((0, colours[0], OURS), (2, colours[1], FLAT)):
            for j in range(len(arrays["optimizers"])):
                values = [ratio(arrays, i, j, loop, contender) for i in range(len(TREES))]
                offset = (0.12 if contender else -0.12) + 0.03 * j
                axes.plot(values, rows + offset, "o", color=colour, alpha=0.8, label=label if j == 0 else None)
        axes.set(xscale="log", xlabel="time of an update over optax's", title=LOOPS[loop], yticks=rows)
        axes.set(xticks=[0.3, 0.5, 1, 2, 4], xticklabels=["0.3", "0.5", "1", "2", "4"])
        axes.minorticks_off()
    panels[0].set_yticklabels(list(TREES))
    panels[1].legend(loc="best", title=f"a point for each of {len(arrays['optimizers'])} optimizers")
    return result


def claims(config, arrays):
    """The bars."""
    source = "medians of alternating rounds"

    def bar(statement, limit, measured):
        return Claim(statement, source, limit, float(measured), relation="at most")

    count, adam = len(arrays["optimizers"]), list(arrays["optimizers"]).index("Adam")
    result = []
    for i, tree in enumerate(arrays["trees"]):
        for loop, name in enumerate(LOOPS):
            worst = max(ratio(arrays, i, j, loop, 0) for j in range(count))
            result.append(bar(f"{tree}, {name}: largest time over optax's", 1.05, worst))
    for i, limit in ((1, 0.6), (2, 0.5)):
        result += [
            bar(f"{arrays['trees'][i]}, Adam {name}: time over optax's", limit, ratio(arrays, i, adam, loop, 0))
            for loop, name in enumerate(LOOPS)
        ]
        built = arrays["built"][i, adam]
        result.append(bar(f"{arrays['trees'][i]}, Adam: time to compile over optax's", 1.2, built[0] / built[1]))
    # Adam reads g, w, s and r, and writes w, s and r
    bytes_moved = 7 * 4 * 4 * 2**20
    bandwidth = bytes_moved / np.median(arrays["seconds"][0, adam, 1, 0])
    return [
        *result,
        Claim(
            "4 leaves of 2^20, Adam called from Python: share of the bandwidth of a pass in place",
            "7 arrays moved in an update",
            0.8,
            float(bandwidth / arrays["copy_bandwidth"]),
            relation="at least",
        ),
    ]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
