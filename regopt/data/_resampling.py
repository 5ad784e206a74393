"""Training sets drawn from a training set, as places in it: what a sweep's replicas train on.

A resample is a row of places, so it costs four bytes for an example and no copy of the data. Row r depends on the key
and r alone: more replicas leave the first ones as they were.
"""

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_range
from regopt._core.types import Key


def bootstrap(key: Key, replicas: int, examples: int) -> jax.Array:
    """As many places as there are examples, drawn uniformly with replacement, for each replica.

    A replica sees ``1 - (1 - 1/n)**n``, about 63 %, of the n examples; the others are its out-of-bag set.

    Args:
        key: a typed key.
        replicas: rows, >= 1, static.
        examples: size of the training set, >= 1, static.

    Returns:
        int32 of shape ``[replicas, examples]``, in ``[0, examples)``.

    Raises:
        ValueError: an argument lies outside its range.

    References: Efron (1979); Hastie, Tibshirani & Friedman (2009), section 7.11.
    """
    check_range("replicas", replicas, "[1, inf)")
    check_range("examples", examples, "[1, inf)")
    return _rows(key, replicas, lambda key: jax.random.randint(key, (examples,), 0, examples, jnp.int32))


def subsamples(key: Key, replicas: int, examples: int, size: int, *, disjoint: bool = False) -> jax.Array:
    """``size`` different places for each replica, every such set equally likely, in random order.

    Args:
        key: a typed key.
        replicas: rows, >= 1, static.
        examples: size of the training set, >= 1, static.
        size: places in a row, in [1, examples], static.
        disjoint: whether no place occurs in two rows, as if each replica had data of its own.

    Returns:
        int32 of shape ``[replicas, size]``, in ``[0, examples)``.

    Raises:
        ValueError: an argument lies outside its range, or there are too few examples for disjoint rows.

    References: Politis, Romano & Wolf (1999), section 2.1.
    """
    check_range("replicas", replicas, "[1, inf)")
    check_range("examples", examples, "[1, inf)")
    check_range("size", size, f"[1, {examples}]")
    if not disjoint:
        return _rows(key, replicas, lambda key: _shuffled(key, examples)[:size])
    if replicas * size > examples:
        raise ValueError(f"disjoint rows need {replicas} * {size} = {replicas * size} examples, got {examples}")
    return _shuffled(key, examples)[: replicas * size].reshape(replicas, size)


def _rows(key: Key, replicas: int, row) -> jax.Array:
    return jax.vmap(lambda replica: row(jax.random.fold_in(key, replica)))(jnp.arange(replicas, dtype=jnp.int32))


def _shuffled(key: Key, examples: int) -> jax.Array:
    return jax.random.permutation(key, jnp.arange(examples, dtype=jnp.int32))
