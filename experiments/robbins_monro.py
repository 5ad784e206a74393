"""Which learning-rate schedules let gradient descent arrive in spite of the noise?

Robbins and Monro ask that the rates sum to infinity and their squares do not. Five schedules of the lectures on a
parabola with noisy gradients, where the expected squared distance from the minimum obeys an exact recursion:
``E w'^2 = (1 - rate)^2 E w^2 + rate^2 noise``. Many runs of ``regopt.sgd`` are measured beside it.
"""

import sys
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from pydantic import Field

import regopt
from _style import BLUE, GREEN, GREY, ORANGE, RED
from regopt import schedules
from regopt.experiment import Claim

SOURCE = "Robbins & Monro (1951), eq. 26 and 27"
# name: family, its numbers (rates at the counts 0, 1, 2, ...)
SCHEDULES: dict[str, tuple[Any, dict[str, float]]] = {
    "1 / t": ("power", {"init_value": 1.0, "exponent": 1.0}),
    "1 / sqrt(t)": ("power", {"init_value": 1.0, "exponent": 0.5}),
    "0.95^t": ("exponential", {"init_value": 0.095, "decay_rate": 0.95}),
    "linear to a constant": ("linear", {"init_value": 0.5, "end_value": 0.01, "transition_steps": 1000.0}),
    "constant": ("constant", {"value": 0.1}),
}
COLOURS = dict(zip(SCHEDULES, (BLUE, GREEN, RED, ORANGE, GREY), strict=True))


@dataclass(frozen=True)
class Config:
    """The parabola w^2 / 2, its noise, and the runs.

    Attributes:
        start: initial distance from the minimum.
        noise: variance of a gradient.
        steps: number of steps of each run.
        runs: number of runs of each schedule.
        seed: random seed of the noise.
    """

    start: Annotated[float, Field(gt=0)] = 10.0
    noise: Annotated[float, Field(gt=0)] = 1.0
    steps: Annotated[int, Field(ge=2000)] = 20_000
    runs: Annotated[int, Field(ge=2)] = 1000
    seed: Annotated[int, Field(ge=0)] = 0


def run(config, key):
    """Distances by step, exact and measured, and the two sums of each schedule."""
    arrays = {}
    with jax.enable_x64(True):
        for number, (name, (family, numbers)) in enumerate(SCHEDULES.items()):
            schedule = getattr(schedules, family)(**numbers)
            sums = schedules.robbins_monro(family, **numbers)

            @jax.jit
            def runs(key, number, schedule=schedule):
                rates = jax.vmap(schedule)(jnp.arange(config.steps))
                return rates, recursion(config, schedule), descend(config, jax.random.fold_in(key, number), schedule)

            rates, (exact, shrinkage), (last, measured) = runs(jax.random.clone(key), number)
            arrays |= {
                f"rates/{name}": rates,
                f"exact/{name}": exact,
                f"measured/{name}": measured,
                f"last/{name}": last,
                f"remains/{name}": shrinkage * config.start,
                f"sum/{name}": sums.sum,
                f"squares/{name}": sums.sum_of_squares,
                f"holds/{name}": sums.holds,
            }
        arrays["geometric"] = schedules.robbins_monro("exponential", init_value=1.0, decay_rate=0.95, start=1).sum
        return jax.tree.map(np.asarray, arrays)


def recursion(config, schedule):
    """The expected squared distance before each step, and by how much all steps together shrink the mean."""

    def step(carry, count):
        squared, mean = carry
        rate = schedule(count)
        return ((1 - rate) ** 2 * squared + rate**2 * config.noise, (1 - rate) * mean), squared

    start = (jnp.asarray(config.start**2), jnp.ones(()))
    (_, mean), squared = jax.lax.scan(step, start, jnp.arange(config.steps))
    return squared, mean


def descend(config, key, schedule):
    """The last distances of all runs, and the mean squared distance before each step."""
    optimizer = regopt.sgd(schedule)

    def step(carry, count):
        w, state = carry
        noise = config.noise**0.5 * jax.random.normal(jax.random.fold_in(key, count), w.shape)
        updates, state = optimizer.update(w + noise, state, w)
        return (optax.apply_updates(w, updates), state), jnp.mean(w**2)

    w = jnp.full(config.runs, config.start)
    (w, _), squared = jax.lax.scan(step, (w, optimizer.init(w)), jnp.arange(config.steps))
    return w, squared


def figure(config, arrays):
    """The rates, and the root mean squared distances: lines exact, points measured."""
    result = Figure(figsize=(11, 4.6), layout="constrained")
    rates, distances = result.subplots(1, 2)
    steps = np.arange(1, len(arrays["rates/constant"]) + 1)
    shown = np.unique(np.geomspace(1, len(steps), 25).astype(int)) - 1
    for name, colour in COLOURS.items():
        rates.plot(steps, arrays[f"rates/{name}"], color=colour)
        distances.plot(steps, np.sqrt(arrays[f"exact/{name}"]), color=colour, label=name)
        distances.plot(steps[shown], np.sqrt(arrays[f"measured/{name}"][shown]), "o", color=colour, markersize=3)
    rates.set(xscale="log", yscale="log", xlabel="step t", ylabel="learning rate", ylim=(1e-5, 2))
    rates.set_title("five schedules", fontsize="medium")
    distances.set(xscale="log", yscale="log", xlabel="step t", ylabel="root mean squared distance from the minimum")
    distances.set_title("noisy gradient descent; lines: exact, points: mean of runs", fontsize="medium")
    distances.legend(loc="lower left", frameon=False)
    return result


def claims(config, arrays):
    """Which sums converge, and what that does to the runs."""
    return _condition_claims(arrays) + _distance_claims(config, arrays)


def _condition_claims(arrays):
    """Which schedules keep the conditions, and two sums in closed form."""
    kept = {"1 / t": True, "1 / sqrt(t)": False, "0.95^t": False, "linear to a constant": False, "constant": False}
    why = {
        "1 / t": "both conditions",
        "1 / sqrt(t)": "the squares sum to infinity",
        "0.95^t": "the rates have a finite sum",
        "linear to a constant": "the squares sum to infinity, though proposed with the conditions",
        "constant": "the squares sum to infinity",
    }
    return [
        *(
            Claim(f"{name} keeps the conditions (1) or not (0): {why[name]}", SOURCE, int(holds),
                  int(arrays[f"holds/{name}"]))
            for name, holds in kept.items()
        ),
        Claim("sum of 0.95^t from t = 1", "geometric series", 19.0, float(arrays["geometric"]), tolerance=1e-12),
        Claim("sum of 1 / t^2", "Euler", np.pi**2 / 6, float(arrays["squares/1 / t"]), tolerance=1e-12),
    ]  # fmt: skip


def _distance_claims(config, arrays):
    """How far from the minimum the runs end."""
    steps, noise = len(arrays["rates/constant"]), config.noise
    short, final = arrays["last/0.95^t"], arrays["measured/linear to a constant"][-2000:].mean()
    worst = max(
        np.max(np.abs(arrays[f"measured/{name}"][::100] / arrays[f"exact/{name}"][::100] - 1)) for name in SCHEDULES
    )
    runs = len(short)
    return [
        Claim(
            "0.95^t: mean distance that is left for ever; tolerance: four standard errors",
            "start times the product of all 1 - rate",
            float(arrays["remains/0.95^t"]),
            float(short.mean()),
            tolerance=float(4 * short.std(ddof=1) / np.sqrt(runs)),
        ),
        Claim(
            "linear to a constant c: squared distance at the end over its floor c noise / (2 - c)",
            "the recursion's fixed point",
            1.0,
            float(final / (0.01 * noise / (2 - 0.01))),
            tolerance=0.05,
        ),
        Claim(
            "1 / t: exact squared distance times steps at the end, over the noise",
            "Chung (1954); Polyak & Juditsky (1992), theorem 1: no method does better",
            1.0,
            float(arrays["exact/1 / t"][-1] * (steps - 1) / noise),
            tolerance=1e-6,
        ),
        Claim(
            "largest relative difference of measured and exact squared distances, in standard errors of such a mean",
            "the recursion",
            6.0,
            float(worst / np.sqrt(2 / runs)),
            relation="at most",
        ),
        Claim(
            "1 / sqrt(t): squared distance at the end over that after a tenth of the steps: it arrives all the same",
            "the conditions are sufficient, not necessary",
            0.5,
            float(arrays["exact/1 / sqrt(t)"][-1] / arrays["exact/1 / sqrt(t)"][steps // 10]),
            relation="at most",
        ),
    ]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
