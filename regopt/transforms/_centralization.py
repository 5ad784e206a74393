"""Gradient centralisation: the gradient of each unit's incoming weights loses its mean."""

import jax.numpy as jnp
import optax

from regopt._core import trees


def centralize(*, unit_axis: int = -1) -> optax.GradientTransformationExtraArgs:
    """``g_u <- g_u - mean(g_u)`` for the incoming weights of each unit: the sum of each unit's weights stays put.

    Leaves of one dimension or none (biases, norm scales) are left alone. optax's transformation of this name takes the
    first axis for the units, as PyTorch's kernels have it.

    Args:
        unit_axis: the axis that tells the units apart; the mean runs over all others. The last in flax's kernels
            (``[in, out]``, ``[height, width, in, out]``), 0 in those of ``regopt.layers`` and PyTorch.

    Returns:
        The transformation; it keeps the dtypes of the gradients.

    References: Yong et al. (2020), equation 1.

    >>> centralize().update(jnp.array([[1.0, 2.0], [3.0, 6.0]]), optax.EmptyState())[0]
    Array([[-1., -2.],
           [ 1.,  2.]], dtype=float32)
    """

    def centred(g):
        if g.ndim < 2:
            return g
        others = tuple(axis for axis in range(g.ndim) if axis != unit_axis % g.ndim)
        return g - jnp.mean(g, axis=others, keepdims=True)

    def init(params):
        del params
        return optax.EmptyState()

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        return trees.lift(centred, updates), state

    return optax.GradientTransformationExtraArgs(init, update)
