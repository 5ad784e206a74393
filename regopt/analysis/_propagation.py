"""How the size of signals and gradients changes from layer to layer, predicted for random kernels and measured.

A network is ``z^l = h^{l-1} W^l + b^l``, ``h^l = activation(z^l)`` for l = 1 to L, ``h^0`` the input; W^l is
``[n_{l-1}, n_l]``. "Forward" is the mean square of the entries of z^l, "backward" that of the slope of a loss in z^l.
The predictions are those of wide layers with independent entries. For products of square Gaussian matrices growth is
known exactly. Not for choosing initial kernels: that is ``regopt.initializers``.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, polygamma

from regopt._core.numerics import check_range, like, safe_sqrt, widen
from regopt._core.types import Number

Activation: TypeAlias = Callable[[jax.Array], jax.Array]

_STEP = 1 / 13
_AT = _STEP * (np.arange(260) - 129.5)  # to 10 deviations either side, none at 0, where a ReLU has its kink
_WEIGHTS = _STEP * np.exp(-(_AT**2) / 2) / np.sqrt(2 * np.pi)


class Propagation(NamedTuple):
    """Mean squares by layer, the first layer first; at least float32."""

    forward: jax.Array  # [layers], of the pre-activations z
    backward: jax.Array  # [layers], of the slopes in z, in units of the last


def normal_mean(function: Activation, variance: Number | jax.Array) -> jax.Array:
    """``E function(z)`` for z normal with mean 0, by the midpoint rule at 260 points.

    Its error falls exponentially with the points where the function is analytic, faster than that of Gauss-Hermite
    quadrature: for tanh below 1e-12 up to a variance of 10. Exact to rounding for the squares of a ReLU and of its
    slope too, by symmetry.

    Args:
        function: elementwise.
        variance: >= 0, a number or an array; may be traced.

    Returns:
        An array of the shape of the variance, in at least float32.

    Raises:
        ValueError: a concrete variance lies outside [0, inf).

    References: Trefethen & Weideman (2014), section 5, the trapezoidal rule on the real line.

    >>> normal_mean(jnp.square, 3.0).round(5)
    Array(3., dtype=float32)
    """
    check_range("variance", variance, "[0, inf)")
    (variance,) = widen(variance)
    at = safe_sqrt(variance)[..., None] * jnp.asarray(_AT, variance.dtype).reshape((1,) * variance.ndim + (-1,))
    return function(at) @ jnp.asarray(_WEIGHTS, variance.dtype)


def predict_propagation(
    widths: Sequence[int],
    kernel_variance: Number | jax.Array,
    activation: Activation,
    *,
    bias_variance: Number | jax.Array = 0.0,
    rate: Number = 0.0,
    input_square: Number = 1.0,
) -> Propagation:
    """Mean squares forward and backward through wide random layers.

    Layer by layer, with a standard normal x::

        q^l = n_{l-1} v^l E h^{l-1}^2 / (1 - rate) + b^l,     E h^l^2 = E activation(sqrt(q^l) x)^2
        g^l = n_{l+1} v^{l+1} E activation'(sqrt(q^l) x)^2 / (1 - rate) g^{l+1},    g^L = 1

    The input ``h^0`` passes without activation and without dropout. For linear units the factor forward is
    ``n_{l-1} v``, for ReLUs half of it; backward ``n_{l+1} v`` and half of it.

    Args:
        widths: n_0 to n_L, at least two.
        kernel_variance: v, of the kernels' entries, >= 0, a number or one for each layer; may be traced.
        activation: elementwise, differentiable almost everywhere.
        bias_variance: b, of the biases' entries, >= 0, a number or one for each layer; may be traced.
        rate: of inverted dropout on the hidden activations, in [0, 1); may be traced.
        input_square: mean square of the input's entries, >= 0; may be traced.

    Returns:
        The mean squares of L layers, those backward in units of the last layer's.

    Raises:
        ValueError: fewer than two widths, or a concrete number outside its range.

    References: Glorot & Bengio (2010), (5), (6), (10) and (11); He et al. (2015), (8) and (13); Poole et al. (2016)
        for any activation, Schoenholz et al. (2017) for slopes and dropout.

    >>> predict_propagation((100, 100, 100), 1 / 100, jax.nn.relu).forward.round(5)
    Array([1. , 0.5], dtype=float32)
    """
    if len(widths) < 2:
        raise ValueError(f"widths must name the input and the output size at least, got {tuple(widths)}")
    check_range("kernel_variance", kernel_variance, "[0, inf)")
    check_range("bias_variance", bias_variance, "[0, inf)")
    check_range("rate", rate, "[0, 1)")
    check_range("input_square", input_square, "[0, inf)")
    sizes = jnp.asarray(np.array(widths, float), jnp.result_type(float))
    depth = len(widths) - 1
    kernels, biases = (jnp.broadcast_to(like(v, sizes), (depth,)) for v in (kernel_variance, bias_variance))
    keep = 1 - like(rate, sizes)

    def square(z):
        return jnp.square(activation(z))

    def slope(z):
        return jnp.square(jax.vmap(jax.grad(lambda each: activation(each)))(z.ravel()).reshape(z.shape))

    def layer(mean_square, at):
        fan_in, kernel, bias, dropped = at
        q = fan_in * kernel * mean_square / dropped + bias
        return normal_mean(square, q), q

    kept = jnp.full(depth, keep).at[0].set(1.0)
    start = like(input_square, sizes)
    forward = jax.lax.scan(layer, start, (sizes[:-1], kernels, biases, kept))[1]
    factors = sizes[2:] * kernels[1:] * normal_mean(slope, forward[:-1]) / keep
    backward = jnp.cumprod(jnp.append(jnp.ones_like(start), factors[::-1]))[::-1]
    return Propagation(forward, backward)


def measure_propagation(
    layers: Sequence[Callable[[jax.Array], jax.Array]], activation: Activation, x: jax.Array, slopes: jax.Array
) -> Propagation:
    """Mean squares over examples and units in a given network, forward and backward.

    Args:
        layers: the affine maps ``h -> h W + b``, the first first; flax modules will do.
        activation: elementwise, between them.
        x: a batch of inputs, ``[batch, n_0]``.
        slopes: of a loss in the last pre-activations, ``[batch, n_L]``, not all zero; normal noise stands for any.

    Returns:
        The mean squares of all layers, those backward in units of the last layer's.

    References: Glorot & Bengio (2010), figures 6 and 7.
    """

    def forward(shifts):
        """The last pre-activation; a shift of each is where its slope is taken."""
        h, found = x, []
        for layer, shift in zip(layers, shifts, strict=True):
            found.append(layer(h) + shift)
            h = activation(found[-1])
        return found[-1], found

    shapes = jax.eval_shape(lambda: forward([0.0] * len(layers))[1])
    found, pull, every = jax.vjp(forward, [jnp.zeros(z.shape, z.dtype) for z in shapes], has_aux=True)
    backward = _mean_squares(pull(slopes.astype(found.dtype))[0])
    return Propagation(_mean_squares(every), backward / backward[-1])


def gaussian_growth(size: int, deviation: Number = 1.0) -> tuple[jax.Array, jax.Array]:
    """Rates at which a product of independent Gaussian matrices stretches, in nats for each factor.

    ``ln |W v| - ln |v|`` for a square W with entries N(0, deviation^2) has the mean ``ln deviation + (ln 2 + psi(n/2))
    / 2`` and the variance ``psi'(n/2) / 4``, whatever v: |W v|^2 is chi-squared. The i-th largest stretch grows with
    ``n - i + 1`` in place of n. The mean of ``|W_t ... W_1 v|^2`` grows as ``(n deviation^2)^t``, faster than its
    typical value, the exponential of the mean logarithm.

    Args:
        size: n, rows and columns, at least 1.
        deviation: of the entries, > 0; may be traced.

    Returns:
        The rates, the largest first, ``[size]``, and the variance of the largest for each factor; JAX's default
        float dtype.

    Raises:
        ValueError: the size is below 1, or a concrete deviation lies outside (0, inf).

    References: Newman (1986), the Lyapunov exponents of Gaussian matrices.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    check_range("deviation", deviation, "(0, inf)")
    halves = jnp.arange(size, 0, -1).astype(jnp.result_type(float)) / 2
    return jnp.log(like(deviation, halves)) + (np.log(2) + digamma(halves)) / 2, polygamma(1, halves[0]) / 4


def _mean_squares(arrays: Sequence[jax.Array]) -> jax.Array:
    return jnp.stack([jnp.mean(jnp.square(widen(array)[0])) for array in arrays])
