"""Which L2 penalty does an early stop amount to in a trained network, and how far apart do the two stay?

A small network is trained on handwritten digits by gradient descent, as one program of lanes: some stop after
so many steps, the others minimise loss + strength / 2 * |params - start|**2. Lanczos on the Gauss-Newton matrix at the
solution predicts, for each stop, the nearest strength and the distance that remains. The predictions are compared
with what is measured in three models: one that is linear in its parameters, where theory is exact; the network's
linearisation at the solution; and the network itself, where nothing is promised.
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.flatten_util import ravel_pytree
from matplotlib.figure import Figure
from pydantic import Field

from _style import BLACK, BLUE, GREEN, ORANGE, RED, band
from regopt import analysis, sweep
from regopt.analysis import quadratic
from regopt.curvature import gauss_newton_product, spectral_measure
from regopt.data import Splits, digits
from regopt.experiment import Claim
from regopt.layers import MLP

BELOW = {"frameon": False, "fontsize": 8, "loc": "upper center", "bbox_to_anchor": (0.5, -0.16)}  # off the curves
BOOK = "Goodfellow et al. (2016), section 7.8"
FOREVER = 2**30  # a stop that is never reached
HIDDEN = {"start", "solution", "stopped", "penalised", "stopped_moves"}  # large, and read inside run only
MODELS = ("linear", "linearised", "network")


@dataclass(frozen=True)
class Config:
    """The models and their training.

    Attributes:
        examples: training images; as many others are held out.
        width: number of hidden tanh units.
        learning_rate: learning rate of gradient descent times the largest curvature at the start; below 1.
        stops: numbers of steps after which the early-stopped lanes stop.
        strengths: number of L2 strengths among which the nearest one is looked for, evenly spaced in the logarithm.
        steps: training steps of the penalised lanes, with momentum, and of the solution.
        momentum: momentum of the penalised lanes, so that they reach their minimum.
        order: number of Lanczos products.
        network_gap: the largest claimed distance between the outputs of the stopped and the penalised network.
        seeds: number of initial weights of the network for which everything is repeated.
        seed: the first random seed.
    """

    examples: Annotated[int, Field(ge=20, le=700)] = 300
    width: Annotated[int, Field(ge=1)] = 16
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 0.5
    stops: tuple[Annotated[int, Field(ge=1)], ...] = (5, 10, 20, 40, 80, 160, 320, 640)
    strengths: Annotated[int, Field(ge=4)] = 32
    steps: Annotated[int, Field(ge=1)] = 10_000
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    order: Annotated[int, Field(ge=2)] = 60
    network_gap: Annotated[float, Field(gt=0)] = 0.2
    seeds: Annotated[int, Field(ge=1)] = 3
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    def __post_init__(self):
        if not self.stops or max(self.stops) > self.steps:
            raise ValueError(f"stops must lie in [1, {self.steps}], the number of steps, got {self.stops}")


def run(config, key):
    """Everything for each of the models; the network for several initial weights."""
    data = one_hot_digits(config.examples)
    init, apply = network(config.width)
    keys = [jax.random.fold_in(key, number) for number in range(config.seeds)]
    found = {}
    networks = [study(config, apply, init(jax.random.clone(one)), data) for one in keys]
    solution, start = (jnp.asarray(networks[0][name]) for name in ("solution", "start"))

    def linearised(params, x):
        value, slope = jax.jvp(lambda p: apply(p, x), (solution,), (params - solution,))
        return value + slope

    found["linearised"] = [study(config, linearised, start, data, solution)]
    found["linear"] = [study(config, linear, np.zeros(650, np.float32), data, least_squares(data.train))]
    found["network"] = networks
    arrays = {}
    for model, studies in found.items():
        for name in studies[0].keys() - HIDDEN:
            arrays[f"{model}_{name}"] = np.stack([each[name] for each in studies])
    first = networks[0]
    arrays |= by_direction(config, apply, first, data)
    arrays["linearised_off"] = relative(
        found["linearised"][0]["stopped_moves"], first["stopped_moves"], first["stopped_moves"]
    )
    return arrays


def study(config, apply, start, data, solution=None):
    """Predictions from the curvature at the solution, and what lanes of this model do.

    A gap is a root mean square over inputs of the difference between two models, relative to how far the stopped one
    has moved from the start.
    """
    x, held_out = data.train[0], data.validation[0]
    curvature = partial(measure, apply, x, config.order)
    random = np.random.default_rng(0).normal(size=start.shape).astype(np.float32)
    rate = config.learning_rate / float(curvature(start, random).eigenvalues[-1])
    train = partial(lanes, config, task_of(apply, start, rate), data)
    if solution is None:
        solution, _ = train([0.0], [FOREVER])
        solution = jnp.asarray(solution[0])
    stops = np.array(config.stops, np.float32)
    of_displacement = curvature(solution, solution - start)
    predicted, gap = map(np.asarray, predictions(of_displacement, rate, stops))
    rule = 1 / (rate * stops)
    grid = np.geomspace(0.1 * rule[-1], 3 * rule[0], config.strengths)
    count = len(stops)
    strengths = np.concatenate(
        [np.zeros(count), predicted, rule, grid]
    )  # one program for those that stop and the others
    params, slopes = train(strengths, [*config.stops, *[FOREVER] * (len(strengths) - count)])
    stopped, penalised, slopes = params[:count], params[count:], slopes[count:]
    everything = np.concatenate([params, np.asarray(solution)[None]])
    outputs = jax.jit(jax.vmap(lambda params, x: (apply(params, x) - apply(start, x)).ravel(), in_axes=(0, None)))
    result = {"start": start, "solution": solution, "rate": rate, "predicted": predicted, "predicted_gap": gap}
    for where, inputs in (("train", x), ("held_out", held_out)):
        # one program for all parameters
        moves, others, last = np.split(np.asarray(outputs(everything, inputs)), [count, len(strengths)])
        to_grid = np.stack([relative(others[2 * count :], move, move) for move in moves])
        result[f"{where}_gap"] = relative(others[:count], moves, moves)
        result[f"{where}_rule_gap"] = relative(others[count : 2 * count], moves, moves)
        result[f"{where}_nearest"] = grid[np.argmin(to_grid, axis=1)]
        result[f"{where}_nearest_gap"] = np.min(to_grid, axis=1)
        result[f"{where}_solution_gap"] = relative(last, moves, moves)
    result["stopped_moves"] = moves
    result["params_gap"] = relative(penalised[:count], stopped, stopped - start)
    result["slopes"] = slopes
    result["stopped"], result["penalised"] = stopped, penalised[:count]
    return {name: np.asarray(value) for name, value in result.items()}


@jax.jit
def predictions(measure, rate, stops):
    """For each stop the strength that the spectral measure says is nearest, and the distance that remains."""
    strengths = jax.vmap(lambda steps: analysis.nearest_strength(measure, rate, steps))(stops)
    gaps = jax.vmap(lambda steps, strength: analysis.function_gap(measure, rate, steps, strength))(stops, strengths)
    return strengths, gaps


def by_direction(config, apply, study, data):
    """The fraction of the way to the solution along each eigendirection of the dense Gauss-Newton matrix."""
    solution, start = study["solution"], study["start"]
    jacobian = jax.jit(jax.jacobian(lambda p: apply(p, data.train[0]).ravel()))(solution)
    jacobian = np.asarray(jacobian, np.float64)
    values, vectors = np.linalg.eigh(jacobian.T @ jacobian / len(data.train[0]))
    way = vectors.T @ (solution - start)
    edges = np.geomspace(1e-4, 1.001, 17) * values[-1]
    bins = np.digitize(values, edges)
    arrays = {"dense_largest": values[-1], "bin_curvature": np.sqrt(edges[1:] * edges[:-1])}
    arrays["lanczos_largest"] = float(
        measure(apply, data.train[0], config.order, solution, solution - start).eigenvalues[-1]
    )
    for name in ("stopped", "penalised"):
        gone = (study[name] - start) @ vectors
        sums = [[np.sum(row[bins == b] * way[bins == b]) for b in range(1, len(edges))] for row in gone]
        energy = [np.sum(way[bins == b] ** 2) for b in range(1, len(edges))]
        arrays[f"{name}_fraction"] = np.array(sums) / np.where(
            np.array(energy) > 0, energy, np.nan
        )  # a bin may be empty
    return arrays


def figure(config, arrays):
    """How far apart stop and penalty stay; which strength is nearest; and how far each direction has gone."""
    drawing = Figure(figsize=(13, 5), layout="constrained")
    gaps, strengths, directions = drawing.subplots(1, 3)
    stops = np.array(config.stops)
    for model, color, marker in (("linear", BLUE, "o"), ("linearised", GREEN, "s")):
        gaps.plot(stops, arrays[f"{model}_predicted_gap"][0], color=color)
        gaps.plot(stops, arrays[f"{model}_train_gap"][0], marker, color=color, label=f"{model} (line: predicted)")
    over_seeds(gaps, stops, arrays["network_held_out_gap"], RED, "network, predicted strength")
    over_seeds(gaps, stops, arrays["network_held_out_rule_gap"], ORANGE, "network, strength 1 / (rate steps)")
    gaps.set(xscale="log", ylim=(0, None), xlabel="stopped after (steps)", ylabel="distance / distance from the start")
    gaps.set_title("stopped against penalised model: outputs")
    gaps.legend(**BELOW)
    scale = arrays["network_rate"][:, None] * stops
    over_seeds(strengths, stops, arrays["network_predicted"] * scale, RED, "predicted from the spectrum")
    over_seeds(strengths, stops, arrays["network_held_out_nearest"] * scale, BLACK, "nearest measured")
    strengths.axhline(1, color=ORANGE, label="1 / (rate steps)")
    strengths.set(xscale="log", ylim=(0, None), xlabel="stopped after (steps)", ylabel="L2 strength x rate x steps")
    strengths.set_title("nearest L2 strength, network")
    strengths.legend(**BELOW)
    fractions(directions, config, arrays)
    return drawing


def over_seeds(axes, x, rows, color, label):
    """The mean over seeds, and a band from the smallest to the largest."""
    band(axes, x, rows.min(axis=0), rows.max(axis=0), color)
    count = f"{len(rows)} seeds" if len(rows) > 1 else "1 seed"
    axes.plot(x, rows.mean(axis=0), color=color, marker=".", label=f"{label} (mean, range of {count})")


def fractions(axes, config, arrays):
    """Measured fractions of the way to the solution, by curvature, beside the theory of a quadratic."""
    middle = len(config.stops) // 2
    steps, rate = float(config.stops[middle]), float(arrays["network_rate"][0])
    strength = float(arrays["network_predicted"][0][middle])
    curvature = np.geomspace(arrays["bin_curvature"][0], arrays["bin_curvature"][-1], 200)
    axes.plot(curvature, jax.jit(quadratic.early_stopping_shrinkage)(curvature, rate, steps), color=BLUE)
    axes.plot(curvature, jax.jit(quadratic.l2_shrinkage)(curvature, strength), color=RED)
    axes.plot(
        arrays["bin_curvature"],
        arrays["stopped_fraction"][middle],
        "o",
        color=BLUE,
        label="stopped (line: quadratic theory)",
    )
    axes.plot(
        arrays["bin_curvature"],
        arrays["penalised_fraction"][middle],
        "s",
        color=RED,
        label="penalised (line: quadratic theory)",
    )
    axes.set(xscale="log", xlabel="curvature (eigenvalue of the Gauss-Newton matrix)")
    axes.set_ylabel("fraction of the way to the solution")
    axes.set_title(f"network by direction, {steps:.0f} steps")
    axes.legend(**BELOW)


def claims(config, arrays):
    """Where theory is exact it is met; for the network, what holds and what does not."""
    return _exact_claims(arrays) + _network_claims(config, arrays)


def _exact_claims(arrays):
    """Lanczos, and the models that are linear in their parameters."""
    return [
        Claim(
            "largest curvature by Lanczos, relative to the dense matrix's",
            "Golub & Meurant (2010)",
            1.0,
            float(arrays["lanczos_largest"] / arrays["dense_largest"]),
            tolerance=1e-4,
        ),
        *(
            Claim(
                f"{model} model: measured minus predicted distance of stop and penalty, the worst stop",
                BOOK,
                0.0,
                float(np.max(np.abs(arrays[f"{model}_train_gap"] - arrays[f"{model}_predicted_gap"]))),
                tolerance=2e-3,
            )
            for model in ("linear", "linearised")
        ),
    ]


def _network_claims(config, arrays):
    """Distances of the stopped and the penalised network, as functions and as parameters."""
    here = "measured here"
    first, last = (config.stops[place] for place in (0, -1))
    at_rule, at_predicted = arrays["network_held_out_rule_gap"], arrays["network_held_out_gap"]
    return [
        Claim(
            "network: distance of outputs on held-out images at the predicted strength, the worst stop and seed",
            here,
            config.network_gap,
            float(np.max(at_predicted)),
            relation="at most",
        ),
        Claim(
            f"network, {first:.0f} steps: distance at the predicted strength over that at 1 / (rate steps)",
            f"{here}; the rule needs rate x steps x curvature << 1 (book, 7.45)",
            1.0,
            float(np.max(at_predicted[:, 0] / at_rule[:, 0])),
            relation="at most",
        ),
        Claim(
            f"network, {last:.0f} steps: that ratio of distances (the prediction fails: the linearisation is left)",
            here,
            1.0,
            float(np.min(at_predicted[:, -1] / at_rule[:, -1])),
            relation="at least",
        ),
        Claim(
            f"network, {last:.0f} steps: distance of the parameters, relative to the way from the start",
            f"{here}; alike as functions, not as parameters",
            0.5,
            float(np.min(arrays["network_params_gap"][:, -1])),
            relation="at least",
        ),
        Claim(
            "moves of the linearised model away from the network's, relative to these, the best stop",
            f"{here}; the solution's linearisation does not follow the network",
            1.0,
            float(np.min(arrays["linearised_off"])),
            relation="at least",
        ),
    ]


def network(width):
    """A tanh MLP as ``init(key) -> flat parameters`` and ``apply(flat, x) -> outputs``."""

    def build(key):
        return MLP((64, width, 10), activation=jnp.tanh, rngs=nnx.Rngs(key))

    graph, state = nnx.split(build(jax.random.key(0)))
    unravel = ravel_pytree(nnx.to_pure_dict(state))[1]

    def init(key):
        return ravel_pytree(nnx.to_pure_dict(nnx.split(build(key))[1]))[0]

    def apply(flat, x):
        return nnx.merge(graph, nnx.State(unravel(flat)))(x)

    return init, apply


def linear(flat, x):
    """640 weights and 10 biases."""
    return x @ flat[:640].reshape(64, 10) + flat[640:]


def least_squares(examples):
    """The linear model's minimum of smallest norm."""
    x, y = (np.asarray(part, np.float64) for part in examples)
    weights = np.linalg.lstsq(np.c_[x, np.ones(len(x))], y)[0]
    return jnp.asarray(weights.ravel(), jnp.float32)


def one_hot_digits(examples):
    """Images and one-hot labels; ``validation`` is held out."""
    images, labels = digits(validation=10, test=10).train
    targets = np.eye(10, dtype=np.float32)[labels]
    cut = [(images[at : at + examples], targets[at : at + examples]) for at in (0, examples)]
    return Splits(*cut)


@partial(jax.jit, static_argnums=(0, 2))
def measure(apply, x, order, params, vector):
    """Spectral measure of a vector under the Gauss-Newton matrix of the half mean squared error."""
    product = gauss_newton_product(lambda p: apply(p, x), lambda f: jnp.sum(jnp.square(f)) / (2 * len(x)), params)
    return spectral_measure(product, vector, order)


def task_of(apply, start, rate):
    """Gradient descent from ``start``; ``stop`` ends it, ``strength`` pulls back to the start."""

    def loss(params, x, y):
        return jnp.sum(jnp.square(apply(params, x) - y)) / (2 * len(x))

    def init(_, h):
        del h
        return {"params": start, "velocity": jnp.zeros_like(start), "step": jnp.zeros((), jnp.int32)}

    def step(state, batch, _, h):
        value, slope = jax.value_and_grad(loss)(state["params"], *batch)
        slope = slope + h["strength"] * (state["params"] - start)
        velocity = h["momentum"] * state["velocity"] - rate * slope
        moved = jnp.where(state["step"] < h["stop"], state["params"] + velocity, state["params"])
        return {"params": moved, "velocity": velocity, "step": state["step"] + 1}, {"loss": value}

    def evaluate(state, data, h):
        slope = jax.grad(loss)(state["params"], *data.train) + h["strength"] * (state["params"] - start)
        return {"validation_loss": loss(state["params"], *data.validation), "slope": jnp.linalg.norm(slope)}

    return sweep.Task(init, step, evaluate)


def lanes(config, task, data, strengths, stops):
    """Final parameters and gradient norms, a lane for each strength and stop; only lanes that stop have no momentum."""
    stops = np.asarray(stops)
    columns = {
        "strength": np.asarray(strengths, float),
        "stop": stops,
        "momentum": np.where(stops == FOREVER, config.momentum, 0.0),
    }
    steps = config.steps if np.any(stops == FOREVER) else int(stops.max())
    result = sweep.run(task, sweep.from_columns(columns), data, steps=steps, eval_every=steps, progress=True)
    if result.interrupted:
        raise KeyboardInterrupt
    params = np.stack([result.state(row)["params"] for row in range(len(stops))])
    return params, result.kept_metrics()["slope"]


def relative(a, b, size):
    """``|a - b| / |size|`` over the last axis."""
    return np.linalg.norm(np.asarray(a) - np.asarray(b), axis=-1) / np.linalg.norm(size, axis=-1)


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
