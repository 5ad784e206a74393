"""Gradient centralisation: the mean is removed from the gradient of each unit's incoming weights."""

import jax
import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.transformation import transformation
from regopt._core.units import UnitAxis, check_unit_axis, incoming_axes


def centralize(*, unit_axis: UnitAxis = None) -> optax.GradientTransformationExtraArgs:
    """``g_u <- g_u - mean(g_u)`` for the incoming weights of each unit, so the sum of a unit's weights does not change.

    Leaves of one dimension or none (biases, normalisation scales) are left alone. optax's transformation of this name
    takes the first axis as that of the units, which is the layout of PyTorch's kernels.

    Args:
        unit_axis: the axis of the units; the mean is over all others. A number or a mapping from path patterns to it;
            None takes what the layer declares, as regopt's and equinox's do, and the last axis where nothing is
            declared, as in the kernels of flax and haiku; static.

    Returns:
        The transformation; it keeps the dtypes of the gradients.

    Raises:
        ValueError: a leaf lacks the axis of the units when the transformation is used.

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
    check_unit_axis(unit_axis)

    def centred(g, axes):
        return trees.lift(lambda g: g - jnp.mean(g, axis=axes, keepdims=True), g) if jnp.ndim(g) > 1 else g

    def init(params):
        del params
        return optax.EmptyState()

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        leaves, structure = jax.tree.flatten(updates)
        return structure.unflatten(map(centred, leaves, incoming_axes(updates, unit_axis))), state

    return transformation(init, update, optax.EmptyState)
