"""The exponential moving average of a series, as momentum, RMSProp and Adam take it of gradients."""

import jax
import jax.numpy as jnp

from regopt._core.checks import check_switch
from regopt._core.numerics import check_number, like, one_minus, one_minus_power, widen
from regopt._core.types import Number


def exponential_average(values: jax.Array, decay: Number = 0.9, *, bias_correction: bool = True) -> jax.Array:
    """``m_t = decay m_{t-1} + (1 - decay) x_t`` with ``m_0 = 0``, divided by ``1 - decay**t``.

    The value k steps back has the weight ``(1 - decay) decay**k``. Without the correction the weights sum to
    ``1 - decay**t`` and the average of a constant c begins at ``(1 - decay) c``; with it, it is c from the first step.
    The moments of the optimizers have these weights and this correction, from the same functions.

    Args:
        values: the series, ``[steps, ...]``.
        decay: in [0, 1), dimensionless; about the last ``1 / (1 - decay)`` values count; may be traced.
        bias_correction: whether to divide by the sum of the weights; static.

    Returns:
        The averages after each step, ``[steps, ...]``, in at least float32.

    Raises:
        ValueError: an argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis import exponential_average
        >>> exponential_average(jnp.ones(3), 0.5), exponential_average(jnp.ones(3), 0.5, bias_correction=False)
        (Array([1., 1., 1.], dtype=float32), Array([0.5  , 0.75 , 0.875], dtype=float32))

    References:
        Kingma, D. P., & Ba, J. (2015). Adam: A method for stochastic optimization. ICLR. Section 3.
    """
    check_number("decay", decay, "[0, 1)")
    check_switch("bias_correction", bias_correction)
    (values,) = widen(values)
    b, c = like(decay, values), like(one_minus(decay), values)

    def step(carry, x):
        average, count = carry
        average, count = b * average + c * x, count + 1
        weights = like(one_minus_power(decay, count), values) if bias_correction else jnp.ones((), values.dtype)
        return (average, count), average / weights

    start = jnp.zeros(values.shape[1:], values.dtype), jnp.zeros((), jnp.int32)
    return jax.lax.scan(step, start, values)[1]
