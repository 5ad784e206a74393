"""How many hidden units does a network need, if a penalty may take out whole ones?

A group lasso on the incoming weights of each hidden unit, as proximal steps of Adam in its own metric, makes units
exactly zero, and single weights that the loss does not feel. A unit without weights is a constant, which the next
layer's bias takes in: the network without it is smaller and has the same outputs. The same penalty in the gradient
leaves small weights, and nothing that could be taken out for free. All strengths, both ways and all seeds are lanes of
one sweep.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

import jax
import numpy as np
from flax import nnx
from matplotlib.figure import Figure
from pydantic import Field

import regopt
from _style import BLACK, BLUE, GREY, ORANGE
from regopt import penalties, schedules, sweep
from regopt.data import digits
from regopt.experiment import Claim
from regopt.layers import MLP, prune
from regopt.losses import accuracy, cross_entropy

PROXIMAL, GRADIENT = "proximal", "gradient"
PIXELS, CLASSES = 64, 10


@dataclass(frozen=True)
class Config:
    """The network, the strengths and the training.

    Attributes:
        width: units in each of the two hidden layers.
        strengths: smallest and largest strength of the penalty, in loss units per parameter unit.
        levels: number of strengths from the smallest to the largest; 0 is added.
        seeds: number of trainings for each strength.
        learning_rate: learning rate of Adam at the start, in parameter units; it falls to 0 as a cosine.
        batch_size: images in a batch.
        steps: steps of a training.
        allowed: mean validation accuracy that the chosen strength may lose against no penalty.
        units_left: the largest share of the hidden units that it is claimed to leave.
        test_cost: the largest loss of mean test accuracy that it is claimed to cost.
        seed: random seed of everything.
    """

    width: Annotated[int, Field(ge=1)] = 64
    strengths: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1e-3, 0.04)
    levels: Annotated[int, Field(ge=2)] = 9
    seeds: Annotated[int, Field(ge=1)] = 5
    learning_rate: Annotated[float, Field(gt=0)] = 1e-2
    batch_size: Annotated[int, Field(ge=1, le=1077)] = 100
    steps: Annotated[int, Field(ge=1)] = 1000
    allowed: Annotated[float, Field(ge=0, le=1)] = 0.01
    units_left: Annotated[float, Field(ge=0, le=1)] = 0.5
    test_cost: Annotated[float, Field(ge=0, le=1)] = 0.02
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def __post_init__(self):
        if self.strengths[0] >= self.strengths[1]:
            raise ValueError(f"strengths must ascend, got {self.strengths}")


def run(config, key):
    """Train all lanes, count their zeros, and prune one network of each strength."""
    data = digits()
    strengths = np.concatenate([[0.0], np.geomspace(config.strengths[0], config.strengths[1], config.levels)])
    each, none = np.repeat(strengths, config.seeds), np.zeros(len(strengths) * config.seeds)
    columns = {PROXIMAL: np.append(each, none), GRADIENT: np.append(none, each)}
    result = sweep.run(
        task_of(config),
        sweep.from_columns(columns | {"seed": np.tile(np.arange(config.seeds), 2 * len(strengths))}),
        data,
        steps=config.steps,
        eval_every=config.steps,
        batch_size=config.batch_size,
        key=key,
        progress=True,
    )
    if result.interrupted:
        return {"interrupted": np.array(True)}
    images, labels = data.test
    right = result.predict(images).argmax(axis=-1) == labels
    lanes = np.arange(2 * len(strengths) * config.seeds).reshape(2, len(strengths), config.seeds)
    states = [result.state(lane) for lane in lanes.ravel()]
    counts = np.array([counted(state) for state in states]).reshape(*lanes.shape, -1)
    return {
        "strengths": strengths,
        "validation": result.kept_metrics()["validation_accuracy"][lanes],
        "test": right.mean(axis=1)[lanes],
        "units": counts[..., 0],
        "zeros": counts[..., 1],
        "reported": counts[0, ..., 2],
        "norms": np.array([norms(state) for state in states]).reshape(*lanes.shape, -1),
        **pruned(config, [states[lane] for lane in lanes[0, :, 0]], images),
    }


def task_of(config):
    """The network, with penalties on the units of both hidden layers in two ways: one program serves lanes of each."""

    def optimizer(h):
        rate = schedules.cosine(config.learning_rate, config.steps)
        smooth = regopt.regularize(regopt.adam(rate), penalties.group_lasso(h[GRADIENT], mask=hidden))
        return regopt.regularize(smooth, penalties.group_lasso(h[PROXIMAL], mask=hidden), "proximal")

    return sweep.supervised(
        lambda _, rngs: network(config, rngs), cross_entropy, optimizer, metrics={"accuracy": accuracy}
    )


def network(config, rngs):
    """Two hidden layers."""
    return MLP((PIXELS, config.width, config.width, CLASSES), rngs=rngs)


def hidden(params):
    """The mask of the kernels of the hidden layers."""
    last = max(params["layers"])
    return {"layers": {i: {"kernel": i != last, "bias": False} for i in params["layers"]}}


def hidden_kernels(state):
    """The kernels of the hidden layers, ``[out, in]`` each."""
    found = state.params["layers"]
    return [np.asarray(found[i]["kernel"]) for i in sorted(found)[:-1]]


def norms(state):
    """The norms of the incoming weights of all hidden units."""
    return np.concatenate([np.linalg.norm(kernel, axis=1) for kernel in hidden_kernels(state)])


def counted(state):
    """Hidden units with a weight, penalised weights that are exactly 0, and how many the optimizer reports of these."""
    kernels = hidden_kernels(state)
    zeros = sum(np.sum(kernel == 0) for kernel in kernels)
    return np.sum(norms(state) > 0), zeros, state.opt_state.zeros


def pruned(config, states, images):
    """Sizes of networks before and after pruning, and the largest change of an output relative to the largest one."""
    rows = []
    for state in states:
        model = nnx.eval_shape(lambda: network(config, nnx.Rngs(0)))  # without drawing weights
        nnx.update(model, nnx.State(state.params))
        small, before = prune(model), outputs(model, images)
        units, sizes = sum(small.features[1:-1]), [size(model), size(small)]
        gaps = [change(outputs(small, images), before), change(without_constants(state, images), before)]
        with jax.enable_x64(True):
            double = jax.tree.map(lambda w: np.asarray(w, np.float64), state.params)
            nnx.update(model, nnx.State(double))
            exact = images.astype(np.float64)
            gaps.append(change(outputs(prune(model), exact), outputs(model, exact)))
        rows.append([units, *sizes, *gaps])
    names = ("pruned_units", "parameters", "pruned_parameters", "gap", "forgotten", "double_gap")
    return dict(zip(names, np.array(rows, np.float64).T, strict=True))


def outputs(model, images):
    """What a network puts out, as one compiled program."""
    return jax.jit(lambda x: model(x))(images)


def change(after, before):
    """The largest difference relative to the largest output."""
    return np.max(np.abs(np.asarray(after) - np.asarray(before))) / np.max(np.abs(before))


def without_constants(state, images):
    """The outputs if the units without a weight put out 0, and not what their bias makes of it."""
    found, x = state.params["layers"], images
    *firsts, last = (found[i] for i in sorted(found))
    for layer in firsts:
        alive = np.any(np.asarray(layer["kernel"]) != 0, axis=1)
        x = np.maximum(x @ np.asarray(layer["kernel"]).T + np.asarray(layer["bias"]), 0) * alive
    return x @ np.asarray(last["kernel"]).T + np.asarray(last["bias"])


def size(model):
    """Numbers that a network has."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


def chosen(config, arrays):
    """The strongest proximal penalty whose mean validation accuracy is within what is allowed of that without one."""
    means = arrays["validation"][0].mean(axis=1)
    return int(np.flatnonzero(means >= means[0] - config.allowed)[-1])


def figure(config, arrays):
    """Accuracy against units left, and the norms of all units for both ways."""
    drawing = Figure(figsize=(12.5, 4.8), layout="constrained")
    left, right = drawing.subplots(1, 2)
    at, total = chosen(config, arrays), arrays["norms"].shape[-1]
    units, test = arrays["units"][0], 100 * arrays["test"][0]
    left.plot(units, test, ".", color=BLUE, alpha=0.4)
    left.plot(units.mean(axis=1), test.mean(axis=1), "-o", color=BLUE)
    left.plot(units[at].mean(), test[at].mean(), "*", color=ORANGE, ms=18, mec=BLACK)
    left.annotate(
        f"chosen on validation images:\n{units[at].mean():.0f} of {total} units, {test[at].mean():.1f} %\n"
        f"(without a penalty {test[0].mean():.1f} %)",
        (units[at].mean(), test[at].mean()),
        (0.42, 0.3),
        textcoords="axes fraction",
        arrowprops={"arrowstyle": "->"},
    )
    left.set(xlabel="hidden units left", ylabel="test accuracy (%)", xlim=(0, 1.03 * total))
    left.set_title(f"proximal steps, {len(units)} strengths: dots, {units.shape[1]} seeds; line, their means")
    for way, color, text, height in ((0, BLUE, "proximal", 0.64), (1, GREY, "in the gradient", 0.57)):
        values = np.sort(arrays["norms"][way, at, 0])[::-1]
        shown = values[values > 0]
        right.semilogy(np.arange(1, 1 + len(shown)), shown, "o", color=color, ms=4)
        what = f"{text}: {total - len(shown)} units exactly 0"
        right.text(0.97, height, what, color=color, ha="right", transform=right.transAxes)
    right.set(xlabel="hidden units, by norm", ylabel="norm of the incoming weights", xlim=(0, 1.1 * total))
    right.set_title(f"one seed at the chosen strength, {arrays['strengths'][at]:.3g}")
    return drawing


def table(config, arrays):
    """One row for each strength, means over the seeds."""
    import pandas

    columns = {"strength": arrays["strengths"]}
    for way, name in enumerate((PROXIMAL, GRADIENT)):
        for what in ("test", "units", "zeros"):
            columns[f"{name}: {what}"] = arrays[what][way].mean(axis=1)
    pruned = {name: arrays[name] for name in ("pruned_units", "parameters", "pruned_parameters", "gap", "double_gap")}
    return pandas.DataFrame({**columns, **{f"one seed: {name}": values for name, values in pruned.items()}})


def claims(config, arrays):
    """Zeros are counted and kept, pruning changes nothing but the size, and what accuracy a smaller network costs."""
    return _zero_claims(arrays) + _cost_claims(config, arrays)


def _zero_claims(arrays):
    """Zeros are counted and kept, and pruning changes nothing but the size."""
    source = "identity"
    return [
        Claim(
            "exact zeros as the optimizer reports them minus those in the weights: largest over all trainings",
            source,
            0,
            float(np.max(np.abs(arrays["reported"] - arrays["zeros"][0]))),
        ),
        Claim(
            f"exact zeros with the penalty in the gradient, all strengths (proximal: {arrays['zeros'][0].max():.0f})",
            "a subgradient step does not stop at 0",
            0,
            float(arrays["zeros"][1].sum()),
        ),
        Claim(
            "outputs of the pruned networks: largest change, relative, in double precision",
            source,
            0,
            float(arrays["double_gap"].max()),
            tolerance=1e-13,
        ),
        Claim(
            "outputs of the pruned networks: largest change, relative, in single precision",
            source,
            0,
            float(arrays["gap"].max()),
            tolerance=1e-5,
        ),
        Claim(
            "change of the pruned networks' outputs if the constants of the removed units are forgotten",
            "a unit without weights puts out activation(bias)",
            1e-3,
            float(arrays["forgotten"].max()),
            relation="at least",
        ),
        Claim(
            "units of a pruned network minus units with a weight: most (fewer where only constants lead to one)",
            source,
            0,
            float(np.max(arrays["pruned_units"] - arrays["units"][0, :, 0])),
            relation="at most",
        ),
    ]


def _cost_claims(config, arrays):
    """How small the network becomes at the strength chosen, and the accuracy that it costs."""
    at, total = chosen(config, arrays), arrays["norms"].shape[-1]
    test, units = arrays["test"][0].mean(axis=1), arrays["units"][0].mean(axis=1)
    shrunk = arrays["pruned_parameters"][at] / arrays["parameters"][at]
    return [
        Claim(
            f"share of the {total} hidden units left at the strength chosen on validation images "
            f"({shrunk:.0%} of the parameters)",
            "measured; Alvarez & Salzmann (2016) for the penalty",
            config.units_left,
            float(units[at] / total),
            relation="at most",
        ),
        Claim(
            f"cost in test accuracy, mean of {arrays['test'].shape[-1]} seeds ({test[0]:.4f} without a penalty)",
            "measured",
            config.test_cost,
            float(test[0] - test[at]),
            relation="at most",
        ),
    ]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
