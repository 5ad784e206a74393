"""Where is the gradient zero, what is there, and how does descent get away?

A random symmetric matrix has eigenvalues of both signs; shifted upwards it loses its negative ones, as the Hessians at
the critical points of a network do as the loss falls. A sum of double wells has (3/2)**n saddles for each minimum, and
a linear autoencoder has one critical subspace for each choice of eigenvectors, of which one is a minimum. Near a
saddle gradient steps need a time that grows with the logarithm of how near. Along a real training run the second-order
term of the Taylor series says which steps raise the loss. The powers of a matrix explode where the magnitude of an
eigenvalue exceeds 1.
"""

import sys
from dataclasses import dataclass
from functools import partial
from math import comb
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from matplotlib.figure import Figure
from pydantic import Field
from scipy import stats

import regopt
from _style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, RED, note
from regopt.analysis import critical_points as cp
from regopt.data import digits
from regopt.experiment import Claim
from regopt.losses import cross_entropy

BOOK = "Goodfellow et al. (2016), section 8.2"
DAUPHIN = "Dauphin et al. (2014), figure 1"
BALDI = "Baldi & Hornik (1989), fact 4"
SHIFTS = (0.0, 0.3, 0.7, 1.2)
SHARES = (0.5, 0.366, 0.198, 0.0346)
LANCZOS, PROBES = 40, 16  # products with the Hessian from a random vector, and how many of these
DATA_SETS = 8  # of the small network
SHORT = (0.01, 0.005)  # learning rates of the steps whose third-order terms are compared
FACTORS = (-1.5, 0.9, -0.5)


@dataclass(frozen=True)
class Config:
    """Matrices, a small network, a saddle and a training run.

    Attributes:
        size: rows of the random matrices.
        searches: number of searches for critical points of the network.
        search_steps: steps of each search.
        inputs: inputs of the autoencoder.
        units: hidden units of the autoencoder.
        rate: learning rate at the saddle.
        run_rates: learning rates of two training runs, ascending.
        run_steps: steps of each of them.
        seed: random seed of everything.
    """

    size: Annotated[int, Field(ge=50)] = 1000
    searches: Annotated[int, Field(ge=20)] = 300
    search_steps: Annotated[int, Field(ge=20)] = 300
    inputs: Annotated[int, Field(ge=2, le=6)] = 4
    units: Annotated[int, Field(ge=1)] = 2
    rate: Annotated[float, Field(gt=0)] = 0.05
    run_rates: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.5, 2.0)
    run_steps: Annotated[int, Field(ge=50)] = 600
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def run(config, key):
    """Each part with its own key, in 64 bit."""
    keys = jax.random.split(key, 4)
    with jax.enable_x64(True):
        return (
            _training(config, keys[0])
            | _semicircle(config, keys[1])
            | _network(config, keys[2])
            | _autoencoder(config, keys[3])
            | _saddle(config)
        )


def _semicircle(config, key):
    @jax.jit
    def draw(key):
        b = jax.random.normal(key, (config.size, config.size))
        matrix = (b + b.T) / (2 * np.sqrt(config.size))

        def quadratic(w):
            return w @ (matrix @ w) / 2 + SHIFTS[1] / 2 * w @ w

        start = jnp.zeros(config.size)
        share = cp.negative_share(quadratic, start, jax.random.fold_in(key, 1), order=LANCZOS, probes=PROBES)
        return matrix, share

    matrix, lanczos = draw(key)
    values = np.linalg.eigvalsh(np.asarray(matrix))
    shares = np.array([np.mean(values + shift < 0) for shift in SHIFTS])
    return {"semicircle": shares, "spectrum": values, "lanczos": lanczos}


@partial(jax.jit, static_argnums=0)
def _network(config, key):
    """Critical points of a small tanh network, found from points along descents: losses, gradients and shares."""
    data_key, start_key, step_key = jax.random.split(key, 3)
    sets = jax.random.normal(data_key, (DATA_SETS, 30, 2))
    shapes = {"w": (2, 4), "b": (4,), "v": (4,)}

    def loss(params, x):
        y = jnp.sin(2 * x[:, 0]) * x[:, 1]
        wrong = jnp.tanh(x @ params["w"] + params["b"][None]) @ params["v"] - y
        return jnp.mean(jnp.square(wrong)) / jnp.mean(jnp.square(y))  # 1 for the constant 0

    _, unravel = ravel_pytree({name: jnp.zeros(shape) for name, shape in shapes.items()})

    def search(keys):
        start, steps, place = keys

        def flat_loss(w):
            return loss(unravel(w), sets[place])

        w = jax.random.normal(start, (16,)) * jax.random.uniform(steps, minval=0.2, maxval=2.0)
        w = jax.lax.fori_loop(
            0, jax.random.randint(jax.random.clone(steps), (), 0, 60), lambda _, w: w - 0.1 * jax.grad(flat_loss)(w), w
        )
        found = cp.find_critical_point(flat_loss, w, steps=config.search_steps)
        counts = cp.inertia(found.eigenvalues)
        return found.value, found.gradient_norm, counts.negative / 16, counts.zero

    places = jnp.arange(config.searches) % DATA_SETS
    starts = jax.random.split(start_key, config.searches), jax.random.split(step_key, config.searches), places
    value, norm, share, zero = jax.lax.map(search, starts)
    return {
        "point_loss": value,
        "point_norm": norm,
        "point_share": share,
        "point_zero": zero,
    }


@partial(jax.jit, static_argnums=0)
def _autoencoder(config, key):
    """Losses and indices of all critical subspaces, and where descent ends."""
    b_key, start_key = jax.random.split(key)
    n, units = config.inputs, min(config.units, config.inputs)
    b = jax.random.normal(b_key, (n, 2 * n)) * jnp.linspace(2, 1, n)[:, None]
    covariance = b @ b.T / (2 * n)
    _, points = cp.autoencoder_points(covariance, units)

    def loss(params):
        return cp.autoencoder_loss(params, covariance)

    def at(params):
        norm = jnp.linalg.norm(ravel_pytree(jax.grad(loss)(params))[0])
        return loss(params), norm, cp.inertia(cp.hessian_spectrum(loss, params)).negative

    values, norms, indices = jax.lax.map(at, points)
    shapes = {"decoder": (n, units), "encoder": (units, n)}
    start = {name: 0.1 * jax.random.normal(jax.random.fold_in(start_key, len(name)), s) for name, s in shapes.items()}

    def step(params, _):
        return jax.tree.map(lambda w, g: w - 0.02 * g, params, jax.grad(loss)(params)), loss(params)

    curve = jax.lax.scan(step, start, length=4000)[1]
    return {
        "subspace_losses": values,
        "subspace_expected": cp.autoencoder_values(covariance, units),
        "subspace_norms": norms,
        "subspace_indices": indices,
        "autoencoder_curve": curve,
    }


def _saddle(config):
    """Steps until descent has left a saddle, counted and by the formula; one step of two forms of Newton's method."""

    def saddle(w):
        return (w[0] ** 2 - w[1] ** 2) / 2

    starts = 10.0 ** -np.arange(1, 9)

    @jax.jit
    @jax.vmap
    def count(start):
        def body(carry):
            w, steps = carry
            return w - config.rate * jax.grad(saddle)(w), steps + 1

        return jax.lax.while_loop(
            lambda carry: carry[0][1] < 1, body, (jnp.array([0.5, 1.0]) * jnp.stack([jnp.ones(()), start]), 0)
        )[1]

    @jax.jit
    def ends(w):
        after = []
        for free in (False, True):
            optimizer = regopt.newton(saddle_free=free)
            updates, _ = optimizer.update(jax.grad(saddle)(w), optimizer.init(w), w, value_fn=saddle)
            after.append(optax.apply_updates(w, updates))
        return jnp.stack(after)

    return {
        "starts": starts,
        "counted": count(starts),
        "formula": jax.jit(jax.vmap(lambda start: cp.escape_time(config.rate, 1.0, start)))(starts),
        "newton_ends": ends(np.array([0.5, 0.04])),
        "powers": np.array([np.diag(cp.matrix_power(np.diag(FACTORS), t)[0]) for t in range(21)]),
    }


def _training(config, key):
    """The Taylor terms of every step of gradient descent on digits, and the change that it made."""
    images, labels = digits().train
    x, y = images[:200].astype(float), labels[:200]
    keys = jax.random.split(key)
    draw = jax.nn.initializers.lecun_normal()

    def loss(params):
        hidden = jnp.tanh(x @ params["w"] + params["b"][None])
        return cross_entropy(hidden @ params["v"] + params["c"][None], y)

    def step(carry, _):
        params, rate = carry
        terms = cp.taylor_terms(loss, params, rate)
        after = jax.tree.map(lambda w, g: w - rate * g, params, jax.grad(loss)(params))
        return (after, rate), (terms.first, terms.second, loss(after) - loss(params), loss(params))

    @jax.jit
    @jax.vmap
    def descend(rate):
        start = {"w": draw(keys[0], (64, 16)), "b": jnp.zeros(16), "v": draw(keys[1], (16, 10)), "c": jnp.zeros(10)}
        return jax.lax.scan(step, (start, rate), length=config.run_steps)[1]

    runs = len(config.run_rates)
    every = map(np.asarray, descend(np.array([*config.run_rates, *SHORT])))
    found = dict(zip(("first", "second", "change", "run_loss"), every, strict=True))
    remainders = (found["change"] - found["first"] - found["second"])[runs:, 0]  # of the first step
    return {name: curves[:runs] for name, curves in found.items()} | {"remainders": remainders}


def figure(config, arrays):
    """Six panels: shares of negative eigenvalues, subspaces, a saddle, a training run, and powers."""
    drawing = Figure(figsize=(14, 8), layout="constrained")
    axes = drawing.subplots(2, 3)
    _draw_semicircle(axes[0, 0], arrays)
    _draw_network(axes[0, 1], arrays)
    _draw_autoencoder(axes[0, 2], config, arrays)
    _draw_saddle(axes[1, 0], config, arrays)
    _draw_training(axes[1, 1], config, arrays)
    _draw_powers(axes[1, 2], arrays)
    return drawing


def _draw_semicircle(axes, arrays):
    shifts = np.linspace(-1.5, 1.5, 200)
    axes.plot(shifts, jax.jit(cp.semicircle_negative_share)(shifts), color=BLUE)
    axes.plot(SHIFTS, arrays["semicircle"], "o", color=BLUE)
    inner = axes.inset_axes((0.58, 0.62, 0.4, 0.25))
    inner.hist(arrays["spectrum"], 40, density=True, color=GREY)
    inner.set(yticks=[], xticks=[-1, 0, 1])
    inner.set_title("eigenvalues without shift", fontsize=9)
    axes.set(
        xlabel="shift", ylabel="share of negative eigenvalues", title="a shifted random matrix (line: semicircle law)"
    )


def _draw_network(axes, arrays):
    kept = converged(arrays)
    losses, shares = arrays["point_loss"][kept], arrays["point_share"][kept]
    axes.plot(shares, losses, "o", color=BLUE, alpha=0.3, ms=5)
    axes.axhline(1, color=GREY, ls=":")
    note(axes, "the constant 0", (0.0, 1), GREY, (0, -12), fontsize=9)
    axes.set(xlabel="share of negative eigenvalues", ylabel="loss / loss of the constant 0")
    axes.set_title(
        f"{kept.sum()} critical points of a network, rank correlation {correlation(arrays):.2f}", fontsize=11
    )


def _draw_autoencoder(axes, config, arrays):
    axes.semilogx(np.arange(1, 4001), arrays["autoencoder_curve"], color=BLACK)
    for loss, index in zip(arrays["subspace_losses"], arrays["subspace_indices"], strict=True):
        color = GREEN if index == 0 else ORANGE
        axes.axhline(loss, color=color, lw=1, ls="--")
        note(
            axes,
            "minimum" if index == 0 else f"saddle, index {index}",
            (4000, loss),
            color,
            (0, 2),
            ha="right",
            fontsize=9,
        )
    axes.set(xlabel="gradient step", ylabel="loss", title="linear autoencoder: all its critical subspaces")


def _draw_saddle(axes, config, arrays):
    axes.semilogx(arrays["starts"], arrays["counted"], "o", color=BLUE)
    fine = np.geomspace(arrays["starts"][-1], 0.1, 200)
    axes.plot(fine, np.log(1 / fine) / np.log1p(config.rate), color=BLUE)
    axes.set(xlabel="distance from the ridge at the start", ylabel="gradient steps to leave")
    axes.set_title("leaving the saddle of $(x^2-y^2)/2$ (line: formula)", fontsize=11)


def _draw_training(axes, config, arrays):
    steps = np.arange(config.run_steps)
    shown = slice(0, 150)
    for row, (rate, color) in enumerate(zip(config.run_rates, (BLUE, RED), strict=True)):
        axes.plot(steps[shown], -(arrays["second"][row] / arrays["first"][row])[shown], color=color)
        axes.text(0.95, 0.92 - 0.08 * row, f"learning rate {rate:g}", color=color, transform=axes.transAxes, ha="right")
    axes.axhline(1, color=GREY, ls=":")
    note(axes, "above: the step raises the loss", (150, 1), GREY, (0, 4), ha="right", fontsize=9)
    axes.set(xlabel="gradient step", ylabel=r"$(\epsilon^2/2\,g^\top Hg)\;/\;\epsilon g^\top g$")
    axes.set_title("digits: what curvature takes of a step's gain", fontsize=11)


def _draw_powers(axes, arrays):
    for column, (factor, color) in enumerate(zip(FACTORS, (RED, BLUE, PURPLE), strict=True)):
        axes.semilogy(np.abs(arrays["powers"][:, column]), "o-", color=color, ms=3)
        note(axes, f"l = {factor:g}", (20, abs(factor) ** 20), color, (6, 0), va="center")
    axes.set(xlabel="t", ylabel="$|l^t|$", xlim=(0, 25), title="powers of a matrix: the magnitude decides")


def converged(arrays):
    return arrays["point_norm"] < 1e-8


def correlation(arrays):
    """Spearman's rank correlation of the loss with the share of negative eigenvalues, over converged points."""
    kept = converged(arrays)
    found: Any = stats.spearmanr(arrays["point_loss"][kept], arrays["point_share"][kept])
    return float(found.statistic)


def turning(arrays):
    """The first step of the faster run that curvature makes useless; infinite where there is none."""
    late = np.flatnonzero(arrays["second"][1] > -arrays["first"][1])
    return float(late[0]) if late.size else float("inf")


def claims(config, arrays):
    """Counts and formulas exactly, and what the network and the training run show."""
    shares = [
        Claim(f"random matrix shifted by {shift:g}: share of negative eigenvalues", DAUPHIN, share, float(found), 0.006)
        for shift, share, found in zip(SHIFTS, SHARES, arrays["semicircle"], strict=True)
    ]
    counts = cp.well_counts(20)
    return [
        *shares,
        Claim(f"shifted by {SHIFTS[1]:g}, without the matrix: {PROBES} Lanczos runs of {LANCZOS} products less the "
              "share counted", "Golub & Meurant (2010), section 11.6", 0,
              float(arrays["lanczos"] - arrays["semicircle"][1]), 0.03),
        *_network_claims(arrays),
        Claim("double wells, n = 20: saddles for each minimum", BOOK, 3324.26, counts.saddles / counts.minima, 0.01),
        *_autoencoder_claims(config, arrays),
        Claim(
            "steps to leave a saddle less ceil(log(d / y) / log(1 + r c)), largest",
            BOOK,
            0,
            float(np.max(np.abs(arrays["counted"] - arrays["formula"]))),
        ),
        Claim(
            f"steps to leave a saddle from 1e-6, rate {config.rate:g}",
            BOOK,
            float(cp.escape_time(config.rate, 1.0, 1e-6)),
            float(arrays["counted"][5]),
        ),
        Claim(
            "one Newton step from (.5, .04) on (x^2 - y^2) / 2: distance to the saddle",
            "Dauphin et al. (2014), section 4",
            0,
            float(np.linalg.norm(arrays["newton_ends"][0])),
            1e-12,
        ),
        Claim(
            "one saddle-free Newton step: distance from the saddle", "Dauphin et al. (2014), section 4", 0.08,
            float(np.linalg.norm(arrays["newton_ends"][1])), 1e-12,
        ),
        *_training_claims(config, arrays),
        Claim("(-1.5)^20: a negative eigenvalue explodes too", BOOK, 3325.2567, float(arrays["powers"][20, 0]), 1e-3),
    ]  # fmt: skip


def _network_claims(arrays):
    """The correlation, if there are enough points for one."""
    points = int(converged(arrays).sum())
    if points < 50:
        return []
    found = correlation(arrays)
    low = np.tanh(np.arctanh(found) - 1.96 / np.sqrt(points - 3))
    statement = (
        f"network, {points} critical points: rank correlation of loss and share of negative eigenvalues ({found:.2f})"
    )
    return [Claim(f"{statement}, lower end of its 95 % interval", DAUPHIN, 0, float(low), relation="at least")]


def _autoencoder_claims(config, arrays):
    gap = np.abs(arrays["subspace_losses"] / arrays["subspace_expected"] - 1)
    number = comb(config.inputs, min(config.units, config.inputs))
    return [
        Claim("linear autoencoder: critical subspaces, C(n, p)", BALDI, number, float(len(gap))),
        Claim(
            "linear autoencoder: critical subspaces that are minima",
            BALDI,
            1,
            float(np.sum(arrays["subspace_indices"] == 0)),
        ),
        Claim(
            "critical subspaces: norm of the gradient, largest", BALDI, 0, float(np.max(arrays["subspace_norms"])), 1e-9
        ),
        Claim(
            "critical subspaces: loss over the sum of the eigenvalues left out, less 1",
            BALDI,
            0,
            float(np.max(gap)),
            1e-9,
        ),
        Claim(
            "descent from a random start ends in the minimum: loss over the least one",
            BALDI,
            1,
            float(arrays["autoencoder_curve"][-1] / arrays["subspace_losses"].min()),
            1e-6,
        ),
    ]


def _training_claims(config, arrays):
    slow, fast = config.run_rates
    order = np.log2(np.divide(*arrays["remainders"]))
    at = turning(arrays)
    return [
        Claim(
            "digits: order in the learning rate of a step's change less both Taylor terms, from rates .01 and .005",
            BOOK,
            3,
            float(order),
            0.2,
        ),
        Claim(
            f"digits, learning rate {slow:g}: steps that raise the loss",
            BOOK,
            0,
            float(np.sum(arrays["change"][0] > 0)),
        ),
        Claim(
            f"digits, learning rate {fast:g}: the step at which curvature takes the whole gain",
            BOOK,
            config.run_steps,
            at,
            relation="at most",
        ),
        Claim(
            f"digits, learning rate {fast:g}: steps that raise the loss",
            BOOK,
            1,
            float(np.sum(arrays["change"][1] > 0)),
            relation="at least",
        ),
    ]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
