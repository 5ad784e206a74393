"""Which optimizer is fastest, when each has the learning rate that suits it?

First on a convex problem whose minimum is known to twelve digits: logistic regression with an L2 penalty on the breast
cancer data, all examples in each step. Then on handwritten digits with a small network and minibatches, where the
engine trains every optimizer at every learning rate with several seeds.
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from matplotlib.figure import Figure
from pydantic import Field

import regopt
from _style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, plain_ticks
from regopt import penalties, sweep
from regopt.data import digits
from regopt.experiment import Claim
from regopt.layers import MLP
from regopt.losses import accuracy, cross_entropy

MINIMUM = 0.09959137548470549
NEWTON_NORMS = (0.396, 0.155, 0.058, 0.018, 0.0028, 9.6e-5, 1.1e-7)  # after 1, 2, ... steps from zero
WITH_MOMENTUM = {"heavy ball": regopt.heavy_ball, "Nesterov": regopt.nesterov}
SWEPT = {
    "gradient descent": regopt.sgd,
    **{name: partial(make, momentum=0.9) for name, make in WITH_MOMENTUM.items()},
    "AdaGrad": regopt.adagrad,
    "RMSProp": regopt.rmsprop,
    "Adam": regopt.adam,
    "NAdam": regopt.nadam,
}
CURVED = {
    "conjugate gradients": regopt.nonlinear_cg,
    "L-BFGS": regopt.lbfgs,
    "Newton": regopt.newton,
}
NAMES = (*SWEPT, *CURVED)
Name = Literal["gradient descent", "heavy ball", "Nesterov", "AdaGrad", "RMSProp", "Adam", "NAdam"]
COLOURS = dict(  # the second-order methods are dashed
    zip(
        NAMES,
        (GREY, SKY, BLUE, ORANGE, RED, GREEN, PURPLE, ORANGE, GREEN, BLACK),
        strict=True,
    )
)


@dataclass(frozen=True)
class Config:
    """The two races.

    Attributes:
        iterations: number of iterations of each optimizer on the convex problem.
        momenta: momenta from which heavy ball and Nesterov get theirs there; on the digits it is 0.9.
        convex_rates: learning rates, first and last, from which each optimizer gets the one whose logarithm of the
            loss above the minimum is smallest in the mean over the iterations.
        convex_points: number of these learning rates, evenly spaced in the logarithm.
        optimizers: optimizers that race on the digits.
        learning_rates: first and last learning rate on the digits.
        points: number of learning rates on the digits, evenly spaced in the logarithm.
        seeds: number of initial weights and orders of the data, for each optimizer and rate.
        steps: training steps on the digits.
        eval_every: steps between evaluations.
        batch_size: images in a batch.
        width: hidden units.
        seed: random seed of everything.
    """

    iterations: Annotated[int, Field(ge=10)] = 200
    momenta: Annotated[tuple[Annotated[float, Field(ge=0, lt=1)], ...], Field(min_length=1)] = (
        0.2,
        0.3,
        0.4,
        0.5,
        0.6,
        0.7,
        0.8,
        0.9,
    )
    convex_rates: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1e-3, 30.0)
    convex_points: Annotated[int, Field(ge=2)] = 60
    optimizers: Annotated[tuple[Name, ...], Field(min_length=1)] = get_args(Name)
    learning_rates: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1e-4, 3.0)
    points: Annotated[int, Field(ge=3)] = 16
    seeds: Annotated[int, Field(ge=1)] = 3
    steps: Annotated[int, Field(ge=1)] = 300
    eval_every: Annotated[int, Field(ge=1)] = 20
    batch_size: Annotated[int, Field(ge=1, le=1077)] = 64
    width: Annotated[int, Field(ge=1)] = 64
    seed: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self):
        if self.steps % self.eval_every:
            raise ValueError(f"steps must be a multiple of eval_every = {self.eval_every}, got {self.steps}")


def run(config, key):
    """Losses above the minimum by iteration on the convex problem; validation losses by rate on the digits."""
    with jax.enable_x64(True):
        arrays = jax.tree.map(np.asarray, convex(config))
    return arrays | on_digits(config, key)


def logistic_regression():
    """The mean loss over breast cancer's 569 standardised examples, penalty 0.01 / 2 |w|^2, and where to start."""
    from sklearn.datasets import load_breast_cancer

    x, y = (np.asarray(each, np.float64) for each in load_breast_cancer(return_X_y=True))
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    penalty = penalties.l2(0.01)  # leaves the bias alone

    def loss(params):
        outputs = x @ params["w"] + params["b"]
        return jnp.mean(jax.nn.softplus(outputs) - y * outputs) + penalty.value(params)

    return loss, {"w": jnp.zeros(x.shape[1]), "b": jnp.zeros(())}


def convex(config):
    """``gap/<name>``: loss minus the minimum after each iteration, at the best of the rates where there is one."""
    loss, start = logistic_regression()
    rates = np.geomspace(config.convex_rates[0], config.convex_rates[1], config.convex_points)
    arrays = {}
    for name, make in SWEPT.items():
        momenta = np.array(config.momenta if name in WITH_MOMENTUM else [0.0])
        tried = [each.ravel() for each in np.meshgrid(rates, momenta)]

        def losses_of(rate, momentum, make=make, name=name):
            optimizer = make(rate, momentum=momentum) if name in WITH_MOMENTUM else make(rate)
            return descend(loss, start, optimizer, config.iterations)[0]

        losses = np.asarray(jax.jit(jax.vmap(losses_of))(*tried))
        progress = np.mean(np.log(np.maximum(losses - MINIMUM, 1e-16)), axis=1)
        best = np.argmin(np.where(np.isfinite(progress), progress, np.inf))  # a rate that diverges loses
        arrays[f"gap/{name}"] = losses[best] - MINIMUM
        arrays[f"tuned/{name}"] = np.array([each[best] for each in tried])
    for name, make in CURVED.items():
        losses, norms, last = jax.tree.map(
            np.asarray, jax.jit(partial(descend, loss, start, make(), config.iterations))()
        )
        arrays[f"gap/{name}"] = losses - MINIMUM
        if name == "Newton":
            vector, unravel = ravel_pytree(last)
            hessian = jax.hessian(lambda v, unravel=unravel: loss(unravel(v)))
            eigenvalues = np.linalg.eigvalsh(jax.jit(hessian)(vector))
            condition = eigenvalues[-1] / eigenvalues[0]
            arrays |= {"newton_norms": norms, "minimum": losses[-1], "condition": condition}
    return arrays | jax.jit(partial(twins, loss))(start)


def descend(loss, params, optimizer, iterations):
    """Losses and gradient norms at the parameters after 0, 1, ... iterations, and the parameters at the end."""

    def step(carry, _):
        params, state = carry
        grads = jax.grad(loss)(regopt.evaluation_params(params, state))
        value, slope = jax.value_and_grad(loss)(params)
        extra = {"value": value, "grad": grads, "value_fn": loss}
        updates, state = optimizer.update(grads, state, params, **extra)
        return (optax.apply_updates(params, updates), state), (value, optax.tree.norm(slope))

    (last, _), found = jax.lax.scan(step, (params, optimizer.init(params)), length=iterations + 1)
    return *found, last


def twins(loss, start):
    """Largest difference from optax's path over 60 steps, where both are the same algorithm."""
    pairs = {
        "NAdam": (regopt.nadam(0.05), optax.nadam(0.05)),
        "Nesterov": (regopt.nesterov(0.5, 0.8), optax.sgd(0.5, 0.8, nesterov=True)),
    }
    constants = jnp.array([[1e-8, 0.0], [0.0, 1e-8]])  # outside the root, and inside: two runs of one program

    def adams(make):
        return jax.vmap(lambda c: path(loss, start, make(0.05, eps=c[0], eps_root=c[1])))(constants)

    outside, inside = jnp.max(jnp.abs(adams(regopt.adam) - adams(optax.adam)), axis=(1, 2))
    found = {"twin/Adam": outside, "twin/Adam with its constant inside the root": inside}
    for name, (ours, theirs) in pairs.items():
        found[f"twin/{name}"] = jnp.max(jnp.abs(path(loss, start, ours) - path(loss, start, theirs)))
    return found


def path(loss, params, optimizer):
    """The points at which 60 gradients are asked, as vectors: optax's Nesterov carries them, regopt's looks ahead."""

    def step(carry, _):
        params, state = carry
        point = regopt.evaluation_params(params, state)
        updates, state = optimizer.update(jax.grad(loss)(point), state, params)
        return (optax.apply_updates(params, updates), state), ravel_pytree(point)[0]

    return jax.lax.scan(step, (params, optimizer.init(params)), length=60)[1]


def on_digits(config, key):
    """Kept validation losses ``[optimizer, rate, seed]`` and the learning curves at each one's best rate."""
    task = sweep.supervised(
        lambda _, rngs: MLP((64, config.width, 10), rngs=rngs),
        cross_entropy,
        lambda h: SWEPT[h["optimizer"]](h["learning_rate"]),
        metrics={"accuracy": accuracy},
    )
    space = {
        "optimizer": sweep.static(list(config.optimizers)),
        "learning_rate": sweep.log_uniform(*config.learning_rates),
        "seed": sweep.seeds(config.seeds),
    }
    result = sweep.run(
        task,
        sweep.grid(space, points=config.points),
        digits(),
        steps=config.steps,
        eval_every=config.eval_every,
        batch_size=config.batch_size,
        key=key,
        progress=True,
    )
    shape = (len(config.optimizers), config.points, config.seeds)
    curves = result.curves()
    every = np.asarray(curves["validation_loss"]).reshape(*shape, -1)
    final = np.where(np.isfinite(every[..., -1]), every[..., -1], np.inf)
    means = final.mean(-1)
    best = means.argmin(1)
    return {
        "rates": np.geomspace(config.learning_rates[0], config.learning_rates[1], config.points),
        "final": final,
        "best": best,
        "steps": np.asarray(curves["step"]),
        "curves": np.stack([each[at].mean(0) for each, at in zip(every, best, strict=True)]),
        "interrupted": np.array(result.interrupted),
    }


def figure(config, arrays):
    """The convex race, the digits by learning rate, and the digits' learning curves at the best rates."""
    result = Figure(figsize=(14, 4.6), layout="constrained")
    race, rates, curves = result.subplots(1, 3)
    for name in NAMES:
        gap = np.maximum(arrays[f"gap/{name}"], 1e-15)
        race.plot(gap, color=COLOURS[name], linestyle="--" if name in CURVED else "-", label=name)
    race.set(yscale="log", xlabel="iterations", ylabel="loss above the minimum (nats)", ylim=(5e-16, 2))
    race.set_title("logistic regression, all examples in each step")
    result.legend(*race.get_legend_handles_labels(), ncols=10, loc="outside lower center")
    for index, name in enumerate(config.optimizers):
        mean = arrays["final"][index].mean(-1)
        shown = np.where(np.isfinite(mean), mean, np.nan)
        best = arrays["best"][index]
        rates.plot(arrays["rates"], shown, color=COLOURS[name])
        rates.plot(arrays["rates"][best], shown[best], "*", color=COLOURS[name], markersize=11)
        curves.plot(arrays["steps"], arrays["curves"][index], color=COLOURS[name])
    rates.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="validation loss (nats), mean of the seeds")
    rates.set_title("digits, a network with minibatches; stars: best")
    curves.set(yscale="log", xlabel="training steps", ylabel="validation loss (nats)")
    curves.set_title("digits, each at its best rate")
    for axes in (rates, curves):
        axes.set_ylim(0.1, 3)
        plain_ticks(axes.yaxis, [0.1, 0.2, 0.5, 1, 2])
        axes.xaxis.minorticks_off()
    return result


def claims(config, arrays):
    """The known minimum and Newton's way to it; who needs how many iterations; what the digits say of the rate."""
    return _minimum_claims(arrays) + _iteration_claims(arrays) + _digits_claims(arrays)


def _minimum_claims(arrays):
    """The known minimum, and Newton's way to it."""
    source = "logistic regression on the breast cancer data, penalty 0.01, bias free"
    norms = arrays["newton_norms"]
    known = np.array(NEWTON_NORMS)
    return [
        Claim("the minimum", source, MINIMUM, float(arrays["minimum"]), tolerance=1e-12),
        Claim(
            "condition number of the Hessian at the minimum", source, 22.91, float(arrays["condition"]), tolerance=0.005
        ),
        Claim(
            "gradient norm after 1 ... 7 Newton steps from zero: worst relative difference to the two digits known",
            source,
            0.0,
            float(np.max(np.abs(norms[1:8] / known - 1))),
            tolerance=0.05,
        ),
        Claim("gradient norm after 8 Newton steps", source, 1e-12, float(norms[8]), relation="at most"),
    ]


def _iteration_claims(arrays):
    """Who needs how many iterations, and the twins of optax's optimizers."""
    return [
        Claim(
            "iterations of conjugate gradients to 1e-10 above the minimum: sqrt(condition number) log(2 / 1e-10) / 2",
            "Shewchuk (1994), (51), for the quadratic at the minimum",
            np.sqrt(arrays["condition"]) * np.log(2 / 1e-10) / 2,
            first_below(arrays["gap/conjugate gradients"], 1e-10),
            relation="at most",
        ),
        Claim(
            "iterations of Newton's method to 1e-10 above the minimum, over those of L-BFGS",
            "Nocedal & Wright (2006), theorems 3.5 and 6.6",
            1.0,
            first_below(arrays["gap/Newton"], 1e-10) / first_below(arrays["gap/L-BFGS"], 1e-10),
            relation="at most",
        ),
        Claim(
            "iterations to 1e-8 above the minimum, the slower of heavy ball and Nesterov over gradient descent",
            "Polyak (1964); Nesterov (1983)",
            1.0,
            max(first_below(arrays[f"gap/{name}"], 1e-8) for name in ("heavy ball", "Nesterov"))
            / first_below(arrays["gap/gradient descent"], 1e-8),
            relation="at most",
        ),
        *(
            Claim(
                f"{name.removeprefix('twin/')}: largest difference of 60 points from optax's, the same algorithm",
                "Kingma & Ba (2015), Algorithm 1; Dozat (2016); Goodfellow et al. (2016), Algorithm 8.3 shifted",
                0.0,
                float(difference),
                tolerance=1e-10,
            )
            for name, difference in arrays.items()
            if name.startswith("twin/")
        ),
    ]


def _digits_claims(arrays):
    """What the digits say of the learning rate."""
    own = np.array([each[best].mean() for each, best in zip(arrays["final"], arrays["best"], strict=True)])
    one_for_all = arrays["final"].mean(-1)
    one_for_all = one_for_all[:, np.argmin(one_for_all.max(0))]
    edge = np.isin(arrays["best"], [0, len(arrays["rates"]) - 1])
    return [
        Claim("digits: optimizers whose best rate lies on the edge of the grid", "measured", 0.0, int(edge.sum())),
        Claim(
            "digits: worst over best optimizer's loss at one rate for all (the fairest), over that at own rates",
            "measured: the rate matters more than the optimizer",
            1.0,
            float((one_for_all.max() / one_for_all.min()) / (own.max() / own.min())),
            relation="at least",
        ),
    ]


def first_below(gap, level):
    """The first iteration whose gap is below the level; inf if none is."""
    below = np.flatnonzero(gap < level)
    return float(below[0]) if len(below) else float("inf")


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
