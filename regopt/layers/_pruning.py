"""Removal of the hidden units that training has made constant: a smaller network with the same outputs.

``penalties.group_lasso`` and its proximal steps make units constant; this file only removes them.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer

from regopt._core.messages import cut
from regopt._core.numerics import widen
from regopt.layers._dense import MLP, Dense, kernel_of


def prune(model: MLP) -> MLP:
    """The network without the hidden units whose incoming weights are all exactly 0.

    Such a unit outputs ``activation(b)`` for every input. The next layer takes it into its bias,
    ``b' + W' activation(b)``, so the outputs in inference do not change except for rounding. The layers are processed
    from the input on, so a unit that receives only from removed units is removed too. A layer may lose all its units.

    Args:
        model: a perceptron with concrete parameters; it is not changed.

    Returns:
        A new perceptron, whose ``features`` are the remaining sizes.

    Raises:
        ValueError: the model is no ``MLP``, or its parameters are traced; the sizes of the result depend on their
            values.

    Example:
        >>> from flax import nnx
        >>> from regopt import layers
        >>> model = layers.MLP((3, 4, 2), rngs=nnx.Rngs(0))
        >>> model.layers[0].kernel[...] = model.layers[0].kernel[...].at[1].set(0.0)
        >>> layers.prune(model).features
        (3, 3, 2)
    """
    if not isinstance(model, MLP):
        raise ValueError(
            f"model must be a layers.MLP, got {cut(type(model).__name__)}: in another network let penalties."
            "group_lasso(groups=...) make all weights of a unit zero, and take the kept indices of each kernel"
        )
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))):
        raise ValueError("model must hold concrete parameters, got traced ones: prune outside of jit, vmap and grad")
    pruned = nnx.clone(model)
    for layer, following in zip(pruned.layers[:-1], pruned.layers[1:], strict=True):
        _drop_constant_units(layer, following, model.activation)
    pruned.features = (pruned.layers[0].in_features, *(layer.out_features for layer in pruned.layers))
    return pruned


def _drop_constant_units(layer: Dense, following: Dense, activation) -> None:
    """Move the outputs of a layer's constant units into the bias of the next layer, and remove the units."""
    assert layer.bias is not None
    assert following.bias is not None
    kernel, bias, after, shift = (
        np.asarray(x[...]) for x in (layer.kernel, layer.bias, following.kernel, following.bias)
    )
    kept = np.any(kernel != 0, axis=1)
    weights, wide_shift, constant = widen(after[:, ~kept], shift, activation(jnp.asarray(bias[~kept])))
    following.bias = nnx.Param((wide_shift + weights @ constant).astype(shift.dtype))
    following.kernel = kernel_of(jnp.asarray(after[:, kept]))
    layer.kernel, layer.bias = kernel_of(jnp.asarray(kernel[kept])), nnx.Param(jnp.asarray(bias[kept]))
    layer.out_features = following.in_features = int(np.sum(kept))
