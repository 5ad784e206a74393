"""Sums and maxima in a form that XLA compiles well; their values are the usual ones."""

import jax
import jax.numpy as jnp


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


@jax.custom_jvp
def sum_of_squares(g: jax.Array, factor: jax.Array) -> jax.Array:
    """``sum (factor g)**2``, with derivative 0 where that is not finite."""
    return jnp.sum(jnp.square(factor * g))


@sum_of_squares.defjvp
def _sum_of_squares_jvp(primals, tangents):
    (g, factor), (g_dot, factor_dot) = primals, tangents
    total = sum_of_squares(g, factor)
    kept = jnp.where(total <= jnp.finfo(total.dtype).max, g, 0)
    return total, 2 * factor * jnp.sum(kept * (factor * g_dot + factor_dot * kept))
