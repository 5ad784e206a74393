"""Dropout and its kin: each multiplies by zeros and ones, and differs in what shares one draw.

An entry (``dropout``), a channel of an example (``spatial_dropout``), the branch of an example
(``stochastic_depth``), a weight (``drop_connect``). ``rate`` is always the probability of dropping.
"""

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.numerics import as_float, check_range, like, one_minus, safe_divide, widen
from regopt._core.types import Key, Mask, Number, Tree


def dropout(key: Key, x: jax.Array, rate: Number, *, inverted: bool = True) -> jax.Array:
    """``x_i * d_i / (1 - rate)`` with ``P(d_i = 1) = 1 - rate``, so the mean stays x.

    The retention probability p of many texts is ``1 - rate``. Values and slopes (in x and in rate, for a fixed
    draw) are finite at both ends: at 0 the result is x, at 1 it is 0.

    Args:
        key: a typed key, used once.
        x: array of any shape, floating point.
        rate: probability of dropping an entry, in [0, 1]; may be traced.
        inverted: if False, the division is left out, the mean is ``(1 - rate) * x``, and inference needs
            ``weight_scaling``: the original form.

    Returns:
        An array with the shape and dtype of x.

    Raises:
        ValueError: a concrete rate lies outside [0, 1].

    References: Srivastava et al. (2014), section 4, and its inverted form in section 10; Goodfellow et al. (2016),
        section 7.12.

    >>> dropout(jax.random.key(0), jnp.ones(4), 0.5)
    Array([0., 0., 2., 2.], dtype=float32)
    """
    return _drop(key, x, rate, x.shape, inverted)


def weight_scaling(x: jax.Array, rate: Number) -> jax.Array:
    """``(1 - rate) * x``: inference after dropout that is not inverted, for activations or the weights they meet.

    The factor is the retention probability, so that the input of the next layer keeps the mean that it had in
    training, ``E[sum_i w_i d_i x_i] = (1 - rate) sum_i w_i x_i``.

    Args:
        x: array of any shape, floating point.
        rate: probability of dropping an entry in training, in [0, 1]; may be traced.

    Returns:
        An array with the shape and dtype of x.

    Raises:
        ValueError: a concrete rate lies outside [0, 1].

    References: Srivastava et al. (2014), figure 2; Goodfellow et al. (2016), section 7.12, the weight scaling
        inference rule.

    >>> weight_scaling(jnp.ones(2), 0.25)
    Array([0.75, 0.75], dtype=float32)
    """
    check_range("rate", rate, "[0, 1]")
    (wide,) = widen(x)
    return (like(as_float(one_minus(rate)), wide) * wide).astype(x.dtype)


def spatial_dropout(
    key: Key, x: jax.Array, rate: Number, *, channel_axis: int = -1, inverted: bool = True
) -> jax.Array:
    """Dropout of whole channels: one draw for each example and channel, shared by all positions.

    Neighbouring pixels carry the same information, so dropping them one by one removes little of it.

    Args:
        key: a typed key, used once.
        x: ``[batch, ..., channels]``, floating point, with at least two axes.
        rate: probability of dropping a channel of an example, in [0, 1]; may be traced.
        channel_axis: where the channels are; not axis 0, which is the batch.
        inverted: as for ``dropout``.

    Returns:
        An array with the shape and dtype of x.

    Raises:
        ValueError: a concrete rate lies outside [0, 1], or x has no axis of channels besides the batch.

    References: Tompson et al. (2015), section 3.2.
    """
    if not (-x.ndim <= channel_axis < x.ndim and channel_axis % x.ndim):
        raise ValueError(f"channel_axis must name an axis of x other than the first, got {channel_axis} of {x.shape}")
    shape = [size if axis in (0, channel_axis % x.ndim) else 1 for axis, size in enumerate(x.shape)]
    return _drop(key, x, rate, tuple(shape), inverted)


def stochastic_depth(
    key: Key, branch: jax.Array, rate: Number, *, per_example: bool = True, inverted: bool = True
) -> jax.Array:
    """Dropout of a whole residual branch, ``x + stochastic_depth(key, branch(x), rate)``: one draw for each example.

    Args:
        key: a typed key, used once.
        branch: what the branch adds to its input, ``[batch, ...]``, floating point.
        rate: probability of dropping the branch, in [0, 1]; may be traced.
        per_example: if False, one draw for the whole batch.
        inverted: as for ``dropout``.

    Returns:
        An array with the shape and dtype of the branch.

    Raises:
        ValueError: a concrete rate lies outside [0, 1].

    References: Huang et al. (2016), (2), with ``per_example=False, inverted=False``, and (5) for inference, which is
        ``weight_scaling``.
    """
    shape = (branch.shape[0] if per_example else 1, *[1] * (branch.ndim - 1)) if branch.ndim else ()
    return _drop(key, branch, rate, shape, inverted)


def drop_connect(key: Key, params: Tree, rate: Number, *, mask: Mask = "weights", inverted: bool = True) -> Tree:
    """Dropout of weights instead of activations: each entry of each leaf has a draw of its own.

    Args:
        key: a typed key, used once.
        params: a tree of floating-point arrays, or one of them.
        rate: probability of dropping a weight, in [0, 1]; may be traced.
        mask: which leaves are dropped; by default neither biases nor normalisation scales.
        inverted: as for ``dropout``.

    Returns:
        A tree like ``params``.

    Raises:
        ValueError: a concrete rate lies outside [0, 1].

    References: Wan et al. (2013), section 3, with one draw for all examples of a batch.
    """
    check_range("rate", rate, "[0, 1]")
    leaves, structure = jax.tree.flatten(params)
    chosen = jax.tree.leaves(trees.resolve_mask(mask, params))
    keys = jax.random.split(key, len(leaves))
    dropped = [
        _drop(each, leaf, rate, leaf.shape, inverted) if drop else leaf
        for each, leaf, drop in zip(keys, leaves, chosen, strict=True)
    ]
    return jax.tree.unflatten(structure, dropped)


def _drop(key: Key, x: jax.Array, rate: Number, shape: tuple[int, ...], inverted: bool) -> jax.Array:
    """``x`` times zeros and ones drawn in ``shape``, which broadcasts against x."""
    check_range("rate", rate, "[0, 1]")
    keep = as_float(one_minus(rate))
    kept = jax.random.bernoulli(key, jax.lax.stop_gradient(keep), shape)
    (wide,) = widen(x)
    wide = safe_divide(wide, like(keep, wide)) if inverted else wide
    return jnp.where(kept, wide, 0).astype(x.dtype)
