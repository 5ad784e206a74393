"""How fast do gradient descent and momentum run down a quadratic?

On ``w' H w / 2`` each method has a rate that only the condition number k of H decides: the error is multiplied by
(k - 1) / (k + 1) in a step of gradient descent, by (sqrt k - 1) / (sqrt k + 1) with Polyak's momentum and by
1 - 1 / sqrt k with Nesterov's. Conjugate gradients are faster still, and end at the minimum. The rates are measured on
regopt's optimizers, in double precision and late in the run, where the slowest direction is all that is left.
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
from _style import BLACK, BLUE, GREY, PALE, RED, note
from regopt.experiment import Claim

COLORS = {"gradient descent": GREY, "heavy ball": RED, "Nesterov": BLUE}
SOURCES = {
    "gradient descent": "Nesterov 2004, theorem 2.1.15; (k - 1) / (k + 1)",
    "heavy ball": "Polyak 1964; (sqrt k - 1) / (sqrt k + 1)",
    "Nesterov": "Nesterov 2004, (2.2.11) on a quadratic; 1 - 1 / sqrt k",
}
TOLERANCES = {"gradient descent": 1e-4, "heavy ball": 0.015, "Nesterov": 0.01}  # absolute, then relative
DISTINCT = 5  # eigenvalues that conjugate gradients meet
VARIANTS = ("fletcher_reeves", "polak_ribiere", "hestenes_stiefel")
KANTOROVICH = "Kantorovich's inequality; Luenberger & Ye 2008, section 8.2"


@dataclass(frozen=True)
class Config:
    """The quadratics, and how long to descend.

    Attributes:
        dimension: number of parameters; the curvatures lie between 1 and the condition number, evenly on a log scale.
        conditions: condition numbers, ascending.
        reference: the condition number that the claims name.
        decades: how long a run is, in factors of ten by which its theory shrinks the error.
        starts: number of random starting points for steepest descent.
        picture_condition: condition number of the quadratic in the plane.
        picture_momentum: momentum of the heavy ball there, dimensionless; both paths have the same learning rate.
        seed: random seed of the directions and the starting points.
    """

    dimension: Annotated[int, Field(ge=5, le=1000)] = 20
    conditions: tuple[Annotated[float, Field(gt=1, le=1e5)], ...] = (4.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
    reference: Annotated[float, Field(gt=1)] = 100.0
    decades: Annotated[float, Field(ge=1, le=120)] = 60.0
    starts: Annotated[int, Field(ge=1)] = 100
    picture_condition: Annotated[float, Field(gt=1)] = 30.0
    picture_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def __post_init__(self):
        if list(self.conditions) != sorted(set(self.conditions)):
            raise ValueError(f"conditions must ascend, got {self.conditions}")
        if self.reference not in self.conditions:
            raise ValueError(f"reference must be one of conditions = {self.conditions}, got {self.reference}")


def run(config, key):
    """Every method on every quadratic, steepest descent from many starts, and two paths in the plane."""
    with jax.enable_x64(True):
        arrays = {
            **_rates(config, key),
            **_steepest(config, key),
            **_conjugate(config, key),
            **_picture(config),
        }
    return {name: np.asarray(values) for name, values in arrays.items()}


def figure(config, arrays):
    """Two paths in the plane, the errors at one condition number, and the steps for a decade at all of them."""
    drawing = Figure(figsize=(14, 4.6), layout="constrained")
    plane, errors, scaling = drawing.subplots(1, 3, width_ratios=(1.25, 1, 1))
    _draw_plane(plane, config, arrays)
    _draw_errors(errors, config, arrays)
    _draw_scaling(scaling, config, arrays)
    return drawing


def claims(config, arrays):
    """The rates, the Jordan block behind heavy ball's, and the worst case of steepest descent."""
    at, condition = config.conditions.index(config.reference), config.reference
    result = []
    for i, name in enumerate(COLORS):
        expected, measured = arrays["theory"][at, i], arrays["measured"][at, i]
        tolerance = TOLERANCES[name] * (1 if name == "gradient descent" else expected)
        statement = f"{name}: factor of the error in a step, condition number {condition:g}"
        result.append(Claim(statement, SOURCES[name], float(expected), float(measured), tolerance=float(tolerance)))
    gaps = np.max(np.abs(arrays["measured"] / arrays["theory"] - 1), axis=0)
    for name, gap in zip(COLORS, gaps, strict=True):
        statement = f"{name}: largest relative gap between measured and theory, over all condition numbers"
        result.append(Claim(statement, SOURCES[name], 0, float(gap), tolerance=TOLERANCES[name], relation="at most"))
    worst = ((condition - 1) / (condition + 1)) ** 2
    return [
        *result,
        *_conjugate_claims(config, arrays),
        Claim(
            "heavy ball: exponent p of |w_t| ~ t**p rate**t, which is 1 where the two roots coincide (a Jordan block)",
            "Polyak 1964, at his optimal parameters",
            1,
            float(arrays["jordan_exponent"][at]),
            tolerance=0.02,
        ),
        Claim(
            f"steepest descent from its worst start: factor of the loss in a step, condition number {condition:g}",
            KANTOROVICH,
            float(worst),
            float(arrays["worst_factor"]),
            tolerance=1e-6,
        ),
        Claim(
            "steepest descent: largest factor of the loss in any step from any random start",
            KANTOROVICH,
            float(worst),
            float(arrays["random_factors"].max()),
            relation="at most",
        ),
        Claim(
            "in the plane, one learning rate: steps without over steps with momentum until 1 % of the distance is left",
            "Goodfellow et al. 2016, figure 8.5",
            1,
            float(np.divide(*arrays["picture_steps"])),
            relation="at least",
        ),
    ]


def methods(condition):
    """Each method at its best parameters for curvatures in [1, condition], with its rate."""
    root = condition**0.5
    rates = {
        "gradient descent": (condition - 1) / (condition + 1),
        "heavy ball": (root - 1) / (root + 1),
        "Nesterov": 1 - 1 / root,
    }
    optimizers = {
        "gradient descent": regopt.sgd(2 / (1 + condition)),
        "heavy ball": regopt.heavy_ball(4 / (1 + root) ** 2, rates["heavy ball"] ** 2),
        "Nesterov": regopt.nesterov(1 / condition, rates["heavy ball"]),
    }
    return {name: (optimizers[name], rates[name]) for name in COLORS}


def descend(optimizer, hessian, start, steps):
    """The path of an optimizer from a start, ``[steps + 1, dimension]``."""

    def step(carry, _):
        w, state = carry
        updates, state = optimizer.update(hessian @ regopt.evaluation_params(w, state), state, w)
        return (w + updates, state), w + updates

    path = jax.lax.scan(step, (start, optimizer.init(start)), length=steps)[1]
    return jnp.concatenate([start[None], path])


def steepest_descent(hessian, start, steps):
    """The losses along gradient descent whose learning rate is the exact minimum along each gradient."""

    def step(w, _):
        gradient = hessian @ w
        optimizer = regopt.sgd(gradient @ gradient / (gradient @ hessian @ gradient))
        updates, _ = optimizer.update(gradient, optimizer.init(w), w)
        return w + updates, w @ hessian @ w / 2

    return jax.lax.scan(step, start, length=steps)[1]


def conjugate_gradients(hessian, start, steps, variant):
    """The path of conjugate gradients with exact steps, ``[steps + 1, dimension]``."""
    optimizer = regopt.nonlinear_cg(variant=variant, linesearch="exact_quadratic")

    def step(carry, _):
        w, state = carry
        updates, state = optimizer.update(hessian @ w, state, w, value_fn=lambda w: w @ hessian @ w / 2)
        return (w + updates, state), w + updates

    path = jax.lax.scan(step, (start, optimizer.init(start)), length=steps)[1]
    return jnp.concatenate([start[None], path])


def _quadratic(config, condition, key, distinct=None):
    """A Hessian of this condition number with random directions, and these directions."""
    normal = jax.random.normal(key, (config.dimension, config.dimension), jnp.float64)
    directions = jnp.linalg.qr(normal)[0]
    levels = jnp.geomspace(1, condition, distinct or config.dimension)
    curvatures = jnp.sort(jnp.resize(levels, config.dimension))
    return (directions * curvatures[None, :]) @ directions.T, directions


def _rates(config, key):
    """The mean factor in the last half of each run, beside the theory, and the errors at the reference."""
    direction_key, start_key = jax.random.split(jax.random.fold_in(key, 0))
    start = jax.random.normal(start_key, (config.dimension,), jnp.float64)
    start = start / jnp.linalg.norm(start)
    theory, measured, exponents, curves = [], [], [], {}
    for condition in config.conditions:
        hessian, _ = _quadratic(config, condition, jax.random.clone(direction_key))
        found = {}
        for name, (optimizer, rate) in methods(condition).items():
            half = int(np.ceil(config.decades / 2 / -np.log10(rate)))
            path = descend(optimizer, hessian, start, 2 * half)
            found[name] = (rate, np.asarray(jnp.linalg.norm(path, axis=1)), half)
        theory.append([rate for rate, _, _ in found.values()])
        measured.append([(errors[-1] / errors[half]) ** (1 / half) for _, errors, half in found.values()])
        exponents.append(_exponent(*found["heavy ball"]))
        if condition == config.reference:
            curves = {f"errors, {name}": errors for name, (_, errors, _) in found.items()}
    return {"theory": theory, "measured": measured, "jordan_exponent": exponents, **curves}


def _exponent(rate, errors, half):
    """The power of t in the error beside rate**t, from the two halves of a run."""
    return np.log2(errors[-1] / errors[half] / rate**half)


def _steepest(config, key):
    """Factors of the loss in a step, from the start that zigzags for ever and from random ones."""
    direction_key, start_key = jax.random.split(jax.random.fold_in(key, 1))
    hessian, directions = _quadratic(config, config.reference, direction_key)
    starts = jax.random.normal(start_key, (config.starts, config.dimension), jnp.float64)
    steps = 50
    worst = steepest_descent(hessian, directions[:, 0] * config.reference + directions[:, -1], steps)
    losses = jax.vmap(lambda start: steepest_descent(hessian, start, steps))(starts)
    return {
        "worst_factor": (worst[-1] / worst[0]) ** (1 / (steps - 1)),
        "random_factors": losses[:, 1:] / losses[:, :-1],
    }


def _conjugate(config, key):
    """Errors ``sqrt(w' H w)`` of conjugate gradients, relative to the first, and how far the variants differ."""
    direction_key, start_key = jax.random.split(jax.random.fold_in(key, 2))
    start = jax.random.normal(start_key, (config.dimension,), jnp.float64)
    found = {}
    for name, distinct, steps in (("few", DISTINCT, DISTINCT), ("all", None, config.dimension)):
        hessian, _ = _quadratic(config, config.reference, jax.random.clone(direction_key), distinct)
        paths = [conjugate_gradients(hessian, start, steps, variant) for variant in VARIANTS]
        errors = jnp.sqrt(jnp.einsum("ti,ij,tj->t", paths[0], hessian, paths[0]))
        found[f"conjugate_errors, {name}"] = errors / errors[0]
        found[f"variants_gap, {name}"] = max(jnp.max(jnp.abs(path - paths[0])) for path in paths)
    return found


def _conjugate_claims(config, arrays):
    few, every = arrays["conjugate_errors, few"], arrays["conjugate_errors, all"]
    rate = arrays["theory"][config.conditions.index(config.reference), list(COLORS).index("heavy ball")]
    source = "Nocedal & Wright 2006, "
    return [
        Claim(
            f"conjugate gradients: relative error left after {DISTINCT} steps with {DISTINCT} distinct eigenvalues",
            source + "theorem 5.4",
            0,
            float(few[-1]),
            tolerance=1e-8,
        ),
        Claim(
            f"conjugate gradients: relative error left after {DISTINCT - 1} steps with {DISTINCT} eigenvalues",
            source + "theorem 5.4",
            1e-3,
            float(few[-2]),
            relation="at least",
        ),
        Claim(
            "conjugate gradients: largest relative error over 2 ((sqrt k - 1) / (sqrt k + 1))**t",
            source + "(5.36), from Chebyshev polynomials",
            1,
            float(np.max(every / (2 * rate ** np.arange(len(every))), where=np.arange(len(every)) > 0, initial=0)),
            relation="at most",
        ),
        Claim(
            "largest difference of the iterates of Fletcher-Reeves, Polak-Ribiere and Hestenes-Stiefel",
            source + "section 5.2",
            0,
            float(arrays["variants_gap, few"]),
            tolerance=1e-8,
        ),
    ]


def _picture(config):
    """Two paths in a long valley at one learning rate, and the steps until a hundredth of the distance is left."""
    rate = 2 / (1 + config.picture_condition)
    optimizers = {
        "gradient descent": regopt.sgd(rate),
        "heavy ball": regopt.heavy_ball(rate, config.picture_momentum),
    }
    hessian, start = jnp.diag(jnp.array([1.0, config.picture_condition])), jnp.array([-1.0, 0.2])
    steps = int(6 * config.picture_condition)
    paths = {name: np.asarray(descend(one, hessian, start, steps)) for name, one in optimizers.items()}
    left = [np.linalg.norm(path, axis=1) / np.linalg.norm(start) for path in paths.values()]
    return {
        **{f"path, {name}": path for name, path in paths.items()},
        "picture_steps": [1 + np.flatnonzero(distance > 0.01)[-1] for distance in left],
    }


def _draw_plane(axes, config, arrays):
    condition, momentum = config.picture_condition, config.picture_momentum
    x, y = np.meshgrid(np.linspace(-1.1, 0.2, 300), np.linspace(-0.25, 0.32, 300))
    axes.contour(x, y, x**2 + condition * y**2, levels=np.geomspace(1e-3, 3, 12), colors=PALE, linewidths=0.8)
    names, shown = ("gradient descent", "heavy ball"), 25
    for name, marker, steps, height in zip(names, "os", arrays["picture_steps"], (0.98, 0.91), strict=True):
        axes.plot(*arrays[f"path, {name}"][: shown + 1].T, color=COLORS[name], marker=marker, ms=3.5, lw=1.4)
        what = f"{name}{f', momentum {momentum:g}' if name == 'heavy ball' else ''}: {steps} steps to 1 %"
        axes.text(0.98, height, what, transform=axes.transAxes, ha="right", va="top", color=COLORS[name])
    axes.plot(0, 0, "*", color=BLACK, ms=12, zorder=5)
    axes.set(
        xlabel="$w_1$ (curvature 1)",
        ylabel=f"$w_2$ (curvature {condition:g})",
        ylim=(-0.25, 0.32),
        title=f"the first {shown} steps at one learning rate, $k$ = {condition:g}",
    )


def _draw_errors(axes, config, arrays):
    at = config.conditions.index(config.reference)
    end = 300
    for i, (name, color) in enumerate(COLORS.items()):
        errors = arrays[f"errors, {name}"][: end + 1]
        steps, rate = np.arange(len(errors)), arrays["theory"][at, i]
        axes.plot(steps, errors, color=color, lw=2)
        axes.plot(steps, errors[0] * rate**steps, color=color, lw=1, ls=":")
        place = {"gradient descent": (75, 1e-3), "heavy ball": (8, 1e-8), "Nesterov": (170, 1e-6)}[name]
        axes.text(*place, name, color=color)
    axes.set(
        xlabel="step",
        ylabel="distance from the minimum",
        yscale="log",
        xlim=(0, end),
        ylim=(1e-14, 20),
        title=f"$k$ = {config.reference:g}; dotted: the rates of the theory",
    )


def _draw_scaling(axes, config, arrays):
    conditions = config.conditions
    fine = np.geomspace(conditions[0], conditions[-1], 100)
    lines = np.array([[rate for _, rate in methods(condition).values()] for condition in fine])
    for i, (name, color) in enumerate(COLORS.items()):
        axes.plot(fine, 1 / -np.log10(lines[:, i]), color=color, lw=1.2)
        axes.plot(conditions, 1 / -np.log10(arrays["measured"][:, i]), "o", color=color, ms=5)
        below = name == "heavy ball"
        offset, align = ((6, -4), ("left", "top")) if below else ((-6, 4), ("right", "bottom"))
        note(axes, name, (fine[60], 1 / -np.log10(lines[60, i])), color, offset, ha=align[0], va=align[1])
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="condition number $k$",
        ylabel="steps for a decade of error",
        title="points: measured; lines: theory",
    )
    axes.grid(alpha=0.3)


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
