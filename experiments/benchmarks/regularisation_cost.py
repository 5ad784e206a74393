"""What does a regulariser add to the time of a training step?

The step of a network with each penalty in each way, and with dropout, is compared with the same step without them. The
contenders take turns in one process, and each ratio is the median over the rounds of the ratio in a round. Run it on an
otherwise idle machine:

    taskset -c 0,1 python experiments/benchmarks/regularisation_cost.py configs/regularisation_cost/default.toml

A claim here is a bar that regopt should clear; what fails is printed as failing.
"""

import sys
import time
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from pydantic import Field

import regopt
from _style import BLUE, GREY, ORANGE
from regopt import augment, losses, noise, penalties, projections
from regopt.experiment import Claim

NETWORKS = {"64-128-10": ((64, 128, 10), 128), "10 layers of 512": ((64, *[512] * 9, 10), 128)}
RATE, BASE = 1e-3, "nothing"
FIVE = ("translation", "rotation", "brightness", "cutout", "noise")


def proximal(penalty):
    """Applied as a proximal step in the optimizer's own metric."""
    return regopt.regularize(regopt.adam(RATE), penalty, "proximal")


def to_max_norm(updates, params):
    """Move to the Euclidean projection; as a constraint around Adam it is refused, because the metric differs."""
    targets = projections.projection_max_norm(optax.apply_updates(params, updates), 3.0, unit_axis=-1)
    return jax.tree.map(jnp.subtract, targets, params)


SEPARABLE = {
    "L2 in the gradient": lambda: regopt.regularize(regopt.adam(RATE), penalties.l2(1e-3)),
    "L1 in the gradient": lambda: regopt.regularize(regopt.adam(RATE), penalties.l1(1e-4)),
    "L2 decoupled": lambda: regopt.regularize(regopt.adam(RATE), penalties.l2(1e-3), "decoupled", learning_rate=RATE),
    "L1 proximal": lambda: proximal(penalties.l1(1e-4)),
    "elastic net proximal": lambda: proximal(penalties.elastic_net(1e-4, 0.5)),
    "box as a constraint": lambda: regopt.regularize(
        regopt.adam(RATE), how="constraint", constraint=lambda w: projections.projection_box(w, -1.0, 1.0)
    ),
}
GROUPS = {
    "group lasso in the gradient": lambda: regopt.regularize(regopt.adam(RATE), penalties.group_lasso(1e-4)),
    "group lasso proximal, Adam's metric": lambda: proximal(penalties.group_lasso(1e-4)),
    "sparse group lasso proximal": lambda: proximal(penalties.sparse_group_lasso(1e-4, 0.5)),
    "max-norm per unit": lambda: optax.chain(regopt.adam(RATE), optax.stateless(to_max_norm)),
}
LIBRARIES = ("regopt", "JAXopt's formula", "NumPy")


def numpy_groups(w):
    """Columns moved towards zero by 0.5."""
    return w * np.maximum(1 - 0.5 / np.maximum(np.sqrt((w * w).sum(0)), 1e-30), 0)


def numpy_nuclear(w):
    """Singular values moved towards zero by 0.5."""
    u, s, v = np.linalg.svd(w, full_matrices=False)
    return (u * np.maximum(s - 0.5, 0)) @ v


def jaxopt_groups(w):
    """A group's norm with its slope at zero made safe, and the factor chosen by cases."""
    squares = jnp.sum(w**2, axis=0)
    size = jnp.where(squares == 0, 0.0, jnp.sqrt(jnp.where(squares == 0, 1.0, squares)))
    return w * jnp.where(size <= 0.5, 0.0, 1 - 0.5 / jnp.where(size == 0, 1.0, size))


OPERATORS = {  # of strength 0.5 and step 1: ours, as JAXopt writes it, as one would in NumPy
    "l1": (
        penalties.l1(0.5),
        lambda w: jnp.sign(w) * jax.nn.relu(jnp.abs(w) - 0.5),
        lambda w: np.sign(w) * np.maximum(np.abs(w) - 0.5, 0),
    ),
    "l2": (penalties.l2(0.5), lambda w: w / 1.5, lambda w: w / 1.5),
    "elastic net": (
        penalties.elastic_net(0.5, 0.5),
        lambda w: jnp.sign(w) * jax.nn.relu(jnp.abs(w) - 0.25) / 1.25,
        lambda w: np.sign(w) * np.maximum(np.abs(w) - 0.25, 0) / 1.25,
    ),
    "non-negative": (penalties.non_negative(), jax.nn.relu, lambda w: np.maximum(w, 0)),
    "box": (penalties.box(-0.5, 0.5), lambda w: jnp.clip(w, -0.5, 0.5), lambda w: np.clip(w, -0.5, 0.5)),
    "group lasso": (penalties.group_lasso(0.5), jaxopt_groups, numpy_groups),
    "nuclear": (penalties.nuclear(0.5), None, numpy_nuclear),
}
BARS = {"separable": 1.15, "groups": 1.3, "dropout": 1.2}


@dataclass(frozen=True)
class Config:
    """How much is measured.

    Attributes:
        steps: training steps in one measurement of the small network; a tenth of it for the large one.
        rounds: measurements of each contender, in turn.
    """

    steps: Annotated[int, Field(ge=10)] = 200
    rounds: Annotated[int, Field(ge=1)] = 7


def run(config, key):
    """Seconds of a step ``[network, contender, round]``, of the augmentation of a batch, and of proximal operators."""
    contenders = [BASE, *SEPARABLE, *GROUPS, "dropout"]
    seconds = np.zeros((len(NETWORKS), len(contenders), config.rounds))
    for i, (widths, batch) in enumerate(NETWORKS.values()):
        steps = config.steps if i == 0 else config.steps // 10
        programs = [Contender(key, widths, batch, steps, name) for name in contenders]
        for program in programs:
            program.run()  # the first run is slower
        for turn in range(config.rounds):
            for j, program in enumerate(programs):
                seconds[i, j, turn] = program.run()
    return {
        "contenders": np.array(contenders),
        "seconds": seconds,
        "augmentation": np.array(augmentation(config, key)),
        "prox": prox_seconds(config, key),
    }


def apply(params, x, key, rate):
    """A feature-major multilayer perceptron, with dropout behind the activations where there is a rate."""
    for number, (kernel, bias) in enumerate(params):
        x = kernel.T @ x + bias[:, None]
        if number < len(params) - 1:
            x = jax.nn.relu(x)
            x = x if rate is None else noise.dropout(jax.random.fold_in(key, number), x, rate)
    return x


class Contender:
    """Training steps in one program, compiled: new images and random labels in each, so that gradients stay large."""

    def __init__(self, key, widths, batch, steps, name):
        make = {**SEPARABLE, **GROUPS}.get(name, lambda: regopt.adam(RATE))
        optimizer, rate = make(), 0.5 if name == "dropout" else None
        keys = jax.random.split(key, len(widths) + 1)
        params = [
            (jax.random.normal(k, (a, b)) * jnp.sqrt(2 / a), jnp.zeros(b))
            for k, a, b in zip(keys, widths[:-1], widths[1:], strict=False)
        ]
        of_images, of_labels = jax.random.split(keys[-1])
        images = jax.random.normal(of_images, (steps, widths[0], batch))
        labels = jax.random.randint(of_labels, (steps, batch), 0, widths[-1])

        def loss(params, key, x, labels):
            return losses.cross_entropy(apply(params, x, key, rate).T, labels)

        def step(carry, each):
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params, *each), state, params)
            return (optax.apply_updates(params, updates), state), None

        def train(carry, key, images, labels):
            return jax.lax.scan(step, carry, (jax.random.split(key, steps), images, labels))[0]

        self.steps, self.carry, self.batches = steps, (params, optimizer.init(params)), (images, labels)
        self.key = jax.random.clone(key)
        self.program = jax.jit(train, donate_argnums=0).lower(self.carry, self.key, *self.batches).compile()

    def run(self):
        """Seconds of a step."""
        began = time.perf_counter()
        self.carry = jax.block_until_ready(self.program(self.carry, self.key, *self.batches))
        return (time.perf_counter() - began) / self.steps


def augmentation(config, key):
    """Seconds of five changes of a batch of 128 images of 8 x 8, one channel; each round."""
    change = augment.compose(
        augment.translation(1.0),
        augment.rotation(10.0),
        augment.brightness(0.1),
        augment.cutout(2.0),
        augment.additive_noise(0.05),
    )
    images = jax.random.uniform(key, (128, 8, 8, 1))
    keys = jax.random.split(jax.random.clone(key), config.steps)

    def many(images, keys):
        return jax.lax.scan(lambda total, key: (total + change(key, images), None), jnp.zeros_like(images), keys)[0]

    program = jax.jit(many).lower(images, keys).compile()
    return [timed(lambda: program(images, keys)) / config.steps for _ in range(config.rounds)]


def prox_seconds(config, key):
    """Seconds of proximal operators of a 1000 x 1000 matrix ``[operator, library, round]``; NaN where it has none."""
    w = jax.random.normal(key, (1000, 1000))
    host, seconds = np.asarray(w), []
    for penalty, by_formula, reference in OPERATORS.values():
        prox: Any = penalty.prox
        program = jax.jit(lambda w, prox=prox: prox(w, 1.0)).lower(w).compile()
        calls = [lambda p=program: p(w), lambda r=reference: r(host)]
        if by_formula is not None:
            formula = jax.jit(by_formula).lower(w).compile()
            np.testing.assert_allclose(program(w), formula(w), atol=1e-5)
            calls.insert(1, lambda f=formula: f(w))
        np.testing.assert_allclose(program(w), reference(host), atol=2e-3)
        rounds = min(config.rounds, 3) if penalty is OPERATORS["nuclear"][0] else config.rounds
        timed(calls[0])  # the first call is slower
        taken = np.array([[timed(call) for call in calls] for _ in range(rounds)]).T
        row = np.full((len(LIBRARIES), config.rounds), np.nan)
        row[[0, 2] if by_formula is None else [0, 1, 2], :rounds] = taken
        seconds.append(row)
    return np.array(seconds)


def timed(call):
    """Seconds of a call, to the end of its arrays."""
    began = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - began


def ratio(arrays, network, name):
    """Median over the rounds of the time over that of the step without."""
    names = list(arrays["contenders"])
    seconds = arrays["seconds"][network]
    return float(np.median(seconds[names.index(name)] / seconds[names.index(BASE)]))


def table(config, arrays):
    """The ratio of each contender on each network; proximal operators beside two others' way."""
    import pandas

    steps = pandas.DataFrame(
        {
            "with": list(arrays["contenders"]),
            **{n: [ratio(arrays, i, c) for c in arrays["contenders"]] for i, n in enumerate(NETWORKS)},
        }
    )
    milliseconds = 1e3 * np.nanmedian(arrays["prox"], axis=2)
    columns = {f"{library} (ms)": milliseconds[:, i] for i, library in enumerate(LIBRARIES)}
    operators = pandas.DataFrame({"with": [f"prox of {name}, 1000 x 1000" for name in OPERATORS], **columns})
    return pandas.concat([steps, operators], ignore_index=True)


def figure(config, arrays):
    """Time over that without, for each regulariser."""
    drawing = Figure(figsize=(8.5, 4.6), layout="constrained")
    axes = drawing.subplots()
    names = [name for name in arrays["contenders"] if name != BASE]
    rows = np.arange(len(names))[::-1]
    axes.axvline(1, color=GREY, linewidth=1)
    for i, (network, colour) in enumerate(zip(NETWORKS, (BLUE, ORANGE), strict=True)):
        values = [ratio(arrays, i, name) for name in names]
        axes.plot(values, rows + 0.1 - 0.2 * i, "o", color=colour, label=network)
    axes.set_yticks(rows, names)
    axes.set(xlabel="time of a training step over that without")
    axes.legend(title="network")
    return drawing


def claims(config, arrays):
    """The bars."""
    source = "medians of alternating rounds"
    result = []
    for i, network in enumerate(NETWORKS):
        for family, names in (("separable", SEPARABLE), ("groups", GROUPS)):
            worst = max(names, key=lambda name, i=i: ratio(arrays, i, name))
            statement = f"{network}: the slowest of the {family}, {worst}: time of a step over that without"
            result.append(Claim(statement, source, BARS[family], ratio(arrays, i, worst), relation="at most"))
    step = np.median(arrays["seconds"][0, 0])
    return [
        *result,
        Claim(
            f"{', '.join(FIVE)} of 128 images, over the step of 64-128-10 on them: time",
            source,
            1.0,
            float(np.median(arrays["augmentation"]) / step),
            relation="at most",
        ),
        *(
            Claim(
                f"prox of {name}, 1000 x 1000: time over that of {LIBRARIES[library]}",
                source,
                (1.05, 1.0)[library - 1],
                float(np.nanmedian(seconds[0] / seconds[library])),
                relation="at most",
            )
            for name, seconds in zip(OPERATORS, arrays["prox"], strict=True)
            for library in (1, 2)
            if np.isfinite(seconds[library]).any()
        ),
    ]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
