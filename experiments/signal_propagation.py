"""What becomes of signals and gradients on their way through random layers, and what of equal units?

A product of random matrices grows or shrinks exponentially. The variance of the kernels decides the rate, layer by
layer, forward and backward. Units that start equal, with equal outgoing weights too, stay equal for ever, unless
noise tells them apart.
"""

import sys
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field
from scipy import special

from _draws import stream_of
from _style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, band, note
from regopt import analysis, initializers, noise
from regopt.experiment import Claim

LECTURE = "the lecture on numerical stability; Zhang et al., Dive into Deep Learning, section 5.4"
GLOROT, HE = "Glorot & Bengio (2010), (5), (6) and (12)", "He et al. (2015), (8), (10) and (13)"
SIZE = 4
PRINTED = 1e20 * np.array(  # the lecture's product of 100 matrices
    [
        [3.1575275, -0.50052276, 20.565092, -2.3741922],
        [-4.6332600, 0.73445046, -30.176513, 3.4838066],
        [-5.8487235, 0.92711797, -38.092853, 4.3977330],
        [-0.62947415, 0.099783660, -4.0997977, 0.47331174],
    ]
)


def linear(z):
    return z


XAVIER, TORCH = initializers.glorot(), initializers.torch_kernel()  # draws by one object share a program
# name: initializer, variance of its entries times n, activation, ratio from layer to layer, its source
CASES = {
    "Xavier, linear": (XAVIER, 1.0, linear, 1.0, GLOROT),
    "He, ReLU": (initializers.he(), 2.0, jax.nn.relu, 1.0, HE),
    "Xavier, ReLU": (XAVIER, 1.0, jax.nn.relu, 1 / 2, HE),
    "PyTorch, linear": (TORCH, 1 / 3, linear, 1 / 3, "PyTorch's documentation of Linear"),
    "PyTorch, ReLU": (TORCH, 1 / 3, jax.nn.relu, 1 / 6, "PyTorch's documentation of Linear"),
    "orthogonal, linear": (initializers.orthogonal(), 1.0, linear, 1.0, "Saxe et al. (2014), section 3"),
    "Xavier, tanh": (XAVIER, 1.0, jnp.tanh, None, "Poole et al. (2016)"),
    "Xavier, sigmoid": (XAVIER, 1.0, jax.nn.sigmoid, None, "Poole et al. (2016)"),
}
STARTS = ("equal, random outgoing", "equal, equal outgoing", "the same with dropout")


@dataclass(frozen=True)
class Config:
    """The networks and the products.

    Attributes:
        width: number of units of each layer, even.
        depth: number of layers.
        networks: number of networks drawn for each initializer.
        batch: number of normal inputs to each network.
        tolerance: relative tolerance of a ratio from layer to layer.
        chains: number of products of matrices.
        factors: number of matrices in each product.
        steps: steps of gradient descent on the networks with equal units.
        seed: random seed of everything that is drawn.
    """

    width: Annotated[int, Field(ge=10, multiple_of=2)] = 400
    depth: Annotated[int, Field(ge=3, le=30)] = 10
    networks: Annotated[int, Field(ge=2)] = 20
    batch: Annotated[int, Field(ge=2)] = 64
    tolerance: Annotated[float, Field(gt=0)] = 0.03
    chains: Annotated[int, Field(ge=10)] = 6000
    factors: Annotated[int, Field(ge=2)] = 100
    steps: Annotated[int, Field(ge=1)] = 300
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def run(config, key):
    """Products of Gaussian matrices, mean squares by layer for each initializer, and networks of equal units."""
    products_key, layers_key, units_key = jax.random.split(key, 3)
    with jax.enable_x64(True):
        found = products(config, products_key) | equal_units(config, units_key)
    found["power"] = np.max(np.abs(np.linalg.matrix_power(np.array([[-1.5, 0.3], [0.0, 0.5]]), 20)))
    return found | layers(config, layers_key)


def products(config, key):
    """Logarithms of the stretches of products of Gaussian matrices, by QR after each factor."""

    def multiply(carry, factor):
        basis, logs = carry
        basis, upper = jnp.linalg.qr(factor @ basis)
        logs = logs + jnp.log(jnp.abs(jnp.diag(upper)))
        return (basis, logs), logs

    @jax.jit
    @jax.vmap
    def chain(factors):
        return jax.lax.scan(multiply, (jnp.eye(SIZE), jnp.zeros(SIZE)), factors)[1]

    stream = stream_of(key)
    logs = np.asarray(chain(stream.normal(size=(config.chains, config.factors, SIZE, SIZE))))
    a, b, c = stream.normal(size=(3, 20 * config.chains, SIZE, SIZE))
    squares = np.sum(np.square(a @ b @ c), axis=(1, 2))
    rates, variance = jax.jit(analysis.gaussian_growth, static_argnums=0)(SIZE)
    return {
        "logs": logs[:, :, 0],
        "spectrum": logs[:, -1].mean(axis=0) / config.factors,
        "rates": rates,
        "rate_variances": special.polygamma(1, np.arange(SIZE, 0, -1) / 2) / 4,
        "growth_variance": variance,
        "square": squares.mean(),
        "square_error": squares.std() / np.sqrt(squares.size),
        "printed_stretches": np.linalg.svd(PRINTED, compute_uv=False),
    }


def layers(config, key):
    """Mean squares forward and backward for each case, predicted and measured, and with layers of two widths."""
    square = (config.width,) * (config.depth + 1)
    predict = jax.jit(analysis.predict_propagation, static_argnums=(0, 2))
    found = {}
    for place, (name, (kernel, variance, activation, *_)) in enumerate(CASES.items()):
        each = jax.random.fold_in(key, place)
        predicted = predict(square, variance / config.width, activation)
        networks = 2 if name.startswith("orthogonal") else None  # each of them gives the number
        means = measured(config, each, square, kernel, activation, networks=networks)
        for way, expected, mean in zip(predicted._fields, predicted, means, strict=True):
            found |= {f"{name} {way} predicted": expected, f"{name} {way}": mean}
    each, other = jax.random.split(jax.random.fold_in(key, len(CASES)))
    narrow = (config.width, config.width // 2, config.width)
    forward, backward = measured(config, each, narrow, XAVIER, linear)
    bias = initializers.torch_bias(config.width)
    biased = measured(config, other, square, TORCH, jax.nn.relu, bias=bias)
    return found | {"narrow_forward": forward[1] / forward[0], "narrow_backward": backward[0], "biased": biased.forward}


def measured(config, key, widths, kernel, activation, *, bias=None, networks=None):
    """Means over networks of the mean squares by layer."""
    count = networks or config.networks
    kernels_key, biases_key, data_key = jax.random.split(key, 3)
    stream = stream_of(data_key)

    def arrays(initializer, key, shapes):
        keys = jax.random.split(key, (config.depth, count))  # one program for networks of all depths
        return [draw(initializer, shape, each) for shape, each in zip(shapes, keys, strict=False)]

    kernels = arrays(kernel, kernels_key, list(pairwise(widths)))
    if bias is None:
        biases = [np.zeros((count, 1, n), np.float32) for n in widths[1:]]
    else:
        biases = arrays(bias, biases_key, [(1, n) for n in widths[1:]])
    x, slopes = (stream.normal(size=(count, config.batch, widths[end])).astype(np.float32) for end in (0, -1))
    every = mean_squares(activation, kernels, biases, x, slopes)
    return jax.tree.map(lambda squares: np.asarray(squares).mean(axis=0), every)


@partial(jax.jit, static_argnums=(0, 1))
def draw(initializer, shape, keys):
    """One array for each key; arrays of one shape share one program."""
    return jax.vmap(lambda key: initializer(key, shape, jnp.float32))(keys)


@partial(jax.jit, static_argnums=0)
def mean_squares(activation, *networks):
    """Mean squares by layer of each network."""

    def one(network):
        kernels, biases, x, slopes = network
        maps = [lambda h, w=w, b=b: h @ w + b for w, b in zip(kernels, biases, strict=True)]
        return analysis.measure_propagation(maps, activation, x, slopes)

    return jax.lax.map(one, networks)


def equal_units(config, key):
    """How far hidden units come apart in training from equal incoming weights, over the length of a unit's weights."""
    data_key, noise_key = jax.random.split(key)
    stream = stream_of(data_key)
    x = stream.normal(size=(50, 3))
    y = np.sin(x @ np.array([1.0, -2.0, 0.5]))

    def train(outgoing, rate):
        def loss(params, key):
            hidden = noise.dropout(key, jnp.tanh(x @ params[0]), rate)
            return jnp.mean(jnp.square(hidden @ params[1] - y)) / 2

        def step(params, key):
            grads = jax.grad(loss)(params, key)
            params = jax.tree.map(lambda p, g: p - 0.2 * g, params, grads)
            apart = jnp.max(jnp.linalg.norm(params[0] - params[0][:, :1], axis=0))
            return params, apart / jnp.linalg.norm(params[0][:, 0])

        return jax.lax.scan(step, (jnp.full((3, 8), 0.3), outgoing), jax.random.split(noise_key, config.steps))[1]

    equal = np.full(8, 0.2)
    outgoing = np.stack([stream.normal(scale=0.3, size=8), equal, equal])
    return {"apart": jax.jit(jax.vmap(train))(outgoing, np.array([0.0, 0.0, 0.5]))}


def ratio(squares):
    """The mean factor of a mean square from one layer to the next on its way."""
    return float((squares[-1] / squares[0]) ** (1 / (len(squares) - 1)))


def figure(config, arrays):
    """Mean squares by layer both ways, products of matrices, and units that come apart."""
    drawing = Figure(figsize=(12.5, 9.0), layout="constrained")
    (ahead, back), (grown, units) = drawing.subplots(2, 2)
    colors = dict(zip(CASES, (BLUE, GREEN, ORANGE, PURPLE, RED, BLACK, SKY, GREY), strict=True))
    at = np.arange(1, len(arrays["biased"]) + 1)
    for axes, way in ((ahead, "forward"), (back, "backward")):
        for name, color in colors.items():
            squares = arrays[f"{name} {way}"]
            at = np.arange(1, len(squares) + 1)
            axes.semilogy(
                at, squares, "o", color=color, markersize=5, markerfacecolor="none" if "orth" in name else color
            )
            axes.semilogy(at, arrays[f"{name} {way} predicted"], color=color, linewidth=1, label=name)
        axes.set(xlabel="layer", xticks=at)
    ahead.set(ylabel="mean square of pre-activations", title="forward; lines: predicted, dots: measured")
    back.set(ylabel="mean square of slopes, last layer = 1", title="backward")
    ahead.legend(loc="upper left", bbox_to_anchor=(0.0, 0.72), fontsize=8, frameon=False)
    logs = arrays["logs"] / np.log(10)
    at = np.arange(1, logs.shape[1] + 1)
    rate, deviation = arrays["rates"][0] / np.log(10), np.sqrt(arrays["growth_variance"]) / np.log(10)
    reach = 2 * deviation * np.sqrt(at)
    band(grown, at, rate * at - reach, rate * at + reach, GREY)
    grown.plot(at, logs[:20].T, color=BLUE, linewidth=0.6, alpha=0.6)
    grown.plot(at, rate * at, color=BLACK)
    grown.plot(at, np.log10(SIZE) / 2 * at, "--", color=RED)
    last = at[-1]
    note(grown, "root of the mean square: 2^t", (last, np.log10(SIZE) / 2 * last), RED, (-12, 2), ha="right")
    note(grown, "typical: 1.75^t; band: two deviations", (last * 0.42, rate * last * 0.42), BLACK, (14, -34), ha="left")
    note(grown, "20 products", (last * 0.8, logs[:20].min(axis=0)[int(last * 0.8) - 1]), BLUE, (14, -44), ha="center")
    grown.set(
        xlabel="factors t, Gaussian 4 x 4", ylabel="stretch of a vector, powers of 10", title="products of matrices"
    )
    for name, values, color, offset in zip(
        STARTS, arrays["apart"], (BLUE, RED, GREEN), ((-70, -4), (0, 8), (0, 8)), strict=True
    ):
        units.plot(np.arange(1, len(values) + 1), values, color=color)
        note(units, name, (len(values), values[-1]), color, offset, ha="right")
    units.set(
        xlabel="step of gradient descent",
        ylabel="distance between hidden units, relative",
        title="units that start equal",
    )
    return drawing


def claims(config, arrays):
    """Growth of products, ratios from layer to layer, and equal units."""
    return exponent_claims(arrays) + product_claims(arrays) + layer_claims(config, arrays) + unit_claims(arrays)


def exponent_claims(arrays):
    """The Lyapunov exponents of products of Gaussian matrices, and the variance of the largest."""
    chains, factors = arrays["logs"].shape
    newman = "Newman (1986); (ln 2 + psi((5 - i) / 2)) / 2"
    total = arrays["logs"][:, -1]
    return [
        *(
            Claim(
                f"stretch {i + 1} of products of Gaussian 4 x 4 matrices, nats for each factor",
                newman,
                published,
                float(arrays["spectrum"][i]),
                tolerance=4 * float(np.sqrt(arrays["rate_variances"][i] / (chains * factors))),
            )
            for i, published in enumerate((0.557966, 0.36482, 0.05797, -0.63518))
        ),
        Claim(
            "variance of the first stretch's logarithm for each factor, over psi'(2) / 4 = 0.161234",
            newman,
            1.0,
            float(np.var(total) / factors / arrays["growth_variance"]),
            tolerance=4 * float(np.sqrt(2 / chains)),
        ),
    ]


def product_claims(arrays):
    """The mean square of a product, the printed product, and an eigenvalue below -1."""
    stretch, second = arrays["printed_stretches"][:2]
    deviation = np.sqrt(0.161234 * 100)
    return [
        Claim(
            "mean square of all entries together after 3 factors: 4^4, while the typical one grows as 3.05^t",
            LECTURE,
            256.0,
            float(arrays["square"]),
            tolerance=4 * float(arrays["square_error"]),
        ),
        Claim(
            "logarithm of the printed product's stretch: within two deviations of 55.80 +- 4.02, of 100 factors",
            LECTURE,
            55.80,
            float(np.log(stretch)),
            tolerance=2 * float(deviation),
        ),
        Claim(
            "printed product's second stretch over the first: rank one to float32's rounding",
            LECTURE,
            3e-7,
            float(second / stretch),
            relation="at most",
        ),
        Claim(
            "a matrix with the eigenvalue -1.5, to the power 20: it explodes, though -1.5 < 1",
            "Goodfellow et al. (2016), section 8.2.5, for |lambda|",
            1.5**20,
            float(arrays["power"]),
            tolerance=1e-6,
        ),
    ]


def layer_claims(config, arrays):
    """The ratio of each case both ways, rectangular layers, PyTorch's bias and the sigmoid."""
    tolerance, result = config.tolerance, []
    for name, (_, _, _, published, source) in CASES.items():
        for way in ("forward", "backward"):
            along = slice(None, None, 1 if way == "forward" else -1)
            expected = ratio(arrays[f"{name} {way} predicted"][along]) if published is None else published
            result.append(
                Claim(
                    f"{name}: mean square from layer to layer, {way}",
                    source,
                    expected,
                    ratio(arrays[f"{name} {way}"][along]),
                    tolerance=2e-6 if "orthogonal" in name else tolerance * expected,
                )
            )
    return [
        *result,
        Claim(
            "Xavier from n / 2 to n units, forward: 2 n_in / (n_in + n_out)",
            GLOROT,
            2 / 3,
            float(arrays["narrow_forward"]),
            tolerance=tolerance * 2 / 3,
        ),
        Claim(
            "Xavier from n / 2 to n units, backward: 2 n_out / (n_in + n_out)",
            GLOROT,
            4 / 3,
            float(arrays["narrow_backward"]),
            tolerance=tolerance * 4 / 3,
        ),
        Claim(
            "PyTorch, ReLU, with its biases: the mean square settles at 0.4 / n, times n",
            "PyTorch's documentation of Linear",
            0.4,
            float(arrays["biased"][-1] * config.width),
            tolerance=tolerance * 0.4 + 0.4 * 6.0 ** (1 - len(arrays["biased"])) * config.width,
        ),
        Claim(
            "Xavier, sigmoid: mean square of slopes from layer to layer, below max sigmoid'^2",
            LECTURE,
            1 / 16,
            ratio(arrays["Xavier, sigmoid backward"][::-1]),
            relation="at most",
        ),
    ]


def unit_claims(arrays):
    """Equal units come apart unless their outgoing weights are equal too and there is no noise."""
    random, equal, dropped = (float(values[-1]) for values in arrays["apart"])
    source = "the lecture on symmetry; Goodfellow et al. (2016), section 8.4"
    return [
        Claim("equal hidden units with equal outgoing weights: distance after training", source, 0.0, equal),
        Claim(
            "equal hidden units with random outgoing weights come apart (as printed, they never do: 0)",
            source,
            0.1,
            random,
            relation="at least",
        ),
        Claim("equal outgoing weights and dropout: they come apart", source, 0.1, dropped, relation="at least"),
    ]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
