"""The size of signals and gradients from layer to layer, predicted for random kernels or measured in a network.

A network is ``z^l = h^{l-1} W^l + b^l`` and ``h^l = activation(z^l)`` for l = 1 to L. The input is ``h^0``, and W^l has
the shape ``[n_{l-1}, n_l]``. "Forward" is the mean square of the entries of z^l, and "backward" is the mean square of
the gradient of a loss with respect to z^l. The predictions hold for wide layers with independent entries. For products
of square Gaussian matrices the growth is known exactly. For initial kernels see ``regopt.initializers``.
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
_AT = _STEP * (np.arange(260) - 129.5)  # up to 10 deviations on each side, without 0, where a ReLU has its kink
_WEIGHTS = _STEP * np.exp(-(_AT**2) / 2) / np.sqrt(2 * np.pi)


class Propagation(NamedTuple):
    """Mean squares of each layer, starting with the first; at least float32."""

    forward: jax.Array  # [layers], of the pre-activations z
    backward: jax.Array  # [layers], of the gradients with respect to z, relative to the last layer


def normal_mean(function: Activation, variance: Number | jax.Array) -> jax.Array:
    """``E function(z)`` for a normal z with mean 0, by the midpoint rule at 260 points.

    For an analytic function the error falls exponentially with the number of points, faster than that of Gauss-Hermite
    quadrature. For tanh it is below 1e-12 up to a variance of 10. For the squares of a ReLU and of its derivative the
    rule is exact up to rounding, by symmetry.

    Args:
        function: an elementwise function; static.
        variance: variance of z, >= 0, a number or an array; may be traced.

    Returns:
        An array of the shape of the variance, in at least float32.

    Raises:
        ValueError: a concrete variance lies outside [0, inf).

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis import normal_mean
        >>> normal_mean(jnp.square, 3.0).round(5)
        Array(3., dtype=float32)

    References:
        Trefethen, L. N., & Weideman, J. A. C. (2014). The exponentially convergent trapezoidal rule. SIAM Review,
        56(3), 385-458. Section 5 (the trapezoidal rule on the real line).
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
    """The mean squares q^l (forward) and g^l (backward) in a network of wide random layers.

    They satisfy, with a standard normal x::

        q^l = n_{l-1} v^l E h^{l-1}^2 / (1 - rate) + b^l,     E h^l^2 = E activation(sqrt(q^l) x)^2
        g^l = n_{l+1} v^{l+1} E activation'(sqrt(q^l) x)^2 / (1 - rate) g^{l+1},    g^L = 1

    The input ``h^0`` has neither an activation nor dropout. For linear units the factor of the forward pass is
    ``n_{l-1} v`` and that of the backward pass ``n_{l+1} v``; for ReLUs both are half of that.

    Args:
        widths: numbers of units n_0 to n_L, at least two; static.
        kernel_variance: variance v of the entries of the kernels, >= 0, a number or ``[L]``; may be traced.
        activation: an elementwise function that is differentiable almost everywhere; static.
        bias_variance: variance b of the entries of the biases, >= 0, a number or ``[L]``; may be traced.
        rate: rate of inverted dropout on the hidden activations, in [0, 1), dimensionless; may be traced.
        input_square: mean square of the entries of the input, >= 0; may be traced.

    Returns:
        The mean squares of L layers; those of the backward pass are relative to the last layer.

    Raises:
        ValueError: there are fewer than two widths, or a concrete number lies outside its range.

    Example:
        >>> import jax
        >>> from regopt.analysis import predict_propagation
        >>> predict_propagation((100, 100, 100), 1 / 100, jax.nn.relu).forward.round(5)
        Array([1. , 0.5], dtype=float32)

    References:
        Glorot, X., & Bengio, Y. (2010). Understanding the difficulty of training deep feedforward neural networks.
        AISTATS. Equations (5), (6), (10) and (11).

        He, K., Zhang, X., Ren, S., & Sun, J. (2015). Delving deep into rectifiers: Surpassing human-level performance
        on ImageNet classification. ICCV. Equations (8) and (13).

        Poole, B., Lahiri, S., Raghu, M., Sohl-Dickstein, J., & Ganguli, S. (2016). Exponential expressivity in deep
        neural networks through transient chaos. NeurIPS. For general activations.

        Schoenholz, S. S., Gilmer, J., Ganguli, S., & Sohl-Dickstein, J. (2017). Deep information propagation. ICLR. For
        gradients and dropout.
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
    """The mean squares of pre-activations and of their gradients in a given network, over examples and units.

    Args:
        layers: the affine maps ``h -> h W + b`` from first to last, for example flax modules; static.
        activation: the elementwise function between them; static.
        x: a batch of inputs, ``[batch, n_0]``.
        slopes: gradient of a loss with respect to the last pre-activations, ``[batch, n_L]``, not all zero. Normal
            noise represents a generic loss.

    Returns:
        The mean squares of all layers; those of the backward pass are relative to the last layer.

    Raises:
        ValueError: ``slopes`` does not have the shape of the last pre-activations.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis import measure_propagation
        >>> x = jnp.ones((2, 2))
        >>> layers = [lambda h: 2 * h, lambda h: 3 * h]
        >>> measure_propagation(layers, lambda h: h, x, slopes=jnp.ones((2, 2)))
        Propagation(forward=Array([ 4., 36.], dtype=float32), backward=Array([9., 1.], dtype=float32))

    References:
        Glorot, X., & Bengio, Y. (2010). Understanding the difficulty of training deep feedforward neural networks.
        AISTATS. Figures 6 and 7.
    """

    def forward(shifts):
        """The last pre-activation; the gradient with respect to a shift is that with respect to a pre-activation."""
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
    """``ln deviation + (ln 2 + psi(n/2)) / 2``: growth rates of a product of Gaussian matrices, in nats per factor.

    For a square W with entries N(0, deviation^2) this is the mean of ``ln |W v| - ln |v|``, and the variance is
    ``psi'(n/2) / 4``. Both hold for every v, because ``|W v|^2`` is proportional to a chi-squared variable. The i-th
    largest singular value of the product grows with ``n - i + 1`` in place of n. The mean of ``|W_t ... W_1 v|^2``
    grows as ``(n deviation^2)^t``, faster than its typical value, which is the exponential of the mean logarithm.

    Args:
        size: number n of rows and columns, at least 1; static.
        deviation: standard deviation of the entries, > 0; may be traced.

    Returns:
        The rates in descending order, ``[size]``, and the variance of the largest for each factor, shape (); both in
        JAX's default float dtype.

    Raises:
        ValueError: the size is below 1, or a concrete deviation lies outside (0, inf).

    Example:
        >>> from regopt.analysis import gaussian_growth
        >>> rates, variance = gaussian_growth(4)
        >>> rates.round(3), variance.round(3)
        (Array([ 0.558     ,  0.365     ,  0.058     , -0.63500005], dtype=float32), Array(0.16100001, dtype=float32))

    References:
        Newman, C. M. (1986). The distribution of Lyapunov exponents: Exact results for random matrices. Communications
        in Mathematical Physics, 103, 121-126. For the Lyapunov exponents of Gaussian matrices.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    check_range("deviation", deviation, "(0, inf)")
    halves = jnp.arange(size, 0, -1).astype(jnp.result_type(float)) / 2
    return jnp.log(like(deviation, halves)) + (np.log(2) + digamma(halves)) / 2, polygamma(1, halves[0]) / 4


def _mean_squares(arrays: Sequence[jax.Array]) -> jax.Array:
    return jnp.stack([jnp.mean(jnp.square(widen(array)[0])) for array in arrays])
