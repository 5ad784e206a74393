"""What do the update rules do as the lectures print them, and what do the algorithms do that they name?

A second root in AdaGrad makes the step depend on the gradient's size, Adam without its root is thrown out of the
minimum, RMSProp without a constant divides zero by zero, and clipping that always divides by the norm never settles.
Where the constant stands, inside the root or outside, matters for small gradients only. The printed rules are written
out here; the right ones are regopt's optimizers. All of this is in double precision.
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
from _style import BLACK, BLUE, GREY, ORANGE, RED, note
from regopt.experiment import Claim
from regopt.optimizers import scale_by_adam, scale_by_adamax
from regopt.transforms import clip_by_global_norm

BOOK = "Goodfellow et al. (2016)"
ADAM = "Kingma & Ba (2015)"
LECTURE = "the lecture's slide, as printed"
SIZES = np.geomspace(1e-8, 1, 33)  # of a gradient
ORDERS = (1, 2, 5, 10, 30, 100, 300)
DELTA = 1e-8  # the constant of the printed Adam


@dataclass(frozen=True)
class Config:
    """Length of the paths.

    Attributes:
        steps: number of steps of descent on x^2 / 2.
        seed: random seed of the gradients that AdaMax sees.
    """

    steps: Annotated[int, Field(ge=100)] = 500
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def run(config, key):
    """First steps over the gradient's size, paths on x^2 / 2, AdaMax's moments, and how long Adam remembers."""
    with jax.enable_x64(True):
        return _first_steps() | _paths(config) | _zero_gradient() | _moments(key) | _memory()


def _first_steps():
    """First steps over the learning rate, ``[sizes]``, of the optimizers and of the printed rules."""
    optimizers = {
        "AdaGrad": regopt.adagrad(1.0, eps=0.0),
        "RMSProp, inside": regopt.rmsprop(1.0, eps=0.0, eps_root=1e-6),
        "RMSProp, outside": regopt.rmsprop(1.0, eps=1e-6, eps_root=0.0),
        "Adam, inside": regopt.adam(1.0, eps=0.0, eps_root=DELTA),
        "Adam, outside": regopt.adam(1.0, eps=DELTA),
    }
    sizes = jnp.asarray(SIZES)
    found: dict[str, Any] = {}
    for name, optimizer in optimizers.items():
        found[name] = jax.tree.map(jnp.negative, optimizer.update(sizes, optimizer.init(sizes))[0])
    squares = SIZES**2
    found["AdaGrad, printed"] = SIZES / np.sqrt(squares**0.5)  # B = diag(sum g g')^.5, then the root of B
    found["Adam, printed"] = SIZES / squares  # s^ / r^, with delta = 0
    return {f"first, {name}": value for name, value in found.items()}


def path_of(update, start, steps):
    """The iterates of ``x, state = update(x, state)``, ``[steps + 1]``."""
    _, path = jax.jit(lambda carry: jax.lax.scan(lambda c, _: (update(*c),) * 2, carry, length=steps))(start)
    return jnp.concatenate([start[0][None], path[0]])


def _paths(config):
    """Descent on x^2 / 2 with clipping and with normalised gradients, and with Adam with and without its root."""

    def descent(clipping):
        optimizer = optax.chain(clipping, regopt.sgd(0.1))

        def update(x, state):
            updates, state = optimizer.update(x, state)
            return x + updates, state

        start = jnp.array(1.95)
        return path_of(update, (start, optimizer.init(start)), config.steps)

    def normalise(g: Any, _):
        return g / jnp.abs(g)

    optimizer = regopt.adam(1e-3, eps=DELTA)

    def adam(x, state):
        updates, state = optimizer.update(x, state, x)
        return x + updates, state

    def printed(x, state):
        s, r, t = state
        s, r, t = 0.9 * s + 0.1 * x, 0.999 * r + 0.001 * x**2, t + 1
        return x - 1e-3 * (s / (1 - 0.9**t)) / (DELTA + r / (1 - 0.999**t)), (s, r, t)

    near = jnp.array(1e-4)
    return {
        "path, clipped": descent(clip_by_global_norm(1.0)),
        "path, normalised": descent(optax.stateless(normalise)),
        "path, Adam": path_of(adam, (near, optimizer.init(near)), config.steps),
        "path, Adam printed": path_of(printed, (near, (jnp.zeros(()),) * 3), config.steps),
    }


def _zero_gradient():
    """The step of RMSProp with Nesterov's momentum for a zero gradient, with regopt's constant and as printed."""
    zero = jnp.zeros(1)
    optimizer = regopt.rmsprop_nesterov(0.1)
    with np.errstate(invalid="ignore"):
        printed = 0.1 * np.zeros(1) / np.sqrt(0.1 * np.zeros(1) ** 2)  # as printed, without delta
    return {"zero": optimizer.update(zero, optimizer.init(zero), zero)[0], "zero, printed": printed}


def _moments(key):
    """AdaMax's u after 40 gradients, and for each order p the logarithm of the moment of that order."""
    gradients = jax.random.normal(key, (40,))
    direction, decay = scale_by_adamax(b2=0.95), 0.95

    def step(state, g):
        return direction.update(g, state)[1], None

    last, _ = jax.jit(lambda g: jax.lax.scan(step, direction.init(jnp.zeros(())), g))(gradients)
    found = []
    for p in ORDERS:  # r <- decay^p r + (1 - decay^p) |g|^p
        ages = np.arange(len(gradients))[::-1]
        terms = p * (np.log(np.abs(np.asarray(gradients))) + ages * np.log(decay))
        found.append(np.log1p(-(decay**p)) + np.logaddexp.reduce(terms))
    return {"u": last.nu, "log_moments": np.array(found)}


def _memory():
    """Steps until Adam has forgotten half of a squared gradient, with b2 = .999 and .99 (as printed)."""

    def steps(b2):
        rule = scale_by_adam(b2=b2, eps=1e-8)

        def step(state: Any, _):
            return rule.update(jnp.zeros(()), state)[1], state.nu

        _, state = rule.update(jnp.ones(()), rule.init(jnp.zeros(())))
        moments = jax.lax.scan(step, state, length=1000)[1]
        return jnp.sum(moments > moments[0] / 2)

    return {"memory": jax.jit(jax.vmap(steps))(jnp.array([0.999, 0.99]))}


def figure(config, arrays):
    """First steps over the gradient's size, the two pairs of paths, and AdaMax's limit."""
    drawing = Figure(figsize=(13, 8), layout="constrained")
    axes = drawing.subplots(2, 2)
    _draw_first_steps(axes[0, 0], arrays)
    steps = np.arange(config.steps + 1)
    for place, names, words, title in (
        (axes[0, 1], ("clipped", "normalised"), ("clipped to norm 1", "always divided by its norm, as printed"),
         "$x^2/2$, learning rate 0.1: clipping settles"),
        (axes[1, 0], ("Adam", "Adam printed"), ("Adam", "without the square root, as printed"),
         "$x^2/2$ from $10^{-4}$: Adam stays near the minimum"),
    ):  # fmt: skip
        for name, word, color in zip(names, words, (BLUE, RED), strict=True):
            place.semilogy(steps, np.maximum(np.abs(arrays[f"path, {name}"]), 1e-12), color=color, lw=1, label=word)
        place.set(xlabel="step", ylabel="|x|", title=title)
        place.set_ylim(1e-12, 1e3)
        place.legend(frameon=False, loc="upper right")
    last, u = axes[1, 1], float(arrays["u"])
    last.semilogx(ORDERS, np.exp(arrays["log_moments"] / np.array(ORDERS)), "o-", color=BLUE)
    last.axhline(u, color=GREY, ls=":")
    note(last, f"AdaMax: max(b u, |g|) = {u:.4f}", (1, u), GREY, (0, 5))
    last.set(xlabel="order p", ylabel="$r^{1/p}$", ylim=(0, 1.25 * u))
    last.set_title("AdaMax is the limit of the p-th root, not of the moment r")
    return drawing


def _draw_first_steps(axes, arrays):
    for name, words, color, style in (
        ("AdaGrad", "AdaGrad (any size)", BLACK, "-"),
        ("AdaGrad, printed", "AdaGrad with two roots, as printed", RED, "-"),
        ("RMSProp, outside", "RMSProp, constant outside the root", BLUE, "-"),
        ("RMSProp, inside", "RMSProp, inside", BLUE, "--"),
        ("Adam, outside", "Adam, constant outside the root", ORANGE, "-"),
        ("Adam, inside", "Adam, inside, as printed", ORANGE, "--"),
    ):
        axes.loglog(SIZES, arrays[f"first, {name}"], style, color=color, label=words)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    axes.set(xlabel="size of the gradient", ylabel="first step / learning rate", ylim=(1e-6, 20))
    axes.set_title("the first step should not depend on the gradient's size")


def claims(config, arrays):
    """For each rule: what is printed, beside what the algorithm does."""
    return [*_root_claims(arrays), *_constant_claims(arrays), *_path_claims(arrays), *_adamax_claims(arrays)]


def _order(steps):
    """The power of the gradient's size that the first step grows with."""
    return float(np.polyfit(np.log(SIZES), np.log(steps), 1)[0])


def _at(arrays, name, size):
    """A first step at one of the sizes."""
    return float(arrays[f"first, {name}"][int(np.argmin(np.abs(SIZES - size)))])


def _root_claims(arrays):
    return [
        Claim("AdaGrad: first step over the learning rate less 1, largest, for gradients of any size",
              f"{BOOK}, algorithm 8.4", 0, float(np.max(np.abs(arrays["first, AdaGrad"] - 1))), 1e-12),
        Claim("AdaGrad as printed, with two roots: power of the gradient's size in the first step", LECTURE, 0.5,
              _order(arrays["first, AdaGrad, printed"]), 1e-9),
        Claim("Adam as printed, without the square root: power of the gradient's size in the first step", LECTURE, -1,
              _order(arrays["first, Adam, printed"]), 1e-9),
    ]  # fmt: skip


def _constant_claims(arrays):
    return [
        Claim("Adam, gradient 1e-5, rate 1e-3: first step with the constant inside the root, as printed", LECTURE,
              9.95e-5, 1e-3 * _at(arrays, "Adam, inside", 1e-5), 5e-8),
        Claim("Adam, gradient 1e-5, rate 1e-3: first step with the constant outside the root", f"{ADAM}, algorithm 1",
              9.99e-4, 1e-3 * _at(arrays, "Adam, outside", 1e-5), 5e-7),
        Claim("RMSProp, gradient 1e-4: first step over the rate, constant inside the root", f"{BOOK}, algorithm 8.5",
              0.09995, _at(arrays, "RMSProp, inside", 1e-4), 5e-6),
        Claim("RMSProp, gradient 1e-4: the constant outside, as two of the lectures print it", LECTURE, 3.0653,
              _at(arrays, "RMSProp, outside", 1e-4), 5e-5),
        Claim("RMSProp with Nesterov's momentum, zero gradient: step", f"{BOOK}, algorithm 8.6, with a constant", 0,
              float(arrays["zero"][0]), 0),
        Claim("RMSProp with Nesterov's momentum as printed, without a constant: is 0 / 0 (1: so)", LECTURE, 1,
              float(np.isnan(arrays["zero, printed"][0])), 0),
    ]  # fmt: skip


def _path_claims(arrays):
    size = {name: np.abs(arrays[f"path, {name}"]) for name in ("clipped", "normalised", "Adam", "Adam printed")}
    return [
        Claim("x^2 / 2 from 1.95, rate .1, gradient clipped to norm 1: |x| at the end", f"{BOOK}, (10.48)-(10.49)",
              1e-7, float(size["clipped"][-1]), relation="at most"),
        Claim("x^2 / 2, gradient always divided by its norm, as printed: it hops over 0 between -.05 and .05 for ever",
              LECTURE, 0.05, float(size["normalised"][-50:].max()), 1e-9),
        Claim("Adam on x^2 / 2 from 1e-4: largest |x|", f"{ADAM}, algorithm 1", 9e-4, float(size["Adam"].max()), 5e-5),
        Claim("Adam on x^2 / 2 without the square root, as printed: largest |x|", LECTURE, 5.0,
              float(size["Adam printed"].max()), 5e-4),
    ]  # fmt: skip


def _adamax_claims(arrays):
    roots = arrays["log_moments"] / np.array(ORDERS)
    log_u = float(np.log(arrays["u"]))
    long, short = (float(steps) for steps in arrays["memory"])
    return [
        Claim(f"AdaMax: root of the moment of order {ORDERS[-1]} over u, less 1", f"{ADAM}, section 7.1", 0,
              float(np.expm1(roots[-1] - log_u)), 1e-6),
        Claim("AdaMax: root of the moment of order 2 over u, less 1 (far from the limit)", f"{ADAM}, section 7.1", -0.1,
              float(np.expm1(roots[1] - log_u)), relation="at most"),
        Claim(f"AdaMax as printed, without the root: |log10| of the moment of order {ORDERS[-1]} over u", LECTURE, 3,
              float(abs(arrays["log_moments"][-1] - log_u) / np.log(10)), relation="at least"),
        Claim("Adam: steps that half of a squared gradient is remembered, log 2 / -log b2 at b2 = .999",
              f"{ADAM}, algorithm 1", 693, long, 0),
        Claim("Adam: steps that half of a squared gradient is remembered at b2 = .99, as printed", LECTURE, 69, short,
              0),
    ]  # fmt: skip


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
