"""Which sets and functions are convex, and where do the first steps of the methods go?

The intersection of convex sets is convex, and their union need not be: the check returns the points that show it. For
functions Jensen's inequality and the Hessian say the same. On x1^2 + 2 x2^2 from (-5, -2) gradient descent goes where a
textbook prints it, and Newton's method arrives in one step. The exponential average of a series starts at 0, and its
bias correction takes exactly that away.
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from pydantic import Field

import regopt
from _style import BLACK, BLUE, GREEN, GREY, ORANGE, PALE, RED, note
from regopt.analysis import exponential_average, negative_curvature, nonconvex_function, nonconvex_set
from regopt.experiment import Claim

BOYD = "Boyd & Vandenberghe (2004), sections 2.1 and 3.1"
DIVE = "Zhang et al. (2023), section 12.3"
ADAM = "Kingma & Ba (2015), section 3"
FUNCTIONS = {
    "|x|^2": (lambda x: jnp.sum(x**2), True),
    "log sum exp": (jax.nn.logsumexp, True),
    "sum of cosines": (lambda x: jnp.sum(jnp.cos(x)), False),
    "x1 x2": (lambda x: x[0] * x[1], False),
}


@dataclass(frozen=True)
class Config:
    """Draws, a path, and a series.

    Attributes:
        draws: number of random segments of each check.
        rate: learning rate on the quadratic.
        steps: steps of gradient descent on the quadratic.
        decay: decay of the exponential average.
        length: length of the series.
        seed: random seed of the draws and of the series.
    """

    draws: Annotated[int, Field(ge=100)] = 20000
    rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    steps: Annotated[int, Field(ge=1)] = 20
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.9
    length: Annotated[int, Field(ge=20)] = 100
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def disc(centre):
    return lambda x: jnp.sum(jnp.square(x - jnp.array([centre, 0.0]))) <= 1


def quadratic(x):
    return x[0] ** 2 + 2 * x[1] ** 2


def run(config, key):
    """Counter-examples, the path on the quadratic, and averages of a noisy series."""
    with jax.enable_x64(True):
        return _convexity(config, key) | _path(config) | _series(config)


def _convexity(config, key):
    def uniform(key):
        return jax.random.uniform(key, (2,), minval=-2.5, maxval=2.5)

    left, right = disc(-1.1), disc(1.1)
    near_left, near_right = disc(-0.6), disc(0.6)
    union = nonconvex_set(lambda x: left(x) | right(x), uniform, key, draws=config.draws)
    both = nonconvex_set(lambda x: near_left(x) & near_right(x), uniform, jax.random.clone(key), draws=config.draws)
    found = {"union": jnp.stack([union.first, union.second]), "union_weight": union.weight}
    found |= {"union_found": union.found, "intersection_found": both.found}
    jensen, curvature = [], []
    for function, _ in FUNCTIONS.values():
        each = nonconvex_function(function, uniform, jax.random.clone(key), draws=config.draws, tolerance=1e-12)
        jensen.append(each.found)
        curvature.append(negative_curvature(function, uniform, jax.random.clone(key))[1])
    return found | {"jensen": jnp.stack(jensen), "curvature": jnp.stack(curvature)}


@partial(jax.jit, static_argnums=0)
def _path(config):
    start = jnp.array([-5.0, -2.0])
    optimizer = regopt.sgd(config.rate)

    def step(x, _):
        updates, _ = optimizer.update(jax.grad(quadratic)(x), optimizer.init(x), x)
        return x + updates, x + updates

    path = jax.lax.scan(step, start, length=config.steps)[1]
    newton = regopt.newton()
    move, _ = newton.update(jax.grad(quadratic)(start), newton.init(start), start, value_fn=quadratic)
    return {"path": jnp.concatenate([start[None], path]), "newton": optax.apply_updates(start, move)}


@partial(jax.jit, static_argnums=0)
def _series(config):
    t = np.arange(config.length)
    series = jnp.asarray(100 + 10 * np.sin(t / 15) + 4 * np.random.default_rng(config.seed).normal(size=t.shape))
    ones = jnp.ones(config.length)
    rule = regopt.optimizers.scale_by_adam(b1=config.decay, b2=0.99)

    def step(state, g):
        after = cast(Any, rule.update(g, state)[1])
        return after, (after.mu, after.nu)

    moments = jnp.stack(jax.lax.scan(step, rule.init(series[0]), series)[1])
    means = [exponential_average(x, b, bias_correction=False) for x, b in ((series, config.decay), (series**2, 0.99))]
    return {
        "moments_gap": jnp.max(jnp.abs(moments / jnp.stack(means) - 1)),
        "series": series,
        "plain": exponential_average(series, config.decay, bias_correction=False),
        "corrected": exponential_average(series, config.decay),
        "ones": exponential_average(ones, config.decay, bias_correction=False),
        "ones_corrected": exponential_average(ones, config.decay),
        "weights": exponential_average(jnp.eye(config.length), config.decay, bias_correction=False)[-1],
    }


def figure(config, arrays):
    """A union with the segment that leaves it, the path, and the two averages."""
    drawing = Figure(figsize=(14, 4.4), layout="constrained")
    left, middle, right = drawing.subplots(1, 3)
    angle = np.linspace(0, 2 * np.pi, 200)
    for centre in (-1.1, 1.1):
        left.fill(centre + np.cos(angle), np.sin(angle), color=BLUE, alpha=0.25)
    ends, t = arrays["union"], arrays["union_weight"]
    point = t * ends[0] + (1 - t) * ends[1]
    left.plot(*ends.T, "o-", color=BLACK)
    left.plot(*point, "X", color=RED, ms=10)
    note(left, "not in the union", tuple(point), RED, (0, 12), ha="center")
    left.set_aspect("equal")
    left.set(title="the union of two convex sets", xlim=(-2.3, 2.3), ylim=(-1.5, 1.5))
    x, y = np.meshgrid(np.linspace(-5.5, 1, 200), np.linspace(-2.5, 1, 200))
    middle.contour(x, y, x**2 + 2 * y**2, levels=np.geomspace(0.1, 40, 12), colors=PALE)
    middle.plot(*arrays["path"].T, "o-", color=ORANGE, ms=4)
    middle.annotate("", arrays["newton"], arrays["path"][0], arrowprops={"arrowstyle": "->", "color": GREEN})
    note(middle, "Newton: one step", (-2.5, -1.0), GREEN, (14, -14))
    note(middle, f"gradient descent, rate {config.rate:g}", tuple(arrays["path"][2]), ORANGE, (-66, 74), ha="left")
    middle.set(xlabel="$x_1$", ylabel="$x_2$", title="$x_1^2 + 2 x_2^2$ from (-5, -2)")
    steps = np.arange(1, config.length + 1)
    right.plot(steps, arrays["series"], ".", color=GREY, ms=4)
    right.plot(steps, arrays["plain"], color=ORANGE)
    right.plot(steps, arrays["corrected"], color=RED)
    note(right, "without correction", (6, arrays["plain"][5]), ORANGE, (8, -4))
    later = config.length * 6 // 10
    note(right, "with bias correction", (later, arrays["corrected"][later - 1]), RED, (-6, 34))
    right.set(xlabel="t", ylim=(0, None), title=f"exponential average, decay {config.decay:g}")
    return drawing


def claims(config, arrays):
    """Which checks find a counter-example, the printed positions, and the weights of the average."""
    result = [
        Claim(
            "counter-example to the convexity of the intersection of two discs",
            BOYD,
            0,
            float(arrays["intersection_found"]),
        ),
        Claim("counter-example to the convexity of the union of two discs", BOYD, 1, float(arrays["union_found"])),
    ]
    for place, (name, (_, convex)) in enumerate(FUNCTIONS.items()):
        found, curved = float(arrays["jensen"][place]), float(arrays["curvature"][place] < -1e-9)
        result.append(Claim(f"{name}: Jensen's inequality fails somewhere", BOYD, float(not convex), found))
        result.append(Claim(f"{name}: a negative eigenvalue of the Hessian somewhere", BOYD, float(not convex), curved))
    b = config.decay
    result += [
        Claim("x1 after one step", DIVE, -5 + 10 * config.rate, float(arrays["path"][1, 0]), 1e-12),
        Claim("x2 after one step", DIVE, -2 + 8 * config.rate, float(arrays["path"][1, 1]), 1e-12),
        Claim("distance to the minimum after one Newton step", DIVE, 0, float(np.linalg.norm(arrays["newton"])), 1e-12),
        Claim("exponential average: weight of the last value", ADAM, 1 - b, float(arrays["weights"][-1]), 1e-12),
        Claim(
            "exponential average: weight of the last value but one",
            ADAM,
            (1 - b) * b,
            float(arrays["weights"][-2]),
            1e-12,
        ),
        Claim("average of a constant 1 after 10 values", ADAM, 1 - b**10, float(arrays["ones"][9]), 1e-12),
        Claim(
            "average of a constant 1 with bias correction, largest error",
            ADAM,
            0,
            float(np.abs(arrays["ones_corrected"] - 1).max()),
            1e-12,
        ),
        Claim(
            "both moments of Adam over the averages of the series and of its squares, less 1, largest",
            ADAM,
            0,
            float(arrays["moments_gap"]),
            1e-12,
        ),
    ]
    if (config.rate, config.steps) == (0.1, 20):
        result += [
            Claim("x1 after 20 steps", DIVE, -0.057646, float(arrays["path"][-1, 0]), 5e-7),
            Claim("x2 after 20 steps", DIVE, -0.000073, float(arrays["path"][-1, 1]), 5e-7),
        ]
    return result


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
