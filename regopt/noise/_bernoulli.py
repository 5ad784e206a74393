"""Dropout and its variants: multiplication by random zeros and ones.

The variants differ in the entries that share one draw: a single entry (``dropout``), a channel of an example
(``spatial_dropout``), the residual branch of an example (``stochastic_depth``) or a single weight (``drop_connect``).
``rate`` is always the probability of dropping.
"""

import jax
import jax.numpy as jnp

from regopt._core import trees
from regopt._core.checks import check_array, check_index, check_switch
from regopt._core.numerics import as_float, check_number, like, one_minus, safe_divide, widen
from regopt._core.types import Key, Mask, Number, Tree


def dropout(key: Key, x: jax.Array, rate: Number, *, inverted: bool = True) -> jax.Array:
    """``x_i * d_i / (1 - rate)`` with ``P(d_i = 1) = 1 - rate``, whose mean is x.

    The retention probability p of many texts is ``1 - rate``. At rate 0 the result is x and at rate 1 it is 0. For a
    fixed draw, values and derivatives with respect to x and rate are finite, also at both ends.

    Args:
        key: a typed PRNG key, which is used once.
        x: array of any shape, floating point.
        rate: probability of dropping an entry, in [0, 1], dimensionless; may be traced.
        inverted: whether to divide by ``1 - rate``; static. If False, as in the original form, the mean is
            ``(1 - rate) * x`` and inference needs ``weight_scaling``.

    Returns:
        An array with the shape and dtype of x.

    Raises:
        ValueError: a concrete rate lies outside [0, 1].

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.noise import dropout
        >>> dropout(jax.random.key(0), jnp.ones(4), 0.5)
        Array([0., 0., 2., 2.], dtype=float32)

    References:
        Srivastava, N., Hinton, G., Krizhevsky, A., Sutskever, I., & Salakhutdinov, R. (2014). Dropout: A simple way to
        prevent neural networks from overfitting. Journal of Machine Learning Research, 15, 1929-1958. Section 4, and
        section 10 for the inverted form.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 7.12.
    """
    check_array("x", x)
    check_switch("inverted", inverted)
    return _drop(key, x, rate, x.shape, inverted)


def weight_scaling(x: jax.Array, rate: Number) -> jax.Array:
    """``(1 - rate) * x``: the scaling at inference after dropout that is not inverted.

    It is applied to the activations or to the weights that multiply them. The factor is the retention probability, so
    that the input of the next layer has the same mean as in training,
    ``E[sum_i w_i d_i x_i] = (1 - rate) sum_i w_i x_i``.

    Args:
        x: array of any shape, floating point.
        rate: probability of dropping an entry in training, in [0, 1]; may be traced.

    Returns:
        An array with the shape and dtype of x.

    Raises:
        ValueError: a concrete rate lies outside [0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.noise import weight_scaling
        >>> weight_scaling(jnp.ones(2), 0.25)
        Array([0.75, 0.75], dtype=float32)

    References:
        Srivastava, N., Hinton, G., Krizhevsky, A., Sutskever, I., & Salakhutdinov, R. (2014). Dropout: A simple way to
        prevent neural networks from overfitting. Journal of Machine Learning Research, 15, 1929-1958. Figure 2.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 7.12 (weight scaling
        inference rule).
    """
    check_array("x", x)
    check_number("rate", rate, "[0, 1]")
    (wide,) = widen(x)
    return (like(as_float(one_minus(rate)), wide) * wide).astype(x.dtype)


def spatial_dropout(
    key: Key, x: jax.Array, rate: Number, *, channel_axis: int = -1, inverted: bool = True
) -> jax.Array:
    """``x * d / (1 - rate)`` with one draw d for each example and channel, shared by all positions.

    Neighbouring pixels carry similar information, so dropping single pixels removes little of it.

    Args:
        key: a typed PRNG key, which is used once.
        x: ``[batch, ..., channels]``, floating point, with at least two axes.
        rate: probability of dropping a channel of an example, in [0, 1]; may be traced.
        channel_axis: the axis of the channels, other than axis 0, which is the batch; static.
        inverted: as for ``dropout``; static.

    Returns:
        An array with the shape and dtype of x.

    Raises:
        ValueError: a concrete rate lies outside [0, 1], or x has no axis of channels besides the batch.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.noise import spatial_dropout
        >>> dropped = spatial_dropout(jax.random.key(1), jnp.ones((1, 2, 4)), 0.5)
        >>> dropped[0]
        Array([[2., 0., 2., 2.],
               [2., 0., 2., 2.]], dtype=float32)

    References:
        Tompson, J., Goroshin, R., Jain, A., LeCun, Y., & Bregler, C. (2015). Efficient object localization using
        convolutional networks. CVPR. Section 3.2.
    """
    check_array("x", x)
    check_switch("inverted", inverted)
    check_index("channel_axis", channel_axis)
    if not (-x.ndim <= channel_axis < x.ndim and channel_axis % x.ndim):
        raise ValueError(f"channel_axis must name an axis of x other than the first, got {channel_axis} of {x.shape}")
    shape = [size if axis in (0, channel_axis % x.ndim) else 1 for axis, size in enumerate(x.shape)]
    return _drop(key, x, rate, tuple(shape), inverted)


def stochastic_depth(
    key: Key, branch: jax.Array, rate: Number, *, per_example: bool = True, inverted: bool = True
) -> jax.Array:
    """``branch * d / (1 - rate)`` with one draw d for each example: dropout of a whole residual branch.

    A residual block is then ``x + stochastic_depth(key, branch(x), rate)``.

    Args:
        key: a typed PRNG key, which is used once.
        branch: output of the branch, ``[batch, ...]``, floating point.
        rate: probability of dropping the branch, in [0, 1]; may be traced.
        per_example: whether each example has its own draw; if False, the batch has one; static.
        inverted: as for ``dropout``; static.

    Returns:
        An array with the shape and dtype of the branch.

    Raises:
        ValueError: a concrete rate lies outside [0, 1].

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.noise import stochastic_depth
        >>> stochastic_depth(jax.random.key(0), jnp.ones((4, 2)), 0.5)
        Array([[0., 0.],
               [0., 0.],
               [2., 2.],
               [2., 2.]], dtype=float32)

    References:
        Huang, G., Sun, Y., Liu, Z., Sedra, D., & Weinberger, K. Q. (2016). Deep networks with stochastic depth. ECCV.
        Equation (2), with ``per_example=False, inverted=False``, and equation (5) for inference, which is
        ``weight_scaling``.
    """
    check_array("branch", branch)
    check_switch("inverted", inverted)
    check_switch("per_example", per_example)
    shape = (branch.shape[0] if per_example else 1, *[1] * (branch.ndim - 1)) if branch.ndim else ()
    return _drop(key, branch, rate, shape, inverted)


def drop_connect(key: Key, params: Tree, rate: Number, *, mask: Mask = "weights", inverted: bool = True) -> Tree:
    """``w_i * d_i / (1 - rate)``: dropout of weights instead of activations, with a draw for each entry of each leaf.

    Args:
        key: a typed PRNG key, which is used once.
        params: a tree of floating-point arrays.
        rate: probability of dropping a weight, in [0, 1]; may be traced.
        mask: which leaves are dropped; by default neither biases nor normalisation scales.
        inverted: as for ``dropout``; static.

    Returns:
        A tree with the shapes and dtypes of ``params``.

    Raises:
        ValueError: a concrete rate lies outside [0, 1].

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.noise import drop_connect
        >>> params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
        >>> dropped = drop_connect(jax.random.key(0), params, 0.5)
        >>> dropped["kernel"]
        Array([[2., 2., 0.],
               [2., 2., 2.]], dtype=float32)
        >>> dropped["bias"]  # biases are not dropped by default
        Array([1., 1., 1.], dtype=float32)

    References:
        Wan, L., Zeiler, M., Zhang, S., LeCun, Y., & Fergus, R. (2013). Regularization of neural networks using
        DropConnect. ICML. Section 3, with one draw for all examples of a batch.
    """
    check_switch("inverted", inverted)
    check_number("rate", rate, "[0, 1]")
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
    check_number("rate", rate, "[0, 1]")
    keep = as_float(one_minus(rate))
    kept = jax.random.bernoulli(key, jax.lax.stop_gradient(keep), shape)
    (wide,) = widen(x)
    wide = safe_divide(wide, like(keep, wide)) if inverted else wide
    return jnp.where(kept, wide, 0).astype(x.dtype)
