"""Resamples of a training set as indices into it, for example for the replicas of a sweep.

A resample is a row of indices, which takes four bytes for each example and no copy of the data. Row r depends only on
the key and on r, so the first rows do not change if there are more replicas.
"""

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_range
from regopt._core.types import Key


def bootstrap(key: Key, replicas: int, examples: int) -> jax.Array:
    """For each replica, n indices drawn uniformly with replacement from n examples.

    A replica contains a share of about ``1 - (1 - 1/n)**n``, or 63 %, of the examples; the others are its out-of-bag
    set.

    Args:
        key: a typed PRNG key.
        replicas: number of rows, >= 1; static.
        examples: number of training examples, >= 1; static.

    Returns:
        Indices in [0, examples), int32, ``[replicas, examples]``.

    Raises:
        ValueError: an argument lies outside its range.

    Example:
        >>> import jax
        >>> from regopt.data import bootstrap
        >>> rows = bootstrap(jax.random.key(0), replicas=3, examples=100)
        >>> rows.shape, 50 < len(set(rows[0].tolist())) < 80
        ((3, 100), True)

    References:
        Efron, B. (1979). Bootstrap methods: Another look at the jackknife. Annals of Statistics, 7(1), 1-26.

        Hastie, T., Tibshirani, R., & Friedman, J. (2009). The Elements of Statistical Learning (2nd ed.). Springer.
        Section 7.11.
    """
    check_range("replicas", replicas, "[1, inf)")
    check_range("examples", examples, "[1, inf)")
    return _rows(key, replicas, lambda key: jax.random.randint(key, (examples,), 0, examples, jnp.int32))


def subsamples(key: Key, replicas: int, examples: int, size: int, *, disjoint: bool = False) -> jax.Array:
    """``size`` different indices for each replica, in random order; every subset of this size is equally likely.

    Args:
        key: a typed PRNG key.
        replicas: number of rows, >= 1; static.
        examples: number of training examples, >= 1; static.
        size: number of indices in a row, in [1, examples]; static.
        disjoint: whether the rows are disjoint, so that each replica has its own data; static.

    Returns:
        Indices in [0, examples), int32, ``[replicas, size]``.

    Raises:
        ValueError: an argument lies outside its range, or there are too few examples for disjoint rows.

    Example:
        >>> import jax
        >>> from regopt.data import subsamples
        >>> rows = subsamples(jax.random.key(0), replicas=2, examples=6, size=3, disjoint=True)
        >>> sorted(rows.ravel().tolist())
        [0, 1, 2, 3, 4, 5]

    References:
        Politis, D. N., Romano, J. P., & Wolf, M. (1999). Subsampling. Springer. Section 2.1.
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
