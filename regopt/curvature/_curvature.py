"""Curvature without matrices: Hessian and Gauss-Newton products, and their spectra by Lanczos.

A *product* is a function ``v -> A v`` on trees shaped like the parameters. No function here forms A.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from regopt._core.numerics import check_whole, direction_and_norm, safe_norm, widen
from regopt._core.types import Tree

Product = Callable[[Tree], Tree]


class SpectralMeasure(NamedTuple):
    """``v' f(A) v`` as a sum over a few eigenvalues: ``sum(weights * f(eigenvalues))``."""

    eigenvalues: jax.Array  # [order], ascending: Ritz values, of which the outermost converge first
    weights: jax.Array  # [order], >= 0; their sum is |v|**2


def hessian_product(objective: Callable[[Tree], jax.Array], params: Tree) -> Product:
    """``v -> H v`` for the Hessian of a scalar function, by forward-over-reverse differentiation.

    Args:
        objective: ``params -> scalar``, twice differentiable.
        params: the point at which the Hessian is taken; may be traced.

    Returns:
        The product, on trees with the structure, shapes and dtypes of ``params``.

    Raises:
        TypeError: raised by the product where the objective does not return a scalar, or v has another structure than
            ``params``.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.curvature import hessian_product
        >>> hessian_product(lambda w: jnp.sum(w**3), jnp.array([1.0, 2.0]))(jnp.ones(2))
        Array([ 6., 12.], dtype=float32)

    References:
        Pearlmutter, B. A. (1994). Fast exact multiplication by the Hessian. Neural Computation, 6(1), 147-160.
    """
    return lambda v: jax.jvp(jax.grad(objective), (params,), (v,))[1]


def gauss_newton_product(
    model: Callable[[Tree], jax.Array], loss: Callable[[jax.Array], jax.Array], params: Tree
) -> Product:
    """``v -> J' L J v``: the Hessian of ``loss(model(params))`` without the second derivatives of the model.

    J is the Jacobian of the model and L the Hessian of the loss in the outputs. With a convex loss the matrix is
    positive semidefinite. It is the exact Hessian of the model linearised at ``params``.

    Args:
        model: ``params -> outputs``.
        loss: ``outputs -> scalar``, twice differentiable.
        params: the point at which the matrix is taken; may be traced.

    Returns:
        The product, on trees with the structure, shapes and dtypes of ``params``.

    Raises:
        TypeError: raised by the product where the loss does not return a scalar, or v has another structure than
            ``params``.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.curvature import gauss_newton_product
        >>> gauss_newton_product(jnp.square, lambda f: jnp.sum(f**2) / 2, jnp.array([1.0, 3.0]))(jnp.ones(2))
        Array([ 4., 36.], dtype=float32)

    References:
        Schraudolph, N. N. (2002). Fast curvature matrix-vector products for second-order gradient descent. Neural
        Computation, 14(7), 1723-1738. Section 2.

        Martens, J. (2020). New insights and perspectives on the natural gradient method. Journal of Machine Learning
        Research, 21. Section 8.
    """
    outputs, pull_back = jax.vjp(model, params)

    def product(v):
        pushed = jax.jvp(model, (params,), (v,))[1]
        return pull_back(hessian_product(loss, outputs)(pushed))[0]

    return product


def spectral_measure(product: Product, vector: Tree, order: int) -> SpectralMeasure:
    """Lanczos from ``vector``: eigenvalues and weights of the Gauss quadrature for ``vector' f(A) vector``.

    The quadrature is exact for polynomials f of degree below ``2 order``. With a random vector the outermost
    eigenvalues approximate the ends of the spectrum. With a chosen vector the weights say how it is distributed over
    the spectrum. Where the vector lies in fewer eigenspaces than ``order``, the quadrature is exact for every f; the
    remaining eigenvalues have the weight 0 and are ``vector' A vector / |vector|**2``.

    Args:
        product: product with a symmetric matrix.
        vector: a tree shaped like the parameters, not 0; may be traced.
        order: number of products, in [1, number of parameters]; static.

    Returns:
        The measure.

    Raises:
        ValueError: ``order`` is no whole number in its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.curvature import spectral_measure
        >>> measure = spectral_measure(lambda v: jnp.array([1.0, 3.0]) * v, jnp.array([1.0, 2.0]), 2)
        >>> [round(float(value), 3) for value in measure.eigenvalues], measure.weights.round(3)
        ([1.0, 3.0], Array([1., 4.], dtype=float32))

    References:
        Lanczos, C. (1950). An iteration method for the solution of the eigenvalue problem of linear differential and
        integral operators. Journal of Research of the National Bureau of Standards, 45, 255-282.

        Golub, G. H., & Meurant, G. (2010). Matrices, Moments and Quadrature with Applications. Princeton University
        Press. Chapter 6.
    """
    narrow, unravel = ravel_pytree(vector)
    (flat,) = widen(narrow)
    check_whole("order", order, "(-inf, inf)")
    if not 1 <= order <= flat.size:
        raise ValueError(f"order must lie in [1, {flat.size}], the number of parameters, got {order}")

    def flat_product(v):
        return ravel_pytree(product(unravel(v.astype(narrow.dtype))))[0].astype(flat.dtype)

    (start,), length = direction_and_norm((flat,))
    diagonal, off_diagonal = _lanczos(flat_product, start, order)
    # a coupling of 0 ends the Krylov space: what follows has no weight, and takes a value inside the spectrum
    known = jnp.cumprod(jnp.concatenate([jnp.ones(1, flat.dtype), jnp.sign(off_diagonal[:-1])])) > 0
    diagonal = jnp.where(known, diagonal, diagonal[0])
    band = jnp.diag(off_diagonal[:-1], 1)
    values, vectors = jnp.linalg.eigh(jnp.diag(diagonal) + band + band.T)
    return SpectralMeasure(values, jnp.square(vectors[0]) * jnp.square(length))


def _lanczos(product: Callable[[jax.Array], jax.Array], start: jax.Array, order: int) -> tuple[jax.Array, jax.Array]:
    """The diagonal and the couplings to the next vector, each ``[order]``, with full reorthogonalisation.

    A coupling within rounding is 0, and the vectors after it are 0 too.
    """
    rounding = 10 * math.sqrt(start.size) * jnp.finfo(start.dtype).eps

    def step(carry, place):
        basis, vector, size = carry
        basis = basis.at[place].set(vector)
        image = product(vector)
        rest = image
        for _ in range(2):  # the second pass removes what rounding left of the first
            rest = rest - basis.T @ (basis @ rest)
        size = jnp.maximum(size, safe_norm(image))
        (direction,), coupling = direction_and_norm((rest,))
        coupled = coupling > rounding * size
        entries = jnp.vdot(vector, image), jnp.where(coupled, coupling, 0)
        return (basis, jnp.where(coupled, direction, 0), size), entries

    carry = jnp.zeros((order, start.size), start.dtype), start, jnp.zeros((), start.dtype)
    return jax.lax.scan(step, carry, jnp.arange(order))[1]
