"""Newton's method with the exact Hessian, and with its diagonal alone.

A dense eigendecomposition in each step, so for up to some thousand parameters; beyond them ``newton_cg``.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core import linalg
from regopt._core.numerics import check_range, like, safe_divide
from regopt._core.types import Number, NumberOrSchedule
from regopt.curvature import hessian_product
from regopt.optimizers._flat import Link, on_vector
from regopt.optimizers._sgd import scale_by_learning_rate


class NewtonState(NamedTuple):
    """State of ``newton`` and ``diagonal_newton``, in front of that of the learning rate."""

    smallest_curvature: jax.Array  # shape (), at least float32: of the last Hessian its smallest eigenvalue (entry)


def newton(
    learning_rate: NumberOrSchedule = 1.0, regularization: Number = 0.0, *, saddle_free: bool = False
) -> optax.GradientTransformationExtraArgs:
    """Newton's method, ``w <- w - learning_rate * (H + regularization I)^-1 g``.

    Saddle-free: ``(|H| + regularization I)^-1``, |H| with the absolute eigenvalues, always descends. Without it the
    method is attracted by any stationary point: where the state's ``smallest_curvature + regularization`` is negative
    the step need not descend. Curvatures that are 0 to rounding have no part in the step, which is always finite.

    Call ``update(grads, state, params, value_fn=...)``, where ``value_fn(params)`` is the scalar whose gradient
    ``grads`` is; it sees parameters in at least float32. The same holds for all methods of this family.

    Args:
        learning_rate: step size, >= 0, dimensionless, 1 for the full step; may be traced, a schedule, or a prefix
            tree of these.
        regularization: added to every curvature, >= 0, in units of the loss per squared parameter; may be traced.
        saddle_free: take the absolute value of the Hessian; static.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: Goodfellow et al. (2016), equations 8.27 and 8.28 and Algorithm 8.8; Dauphin et al. (2014),
    Algorithm 1 with the exact Hessian.
    """
    check_range("regularization", regularization, "[0, inf)")

    def update(gradient, state, x, *, value_fn, **extra_args):
        del state, extra_args
        hessian = jax.hessian(value_fn)(x)
        step, smallest = solve_symmetric(hessian, gradient, like(regularization, x), saddle_free)
        return step, NewtonState(smallest)

    return optax.chain(on_vector(Link(_init, update), wide=True), scale_by_learning_rate(learning_rate))


def diagonal_newton(
    learning_rate: NumberOrSchedule = 1.0, regularization: Number = 0.0
) -> optax.GradientTransformationExtraArgs:
    """Preconditioning with the diagonal, ``w_i <- w_i - learning_rate * g_i / (|H_ii| + regularization)``.

    The diagonal is exact: one Hessian-vector product for each parameter, one after the other in little memory. Where
    ``|H_ii| + regularization`` is 0 the parameter stays. The absolute value makes every step descend, for a small
    enough learning rate.

    Args:
        learning_rate: step size, >= 0, dimensionless; may be traced, a schedule, or a prefix tree of these.
        regularization: added to every curvature, >= 0, in units of the loss per squared parameter; may be traced.

    Returns:
        The optimizer; its update wants ``params`` and ``value_fn``, as that of ``newton``.

    Raises:
        ValueError: a concrete argument lies outside its range.

    References: LeCun et al. (1998), Efficient BackProp, section 9.1 (there with an estimate of the diagonal); Zhang et
    al. (2023), Dive into Deep Learning, section 12.3.3.
    """
    check_range("regularization", regularization, "[0, inf)")

    def update(gradient, state, x, *, value_fn, **extra_args):
        del state, extra_args
        product = hessian_product(value_fn, x)
        places = jnp.arange(x.size)
        diagonal = jax.lax.map(lambda i: product(jnp.zeros_like(x).at[i].set(1))[i], places)
        step = safe_divide(gradient, jnp.abs(diagonal) + like(regularization, x))
        return step, NewtonState(jnp.min(diagonal))

    return optax.chain(on_vector(Link(_init, update), wide=True), scale_by_learning_rate(learning_rate))


def _init(x: jax.Array) -> NewtonState:
    return NewtonState(jnp.zeros((), x.dtype))


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def solve_symmetric(
    matrix: jax.Array, vector: jax.Array, regularization: jax.Array, absolute: bool
) -> tuple[jax.Array, jax.Array]:
    """``(A + regularization I)^+ v``, or ``(|A| + regularization I)^+ v``, and A's smallest eigenvalue.

    Eigenvalues that are 0 to rounding are left out of the inverse. Slopes are finite also where eigenvalues coincide.
    """
    values, vectors, inverse = _spectrum(matrix, regularization, absolute)
    return vectors @ (inverse * (vectors.T @ vector)), values[0]


@solve_symmetric.defjvp
def _solve_symmetric_jvp(absolute, primals, tangents):
    (matrix, vector, regularization), (matrix_dot, vector_dot, regularization_dot) = primals, tangents
    values, vectors, inverse = _spectrum(matrix, regularization, absolute)
    coordinates = vectors.T @ vector
    turned = vectors.T @ matrix_dot @ vectors
    # the divided differences of 1 / (|l| + r), free of a difference of eigenvalues in the denominator
    left, right, ones = values[:, None], values[None, :], jnp.ones_like(values)
    signs = safe_divide(left + right, jnp.abs(left) + jnp.abs(right)) if absolute else jnp.outer(ones, ones)
    by_matrix = -(signs * turned) @ (inverse * coordinates)
    slope = by_matrix + vectors.T @ vector_dot - regularization_dot * inverse * coordinates
    return (vectors @ (inverse * coordinates), values[0]), (vectors @ (inverse * slope), turned[0, 0])


def _spectrum(matrix: jax.Array, regularization: jax.Array, absolute: bool) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Eigenvalues, eigenvectors, and the eigenvalues of the inverse."""
    values, vectors = linalg.eigh(matrix)
    curvatures = (jnp.abs(values) if absolute else values) + regularization
    rounding = values.size * jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(curvatures))
    present = jnp.abs(curvatures) > rounding
    return values, vectors, safe_divide(present.astype(values.dtype), jnp.where(present, curvatures, 0))
