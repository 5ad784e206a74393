"""Sums and maxima in a form that XLA compiles well; they are what one expects otherwise."""

import jax
import jax.numpy as jnp


def sum_leading(x: jax.Array, axes: int) -> jax.Array:
    """The sum over the first ``axes`` axes, at least one, which remain with length 1.

    It is computed as a product with ones, because XLA takes twice as long on a CPU for the sum itself.
    """
    ones = jnp.ones((1, *x.shape[:axes]), x.dtype)
    contracted = tuple(range(1, axes + 1)), tuple(range(axes))
    sums = jax.lax.dot_general(ones, x, (contracted, ((), ())), precision=jax.lax.Precision.HIGHEST)
    return jnp.expand_dims(sums, tuple(range(1, axes)))


def sum_vector(vector: jax.Array) -> jax.Array:
    """The sum of a vector, such as one number for each leaf of a tree.

    It is computed as a product with a matrix of ones. XLA makes a chain of additions of the sum of stacked scalars, and
    copies it into the program of every leaf that depends on the result: the time to compile and to run would grow with
    the square of the number of leaves.

    >>> sum_vector(jnp.array([1.0, 2.0]))
    Array(3., dtype=float32)
    """
    # one row of ones would be a plain sum again
    ones = jnp.ones((2, vector.size), vector.dtype)
    return jnp.matmul(ones, vector, precision=jax.lax.Precision.HIGHEST)[0]


def largest_of_vector(vector: jax.Array) -> jax.Array:
    """The largest entry of a vector, and NaN if one is NaN; it is sorted for the reason that ``sum_vector`` gives.

    >>> largest_of_vector(jnp.array([1.0, 2.0]))
    Array(2., dtype=float32)
    """
    return jnp.sort(vector)[-1]
