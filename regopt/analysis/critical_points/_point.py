"""The spectrum of the Hessian at a point, its signs, and a search for points of any index."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from regopt._core.numerics import check_number, check_whole, safe_norm, widen
from regopt._core.types import Key, Number, Tree
from regopt.curvature import hessian_product, spectral_measure

Objective = Callable[[Tree], jax.Array]


class Inertia(NamedTuple):
    """The numbers of negative, zero and positive eigenvalues of a symmetric matrix."""

    negative: jax.Array  # shape (), int32: the index
    zero: jax.Array  # shape (), int32
    positive: jax.Array  # shape (), int32


class CriticalPoint(NamedTuple):
    """The point at which a search ended."""

    params: Tree
    value: jax.Array  # shape (): the objective there
    gradient_norm: jax.Array  # shape (): 0 at a critical point
    eigenvalues: jax.Array  # [parameters], ascending: of the Hessian


def hessian_spectrum(objective: Objective, params: Tree) -> jax.Array:
    """All eigenvalues of the Hessian, from the whole matrix: n products and a cost of n**3.

    Args:
        objective: ``params -> scalar``, twice differentiable; static.
        params: the point; may be traced.

    Returns:
        The eigenvalues, ascending, ``[parameters]``, in at least float32.

    Raises:
        TypeError: the objective does not return a scalar.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.critical_points import hessian_spectrum
        >>> hessian_spectrum(lambda w: w[0] ** 2 - w[1] ** 2, jnp.zeros(2))
        Array([-2.,  2.], dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 4.3.1.
    """
    flat, unravel = ravel_pytree(params)
    return jnp.linalg.eigvalsh(_hessian(lambda w: objective(unravel(w)), flat))


def inertia(eigenvalues: jax.Array, tolerance: Number = 1e-6) -> Inertia:
    """Count the signs of eigenvalues: a minimum has no negative one, a saddle has both signs.

    Args:
        eigenvalues: of a symmetric matrix, ``[n]``.
        tolerance: the share of the largest magnitude up to which an eigenvalue counts as zero, >= 0; may be traced.

    Returns:
        The three counts.

    Raises:
        ValueError: a concrete tolerance is negative.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.critical_points import inertia
        >>> [int(count) for count in inertia(jnp.array([-2.0, 0.0, 1.0, 3.0]))]
        [1, 1, 2]

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 8.2.3.
    """
    check_number("tolerance", tolerance, "[0, inf)")
    (eigenvalues,) = widen(eigenvalues)
    edge = jnp.asarray(tolerance, eigenvalues.dtype) * jnp.max(jnp.abs(eigenvalues))
    negative = jnp.sum(eigenvalues < -edge, dtype=jnp.int32)
    positive = jnp.sum(eigenvalues > edge, dtype=jnp.int32)
    return Inertia(negative, jnp.int32(eigenvalues.size) - negative - positive, positive)


def negative_share(objective: Objective, params: Tree, key: Key, *, order: int = 40, probes: int = 8) -> jax.Array:
    """The share of negative eigenvalues of the Hessian, by Lanczos from random vectors, without the matrix.

    For a normal vector v the weight that Lanczos finds below 0 estimates the share, and it is exact if ``order`` is the
    number of parameters. Eigenvalues within rounding of 0 count as half.

    Args:
        objective: ``params -> scalar``, twice differentiable; static.
        params: the point; may be traced.
        key: a typed PRNG key.
        order: products for each vector, in [1, parameters]; static.
        probes: number of random vectors, >= 1; static.

    Returns:
        The share in [0, 1], shape ().

    Raises:
        ValueError: a number lies outside its range.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.critical_points import negative_share
        >>> curvatures = jnp.array([-1.0, 1.0, 2.0, 3.0])
        >>> objective = lambda w: jnp.sum(curvatures * w**2)
        >>> bool(abs(negative_share(objective, jnp.zeros(4), jax.random.key(0), order=4, probes=500) - 0.25) < 0.05)
        True

    References:
        Golub, G. H., & Meurant, G. (2010). Matrices, Moments and Quadrature with Applications. Princeton University
        Press. Section 11.6 (traces of functions of a matrix).
    """
    check_whole("probes", probes, "[1, inf)")
    flat, unravel = ravel_pytree(params)
    product = hessian_product(lambda w: objective(unravel(w)), flat)

    def one(key):
        measure = spectral_measure(product, jax.random.normal(key, flat.shape, flat.dtype), order)
        rounding = 10 * jnp.finfo(measure.eigenvalues.dtype).eps * jnp.max(jnp.abs(measure.eigenvalues))
        below = (measure.eigenvalues < -rounding).astype(measure.weights.dtype)
        near = (jnp.abs(measure.eigenvalues) <= rounding).astype(measure.weights.dtype)
        return jnp.sum(measure.weights * (below + near / 2)) / jnp.sum(measure.weights)

    return jnp.mean(jax.lax.map(one, jax.random.split(key, probes)))


def find_critical_point(objective: Objective, params: Tree, *, steps: int = 100) -> CriticalPoint:
    """Newton's method on the gradient with damping: it goes to a critical point of any index, where descent cannot.

    With the Hessian H and the gradient g a step is ``-(H H + damping I)**-1 H g``, that of Levenberg and Marquardt for
    ``|g|**2 / 2``. It is taken where the norm of the gradient falls, and then the damping shrinks; else it grows.
    It may also end at a point where ``H g = 0`` and g is not; look at ``gradient_norm``.

    Args:
        objective: ``params -> scalar``, twice differentiable; static.
        params: where the search starts; may be traced.
        steps: number of steps, each with an eigendecomposition, >= 0; static.

    Returns:
        The point, its value, the norm of its gradient, and the spectrum of its Hessian.

    Raises:
        ValueError: ``steps`` is no whole number >= 0.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.critical_points import find_critical_point, wells
        >>> found = find_critical_point(wells, jnp.array([0.1, 0.9]))
        >>> [round(abs(float(w)), 4) for w in found.params], found.eigenvalues.round(3)  # a saddle
        ([0.0, 1.0], Array([-1.,  2.], dtype=float32))

    References:
        Pennington, J., & Bahri, Y. (2017). Geometry of neural network loss surfaces via random matrix theory. ICML.
        Section 5 (a search of this kind).

        Dauphin, Y. N., Pascanu, R., Gulcehre, C., Cho, K., Ganguli, S., & Bengio, Y. (2014). Identifying and attacking
        the saddle point problem in high-dimensional non-convex optimization. NeurIPS. Section 3.
    """
    check_whole("steps", steps, "[0, inf)")
    narrow, unravel = ravel_pytree(params)
    (start,) = widen(narrow)

    def flat(w):
        return objective(unravel(w.astype(narrow.dtype))).astype(start.dtype)

    def step(carry, _):
        w, damping = carry
        g = jax.grad(flat)(w)
        values, vectors = jnp.linalg.eigh(_hessian(flat, w))
        rounding = jnp.finfo(w.dtype).tiny
        moved = w - vectors @ (values / (jnp.square(values) + damping + rounding) * (vectors.T @ g))
        better = safe_norm(jax.grad(flat)(moved)) < safe_norm(g)
        return (jnp.where(better, moved, w), jnp.where(better, damping / 4, damping * 4)), None

    (w, _), _ = jax.lax.scan(step, (start, jnp.asarray(1e-2, start.dtype)), length=steps)
    spectrum = jnp.linalg.eigvalsh(_hessian(flat, w))
    return CriticalPoint(unravel(w.astype(narrow.dtype)), flat(w), safe_norm(jax.grad(flat)(w)), spectrum)


def _hessian(objective: Objective, flat: jax.Array) -> jax.Array:
    matrix = widen(jax.hessian(objective)(flat))[0]
    return (matrix + matrix.T) / 2
