"""Gradient centralisation: the mean is removed from the gradient of each unit's incoming weights."""

import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.checks import check_index


def centralize(*, unit_axis: int = -1) -> optax.GradientTransformationExtraArgs:
    """``g_u <- g_u - mean(g_u)`` for the incoming weights of each unit, so the sum of a unit's weights does not change.

    Leaves of one dimension or none (biases, normalisation scales) are left alone. optax's transformation of this name
    takes the first axis as that of the units, which is the layout of PyTorch's kernels.

    Args:
        unit_axis: the axis of the units; the mean is over all others. It is the last in flax's kernels (``[in, out]``,
            ``[height, width, in, out]``) and 0 in those of ``regopt.layers`` and PyTorch; static.

    Returns:
        The transformation; it keeps the dtypes of the gradients.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> from regopt.transforms import centralize
        >>> centralize().update(jnp.array([[1.0, 2.0], [3.0, 6.0]]), optax.EmptyState())[0]
        Array([[-1., -2.],
               [ 1.,  2.]], dtype=float32)

    References:
        Yong, H., Huang, J., Hua, X., & Zhang, L. (2020). Gradient centralization: A new optimization technique for deep
        neural networks. ECCV. Equation 1.
    """
    check_index("unit_axis", unit_axis)

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
