"""Convexity, tested at random: a check answers with a counter-example where it finds one.

No finite number of points proves that a set or a function is convex, so "none found" means just that. For functions
whose Hessian is known at a point, a negative eigenvalue decides.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from regopt._core.checks import check_function
from regopt._core.numerics import check_number, check_whole
from regopt._core.types import Key, Number


class CounterExample(NamedTuple):
    """Two points and what fails between them, the worst of those drawn."""

    found: jax.Array  # shape (), bool: whether there is one; without it the rest means nothing
    first: jax.Array  # a
    second: jax.Array  # b
    weight: jax.Array  # shape (), t in [0, 1] of the point t a + (1 - t) b
    excess: jax.Array  # shape (): by how much Jensen's inequality fails; 1 for a point outside a set


def nonconvex_set(
    contains: Callable[[jax.Array], jax.Array], sample: Callable[[Key], jax.Array], key: Key, *, draws: int = 1000
) -> CounterExample:
    """Look for a and b in a set with a point ``t a + (1 - t) b`` outside of it.

    Args:
        contains: whether a point is in the set, ``[n] -> bool``; static.
        sample: a random point, ``key -> [n]``; those outside the set are passed over; static.
        key: a typed PRNG key.
        draws: number of segments, >= 1; static.

    Returns:
        A counter-example, if there is one among the draws.

    Raises:
        ValueError: an argument is no function or lies outside its range.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.analysis import nonconvex_set
        >>> ring = lambda x: (jnp.linalg.norm(x) <= 2) & (jnp.linalg.norm(x) >= 1)
        >>> sample = lambda key: jax.random.uniform(key, (2,), minval=-2, maxval=2)
        >>> bool(nonconvex_set(ring, sample, jax.random.key(0)).found)
        True

    References:
        Boyd, S., & Vandenberghe, L. (2004). Convex Optimization. Cambridge University Press. Section 2.1.4.
    """
    check_function("contains", contains)

    def fails(a, b, t):
        inside = contains(a) & contains(b) & ~contains(t * a + (1 - t) * b)
        return inside.astype(a.dtype)

    return _worst(fails, sample, key, draws, 0.0)


def nonconvex_function(
    function: Callable[[jax.Array], jax.Array],
    sample: Callable[[Key], jax.Array],
    key: Key,
    *,
    draws: int = 1000,
    tolerance: Number = 1e-6,
) -> CounterExample:
    """Look for points with ``f(t a + (1 - t) b) > t f(a) + (1 - t) f(b)``, against Jensen's inequality.

    Args:
        function: f, ``[n] -> scalar``; static.
        sample: a random point of its convex domain, ``key -> [n]``; static.
        key: a typed PRNG key.
        draws: number of segments, >= 1; static.
        tolerance: by how much the inequality must fail, relative to ``1 + |f(a)| + |f(b)|``, >= 0, so that rounding
            does not count; may be traced.

    Returns:
        The worst counter-example among the draws, if there is one.

    Raises:
        ValueError: an argument is no function or lies outside its range.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.analysis import nonconvex_function
        >>> sample = lambda key: jax.random.normal(key, (1,))
        >>> bool(nonconvex_function(lambda x: x[0] ** 2, sample, jax.random.key(0)).found)
        False
        >>> bool(nonconvex_function(lambda x: x[0] ** 3, sample, jax.random.key(0)).found)
        True

    References:
        Jensen, J. L. W. V. (1906). Sur les fonctions convexes et les inegalites entre les valeurs moyennes. Acta
        Mathematica, 30, 175-193.

        Boyd, S., & Vandenberghe, L. (2004). Convex Optimization. Cambridge University Press. Equation (3.1).
    """
    check_function("function", function)
    check_number("tolerance", tolerance, "[0, inf)")

    def excess(a, b, t):
        fa, fb = function(a), function(b)
        return (function(t * a + (1 - t) * b) - t * fa - (1 - t) * fb) / (1 + jnp.abs(fa) + jnp.abs(fb))

    return _worst(excess, sample, key, draws, tolerance)


def negative_curvature(
    function: Callable[[jax.Array], jax.Array], sample: Callable[[Key], jax.Array], key: Key, *, draws: int = 100
) -> tuple[jax.Array, jax.Array]:
    """The point, of those drawn, with the most negative eigenvalue of the Hessian, and this eigenvalue.

    A convex function has none; one that is twice differentiable and has none anywhere on a convex domain is convex.

    Args:
        function: ``[n] -> scalar``, twice differentiable; static.
        sample: a random point, ``key -> [n]``; static.
        key: a typed PRNG key.
        draws: number of points, >= 1; static.

    Returns:
        The point ``[n]`` and the smallest eigenvalue there, shape ().

    Raises:
        ValueError: an argument is no function or lies outside its range.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.analysis import negative_curvature
        >>> sample = lambda key: jax.random.normal(key, (2,))
        >>> negative_curvature(lambda x: x[0] ** 2 - 3 * x[1] ** 2, sample, jax.random.key(0))[1]
        Array(-6., dtype=float32)

    References:
        Boyd, S., & Vandenberghe, L. (2004). Convex Optimization. Cambridge University Press. Section 3.1.4.
    """
    check_function("function", function)
    check_function("sample", sample)
    check_whole("draws", draws, "[1, inf)")
    points = jax.vmap(sample)(jax.random.split(key, draws))
    smallest = jax.lax.map(lambda x: jnp.linalg.eigvalsh(jax.hessian(function)(x))[0], points)
    worst = jnp.argmin(smallest)
    return points[worst], smallest[worst]


def _worst(excess, sample, key: Key, draws: int, tolerance: Number) -> CounterExample:
    check_function("sample", sample)
    check_whole("draws", draws, "[1, inf)")
    first_key, second_key, weight_key = jax.random.split(key, 3)
    a, b = (jax.vmap(sample)(jax.random.split(each, draws)) for each in (first_key, second_key))
    t = jax.random.uniform(weight_key, (draws,), a.dtype)
    value = jax.vmap(excess)(a, b, t)
    at = jnp.argmax(value)
    return CounterExample(value[at] > jnp.asarray(tolerance, value.dtype), a[at], b[at], t[at], value[at])
