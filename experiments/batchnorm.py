"""What does batch normalisation do to variances, gradients and the learning rate, and what does inference use?

In training the output has the batch's biased variance; inference needs the unbiased one, from a pass over data or
from running averages, and is one affine map that a layer before can absorb. The loss ignores the scale of the kernel
before it: the gradient is orthogonal to the kernel and falls as the kernel grows, so that training sets its own rate.
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib.figure import Figure
from pydantic import Field

from _style import BLUE, GREEN, ORANGE, RED, note, plain_ticks
from regopt import layers
from regopt.experiment import Claim

PAPER = "Ioffe & Szegedy (2015)"
SCALES = (1.0, 2.0, 5.0)  # of the initial kernel
VARIANCE, DECAY, WARM, EPS = 4.0, 0.95, 20, 1e-3


@dataclass(frozen=True)
class Config:
    """The batches and the training.

    Attributes:
        batch_sizes: numbers of values of a feature in a batch, ascending, with 8 among them.
        batches: number of batches of each size.
        steps: number of steps of gradient descent.
        learning_rate: learning rate of gradient descent from the kernel as drawn.
        seed: random seed of the data and the kernels.
    """

    batch_sizes: tuple[Annotated[int, Field(ge=2)], ...] = (2, 4, 8, 16, 32, 64)
    batches: Annotated[int, Field(ge=100)] = 60_000
    steps: Annotated[int, Field(ge=10)] = 200
    learning_rate: Annotated[float, Field(gt=0)] = 2.0
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def __post_init__(self):
        if 8 not in self.batch_sizes or list(self.batch_sizes) != sorted(set(self.batch_sizes)):
            raise ValueError(f"batch_sizes must ascend and hold 8, got {self.batch_sizes}")


def run(config, key):
    """Statistics by batch size, the start of running averages, gradients, training, and inference."""
    keys = jax.random.split(key, 4)
    with jax.enable_x64(True):
        return (
            statistics(config, keys[0])
            | running_means()
            | gradients(keys[1])
            | training(config, keys[2])
            | inference(keys[3])
        )


def kept(norm, batches):
    """The layer's running mean and variance after each of the batches."""
    graph, start = nnx.split(norm)

    def step(state, batch):
        module = nnx.merge(graph, state)
        module(batch)
        return nnx.state(module), (module.mean[0], module.var[0])

    return jax.lax.scan(step, start, batches)[1]


def statistics(config, key):
    """The mean of the batches' biased variances, and the variance that the layer keeps after the same batches."""

    @partial(jax.jit, static_argnums=0)
    def of(size, key):
        batches = jnp.sqrt(VARIANCE) * jax.random.normal(key, (config.batches, size, 1))
        norm = layers.BatchNorm(1, momentum=1.0, bias_correction=True, param_dtype=jnp.float64)
        variances = jnp.var(batches, axis=1)
        return jnp.mean(variances), jnp.std(variances) / np.sqrt(config.batches), kept(norm, batches)[1][-1]

    keys = jax.random.split(key, len(config.batch_sizes))
    found = np.array([of(*each) for each in zip(config.batch_sizes, keys, strict=True)])
    return dict(zip(("biased", "errors", "kept"), found.T, strict=True))


def running_means():
    """Running means of batches of mean 1, from 0, and of batches whose mean grows by 1 at each step."""
    ones, ramp = np.ones(300), np.arange(1.0, 301)

    @jax.jit
    def layer():
        """For the ones without and with bias correction, and for the ramp."""
        found = []
        for means, bias_correction in ((ones, False), (ones, True), (ramp, False)):
            norm = layers.BatchNorm(1, momentum=DECAY, bias_correction=bias_correction, param_dtype=jnp.float64)
            found.append(kept(norm, means[:, None, None] + jnp.array([[-1.0], [1.0]]))[0])
        return found

    def printed(means):
        """As printed, with the batch before; from 0, and nothing before the first."""
        course = [0.0]
        for mean in means[:-1]:
            course.append(DECAY * course[-1] + (1 - DECAY) * mean)
        return np.array(course)

    plain, corrected, late = map(np.asarray, layer())
    return {
        "plain": plain,
        "corrected": corrected,
        "printed": printed(ones),
        "lag": ramp[-1] - late[-1],
        "printed_lag": ramp[-1] - printed(ramp)[-1],
    }


@jax.jit
def gradients(key):
    """The printed backward formulas and automatic differentiation: their largest difference, and the term that is 0."""
    x, slopes = 2 * jax.random.normal(key, (2, 8, 3)) + 1
    graph, state = nnx.split(layers.BatchNorm(3, eps=EPS, param_dtype=jnp.float64))
    output, pull = jax.vjp(lambda x: nnx.merge(graph, state, copy=True)(x), x)
    (automatic,) = pull(slopes)
    mean, variance = jnp.mean(x, axis=0), jnp.var(x, axis=0)
    by_variance = jnp.sum(slopes * (x - mean) * -0.5 * (variance + EPS) ** -1.5, axis=0)
    vanishing = by_variance * jnp.mean(-2 * (x - mean), axis=0)
    by_mean = jnp.sum(-slopes / jnp.sqrt(variance + EPS), axis=0) + vanishing
    printed = slopes / jnp.sqrt(variance + EPS) + by_variance * 2 * (x - mean) / len(x) + by_mean / len(x)
    return {
        "gradient_gap": jnp.max(jnp.abs(automatic - printed)),
        "vanishing": jnp.max(jnp.abs(vanishing)),
        "output_variance": jnp.var(output, axis=0),
        "input_variance": variance,
    }


@partial(jax.jit, static_argnums=0)
def training(config, key):
    """Gradient descent from kernels a times as large, with one rate and with a^2 times it."""
    x_key, kernel_key = jax.random.split(key)
    x = jax.random.normal(x_key, (64, 5))
    targets = jnp.sign(jnp.sin(2 * x[:, 0]) + x[:, 1])
    graph, state = nnx.split(layers.BatchNorm(6, eps=0.0, param_dtype=jnp.float64))

    def loss(kernel):
        hidden = nnx.merge(graph, state, copy=True)(x @ kernel)
        return jnp.mean(jax.nn.softplus(-targets * jnp.sum(jnp.tanh(hidden), axis=1)))

    def descend(kernel, rate):
        def step(kernel, _):
            value, slope = jax.value_and_grad(loss)(kernel)
            after = kernel - rate * slope
            grown = jnp.sum(kernel**2, axis=0) + rate**2 * jnp.sum(slope**2, axis=0)
            gap = jnp.max(jnp.abs(jnp.sum(after**2, axis=0) / grown - 1))
            return after, (value, jnp.linalg.norm(kernel), gap)

        return jax.lax.scan(step, kernel, length=config.steps)[1]

    kernel = jax.random.normal(kernel_key, (5, 6))
    scales = jnp.array(SCALES)
    slopes = jax.vmap(lambda a: jax.grad(loss)(a * kernel))(scales)
    rates = config.learning_rate * jnp.concatenate([jnp.ones(len(SCALES)), scales**2])
    losses, norms, gaps = jax.vmap(lambda a, rate: descend(a * kernel, rate))(jnp.tile(scales, 2), rates)
    curves, rescaled = losses[: len(SCALES)], losses[len(SCALES) :]
    size = jnp.linalg.norm(slopes[0])
    return {
        "curves": curves,
        "norms": norms[: len(SCALES)],
        "norm_gap": jnp.max(gaps),
        "rescaled_gap": jnp.max(jnp.abs(rescaled / rescaled[:1] - 1)),
        "slope_gap": jnp.max(jnp.abs(slopes * scales[:, None, None] - slopes[:1])) / size,
        "radial": jnp.max(jnp.abs(jnp.sum(slopes[0] * kernel, axis=0))) / size / jnp.linalg.norm(kernel),
    }


@jax.jit
def inference(key):
    """A dense layer and its normalisation, folded, after running averages and after a pass over the batches."""
    stream = 3 * jax.random.normal(key, (10, 8, 4)) + 1
    dense = layers.Dense(4, 3, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    norm = layers.BatchNorm(3, momentum=DECAY, param_dtype=jnp.float64)
    model = nnx.Sequential(dense, norm)
    found = {}
    for batch in stream:
        model(batch)
    for mode in ("running", "pass"):
        if mode == "pass":
            layers.estimate_statistics(model, stream)
        model.eval()
        outputs = model(stream[0])
        found[f"fold_gap_{mode}"] = jnp.max(jnp.abs(layers.fold_batch_norm(dense, norm)(stream[0]) - outputs))
        found[f"alone_gap_{mode}"] = jnp.max(jnp.abs(model(stream[0, :1]) - outputs[:1]))
    hidden = jax.vmap(dense)(stream)
    return found | {"pass_gap": jnp.max(jnp.abs(norm.var[...] / jnp.mean(jnp.var(hidden, axis=1, ddof=1), axis=0) - 1))}


def figure(config, arrays):
    """Variances by batch size, the start of running means, and training from kernels of several sizes."""
    drawing = Figure(figsize=(13.5, 4.4), layout="constrained")
    variances, means, losses = drawing.subplots(1, 3)
    sizes = np.array(config.batch_sizes)
    fine = np.geomspace(sizes[0], sizes[-1], 100)
    variances.semilogx(fine, VARIANCE * (fine - 1) / fine, color=RED, linewidth=1)
    variances.axhline(VARIANCE, color=BLUE, linewidth=1)
    for name, color, scale in (("biased", RED, 1.0), ("kept", BLUE, sizes / (sizes - 1))):
        variances.errorbar(sizes, arrays[name], 4 * scale * arrays["errors"], color=color, fmt="o", capsize=3)
    note(variances, "m / (m - 1) times it, as the layer keeps", (sizes[-1], VARIANCE), BLUE, (0, 8), ha="right")
    note(variances, "mean of the batches' variances", (sizes[-1], 3.2), RED, (0, 0), ha="right")
    variances.set(xlabel="values in a batch, m", ylabel="variance; bars: four standard errors", ylim=(1.8, 4.4))
    plain_ticks(variances.xaxis, sizes)
    variances.set_title("which variance")
    steps = np.arange(1, 61)
    for name, color, words, at, offset in (
        ("corrected", BLUE, "initial value taken out", 40, (0, -14)),
        ("plain", GREEN, "from 0", 22, (-8, 6)),
        ("printed", RED, "from 0, one batch late", 22, (14, -12)),
    ):
        means.plot(steps, arrays[name][:60], color=color)
        note(means, words, (at, arrays[name][at - 1]), color, offset, ha="left" if name == "printed" else "right")
    means.set(xlabel="batch", ylabel="running mean of batches of mean 1", title=f"running averages, decay {DECAY:g}")
    for scale, curve, color in zip(SCALES, arrays["curves"], (BLUE, ORANGE, RED), strict=True):
        losses.plot(np.arange(len(curve)), curve, color=color)
        note(
            losses,
            f"kernel times {scale:g}",
            (len(curve), curve[-1]),
            color,
            (0, -14 if scale == 1 else 20),
            ha="right",
        )
    losses.set(
        xlabel="step of gradient descent", ylabel="training loss (nats)", title="one rate, three sizes of the kernel"
    )
    losses.margins(y=0.1)
    return drawing


def claims(config, arrays):
    """Variances, running averages, gradients, scale invariance and inference."""
    return statistics_claims(config, arrays) + average_claims(arrays) + identity_claims(arrays)


def statistics_claims(config, arrays):
    """The biased and the kept variance, over the true one."""
    result = []
    for size, biased, kept, error in zip(
        config.batch_sizes, arrays["biased"], arrays["kept"], arrays["errors"], strict=True
    ):
        if size in (2, 8):
            exact, tolerance = (size - 1) / size * VARIANCE, 4 * float(error)
            result += [
                Claim(
                    f"batches of {size} values of variance 4: mean of their variances, (m - 1) / m of it",
                    f"{PAPER}, section 3.1",
                    float(exact),
                    float(biased),
                    tolerance,
                ),
                Claim(
                    f"the variance that the layer keeps (as printed for running averages: {exact:g})",
                    f"{PAPER}, algorithm 2, line 10",
                    VARIANCE,
                    float(kept),
                    tolerance * float(size / (size - 1)),
                ),
            ]
    return result


def average_claims(arrays):
    """How running averages start and how they lag."""
    lecture = "the lecture on batch normalisation, running averages"
    return [
        Claim(
            f"running mean of {WARM} batches of mean 1, from 0 with decay 0.95",
            lecture,
            1 - DECAY**WARM,
            float(arrays["plain"][WARM - 1]),
            1e-12,
        ),
        Claim(
            "running mean as printed, with the batch before: one batch late",
            lecture,
            1 - DECAY ** (WARM - 1),
            float(arrays["printed"][WARM - 1]),
            1e-12,
        ),
        Claim(
            "running mean with the initial value taken out",
            "Kingma & Ba (2015), section 3",
            1.0,
            float(arrays["corrected"][WARM - 1]),
            1e-12,
        ),
        Claim(
            "batches whose mean grows by 1: steps by which the running mean is behind",
            lecture,
            DECAY / (1 - DECAY),
            float(arrays["lag"]),
            1e-4,
        ),
        Claim(
            "batches whose mean grows by 1: steps by which the printed running mean is behind, one more",
            lecture,
            1 / (1 - DECAY),
            float(arrays["printed_lag"]),
            1e-4,
        ),
    ]


def identity_claims(arrays):
    """Identities in double precision: the difference of two sides."""
    v, output = arrays["input_variance"], arrays["output_variance"]
    lowest = float(np.min(output))
    source = f"{PAPER}, section 3"
    invariance = f"{PAPER}, section 3.3"
    effective = "van Laarhoven (2017), section 3"
    rows = [
        ("the printed backward formulas and automatic differentiation differ by", source, "gradient_gap", 1e-14),
        ("the second term of the printed slope in the mean", source, "vanishing", 1e-14),
        (
            "the gradient at a times the kernel, a times over, and that at the kernel differ by",
            invariance,
            "slope_gap",
            1e-12,
        ),
        ("the gradient along the kernel, over both lengths", invariance, "radial", 1e-14),
        ("the kernel's squared length grows by rate^2 |gradient|^2, up to", effective, "norm_gap", 1e-12),
        ("kernels a times as large at a^2 the rate: the losses differ by", effective, "rescaled_gap", 1e-9),
        (
            "inference with running averages, folded into the layer before: outputs differ by",
            f"{PAPER}, algorithm 2",
            "fold_gap_running",
            1e-13,
        ),
        (
            "inference after a pass over the data, folded: outputs differ by",
            f"{PAPER}, algorithm 2",
            "fold_gap_pass",
            1e-13,
        ),
        (
            "variance from a pass over the data and the mean of the unbiased ones differ by",
            f"{PAPER}, algorithm 2, line 10",
            "pass_gap",
            1e-13,
        ),
        ("in inference an example alone and in a batch differ by", f"{PAPER}, section 3.1", "alone_gap_pass", 1e-13),
    ]
    return [
        Claim(
            "variance of the output, v / (v + eps) (as printed: 1)",
            f"{PAPER}, algorithm 1",
            float(np.min(v / (v + EPS))),
            lowest,
            tolerance=1e-12,
        ),
        *(Claim(words, source, 0.0, float(arrays[name]), tolerance) for words, source, name, tolerance in rows),
    ]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
