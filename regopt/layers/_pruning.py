"""Taking out the hidden units that training has made constant, for a smaller network with the same outputs.

Not for making units constant: that is what ``penalties.group_lasso`` and its proximal steps are for.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer

from regopt._core.numerics import widen
from regopt.layers._dense import MLP, Dense


def prune(model: MLP) -> MLP:
    """The network without the hidden units whose incoming weights are all exactly 0.

    Such a unit puts out ``activation(b)`` whatever the input, so the next layer gets it within its bias,
    ``b' + W' activation(b)``, and the outputs in inference are the same but for rounding. Layers are taken from the
    input on: a unit that only such units lead to goes too. Any layer may lose all its units.

    Args:
        model: a perceptron with concrete parameters; it is left as it is.

    Returns:
        A new perceptron, whose ``features`` are the sizes that are left.

    Raises:
        ValueError: the parameters are traced: the sizes of the result depend on their values.
    """
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))):
        raise ValueError("model must hold concrete parameters, got traced ones: prune outside of jit, vmap and grad")
    pruned = nnx.clone(model)
    for layer, following in zip(pruned.layers[:-1], pruned.layers[1:], strict=True):
        _drop_constant_units(layer, following, model.activation)
    pruned.features = (pruned.layers[0].in_features, *(layer.out_features for layer in pruned.layers))
    return pruned


def _drop_constant_units(layer: Dense, following: Dense, activation) -> None:
    """Move what the constant units of a layer put out into the bias of the next one, and remove them."""
    assert layer.bias is not None
    assert following.bias is not None
    kernel, bias, after, shift = (
        np.asarray(x[...]) for x in (layer.kernel, layer.bias, following.kernel, following.bias)
    )
    kept = np.any(kernel != 0, axis=1)
    weights, wide_shift, constant = widen(after[:, ~kept], shift, activation(jnp.asarray(bias[~kept])))
    following.bias = nnx.Param((wide_shift + weights @ constant).astype(shift.dtype))
    following.kernel = nnx.Param(jnp.asarray(after[:, kept]))
    layer.kernel, layer.bias = nnx.Param(jnp.asarray(kernel[kept])), nnx.Param(jnp.asarray(bias[kept]))
    layer.out_features = following.in_features = int(np.sum(kept))
