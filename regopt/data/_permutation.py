"""A random permutation evaluated at single positions, so that a batch costs the same whatever the size of the data.

The permutation is a Feistel network: the position is written as two digits, and each round shifts one digit by a hash
of the other. Two digits may form numbers outside of the domain; these go through the network again until they fall
inside, which is called cycle walking and keeps the map one-to-one. Not for cryptography: the hash is a fast mixer.
"""

import math

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_range
from regopt._core.types import Key

SORTED = 256  # domains up to this size are sorted: a network of such small digits is not uniform over permutations
# Tests detect the structure of a network with 4 rounds, and with enough draws that of 6, but not that of 8.
_ROUNDS = 8


def permutation_at(key: Key, positions: jax.typing.ArrayLike, examples: int) -> jax.Array:
    """``p[positions]`` for a random permutation p of ``0, ..., examples - 1`` that the key decides.

    Time and memory grow with the number of positions, not with ``examples``. Different positions give different
    entries, and all positions give each entry once. Up to 256 examples all permutations are equally likely. Above that
    p is a pseudorandom permutation, of which 2**256 are possible: each entry is at each position equally often over
    keys, and entries of neighbouring positions, and of the permutations of different keys, are independent as far as
    statistical tests tell.

    Args:
        key: a typed PRNG key.
        positions: whole numbers in [0, examples), of any shape; may be traced.
        examples: size of the domain, in [1, 2**31 - 1]; static.

    Returns:
        The entries, int32, in the shape of the positions.

    Raises:
        ValueError: ``examples`` lies outside its range.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.data import permutation_at
        >>> some = permutation_at(jax.random.key(0), jnp.arange(5), examples=10**9)
        >>> len(set(some.tolist())), bool(some.max() < 10**9)
        (5, True)

    References:
        Black, J., & Rogaway, P. (2002). Ciphers with arbitrary finite domains. CT-RSA. Methods 2 and 3: cycle walking
        and the generalized Feistel construction.

        Luby, M., & Rackoff, C. (1988). How to construct pseudorandom permutations from pseudorandom functions. SIAM
        Journal on Computing, 17(2), 373-386.
    """
    check_range("examples", examples, f"[1, {2**31 - 1}]")
    key = jax.random.clone(key)  # one key gives one permutation, which may be asked for in parts
    if examples <= SORTED:
        return jax.random.permutation(key, jnp.arange(examples, dtype=jnp.int32))[jnp.asarray(positions)]
    round_keys = jax.random.bits(key, (_ROUNDS,), jnp.uint32)

    def walk(carry):
        x, outside = carry
        x = jnp.where(outside, _network(round_keys, x, examples), x)
        return x, x >= jnp.uint32(examples)

    x = jnp.asarray(positions).astype(jnp.uint32)
    walked, _ = jax.lax.while_loop(lambda carry: jnp.any(carry[1]), walk, (x, jnp.ones(x.shape, bool)))
    return walked.astype(jnp.int32)


def _network(round_keys: jax.Array, x: jax.Array, examples: int) -> jax.Array:
    """A permutation of ``0, ..., rows * columns - 1``, the least such product that holds all examples."""
    rows = math.isqrt(examples - 1) + 1
    columns = -(-examples // rows)
    row, column = x // jnp.uint32(columns), x % jnp.uint32(columns)
    for number in range(len(round_keys)):
        if number % 2 == 0:
            row = _shifted(row, _mixed(column ^ round_keys[number]), rows)
        else:
            column = _shifted(column, _mixed(row ^ round_keys[number]), columns)
    return row * jnp.uint32(columns) + column


def _shifted(digit: jax.Array, bits: jax.Array, base: int) -> jax.Array:
    """``(digit + shift) mod base``, where the shift is ``floor(bits / 2**32 * base)``; base <= 2**16.

    The product is taken in two halves, so that it fits 32 bits.
    """
    high, low, base_ = bits >> 16, bits & 0xFFFF, jnp.uint32(base)
    total = digit + ((high * base_ + (low * base_ >> 16)) >> 16)
    return jnp.where(total >= base_, total - base_, total)


def _mixed(x: jax.Array) -> jax.Array:
    """A hash of 32 bits in which each bit of the input changes each bit of the output about half of the time.

    The multipliers are those that C. Wellons found by search (hash-prospector, 2018).
    """
    x = (x ^ (x >> 16)) * jnp.uint32(0x21F0AAAD)
    x = (x ^ (x >> 15)) * jnp.uint32(0xD35A2D97)
    return x ^ (x >> 15)
