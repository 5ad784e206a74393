"""The weights among the parameters: the default mask of a penalty, with a reason for each leaf that is no weight.

The type of an equinox module decides first, then the shape, then the name.
"""

import re
import sys
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax.tree_util import KeyPath

from regopt._core import paths
from regopt._core.types import Tree

_NOT_A_WEIGHT = re.compile(r"(\w+_)?(bias|biases|intercept|offset|scale)_?\d*")
_OF_A_LAYER = re.compile(r"b_?\d*|gamma|beta")
_B = re.compile(r"b_?\d*")
_A_WEIGHT = {"kernel", "w"}  # as flax and haiku call weights, also of one axis
_NORMS = ("LayerNorm", "GroupNorm", "RMSNorm", "BatchNorm", "PReLU")
_LAYERS = ("Linear", "Conv", "ConvTranspose", "GRUCell", "LSTMCell", "Embedding")


def weights_only(params: Tree) -> Tree:
    """The default mask of a penalty: all leaves except biases and the scales of normalisation.

    1. Of equinox's layers the weights are chosen and the biases left out; of its normalisations nothing is chosen.
    2. A layer's leaf with fewer than two axes is left out, unless it is called ``kernel`` or ``w``. In a tree that has
       no leaf with two axes, such as the coefficients of a linear model, the name decides instead. So it does for a
       leaf at the root beside the layers, where ``b``, ``gamma`` and ``beta`` are left out.
    3. A leaf is left out if the last name in its path is ``bias``, ``biases``, ``intercept``, ``offset`` or ``scale``,
       alone or after an underscore, with or without a number at the end; ``b`` counts where step 2 asks for the name. A
       leaf without a name is a weight.

    ``penalties.explain`` shows what this means for given parameters.

    Args:
        params: the tree of arrays.

    Returns:
        A tree of bools with the structure of ``params``.

    >>> weights_only({"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2), "gamma": jnp.ones(2)})
    {'bias': False, 'gamma': False, 'kernel': True}
    """
    return jax.tree.unflatten(jax.tree.structure(params), [not why for why in why_not(params)])


def why_not(params: Tree) -> list[str]:
    """The reason why each leaf is no weight, in a word or two; empty for a weight."""
    leaves = jax.tree.leaves(params)
    linear = all(jnp.ndim(w) < 2 for w in leaves)
    by_module = [why for node in jax.tree.leaves(params, is_leaf=_is_equinox) for why in _by_module(node)]
    found = []
    for w, keys, why in zip(leaves, paths.leaf_keys(params), by_module, strict=True):
        name = _last_name(keys)
        if why is not None:
            found.append(why)
        elif _NOT_A_WEIGHT.fullmatch(name) or (linear and _B.fullmatch(name)):
            found.append(f"called {name}")
        elif jnp.ndim(w) < 2 and not linear and _is_of_a_layer(keys, name):
            found.append("fewer than two axes")
        else:
            found.append("")
    return found


def _is_of_a_layer(keys: KeyPath, name: str) -> bool:
    """Whether a vector is a layer's and not called a weight; one beside the layers is told by its name alone."""
    return name not in _A_WEIGHT and (len(keys) > 1 or bool(_OF_A_LAYER.fullmatch(name)))


def _last_name(keys: KeyPath) -> str:
    """The last dictionary key or attribute name of a path; positions in a list are no names."""
    names = [name for key in keys if isinstance(name := getattr(key, "key", getattr(key, "name", None)), str)]
    return names[-1] if names else ""


def _types(names: tuple[str, ...]) -> tuple[type, ...]:
    """Equinox's modules of these names; none where nobody has imported it."""
    nn = getattr(sys.modules.get("equinox"), "nn", None)
    return () if nn is None else tuple(getattr(nn, name) for name in names)


def _is_equinox(node: object) -> bool:
    return isinstance(node, _types(_NORMS + _LAYERS))


def _by_module(node: Tree) -> Iterator[str | None]:
    """For each leaf of a node why it is no weight, empty for a weight, None where its module does not tell."""
    count = jax.tree.structure(node).num_leaves
    if not _is_equinox(node):
        yield from [None] * count
    elif isinstance(node, _types(_NORMS)):
        yield from [f"of {type(node).__name__}"] * count
    else:
        for path in paths.leaf_paths(node):
            yield "" if path.startswith("weight") else f"called {path}"
