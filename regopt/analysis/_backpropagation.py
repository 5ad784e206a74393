"""Backpropagation written out layer by layer, to be read beside the formulas; training uses ``jax.grad``.

Examples are columns, as on paper: ``Z_k = W_k A_{k-1} + b_k`` and ``A_k = f_k(Z_k)`` for k = 1 to L, with ``A_0 = X``.
The hidden layers have one activation f, and the last one is linear for the squared error and a softmax for the
cross-entropy.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from regopt._core.checks import check_choice
from regopt._core.numerics import check_number, like
from regopt._core.types import Number

Layer: TypeAlias = tuple[jax.Array, jax.Array]  # W_k [out, in] and b_k [out]

ACTIVATIONS = {  # f, and its slope as a function of z
    "identity": (lambda z: z, jnp.ones_like),
    "relu": (jax.nn.relu, lambda z: (z > 0).astype(z.dtype)),
    "sigmoid": (jax.nn.sigmoid, lambda z: jax.nn.sigmoid(z) * jax.nn.sigmoid(-z)),
    "tanh": (jnp.tanh, lambda z: 1 - jnp.square(jnp.tanh(z))),
}


class Backpropagated(NamedTuple):
    """The objective and its gradient."""

    objective: jax.Array  # shape (): mean loss plus penalty
    layers: list[Layer]  # the gradients with respect to each W_k and b_k
    errors: list[jax.Array]  # dJ/dZ_k of each layer, [out, examples]


def backpropagate(
    layers: Sequence[Layer],
    x: jax.Array,
    y: jax.Array,
    *,
    activation: Literal["identity", "relu", "sigmoid", "tanh"] = "relu",
    loss: Literal["squared", "cross_entropy"] = "squared",
    strength: Number = 0.0,
) -> Backpropagated:
    """The gradient of ``J = 1/N sum_i l_i + strength / 2 sum_k |W_k|_F**2``, from the last layer to the first.

    With G_k for ``dJ/dZ_k`` and ``*`` for the elementwise product::

        G_L = (A_L - Y) / N                              both losses
        G_k = (W_{k+1}' G_{k+1}) * f'(Z_k)               k = L - 1, ..., 1
        dJ/dW_k = G_k A_{k-1}' + strength W_k,           dJ/db_k = G_k 1

    Args:
        layers: W_k ``[out, in]`` and b_k ``[out]`` of each layer, from first to last.
        x: inputs, a column for each example, ``[in, N]``.
        y: targets ``[out, N]``; for the cross-entropy the probabilities of the classes, such as one-hot columns.
        activation: f of the hidden layers; static.
        loss: "squared" for ``|A_L - y|**2 / 2``, or "cross_entropy" of the softmax; static.
        strength: of the penalty on the W_k, >= 0, in loss units per squared parameter unit; may be traced.

    Returns:
        The objective, the gradients and the errors of all layers.

    Raises:
        ValueError: an argument lies outside its range, or there are no layers.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis import backpropagate
        >>> layers = [(jnp.array([[2.0]]), jnp.zeros(1)), (jnp.array([[3.0]]), jnp.zeros(1))]
        >>> found = backpropagate(layers, jnp.array([[1.0]]), jnp.array([[5.0]]))  # 3 * 2 * 1 - 5 = 1
        >>> float(found.objective), [float(w[0, 0]) for w, _ in found.layers]
        (0.5, [3.0, 2.0])

    References:
        Rumelhart, D. E., Hinton, G. E., & Williams, R. J. (1986). Learning representations by back-propagating errors.
        Nature, 323, 533-536. Equations (4) to (7).

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Algorithm 6.4.
    """
    check_choice("activation", activation, ACTIVATIONS)
    check_choice("loss", loss, ("squared", "cross_entropy"))
    check_number("strength", strength, "[0, inf)")
    if not layers:
        raise ValueError("layers must have at least one entry, got none")
    f, slope = ACTIVATIONS[activation]
    inputs, sums = [x], []
    for place, (w, b) in enumerate(layers):
        sums.append(w @ inputs[-1] + b[:, None])
        inputs.append(f(sums[-1]) if place < len(layers) - 1 else sums[-1])
    output = inputs.pop()
    examples, penalty = x.shape[1], like(strength, output)
    if loss == "squared":
        mean, error = jnp.sum(jnp.square(output - y)) / 2 / examples, (output - y) / examples
    else:
        mean = -jnp.sum(y * jax.nn.log_softmax(output, axis=0)) / examples
        error = (jax.nn.softmax(output, axis=0) * jnp.sum(y, axis=0)[None] - y) / examples
    objective = mean + penalty / 2 * sum(jnp.sum(jnp.square(w)) for w, _ in layers)
    gradients, errors = [], []
    for k in reversed(range(len(layers))):
        w = layers[k][0]
        gradients.append((error @ inputs[k].T + penalty * w, jnp.sum(error, axis=1)))
        errors.append(error)
        if k:
            error = (w.T @ error) * slope(sums[k - 1])
    return Backpropagated(objective, gradients[::-1], errors[::-1])


def layer_jacobians(
    layers: Sequence[Layer], x: jax.Array, *, activation: Literal["identity", "relu", "sigmoid", "tanh"] = "relu"
) -> list[jax.Array]:
    """``M_k = dh_k / dh_{k-1} = diag(f'(z_k)) W_k`` of each layer for one input; all layers have the activation.

    The Jacobian of the last hidden vector in the one of layer t is the product ``M_L ... M_{t+1}`` of L - t matrices,
    which vanishes or explodes with their singular values.

    Args:
        layers: W_k ``[out, in]`` and b_k ``[out]`` of each layer, from first to last.
        x: one input h_0, ``[in]``.
        activation: f of all layers; static.

    Returns:
        The matrices M_1 to M_L, each ``[out, in]``.

    Raises:
        ValueError: the activation is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis import layer_jacobians
        >>> layer_jacobians([(4 * jnp.eye(1), jnp.zeros(1))], jnp.zeros(1), activation="sigmoid")  # a quarter of W
        [Array([[1.]], dtype=float32)]

    References:
        Zhang, A., Lipton, Z. C., Li, M., & Smola, A. J. (2023). Dive into Deep Learning. Cambridge University Press.
        Equation (5.4.2), with one numbering of the layers.
    """
    check_choice("activation", activation, ACTIVATIONS)
    f, slope = ACTIVATIONS[activation]
    found, h = [], x
    for w, b in layers:
        z = w @ h + b
        found.append(slope(z)[:, None] * w)
        h = f(z)
    return found
