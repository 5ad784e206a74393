"""How do bias, variance and noise make up the error, and what do capacity, a penalty and training time trade?

The same learner is trained on many training sets, as lanes of one program. On a synthetic truth with known noise the
parts are known to add up to the error on new, noisy observations: polynomials by exact least squares, and networks
by width, penalty strength and training time. On real data, diabetes by width, and handwritten digits, where the
cross-entropy and the zero-one loss have decompositions of their own and the variance splits into data and seed.
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
from _style import BLACK, BLUE, GREEN, GREY, ORANGE, RED, band
from regopt import penalties, sweep
from regopt.analysis import bias_variance
from regopt.data import Splits, digits
from regopt.experiment import Claim
from regopt.layers import MLP
from regopt.losses import cross_entropy

GEMAN, BOOK = "Geman, Bienenstock & Doursat (1992)", "Goodfellow et al. (2016), section 5.4"
BIAS = "squared bias (its unbiased estimate, which may be below 0)"
POINTS = 200

decompose = jax.jit(bias_variance.decompose, static_argnames="of")


@dataclass(frozen=True)
class Config:
    """The learners and how often they are trained.

    Attributes:
        replicas: number of training sets of each learner.
        examples: number of examples in a synthetic training set.
        noise: standard deviation of a synthetic target around the truth.
        degrees: degrees of the polynomials.
        widths: numbers of hidden tanh units of the networks.
        strengths: strengths of the L2 penalty, at the largest width.
        times: numbers of training steps, at the largest width.
        steps: training steps of the networks whose width or strength varies.
        seeds: number of initial weights for each training set of digits.
        seed: random seed of everything.
    """

    replicas: Annotated[int, Field(ge=3)] = 60
    examples: Annotated[int, Field(ge=10)] = 40
    noise: Annotated[float, Field(gt=0)] = 0.3
    degrees: Annotated[tuple[Annotated[int, Field(ge=0, le=15)], ...], Field(min_length=1)] = tuple(range(9))
    widths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 2, 4, 8, 32)
    strengths: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)] = (
        0.0,
        1e-4,
        1e-3,
        1e-2,
        0.1,
        1.0,
    )
    times: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (10, 30, 100, 300, 1000, 3000)
    steps: Annotated[int, Field(ge=1)] = 3000
    seeds: Annotated[int, Field(ge=2)] = 3
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    def __post_init__(self):
        if max(self.times) > self.steps:
            raise ValueError(f"times must lie in [1, {self.steps}], the number of steps, got {max(self.times)}")


def run(config, key):
    """Every learner's predictions, decomposed."""
    synthetic = Synthetic(config)
    arrays = named("degree", polynomials(config, synthetic))
    predictions, first = synthetic.networks(config, jax.random.clone(key)), 0
    for name, study in (("width", config.widths), ("strength", config.strengths), ("time", config.times)):
        arrays |= named(name, [synthetic.parts(each) for each in predictions[first : first + len(study)]])
        first += len(study)
    return arrays | diabetes(config, jax.random.clone(key)) | digit_parts(config, jax.random.clone(key))


class Synthetic:
    """A known function with known noise, and training sets drawn from it."""

    def __init__(self, config):
        generator = np.random.default_rng(config.seed)
        count = config.replicas * config.examples
        self.x = generator.uniform(-1, 1, size=(count, 1)).astype(np.float32)
        self.y = (self.truth(self.x) + config.noise * generator.normal(size=(count, 1))).astype(np.float32)
        self.rows = np.arange(count).reshape(config.replicas, config.examples)
        self.points = np.linspace(-0.95, 0.95, POINTS, dtype=np.float32)[:, None]
        self.fresh = self.truth(self.points) + config.noise * generator.normal(size=(config.replicas, POINTS, 1))
        self.noise = config.noise**2

    @staticmethod
    def truth(x):
        """One and a half waves on [-1, 1]."""
        return np.sin(1.5 * np.pi * x)

    def parts(self, predictions):
        """The decomposition's averages with their standard errors, and the error on new observations with its gap's."""
        found = jax.tree.map(np.asarray, decompose(predictions, self.truth(self.points), self.noise))
        misses = np.mean(np.square(predictions - self.fresh), axis=(1, 2))
        gaps = misses - np.mean(np.square(predictions - self.truth(self.points)), axis=(1, 2))  # of one replica
        return {
            **{part: getattr(found.mean, part) for part in found.mean._fields},
            **{f"{part}_standard_error": getattr(found.standard_error, part) for part in found.mean._fields},
            "measured": np.mean(misses),
            "gap_standard_error": np.std(gaps, ddof=1) / np.sqrt(len(gaps)),
        }

    def networks(self, config, key):
        """Predictions of tanh networks trained by Adam on all of each training set, ``[settings, replicas, ...]``.

        The settings are the widths, the strengths and the times; those of one width share a program.
        """
        widest = config.widths[-1:]
        others = len(config.strengths) + len(config.times)
        settings = sweep.Settings(
            {
                "strength": np.array([0.0] * len(config.widths) + [*config.strengths] + [0.0] * len(config.times)),
                "time": np.array([config.steps] * (len(config.widths) + len(config.strengths)) + [*config.times]),
            },
            {"width": config.widths + others * widest},
        )
        task = sweep.supervised(
            lambda h, rngs: MLP((1, h["width"], 1), activation=jnp.tanh, rngs=rngs),
            lambda outputs, y: jnp.mean(jnp.square(outputs - y)) / 2,
            optimizer,
        )
        data = Splits((self.x, self.y), (self.points, self.truth(self.points).astype(np.float32)))
        return trained(config, task, settings, data, self.rows, self.points, key)


def optimizer(h):
    """Adam, with an L2 penalty of ``strength``, that stands still after ``time`` steps."""
    adam = regopt.adam(lambda count: jnp.where(count < h["time"], 0.02, 0.0))
    return regopt.regularize(adam, penalties.l2(h["strength"]))


def trained(config, task, space, data, rows, inputs, key):
    """Replicate, without the axis of a single seed."""
    found = sweep.replicate(
        task,
        space,
        data,
        rows,
        inputs=inputs,
        steps=config.steps,
        eval_every=config.steps,
        key=key,
        progress=True,
    )
    if found.result.interrupted:
        raise KeyboardInterrupt
    return found.predictions[:, :, 0]


def polynomials(config, synthetic):
    """Least squares on Legendre polynomials up to each degree, in double precision."""
    found = []
    for degree in config.degrees:
        design, at = (
            np.polynomial.legendre.legvander(x[:, 0].astype(float), degree) for x in (synthetic.x, synthetic.points)
        )
        fits = [np.linalg.lstsq(design[rows], synthetic.y[rows].astype(float))[0] for rows in synthetic.rows]
        found.append(synthetic.parts(np.stack([at @ fit for fit in fits])))
    return found


def diabetes(config, key):
    """Disease progression by width: training sets of 150 drawn from 300 patients, the rest are the points."""
    x, y = regopt.data.diabetes()
    x, y = (x / x.std(axis=0)).astype(np.float32), ((y - y.mean()) / y.std())[:, None].astype(np.float32)
    order = np.random.default_rng(config.seed).permutation(len(x))
    train, test = order[:300], order[300:]
    task = sweep.supervised(
        lambda h, rngs: MLP((10, h["width"], 1), activation=jnp.tanh, rngs=rngs),
        lambda outputs, targets: jnp.mean(jnp.square(outputs - targets)) / 2,
        lambda _: regopt.adam(0.01),
    )
    data = Splits((x[train], y[train]), (x[test], y[test]))
    rows = regopt.data.subsamples(jax.random.key(config.seed), config.replicas, 300, 150)
    short = replace_steps(config, 300)
    predictions = trained(short, task, {"width": sweep.static(config.widths)}, data, rows, x[test], key)
    found = []
    for each in predictions:
        parts = decompose(each, y[test], of="observations")
        errors = {f"{part}_standard_error": getattr(parts.standard_error, part) for part in parts.mean._fields}
        found.append({part: getattr(parts.mean, part) for part in parts.mean._fields} | errors)
    return named("diabetes", found)


def digit_parts(config, key):
    """Digits: cross-entropy and zero-one loss of one network, and its variance over training sets and seeds."""
    data = digits()
    task = sweep.supervised(
        lambda h, rngs: MLP((64, h["width"], 10), rngs=rngs), cross_entropy, lambda _: regopt.adam(0.01)
    )
    rows = regopt.data.subsamples(jax.random.key(config.seed), 10, len(data.train[0]), 200)
    logits, result = sweep.replicate(
        task,
        {"width": sweep.static(config.widths[-1:])},
        data,
        rows,
        seeds=config.seeds,
        inputs=data.test[0],
        steps=200,
        eval_every=200,
        key=key,
        progress=True,
    )
    if result.interrupted:
        raise KeyboardInterrupt
    with jax.enable_x64(True):
        return digit_arrays(np.asarray(logits[0], np.float64), data.test[1])


@jax.jit
def digit_arrays(logits, labels):
    """Identities of the three decompositions, in double precision; logits are ``[data sets, seeds, points, 10]``."""
    first = logits[:, 0]
    entropy = bias_variance.decompose_cross_entropy(first, labels)
    classes = jnp.argmax(first, axis=-1)
    domingos = bias_variance.decompose_zero_one(classes, labels, 10)
    wolpert = bias_variance.decompose_kohavi_wolpert(classes, labels, 10)
    probabilities = jax.nn.softmax(logits)
    split = bias_variance.variance_components(probabilities)
    direct = -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(first), labels[None, :, None], -1))
    arithmetic = -jnp.mean(jnp.log(jnp.mean(jax.nn.softmax(first), axis=0)[jnp.arange(len(labels)), labels]))
    errors = jnp.mean((classes != labels[None]).astype(float), axis=0)
    recombined = domingos.c1 * domingos.noise + domingos.bias + domingos.c2 * domingos.variance
    total = wolpert.points.bias + wolpert.points.variance + wolpert.points.noise
    within = jnp.mean(jnp.var(probabilities, axis=1), axis=0)
    between = jnp.var(jnp.mean(probabilities, axis=1), axis=0)
    return {
        "entropy_parts": jnp.stack(entropy.mean),
        "entropy_off": entropy.mean.bias + entropy.mean.variance + entropy.mean.noise - direct,
        "arithmetic_bias": arithmetic,
        "domingos_off": jnp.max(jnp.abs(recombined - errors)),
        "wolpert_off": jnp.max(jnp.abs(total - errors)),
        "wolpert_inflation": wolpert.plug_in_bias / wolpert.mean.bias,
        "law_off": jnp.max(jnp.abs(within + between - jnp.var(probabilities, axis=(0, 1)))),
        "split": jnp.stack([jnp.mean(jnp.sum(part, axis=-1)) for part in split]),
    }


def replace_steps(config, steps):
    """The config with fewer steps, for the smaller problems."""
    from dataclasses import replace

    return replace(config, steps=min(steps, config.steps), times=(1,))


def named(name, parts):
    """A list of dicts as arrays of their own names."""
    return {f"{name}_{part}": np.array([float(each[part]) for each in parts]) for part in parts[0]}


def figure(config, arrays):
    """The parts by each knob, with bands of two standard errors."""
    drawing = Figure(figsize=(13, 8), layout="constrained")
    axes = drawing.subplots(2, 3).ravel()
    titles = {
        "degree": ("polynomials, exact least squares", "degree", config.degrees),
        "width": ("networks, unpenalised", "hidden units", config.widths),
        "strength": ("largest network", "L2 strength (left end: 0)", config.strengths),
        "time": ("largest network", "training steps", config.times),
        "diabetes": ("diabetes: noise is part of the bias", "hidden units", config.widths),
    }
    for place, (name, (title, label, knob)) in enumerate(titles.items()):
        panel(axes[place], arrays, name, np.array(knob, float), 0.03 * config.noise**2)
        axes[place].set(title=title, xlabel=label, ylabel="squared error")
    names, parts = ("data", "seed", "interaction"), arrays["split"][:3]
    axes[5].bar(names, parts, color=[BLUE, ORANGE, GREEN])
    for place, part in enumerate(parts):
        axes[5].annotate(f"{100 * part / arrays['split'][3]:.0f} %", (place, part), ha="center", va="bottom")
    axes[5].margins(y=0.1)
    axes[5].set(title="digits: where the variance comes from", ylabel="variance of the probabilities")
    handles, labels = axes[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    return drawing


def panel(axes, arrays, name, x, low):
    """Squared bias, variance, noise, their sum, and the error on new observations."""
    scale = "linear" if name == "degree" else "log"
    if scale == "log" and x[0] == 0:
        x[0] = x[1] / 10
    for part, color, label in (
        ("bias", BLUE, "squared bias"),
        ("variance", RED, "variance"),
        ("noise", GREY, "noise"),
        ("error", BLACK, "their sum (bands: 2 standard errors)"),
    ):
        values, spread = arrays[f"{name}_{part}"], 2 * arrays[f"{name}_{part}_standard_error"]
        if part == "noise" and not values.any():
            continue
        if part == "bias":  # its estimate may be negative, which a logarithmic axis cannot show: it leaves the axes
            values = np.maximum(values, low / 10)
        axes.plot(x, values, color=color, marker="." if part != "noise" else None, label=label)
        band(axes, x, np.maximum(values - spread, low / 10), np.maximum(values + spread, low / 10), color)
    if f"{name}_measured" in arrays:
        axes.plot(
            x,
            arrays[f"{name}_measured"],
            "o",
            color=ORANGE,
            markersize=6,
            fillstyle="none",
            label="measured on new observations",
        )
    axes.set(xscale=scale, yscale="log", ylim=(low, min(10.0, 3 * float(np.max(arrays[f"{name}_error"])))))


def claims(config, arrays):
    """The parts add up; bias falls and variance rises with capacity; each loss has its identity."""
    return _sum_claims(arrays) + _capacity_claims(arrays) + _digits_claims(arrays)


def _sum_claims(arrays):
    """Bias, variance and noise against the error on new observations, along each knob."""
    result = []
    for name in ("degree", "width", "strength", "time"):
        gap = arrays[f"{name}_measured"] - arrays[f"{name}_error"]
        worst = float(np.max(np.abs(gap) / arrays[f"{name}_gap_standard_error"]))
        statement = f"by {name}: error on new observations minus bias + variance + noise, the worst in standard errors"
        result.append(Claim(statement, GEMAN, 0.0, worst, tolerance=4.0))
    return result


def _capacity_claims(arrays):
    """Bias falls and variance rises with capacity, penalty and time."""
    bias, variance, error = (arrays[f"degree_{part}"] for part in ("bias", "variance", "error"))
    best = int(np.argmin(error))
    narrow = float(arrays["width_bias"][-1] / arrays["width_bias"][0])
    strong = arrays["strength_variance"][-1] / arrays["strength_variance"][0]
    early = arrays["time_variance"][0] / arrays["time_variance"][-1]
    return [
        Claim(f"by degree: {BIAS}, highest over lowest degree", BOOK, 1.0, float(bias[-1] / bias[0]), 0, "at most"),
        Claim("by degree: variance, highest over lowest", BOOK, 1.0, float(variance[-1] / variance[0]), 0, "at least"),
        Claim("by degree: the best one is at neither end (1: so)", BOOK, 1.0, float(0 < best < len(error) - 1)),
        Claim(f"by width: {BIAS}, widest over narrowest network", BOOK, 1.0, narrow, 0, "at most"),
        Claim("variance at the strongest penalty over that at none", BOOK, 1.0, float(strong), 0, "at most"),
        Claim("variance after the fewest steps over that after the most", BOOK, 1.0, float(early), 0, "at most"),
    ]


def _digits_claims(arrays):
    """The identities of cross-entropy and of the zero-one loss on digits."""
    parts = arrays["entropy_parts"]
    inflation = float(arrays["wolpert_inflation"])
    return [
        Claim(
            "digits, cross-entropy: bias + variance + noise minus the mean loss",
            "Heskes (1998); Yang et al. (2020)",
            0.0,
            float(arrays["entropy_off"]),
            tolerance=1e-14,
        ),
        Claim(
            "digits, cross-entropy: miss of the sum with the probabilities' arithmetic mean as centre, in nats",
            "Heskes (1998): the centre is the normalised geometric mean",
            0.001,
            float(abs(arrays["arithmetic_bias"] - parts[0])),
            relation="at least",
        ),
        Claim(
            "digits, zero-one loss: c1 noise + bias + c2 variance minus the error, the worst image",
            "Domingos (2000), theorem 2",
            0.0,
            float(arrays["domingos_off"]),
            tolerance=1e-15,
        ),
        Claim(
            "digits, zero-one loss: squared bias + variance + noise minus the error, the worst image",
            "Kohavi & Wolpert (1996), (1)",
            0.0,
            float(arrays["wolpert_off"]),
            tolerance=1e-15,
        ),
        Claim(
            "digits, zero-one loss: plug-in bias over the unbiased one, 10 replicas",
            "Kohavi & Wolpert (1996)",
            1.0,
            inflation,
            0,
            "at least",
        ),
        Claim(
            "digits: mean variance over seeds + variance of means over data minus the total, the worst",
            "Neal et al. (2018), section 2.2",
            0.0,
            float(arrays["law_off"]),
            tolerance=1e-14,
        ),
    ]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
