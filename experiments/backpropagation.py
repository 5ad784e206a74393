"""Is the chain rule, written out by hand, what automatic differentiation computes, and what does it cost?

The small graph (x + y) z, a network with one hidden layer and a penalty, and L layers trained by momentum, RMSProp and
Adam as a course writes them: gradients and trajectories agree with autodiff and with the optimizers to rounding. The
gradient of an early layer is a product of Jacobians; with sigmoids each has slopes of at most 1/4, so it vanishes.
Backpropagation keeps what the forward pass computed, unless layers are computed again (`jax.checkpoint`).
"""

import sys
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pydantic import Field

import regopt
from _draws import stream_of
from _style import BLUE, GREEN, ORANGE, RED, note
from regopt.analysis import backpropagate, layer_jacobians
from regopt.experiment import Claim

RUMELHART = "Rumelhart et al. (1986), equations (4) to (7)"
DIVE = "Zhang et al. (2023), section 5.3"
UNITS: dict[str, tuple[Any, float]] = {
    "sigmoid, Xavier": ("sigmoid", 1.0),
    "tanh, Xavier": ("tanh", 1.0),
    "ReLU, He": ("relu", 2.0),
}
COLORS = (RED, ORANGE, BLUE)


@dataclass(frozen=True)
class Config:
    """Networks by hand.

    Attributes:
        widths: units of the layers, from input to output.
        examples: number of examples.
        strength: strength of the penalty ``strength / 2 |W|^2``.
        steps: training steps of each optimizer.
        depth: layers of the deep network.
        width: units of each layer of the deep network.
        batch: number of examples with which memory is measured.
        seed: random seed of everything.
    """

    widths: tuple[Annotated[int, Field(ge=1)], ...] = (5, 16, 12, 3)
    examples: Annotated[int, Field(ge=2)] = 40
    strength: Annotated[float, Field(ge=0)] = 0.1
    steps: Annotated[int, Field(ge=2)] = 100
    depth: Annotated[int, Field(ge=4)] = 20
    width: Annotated[int, Field(ge=4)] = 100
    batch: Annotated[int, Field(ge=10)] = 1000
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def run(config, key):
    """Gaps to autodiff and to the optimizers, norms of the Jacobians' products, and memory."""
    stream = stream_of(key)
    memory = _memory(config)
    with jax.enable_x64(True):
        return memory | _graph() | _gaps(config, stream) | _products(config, stream)


def _graph():
    """The value of (x + y) z at (-2, 5, -4) and its three slopes, by hand: q = x + y, df/dq = z, df/dz = q."""
    x, y, z = -2.0, 5.0, -4.0
    q = x + y
    by_hand = np.array([z, z, q])
    automatic = jax.jit(jax.grad(lambda x, y, z: (x + y) * z, argnums=(0, 1, 2)))(x, y, z)
    return {"graph": np.array([q * z, *by_hand]), "graph_gap": np.abs(by_hand - np.array(automatic)).max()}


def _draw(widths, stream, scale=1.0):
    return [(stream.normal(scale=np.sqrt(scale / a), size=(b, a)), np.zeros(b)) for a, b in pairwise(widths)]


def _gaps(config, stream):
    """Largest gaps of gradients and of the weights along three trainings."""
    layers = _draw(config.widths, stream)
    x = stream.normal(size=(config.widths[0], config.examples))
    y = jnp.asarray(np.eye(config.widths[-1])[:, stream.integers(config.widths[-1], size=config.examples)])

    def objective(layers):
        h = x
        for place, (w, b) in enumerate(layers):
            h = w @ h + b[:, None]
            h = jnp.tanh(h) if place < len(layers) - 1 else h
        penalty = config.strength / 2 * sum(jnp.sum(w**2) for w, _ in layers)
        return -jnp.sum(y * jax.nn.log_softmax(h, axis=0)) / config.examples + penalty

    def by_hand(layers):
        return backpropagate(layers, x, y, activation="tanh", loss="cross_entropy", strength=config.strength).layers

    found = {"gradient_gap": _gap(jax.jit(by_hand)(layers), jax.jit(jax.grad(objective))(layers))}
    optimizers = {
        "momentum": regopt.ema_momentum(0.1, 0.9),
        "RMSProp": regopt.rmsprop(0.01, 0.9, eps=1e-8, eps_root=0.0),
        "Adam": regopt.adam(0.01),
    }
    rules = {"momentum": _momentum, "RMSProp": _rmsprop, "Adam": _adam}
    losses = jax.jit(jax.vmap(objective))
    for name, optimizer in optimizers.items():

        def library(carry, _, optimizer=optimizer):
            params, state = carry
            updates, state = optimizer.update(jax.grad(objective)(params), state, params)
            params = jax.tree.map(jnp.add, params, updates)
            return (params, state), params

        def hand(carry, t, rule=rules[name]):
            params, *moments = carry
            new = jax.tree.map(lambda *leaves: rule(t, *leaves), by_hand(params), params, *moments)
            carry = jax.tree.transpose(jax.tree.structure(params), jax.tree.structure((0, 0, 0)), new)
            return carry, carry[0]

        zeros = jax.tree.map(np.zeros_like, layers)
        theirs = jax.jit(
            lambda layers, library=library, optimizer=optimizer: jax.lax.scan(
                library, (layers, optimizer.init(layers)), length=config.steps
            )[1]
        )(layers)
        mine = jax.jit(
            lambda layers, hand=hand, zeros=zeros: jax.lax.scan(
                hand, (layers, zeros, zeros), jnp.arange(1, config.steps + 1)
            )[1]
        )(layers)
        found[f"{name}_gap"] = _gap(mine, theirs)
        found[f"{name}_loss"] = losses(mine)
    return found


def _momentum(t, g, w, m, s, b1=0.9, rate=0.1):
    m = b1 * m + (1 - b1) * g
    return w - rate * m, m, s


def _rmsprop(t, g, w, m, s, b2=0.9, rate=0.01, eps=1e-8):
    s = b2 * s + (1 - b2) * g**2
    return w - rate * g / (jnp.sqrt(s) + eps), m, s


def _adam(t, g, w, m, s, b1=0.9, b2=0.999, rate=0.01, eps=1e-8):
    m, s = b1 * m + (1 - b1) * g, b2 * s + (1 - b2) * g**2
    return w - rate * (m / (1 - b1**t)) / (jnp.sqrt(s / (1 - b2**t)) + eps), m, s


def _gap(one, other):
    gaps = jax.tree.map(lambda a, b: np.max(np.abs(np.asarray(a) - np.asarray(b))), one, other)
    return max(float(gap) for gap in jax.tree.leaves(gaps))


def _products(config, stream):
    """Root mean square singular value of the Jacobian of the last layer in each layer, by unit."""
    found = {}
    jacobians = jax.jit(layer_jacobians, static_argnames="activation")
    for name, (activation, scale) in UNITS.items():
        layers = _draw((config.width,) * (config.depth + 1), stream, scale)
        x = stream.normal(size=config.width)
        matrices = jax.tree.map(np.asarray, jacobians(layers, x, activation=activation))
        product, norms = np.eye(config.width), []
        for matrix in reversed(matrices):
            product = product @ matrix
            norms.append(np.linalg.norm(product) / np.sqrt(config.width))
        found[f"norms, {name}"] = np.array(norms[::-1])
        if activation == "sigmoid":
            f = lambda x, layers=layers: _apply(layers, x, jax.nn.sigmoid)  # noqa: E731
            whole = jax.jit(jax.jacobian(f))(x)
            found["jacobian_gap"] = np.linalg.norm(product - whole) / np.linalg.norm(whole)
            spectral = [
                np.linalg.norm(m, ord=2) / np.linalg.norm(w, ord=2) for m, (w, _) in zip(matrices, layers, strict=True)
            ]
            found["slope"] = max(spectral)
    return found


def _apply(layers, x, f):
    for w, b in layers:
        x = f(w @ x + b)
    return x


def _memory(config):
    """Temporary bytes of the compiled gradient by depth, with every layer's values kept and with layers recomputed."""
    depths = (4, 16, 36)
    sizes = np.zeros((2, len(depths)))
    for row, wrap in enumerate((lambda f: f, jax.checkpoint)):
        for column, depth in enumerate(depths):
            weights = jax.ShapeDtypeStruct((depth, config.width, config.width), jnp.float32)
            x = jax.ShapeDtypeStruct((config.batch, config.width), jnp.float32)

            block = int(np.sqrt(depth))  # layers that are recomputed together

            def loss(weights, x, wrap=wrap, block=block):
                @wrap
                def several(x, group):
                    return jax.lax.scan(lambda x, w: (jnp.tanh(jnp.sin(x @ w)), None), x, group)[0], None

                groups = weights.reshape(-1, block, *weights.shape[1:])
                return jnp.sum(jax.lax.scan(several, x, groups)[0])

            compiled = jax.jit(jax.grad(loss)).lower(weights, x).compile()
            analysis: Any = compiled.memory_analysis()
            sizes[row, column] = analysis.temp_size_in_bytes
    return {"depths": np.array(depths), "memory": sizes}


def figure(config, arrays):
    """Vanishing products, the three trainings, and memory."""
    drawing = Figure(figsize=(14, 4.4), layout="constrained")
    left, middle, right = drawing.subplots(1, 3)
    layers = np.arange(config.depth)
    for name, color in zip(UNITS, COLORS, strict=True):
        norms = arrays[f"norms, {name}"]
        left.semilogy(layers, norms, "o-", color=color, ms=3)
        note(
            left, name, (layers[6], norms[6]), color, {"ReLU, He": (0, 8), "tanh, Xavier": (0, -16)}.get(name, (8, -14))
        )
    left.set(
        xlabel="layer t",
        ylabel=r"$|M_L \\cdots M_{t+1}|_F / \\sqrt{n}$".replace("\\\\", "\\"),
        title="the gradient's product of Jacobians",
    )
    left.set_ylim(top=100)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    for name, color in zip(("momentum", "RMSProp", "Adam"), (GREEN, ORANGE, BLUE), strict=True):
        middle.plot(arrays[f"{name}_loss"], color=color, label=f"{name}: gap {arrays[f'{name}_gap']:.0e}")
    middle.legend(frameon=False)
    middle.set(xlabel="step", ylabel="objective", title="by hand; gap: to the optimizers on autodiff")
    for row, (words, color, offset) in enumerate((("every layer kept", RED, -2), ("blocks recomputed", BLUE, 8))):
        right.plot(arrays["depths"], arrays["memory"][row] / 2**20, "o-", color=color)
        note(right, words, (arrays["depths"][-1], arrays["memory"][row][-1] / 2**20), color, (-24, offset), ha="right")
    right.set(
        xlabel="layers", ylabel="temporary memory (MiB)", title="memory of the gradient, as compiled", ylim=(0, None)
    )
    return drawing


def claims(config, arrays):
    """The printed numbers, the gaps, the vanishing, and the memory."""
    return _gap_claims(config, arrays) + _depth_claims(config, arrays)


def _gap_claims(config, arrays):
    """The chain rule by hand against the slide, autodiff and the optimizers."""
    return [
        *(
            Claim(f"(x + y) z at (-2, 5, -4): {what}", "course slide, by the chain rule", expected, float(found), 0)
            for what, expected, found in zip(
                ("f", "df/dx", "df/dy", "df/dz"), (-12, -4, -4, 3), arrays["graph"], strict=True
            )
        ),
        Claim("slopes of (x + y) z by hand, largest gap to autodiff", RUMELHART, 0, float(arrays["graph_gap"]), 0),
        Claim(
            "gradient of L layers with a penalty: largest gap to autodiff",
            RUMELHART,
            0,
            float(arrays["gradient_gap"]),
            1e-13,
        ),
        *(
            Claim(
                f"{name} by hand, {config.steps} steps: largest gap of the weights to the optimizer",
                source,
                0,
                float(arrays[f"{name}_gap"]),
                1e-9,
            )
            for name, source in (
                ("momentum", "course slide"),
                ("RMSProp", "course slide"),
                ("Adam", "Kingma & Ba (2015), algorithm 1"),
            )
        ),
    ]


def _depth_claims(config, arrays):
    """Jacobians that vanish with depth, and the memory that depth takes."""
    sigmoid = arrays["norms, sigmoid, Xavier"]
    return [
        Claim(
            "sigmoids: product of the layers' Jacobians, relative gap to autodiff",
            DIVE,
            0,
            float(arrays["jacobian_gap"]),
            1e-12,
        ),
        Claim("sigmoids: |M_k| over |W_k|, largest", DIVE, 0.25, float(arrays["slope"]), relation="at most"),
        Claim(
            f"sigmoids, {config.depth} layers: log10 of the product, at most that of 4^-{config.depth - 1}",
            DIVE,
            -(config.depth - 1) * np.log10(4),
            float(np.log10(sigmoid[0] / sigmoid[-1])),
            relation="at most",
        ),
        Claim(
            "memory of the gradient at 36 over that at 16 layers, every layer kept (linear in depth)",
            DIVE,
            36 / 16,
            float(arrays["memory"][0, -1] / arrays["memory"][0, 1]),
            0.4,
        ),
        Claim(
            "memory at 36 layers, blocks recomputed over every layer kept",
            "Chen et al. (2016), section 4.1",
            0.6,
            float(arrays["memory"][1, -1] / arrays["memory"][0, -1]),
            relation="at most",
        ),
    ]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
