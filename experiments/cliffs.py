"""Why is the gradient of a recurrent network clipped, and how far does its state depend on the start?

A tanh network with 24 recurrent units is to keep the sign of its first input over many steps of noise. The gradient
through that many steps is small almost everywhere and huge at cliffs of the loss. Without clipping one step from a
cliff undoes the training; clipped by the norm or by the value, it does not, and larger learning rates can be used. At a
small learning rate clipping makes less of a difference. The same growth by step makes the states of a random network
chaotic: at large weights two starts that differ by 1e-8 come apart, at small ones they meet. The rate is the Lyapunov
exponent.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from pydantic import Field

import regopt
from _draws import stream_of
from _style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, RED, note, paired_interval, plain_ticks
from regopt import sweep, transforms
from regopt.analysis import lyapunov_exponents
from regopt.data import Splits
from regopt.experiment import Claim

PASCANU = "Pascanu et al. (2013), section 3.2"
BOOK = "Goodfellow et al. (2016), section 10.11.1"
BENETTIN = "Benettin et al. (1980), equation 6"
NEVER = 1e30  # a bound that clips nothing
CLIPPINGS = {"none": (NEVER, NEVER), "norm": (1.0, NEVER), "value": (NEVER, 0.1)}  # largest norm, largest entry
COLORS = {"none": RED, "norm": BLUE, "value": GREEN}
UNITS, EVALUATIONS = 24, 6
STARTS, SHOWN = 8, 200  # trainings in which a cliff is looked for, and sequences that their losses are of
SOLVED, LEARNED = 0.1, 0.5  # mean squared errors; that of the constant 0 is 1
GAINS = (0.5, 1.5, 2.5)
APART = 1e-8


@dataclass(frozen=True)
class Config:
    """The task, its trainings, and random networks.

    Attributes:
        length: inputs of a sequence; the network must keep the first one.
        learning_rates: learning rates of gradient descent, ascending.
        seeds: number of paired trainings for each rate and clipping.
        steps: number of steps of each training.
        networks: number of random networks.
        moments: number of steps of their states.
        seed: random seed of everything.
    """

    length: Annotated[int, Field(ge=5)] = 40
    learning_rates: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=2)] = (0.01, 0.03, 0.1, 0.3)
    seeds: Annotated[int, Field(ge=3)] = 20
    steps: Annotated[int, Field(ge=30, multiple_of=EVALUATIONS)] = 600
    networks: Annotated[int, Field(ge=2)] = 20
    moments: Annotated[int, Field(ge=100)] = 400
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class Recurrent(nnx.Module):
    """``h <- tanh(h W + x U + b)`` over the inputs of a sequence; the output is a linear function of the last h."""

    def __init__(self, rngs: nnx.Rngs):
        self.recurrent = nnx.Param(jax.random.normal(rngs.params(), (UNITS, UNITS)) / np.sqrt(UNITS))
        self.inputs = nnx.Param(jax.random.normal(rngs.params(), (2, UNITS)))
        self.bias = nnx.Param(jnp.zeros(UNITS))
        self.last = nnx.Param(jnp.zeros(UNITS))

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[batch, length, 2] -> [batch]``."""
        w, u, b = self.recurrent[...], self.inputs[...], self.bias[...]

        def step(h, x):
            return jnp.tanh(h @ w + x @ u + b[None]), None

        start = jnp.zeros((x.shape[0], UNITS))
        return jax.lax.scan(step, start, jnp.moveaxis(x, 1, 0))[0] @ self.last[...]


def run(config, key):
    """Trainings with and without clipping, one of them step by step with the cliff that it meets, and random states."""
    stream = stream_of(key)
    data = sequences(config, stream)
    with jax.enable_x64(True):
        chaos = _one_unit() | _exact_exponents() | _random_networks(config, stream)
    return _trainings(config, data, jax.random.clone(key)) | _cliff(config, data) | chaos


def sequences(config, stream):
    """The sign in the first input, noise in the others, and the sign as the target."""

    def draw(count):
        signs = stream.choice([-1.0, 1.0], count).astype(np.float32)
        x = np.zeros((count, config.length, 2), np.float32)
        x[:, 0, 1] = signs
        x[:, 1:, 0] = stream.normal(scale=0.2, size=(count, config.length - 1))
        return x, signs

    return Splits(draw(2000), draw(500))


def squared(outputs, targets):
    return jnp.mean(jnp.square(outputs - targets))


def clipped_descent(rate, max_norm, max_delta):
    return optax.chain(transforms.clip(max_delta), transforms.clip_by_global_norm(max_norm), regopt.sgd(rate))


def _trainings(config, data, key):
    """Validation errors ``[rates, clippings, seeds, evaluations]``, NaN where a training has diverged."""
    rows = [(rate, *CLIPPINGS[name]) for rate in config.learning_rates for name in CLIPPINGS]
    columns = np.repeat(np.array(rows, np.float32), config.seeds, axis=0)
    names = ("learning_rate", "max_norm", "max_delta")
    settings = sweep.from_columns(
        {name: columns[:, place] for place, name in enumerate(names)}
        | {"seed": np.tile(np.arange(config.seeds), len(rows))}
    )
    task = sweep.supervised(
        lambda _, rngs: Recurrent(rngs),
        squared,
        lambda h: clipped_descent(h["learning_rate"], h["max_norm"], h["max_delta"]),
    )
    every = config.steps // EVALUATIONS
    result = sweep.run(task, settings, data, steps=config.steps, eval_every=every, batch_size=20, key=key)
    shape = len(config.learning_rates), len(CLIPPINGS), config.seeds, EVALUATIONS
    return {"errors": result.history.curves["validation_loss"].reshape(shape)}


def _cliff(config, data):
    """Trainings with and without clipping, step by step, and the step that undoes most of what was learned."""
    structure, _ = nnx.split(Recurrent(nnx.Rngs(0)))
    x, y = map(jnp.asarray, data.train)
    rate = config.learning_rates[-2]

    def loss(params, places):
        return squared(nnx.merge(structure, params)(x[places]), y[places])

    def batch(step):
        return (jnp.arange(20) + 20 * step) % len(y)

    def train(max_norm, seed):
        start = nnx.split(Recurrent(nnx.Rngs(params=jax.random.key(seed))))[1]
        optimizer = clipped_descent(rate, max_norm, NEVER)

        def advance(carry, step):
            params, state = carry
            found = jax.grad(loss)(params, batch(step))
            updates, state = optimizer.update(found, state, params)
            after = jax.tree.map(jnp.add, params, updates)
            return (after, state), (optax.tree.norm(found), params)

        return jax.lax.scan(advance, (start, optimizer.init(start)), jnp.arange(config.steps))[1]

    @jax.jit
    def trainings(bounds, seeds):
        """Norms, and the parameters and losses of those that are not clipped."""
        norms, path = jax.vmap(train)(bounds, seeds)
        path = jax.tree.map(lambda leaf: jnp.swapaxes(leaf[:STARTS], 0, 1), path)  # [steps, STARTS, ...]
        return norms, path, jax.lax.map(jax.vmap(lambda params: loss(params, slice(0, SHOWN))), path)

    bounds = np.repeat(np.array([NEVER, CLIPPINGS["norm"][0]], np.float32), STARTS)
    all_norms, path, losses = jax.tree.map(np.asarray, trainings(bounds, np.tile(np.arange(STARTS), 2)))
    norms, losses = all_norms[:STARTS], losses.T
    rises = np.where(np.isfinite(losses[:, 1:]) & (losses[:, :-1] < LEARNED), losses[:, 1:] - losses[:, :-1], -np.inf)
    which, at = np.unravel_index(np.argmax(rises), rises.shape)
    point = jax.tree.map(lambda leaf: leaf[at, which], path)

    @jax.jit
    def along(distances):
        """Losses at distances along the negative gradient."""
        found = jax.grad(loss)(point, batch(at))
        direction = jax.tree.map(lambda g: -g / optax.tree.norm(found), found)
        moved = jax.vmap(lambda d: jax.tree.map(lambda w, u: w + d * u, point, direction))(distances)
        return jax.lax.map(lambda params: loss(params, slice(0, SHOWN)), moved, batch_size=64)

    lengths = np.array([0.0, rate * norms[which, at], rate * CLIPPINGS["norm"][0]])
    distances = np.linspace(-0.3, 1.2, 601) * float(lengths[1])
    losses = np.asarray(along(np.concatenate([distances, lengths])))
    return {
        "norms": np.stack([norms[which], all_norms[STARTS + which]]),
        "distances": distances,
        "along": losses[: len(distances)],
        "step_lengths": lengths,
        "stepped": losses[len(distances) :],  # before, after the step, and after the clipped one
    }


def _one_unit():
    """The loss of one sigmoid unit after 50 steps x <- w s(x) - 3 from .5, and its slope, along the weight w."""

    def loss(w):
        x = jax.lax.fori_loop(0, 50, lambda _, x: w * jax.nn.sigmoid(x) - 3, 0.5 + 0 * w)
        return jnp.square(jax.nn.sigmoid(x) - 0.7)

    along = jax.jit(jax.vmap(lambda w: jax.jvp(loss, (w,), (jnp.ones_like(w),))))
    weights = np.linspace(4.5, 6.5, 4001)
    values, slopes = map(np.asarray, along(weights))
    at = int(np.argmax(np.abs(np.diff(values))))  # the cliff is narrower than the grid
    _, steep = map(np.asarray, along(np.linspace(weights[at], weights[at + 1], 4001)))
    return {
        "unit_weights": weights,
        "unit_losses": values,
        "unit_slope": np.median(np.abs(slopes)),
        "unit_steepest": steep[np.argmax(np.abs(steep))],
        "unit_cliff": weights[at],
    }


@jax.jit
def _exact_exponents():
    """Of maps whose exponents are known: of 1 - 2 x^2, and the two of Henon's map."""
    parabola = lyapunov_exponents(lambda x: 1 - 2 * x**2, jnp.array([0.3]), 10_000)
    henon = lyapunov_exponents(
        lambda x: jnp.array([1 - 1.4 * x[0] ** 2 + x[1], 0.3 * x[0]]), jnp.array([0.1, 0.1]), 10_000, warmup=100
    )
    return {"parabola": parabola[0], "henon": henon}


def _random_networks(config, stream):
    """Exponents of h <- tanh(g W h), log of the spectral radius of g W, and distances of two starts 1e-8 apart."""
    size = 100
    matrices = stream.normal(size=(config.networks, size, size)) / np.sqrt(size)
    start = np.cos(np.arange(float(size)))

    def one(matrix, gain):
        def step(h):
            return jnp.tanh(gain * matrix @ h)

        def both(pair, _):
            pair = step(pair[0]), step(pair[1])
            return pair, jnp.linalg.norm(pair[1] - pair[0])

        warm = jax.lax.fori_loop(0, 100, lambda _, h: step(h), start)
        near = warm.at[0].add(APART)
        distances = jax.lax.scan(both, (warm, near), length=config.moments)[1]
        return lyapunov_exponents(step, warm, config.moments, count=1)[0], distances

    exponents, distances = jax.jit(
        jax.vmap(jax.vmap(one, in_axes=(0, None)), in_axes=(None, 0))
    )(matrices, np.array(GAINS))  # fmt: skip
    radii = np.max(np.abs(np.linalg.eigvals(matrices)), axis=1)
    return {"exponents": exponents, "apart": distances, "log_radius": np.log(GAINS[0] * radii)}


def solved(arrays):
    """Which trainings end below the error ``SOLVED``: ``[rates, clippings, seeds]``; a diverged one does not."""
    return np.nan_to_num(arrays["errors"][..., -1], nan=np.inf) < SOLVED


def figure(config, arrays):
    """The cliff, the norms of the gradients, the trainings that succeed, and two starts."""
    drawing = Figure(figsize=(14, 8), layout="constrained")
    panels = drawing.subplot_mosaic("aabbcc;dddeee")
    unit, cliff, norms, rates, starts = (panels[letter] for letter in "abcde")
    unit.plot(arrays["unit_weights"], arrays["unit_losses"], color=BLACK)
    note(unit, f"slope {arrays['unit_steepest']:.0f}", (arrays["unit_cliff"], 0.2), RED, (8, 0))
    unit.set(xlabel="weight w", ylabel="loss", title="one unit, 50 steps $x \\leftarrow w\\, \\sigma(x) - 3$")
    _draw_cliff(cliff, config, arrays)
    for name, color, curve in zip(("none", "norm"), (RED, BLUE), arrays["norms"], strict=True):
        norms.semilogy(
            curve, color=color, lw=0.8, label={"none": "not clipped", "norm": "steps clipped to norm 1"}[name]
        )
    norms.legend(frameon=False)
    norms.set(xlabel="training step", ylabel="norm of the gradient")
    norms.set_title(f"one training, learning rate {config.learning_rates[-2]:g}", fontsize=11)
    shares = solved(arrays).mean(axis=2)
    for place, name in enumerate(CLIPPINGS):
        words = {"none": "not clipped", "norm": "by the norm", "value": "by the value"}[name]
        rates.semilogx(config.learning_rates, shares[:, place], "o-", color=COLORS[name], label=words)
    rates.legend(frameon=False)
    plain_ticks(rates.xaxis, config.learning_rates)
    rates.set(xlabel="learning rate", ylabel="share of the trainings that succeed", ylim=(-0.03, 1.03))
    rates.set_title(f"{config.seeds} paired trainings each", fontsize=11)
    for place, (gain, color) in enumerate(zip(GAINS, (BLUE, ORANGE, PURPLE), strict=True)):
        shown = np.maximum(arrays["apart"][place].T, 1e-18)
        starts.semilogy(shown, color=color, lw=0.6, alpha=0.5)
        starts.semilogy([], [], color=color, label=f"weights of size {gain:g}")
    starts.legend(frameon=False)
    starts.set(xlabel="step", ylabel="distance of two states", xlim=(0, 200), ylim=(1e-18, 1e2))
    starts.set_title("random networks, two starts $10^{-8}$ apart", fontsize=11)
    return drawing


def _draw_cliff(axes, config, arrays):
    axes.semilogy(arrays["distances"], arrays["along"], color=BLACK)
    words = (("before", GREY, (-6, -14), "right"), ("after the step", RED, (-8, 0), "right"),
             ("after the clipped step", BLUE, (8, -14), "left"))  # fmt: skip
    back = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # the line would strike the words out
    for distance, loss, (text, color, offset, side) in zip(
        arrays["step_lengths"], arrays["stepped"], words, strict=True
    ):
        axes.plot(distance, loss, "o", color=color)
        note(axes, text, (distance, loss), color, offset, ha=side, bbox=back)
    axes.set(xlabel="distance along the negative gradient", ylabel="loss")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title("the loss along a line through the parameters", fontsize=11)


def claims(config, arrays):
    """What a cliff is, which trainings clipping saves, and exponents."""
    return _cliff_claims(config, arrays) + _training_claims(config, arrays) + _chaos_claims(arrays)


def _cliff_claims(config, arrays):
    before, full, clipped = arrays["stepped"]
    steepness = float(abs(arrays["unit_steepest"]) / arrays["unit_slope"])
    return [
        Claim("one unit, 50 steps: slope of the loss at the cliff over the median slope of the line", PASCANU, 1000,
              steepness, relation="at least"),
        Claim("the step from the cliff, not clipped: loss after it over the loss before", PASCANU, 2,
              float(full / before), relation="at least"),
        Claim("the step from the cliff, clipped to norm 1: loss after it over that after the step in full", PASCANU,
              0.25, float(clipped / full), relation="at most"),
    ]  # fmt: skip


def _training_claims(config, arrays):
    good, seeds = solved(arrays), config.seeds
    places = {name: place for place, name in enumerate(CLIPPINGS)}
    found: list[Claim] = []
    for name in ("norm", "value"):
        mean, half = paired_interval(good[-2, places[name]], good[-2, places["none"]], 0.95)
        found.append(
            Claim(
                f"learning rate {config.learning_rates[-2]:g}: share solved, clipped by the {name} less not clipped "
                f"({mean:+.2f}, {seeds} paired seeds): lower end of its 95 % interval",
                BOOK, 0, mean - half, relation="at least",
            )
        )  # fmt: skip
        found.append(
            Claim(
                f"learning rate {config.learning_rates[-1]:g}, clipped by the {name}: trainings that diverged",
                BOOK, 0, float(np.isnan(arrays["errors"][-1, places[name], :, -1]).sum()),
            )
        )  # fmt: skip
    if len(config.learning_rates) > 2:
        found.append(
            Claim(
                f"learning rate {config.learning_rates[0]:g}: what clipping gains of the share solved, "
                "below the gain at the larger rate", BOOK,
                float(np.mean(good[-2, 1]) - np.mean(good[-2, 0])), float(np.mean(good[0, 1]) - np.mean(good[0, 0])),
                relation="at most",
            )
        )  # fmt: skip
    return [
        *found,
        Claim(f"learning rate {config.learning_rates[-1]:g}, not clipped: share of the trainings that diverged", BOOK,
              0.5, float(np.isnan(arrays["errors"][-1, 0, :, -1]).mean()), relation="at least"),
    ]  # fmt: skip


def _chaos_claims(arrays):
    exponents, apart = arrays["exponents"], arrays["apart"]
    gap = float(np.max(np.abs(exponents[0] - arrays["log_radius"])))
    return [
        Claim("Lyapunov exponent of 1 - 2 x^2, ln 2", BENETTIN, float(np.log(2)), float(arrays["parabola"]), 0.005),
        Claim("Henon's map: sum of both exponents, ln 0.3", BENETTIN, float(np.log(0.3)),
              float(np.sum(arrays["henon"])), 1e-10),
        Claim("Henon's map: largest exponent", BENETTIN, 0.419, float(arrays["henon"][0]), 0.01),
        Claim("tanh networks, weights of size 0.5: exponent less the log of the spectral radius, largest gap", PASCANU,
              0, gap, 0.02),
        Claim("weights of size 0.5: distance of two starts at the end over that at the start, largest", PASCANU, 1e-6,
              float(np.max(apart[0, :, -1]) / APART), relation="at most"),
        Claim("weights of size 2.5: smallest exponent of the networks", PASCANU, 0, float(np.min(exponents[2])),
              relation="at least"),
        Claim("weights of size 2.5: distance of two starts 1e-8 apart at the end, smallest", PASCANU, 1.0,
              float(np.min(apart[2, :, -1])), relation="at least"),
    ]  # fmt: skip


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
