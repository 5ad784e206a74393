"""Does Adam find the minimum of a convex problem?

Not always. In the problems of Reddi, Kale & Kumar one gradient in a hundred is large and points the right way, the
others are small and point the wrong way; Adam forgets the large one too soon and ends at the worst point of [-1, 1].
AMSGrad, which never lets its scale shrink, goes to the best one. Both run for millions of rounds on the online and on
the stochastic problem; a third problem, from the paper's theorem, holds Adam at the worst point for ever.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

import regopt
from _style import BLACK, BLUE, ORANGE, RED, SKY, band, note
from regopt.experiment import Claim
from regopt.schedules import power

PAPER = "Reddi, Kale & Kumar 2018, "
PERIOD, LARGE, SMALL = 101, 1010.0, -10.0  # gradients: the large one in each period's first round, else the small one
RARE = 0.01  # how often the large one comes in the stochastic problem
MEAN = (LARGE + (PERIOD - 1) * SMALL) / PERIOD  # > 0, so the minimum over [-1, 1] is at -1
LINES = {  # name: optimizer of a learning rate, b2; which of the two rates; and the colour
    "Adam": (lambda rate: regopt.adam(rate, 0.9, 0.99), 0, RED),
    "AMSGrad": (lambda rate: regopt.amsgrad(rate, 0.9, 0.99), 1, BLUE),
    "AMSGrad, slow": (lambda rate: regopt.amsgrad(rate, 0.9, 0.99), 0, SKY),
    "Adam, long memory": (lambda rate: regopt.adam(rate, 0.9, 0.9999), 1, ORANGE),
}


@dataclass(frozen=True)
class Config:
    """How long, and how fast.

    Attributes:
        rounds: number of rounds of the online problem, a multiple of blocks.
        stochastic_rounds: number of rounds of the stochastic problem, whose noise takes longer to average out; a
            multiple of blocks.
        runs: number of runs of the stochastic problem.
        blocks: how many times the iterate is recorded in a run.
        learning_rates: the smaller and the larger a of the learning rate a / sqrt t.
        large: the theorem's C, each > 2.
        periods: number of periods of three rounds in the theorem's problem.
        seed: random seed of the stochastic problem.
    """

    rounds: Annotated[int, Field(ge=1000)] = 3_000_000
    stochastic_rounds: Annotated[int, Field(ge=1000)] = 30_000_000
    runs: Annotated[int, Field(ge=1)] = 8
    blocks: Annotated[int, Field(ge=10)] = 1000
    learning_rates: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.1, 0.5)
    large: Annotated[tuple[Annotated[float, Field(gt=2)], ...], Field(min_length=1)] = (2.5, 4.0, 10.0, 50.0)
    periods: Annotated[int, Field(ge=1)] = 100_000
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def __post_init__(self):
        for name in ("rounds", "stochastic_rounds"):
            if getattr(self, name) % self.blocks:
                raise ValueError(f"{name} must be a multiple of blocks = {self.blocks}, got {getattr(self, name)}")


def run(config, key):
    """Every optimizer on the online and on the stochastic problem, then the theorem's."""
    with jax.enable_x64(True):
        arrays = {}
        for name, (make, which, _) in LINES.items():
            rate = config.learning_rates[which]
            arrays |= _play(config, name, make(power(rate, 0.5)), jax.random.clone(key))
        return {
            **arrays,
            **_theorem(config),
        }


def figure(config, arrays):
    """The iterates on both problems, and the average regret in the theorem's problem."""
    drawing = Figure(figsize=(14, 4.6), layout="constrained")
    panels = drawing.subplots(1, 3)
    for axes, problem in zip(panels, ("online", "stochastic"), strict=False):
        _draw_iterates(axes, config, arrays, problem)
    _draw_theorem(panels[2], config, arrays)
    return drawing


def claims(config, arrays):
    """Where the iterates end, what they cost, and the theorem's two statements."""
    return _problem_claims(config, arrays) + _theorem_claims(arrays)


def _problem_claims(config, arrays):
    """Where the iterates end on both problems, and the regret on the first."""
    slow, fast = config.learning_rates
    rounds = {"online": config.rounds, "stochastic": config.stochastic_rounds}
    return [
        *(
            Claim(
                f"{problem} problem, {name}, a = {rate:g}: mean iterate, last tenth of {rounds[problem]:.0e} rounds"
                + ", in the run farthest off" * (problem == "stochastic"),
                PAPER + "section 5, synthetic experiments",
                expected,
                _farthest(arrays[f"{problem}, {name}"], expected),
                tolerance=0.05,
            )
            for problem in ("online", "stochastic")
            for name, rate, expected in (("Adam", slow, 1), ("AMSGrad", fast, -1))
        ),
        Claim(
            f"online problem, AMSGrad, a = {slow:g}: last iterate, on its way to -1 and not there",
            "a / sqrt t is too small a step for so few rounds",
            -0.61,
            float(arrays["online, AMSGrad, slow"][-1]),
            tolerance=0.02,
        ),
        Claim(
            f"online problem, Adam with b2 = .9999, a = {fast:g}: mean iterate, last tenth; a long memory cures it",
            "no cure in general: " + PAPER + "theorem 2, has a problem for every b2",
            0,
            _farthest(arrays["online, Adam, long memory"], -1),
            relation="at most",
        ),
        Claim(
            f"online problem, Adam: regret per round, that of staying at 1 being {2 * MEAN:.4f}",
            PAPER + "figure 1",
            2 * MEAN,
            float(arrays["regret, Adam"]),
            tolerance=0.005,
        ),
        Claim(
            "online problem, AMSGrad: regret per round, which goes to 0",
            PAPER + "theorem 4",
            0.05,
            float(arrays["regret, AMSGrad"]),
            relation="at most",
        ),
    ]


def _theorem_claims(arrays):
    """The smallest iterate and the regret on the theorem's problem."""
    worst = np.min(arrays["theorem_regret"] / arrays["theorem_bound"][:, None])
    return [
        Claim(
            "theorem's problem, Adam without bias correction: smallest x in rounds 1, 4, 7, ..., over all C",
            PAPER + "theorem 1 (b1 = 0, b2 = 1 / (1 + C^2), a < sqrt(1 - b2))",
            1,
            float(arrays["theorem_smallest"].min()),
        ),
        Claim(
            "theorem's problem, regopt's Adam, which corrects the bias: smallest x in those rounds, over all C",
            PAPER + "theorem 1 also with Adam as published",
            1,
            float(arrays["corrected_smallest"].min()),
        ),
        Claim(
            "theorem's problem: smallest regret per round over (2C - 4) / 3, over all C and all periods",
            PAPER + "theorem 1",
            1,
            float(worst),
            tolerance=1e-12,
            relation="at least",
        ),
    ]


def _play(config, name, optimizer, key):
    """The iterate after each block of both problems, ``[blocks]`` and ``[runs, blocks]``, and the online regret."""

    def step(carry, gradient):
        x, state, regret = carry
        regret = regret + gradient * (x + 1)  # of x against -1
        return (*_projected_step(optimizer, x, state, gradient), regret), None

    def play(gradients):  # of a block's number
        def block(carry, number):
            carry, _ = jax.lax.scan(step, carry, gradients(number))
            return carry, (carry[0], carry[2])

        start = jnp.zeros(())
        return jax.lax.scan(block, (start, optimizer.init(start), jnp.zeros(())), jnp.arange(config.blocks))[1]

    def online(number):
        length = config.rounds // config.blocks
        large = (number * length + jnp.arange(1, length + 1)) % PERIOD == 1
        return jnp.where(large, LARGE, SMALL)

    def stochastic(key):
        length = config.stochastic_rounds // config.blocks

        def gradients(number):
            large = jax.random.uniform(jax.random.fold_in(key, number), (length,), jnp.float32) < RARE
            return jnp.where(large, LARGE, SMALL)

        return play(gradients)[0]

    iterates, regret = jax.jit(lambda: play(online))()
    runs = jax.jit(jax.vmap(stochastic))(jax.random.split(key, config.runs))
    return {
        f"online, {name}": np.asarray(iterates),
        f"stochastic, {name}": np.asarray(runs),
        f"regret, {name}": np.asarray(regret[-1]) / config.rounds,
    }


def _projected_step(optimizer, x, state, gradient):
    updates, state = optimizer.update(gradient, state, x)
    return jnp.clip(x + updates, -1, 1), state


def _theorem(config):
    """Gradients C, -1, -1, C, ... from x = 1: the smallest x that meets C, and the regret per round."""

    def play(large, corrected):
        b2 = 1 / (1 + large**2)
        rate = power(0.9 * jnp.sqrt(1 - b2), 0.5)
        uncorrected = regopt.rmsprop(rate, b2, eps=0.0, eps_root=0.0)  # Adam with b1 = 0, as the paper writes it
        optimizer = regopt.adam(rate, 0.0, b2, eps=0.0) if corrected else uncorrected

        def period(carry, number):
            x, state, regret, smallest = carry
            smallest = jnp.minimum(smallest, x)
            for gradient in (large, -jnp.ones(()), -jnp.ones(())):
                regret = regret + gradient * (x + 1)
                x, state = _projected_step(optimizer, x, state, gradient)
            return (x, state, regret, smallest), regret / (3 * number + 3)

        start = jnp.ones(())
        carry = (start, optimizer.init(start), jnp.zeros(()), start)
        (_, _, _, smallest), regret = jax.lax.scan(period, carry, jnp.arange(config.periods))
        return smallest, regret

    large = jnp.array(config.large)
    smallest, regret = jax.jit(jax.vmap(lambda c: play(c, False)))(large)
    return {
        "theorem_smallest": np.asarray(smallest),
        "theorem_regret": np.asarray(regret),
        "theorem_bound": (2 * np.array(config.large) - 4) / 3,
        "corrected_smallest": np.asarray(jax.jit(jax.vmap(lambda c: play(c, True)))(large)[0]),
    }


def _farthest(iterates, expected):
    """The mean in the last tenth of a run, of the run where it is farthest from what is expected."""
    means = np.atleast_2d(iterates)[:, -(iterates.shape[-1] // 10) :].mean(axis=1)
    return float(means[np.argmax(np.abs(means - expected))])


def _draw_iterates(axes, config, arrays, problem):
    runs = arrays["stochastic, Adam"].shape[0]
    millions = (config.rounds if problem == "online" else config.stochastic_rounds) / 1e6
    for line, (name, (_, which, color)) in enumerate(LINES.items()):
        x = np.atleast_2d(arrays[f"{problem}, {name}"])
        rounds = np.linspace(0, millions, x.shape[1] + 1)[1:]
        axes.plot(rounds, x[0], color=color, lw=1.6)
        band(axes, rounds, x.min(axis=0), x.max(axis=0), color)
        b2 = 0.9999 if name == "Adam, long memory" else 0.99
        what = f"{name.split(',')[0]}, $a$ = {config.learning_rates[which]:g}, $b_2$ = {b2:g}"
        if problem == "online":
            axes.text(millions, 0.44 - 0.14 * line, what, color=color, ha="right", va="center")
    axes.set(
        xlabel="round (millions)",
        ylabel="iterate $x$; the minimum is at -1",
        ylim=(-1.08, 1.08),
        title="online problem" if problem == "online" else f"stochastic problem: one run, and the range of {runs}",
    )


def _draw_theorem(axes, config, arrays):
    regret, bound = arrays["theorem_regret"], arrays["theorem_bound"]
    rounds = 3 * np.arange(1, regret.shape[1] + 1)
    shown = np.unique(np.geomspace(1, len(rounds), 200).astype(int)) - 1
    for curve, limit, large in zip(regret, bound, config.large, strict=True):
        axes.plot(rounds[shown], curve[shown], color=RED, lw=1.6)
        axes.axhline(limit, color=BLACK, lw=0.8, ls=":")
        note(axes, f"$C$ = {large:g}", (rounds[shown][-1], limit), BLACK, (0, 5), ha="right")
    axes.set(
        xscale="log",
        yscale="log",
        ylim=(0.7 * bound.min(), 1.6 * bound.max()),
        xlabel="round",
        ylabel="Adam's regret per round",
        title="gradients $C$, -1, -1, ...; dotted: $(2C - 4) / 3$",
    )


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
