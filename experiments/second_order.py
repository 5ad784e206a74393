"""What do second-order methods know of the Hessian after a few steps, and how fast is Newton's method at the end?

On a quadratic with exact line searches BFGS and L-BFGS take the steps of conjugate gradients, and after n of them the
matrix of BFGS is the inverse Hessian. Near a minimum the error of Newton's method is squared in each step, times the
constant f''' / (2 f''), and gradient descent only divides it. All of this is in double precision.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from pydantic import Field

import regopt
from _style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, RED
from regopt.experiment import Claim

NOCEDAL = "Nocedal & Wright (2006)"
STEPS = 6  # of Newton's method
FUNCTIONS = {  # by name: f, its minimum, f''' / (2 f'') there, a start
    "exp(x) - 2 x": (lambda x: jnp.exp(x) - 2 * x, np.log(2), 0.5, 1.5),
    "x^2 / 2 + x^3 / 3": (lambda x: x**2 / 2 + x**3 / 3, 0.0, 1.0, 0.3),
    "x - log(x)": (lambda x: x - jnp.log(x), 1.0, -1.0, 1.3),
}
COLORS = (BLUE, GREEN, PURPLE)


@dataclass(frozen=True)
class Config:
    """The quadratic.

    Attributes:
        size: number of parameters.
        condition: the largest over the smallest eigenvalue.
        seed: random seed of the Hessian and its slope.
    """

    size: Annotated[int, Field(ge=3, le=20)] = 8
    condition: Annotated[float, Field(ge=2, le=1000)] = 60.0
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def run(config, key):
    """Paths of the methods on the quadratic, the gaps between them, and errors of Newton's method."""
    with jax.enable_x64(True):
        return _quadratic(config, key) | _newton()


def path_of(optimizer, value_fn, start, steps):
    """The parameters before each step and after the last, and the states after each step."""

    def step(carry, _):
        params, state = carry
        grads = jax.grad(value_fn)(params)
        updates, state = optimizer.update(grads, state, params, value_fn=value_fn)
        after = optax.apply_updates(params, updates), state
        return after, after

    _, (path, states) = jax.jit(lambda s: jax.lax.scan(step, (s, optimizer.init(s)), length=steps))(start)
    return jnp.concatenate([start[None], path]), states


def _quadratic(config, key):
    matrix_key, slope_key = jax.random.split(key)
    vectors, _ = jnp.linalg.qr(jax.random.normal(matrix_key, (config.size, config.size)))
    hessian = vectors * jnp.geomspace(1.0, config.condition, config.size)[None] @ vectors.T
    slope = jax.random.normal(slope_key, (config.size,))
    minimum, inverse = jnp.linalg.solve(hessian, slope), jnp.linalg.inv(hessian)
    start, size = jnp.ones(config.size), config.size

    def value_fn(w):
        return w @ (hessian @ w) / 2 - slope @ w

    exact = "exact_quadratic"
    optimizers = {
        "conjugate": regopt.nonlinear_cg(linesearch=exact),
        "bfgs": regopt.bfgs(linesearch=exact),
        "lbfgs": regopt.lbfgs(memory_size=size, linesearch=exact),
        "newton": regopt.newton(),
        "descent": regopt.sgd(2 / (1 + config.condition)),
    }
    found, paths = {}, {}
    for name, optimizer in optimizers.items():
        paths[name], states = path_of(optimizer, value_fn, start, size + 1)
        found[f"errors, {name}"] = jnp.linalg.norm(paths[name] - minimum, axis=1) / jnp.linalg.norm(start - minimum)
        if name == "bfgs":
            gaps = jnp.linalg.norm(states[0].inverse_hessian - inverse, axis=(1, 2)) / jnp.linalg.norm(inverse)
            found["inverse_gap"] = gaps  # before steps 1, ..., size + 1
    for name in ("bfgs", "lbfgs"):  # up to the step that ends at the minimum
        found[f"gap, {name}"] = jnp.max(jnp.abs(paths[name] - paths["conjugate"])[: size + 1])
    return found


def _newton():
    """Signed errors of Newton's method and of gradient descent ``[functions, steps + 1]``."""
    newton, descent = [], []
    for function, minimum, _, start in FUNCTIONS.values():
        newton.append(path_of(regopt.newton(), function, jnp.array(start), STEPS)[0] - minimum)
        descent.append(path_of(regopt.sgd(0.3), function, jnp.array(start), STEPS)[0] - minimum)
    return {"newton": jnp.stack(newton), "descent": jnp.stack(descent)}


def constants(arrays):
    """``e_{k+1} / e_k^2`` at the last step whose next error is well above rounding, for each function."""
    found = []
    for errors in arrays["newton"]:
        at = int(np.flatnonzero(np.abs(errors[1:]) > 1e-10)[-1])
        found.append(errors[at + 1] / errors[at] ** 2)
    return np.array(found)


def figure(config, arrays):
    """Errors on the quadratic, how BFGS learns the inverse Hessian, and Newton's errors."""
    drawing = Figure(figsize=(13, 4.2), layout="constrained")
    quadratic, matrix, newton = drawing.subplots(1, 3)
    steps = np.arange(config.size + 2)
    shown = (("descent", "gradient descent", GREY, "-"), ("conjugate", "conjugate gradients", ORANGE, "-"),
             ("bfgs", "BFGS", BLUE, "--"), ("newton", "Newton", RED, "-"))  # fmt: skip
    for name, words, color, style in shown:
        quadratic.semilogy(steps, np.maximum(arrays[f"errors, {name}"], 1e-17), style, color=color, lw=2, label=words)
    quadratic.axvline(config.size, color=GREY, ls=":", lw=1)
    quadratic.legend(frameon=False, loc="center right", bbox_to_anchor=(0.85, 0.45))
    quadratic.set(xlabel="step", ylabel="distance to the minimum / at the start", ylim=(1e-17, 10))
    quadratic.set_title(f"a quadratic of {config.size} parameters, exact line searches", fontsize=11)
    matrix.semilogy(np.arange(config.size + 1), arrays["inverse_gap"], "o-", color=BLUE)
    matrix.set(xlabel="pairs of steps and gradients", ylabel=r"$\|M - H^{-1}\| \, / \, \|H^{-1}\|$")
    matrix.set_title("BFGS: its matrix and the inverse Hessian", fontsize=11)
    for (name, (_, _, constant, _)), color, errors in zip(FUNCTIONS.items(), COLORS, arrays["newton"], strict=True):
        size = np.abs(errors)
        size = size[: int(np.flatnonzero(size > 1e-15)[-1]) + 1]
        newton.loglog(size[:-1], size[1:], "o", color=color, label=f"{name}: {constant:g}")
        line = np.geomspace(size[-2], size[0], 50)
        newton.loglog(line, abs(constant) * line**2, color=color, lw=1)
    line = np.geomspace(1e-8, 1, 50)
    newton.loglog(line, line, color=BLACK, ls=":", lw=1)
    newton.legend(frameon=False, fontsize=9)
    newton.set(xlabel="error before a step", ylabel="error after it", ylim=(1e-16, 1))
    newton.set_title("Newton's method (lines: $|f'''/(2f'')|\\, e^2$)", fontsize=11)
    return drawing


def claims(config, arrays):
    """Equal paths, the inverse Hessian, and Newton's constant."""
    found = constants(arrays)
    newton = [
        Claim(f"Newton's method on {name}: e_k+1 / e_k^2, f''' / (2 f'')", f"{NOCEDAL}, theorem 3.5", constant,
              float(measured), 0.01)
        for (name, (_, _, constant, _)), measured in zip(FUNCTIONS.items(), found, strict=True)
    ]  # fmt: skip
    ratios = arrays["descent"][0, 1:] / arrays["descent"][0, :-1]
    return [
        Claim("BFGS with exact steps and conjugate gradients: largest difference of their iterates",
              f"{NOCEDAL}, theorem 6.4", 0, float(arrays["gap, bfgs"]), 1e-8),
        Claim("L-BFGS with as many pairs and conjugate gradients: largest difference of their iterates",
              f"{NOCEDAL}, theorem 6.4", 0, float(arrays["gap, lbfgs"]), 1e-8),
        Claim("the matrix of BFGS after n steps and the inverse Hessian, relative difference",
              f"{NOCEDAL}, theorem 6.4", 0, float(arrays["inverse_gap"][-1]), 1e-8),
        Claim("the matrix of BFGS after n - 1 steps and the inverse Hessian, relative difference",
              f"{NOCEDAL}, theorem 6.4", 1e-3, float(arrays["inverse_gap"][-2]), relation="at least"),
        Claim("a quadratic: distance to the minimum after one Newton step over that before",
              "the lecture on Newton's method", 0, float(arrays["errors, newton"][1]), 1e-12),
        *newton,
        Claim("gradient descent on exp(x) - 2 x at rate 0.3: ratio of the last two errors, 1 - 0.3 f''",
              "Goodfellow et al. (2016), section 4.3", 0.4, float(ratios[-1]), 0.02),
    ]  # fmt: skip


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
