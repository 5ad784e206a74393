"""Newton's method with the exact Hessian, and with its diagonal alone.

``newton`` computes a dense eigendecomposition in each step, which suits up to a few thousand parameters. For more of
them see ``newton_cg``.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core import linalg
from regopt._core.checks import check_switch
from regopt._core.numerics import check_number, like, safe_divide
from regopt._core.scheduled import takes_schedules
from regopt._core.types import NumberOrSchedule, ScheduledNumber
from regopt.curvature import hessian_product
from regopt.optimizers._flat import Link, on_vector
from regopt.optimizers._sgd import scale_by_learning_rate


class NewtonState(NamedTuple):
    """State of ``newton`` and ``diagonal_newton``; the state of the learning rate follows it."""

    smallest_curvature: jax.Array  # shape (), at least float32: smallest eigenvalue (entry) of the last Hessian


@takes_schedules("learning_rate")
def newton(
    learning_rate: NumberOrSchedule = 1.0, regularization: ScheduledNumber = 0.0, *, saddle_free: bool = False
) -> optax.GradientTransformationExtraArgs:
    """Newton's method, ``w <- w - learning_rate * (H + regularization I)^-1 g``.

    With ``saddle_free`` the step uses ``(|H| + regularization I)^-1``, where ``|H|`` has the absolute eigenvalues of H,
    and always descends. Without it the method is attracted by every stationary point: where
    ``smallest_curvature + regularization`` is negative (the first is in the state) the step need not descend.
    Curvatures that are 0 to rounding do not contribute, so the step is always finite.

    Call ``update(grads, state, params, value_fn=...)``, where ``value_fn(params)`` is the scalar whose gradient is
    ``grads``; the function receives parameters in at least float32. The same holds for all methods of this family.

    Args:
        learning_rate: factor of the step, >= 0, dimensionless, 1 for the full step; a number (may be traced), a
            schedule, or a prefix tree of these.
        regularization: constant added to every curvature, >= 0, in units of the loss per squared parameter; may be
            traced or scheduled.
        saddle_free: if True, take the absolute value of the Hessian; static.

    Returns:
        The optimizer.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> def loss(w):
        ...     return jnp.sum(jnp.array([1.0, 10.0]) * (w - 1.0) ** 2) / 2
        >>> params = jnp.zeros(2)
        >>> optimizer = regopt.newton()
        >>> updates, state = optimizer.update(jax.grad(loss)(params), optimizer.init(params), params, value_fn=loss)
        >>> updates.round(4)  # one step reaches the minimum of a quadratic
        Array([1., 1.], dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equations 8.27 and 8.28 and
        Algorithm 8.8.

        Dauphin, Y. N., Pascanu, R., Gulcehre, C., Cho, K., Ganguli, S., & Bengio, Y. (2014). Identifying and attacking
        the saddle point problem in high-dimensional non-convex optimization. NeurIPS. Algorithm 1 with the exact
        Hessian.
    """
    check_switch("saddle_free", saddle_free)
    check_number("regularization", regularization, "[0, inf)")

    def update(gradient, state, x, *, value_fn, **extra_args):
        del state, extra_args
        hessian = jax.hessian(value_fn)(x)
        step, smallest = solve_symmetric(hessian, gradient, like(regularization, x), saddle_free)
        return step, NewtonState(smallest)

    return optax.chain(on_vector(Link(_init, update, NewtonState), wide=True), scale_by_learning_rate(learning_rate))


@takes_schedules("learning_rate")
def diagonal_newton(
    learning_rate: NumberOrSchedule = 1.0, regularization: ScheduledNumber = 0.0
) -> optax.GradientTransformationExtraArgs:
    """Newton's method with the diagonal, ``w_i <- w_i - learning_rate * g_i / (|H_ii| + regularization)``.

    The diagonal is exact. It takes one Hessian-vector product for each parameter; they run one after the other to save
    memory. A parameter with ``|H_ii| + regularization = 0`` does not move. Because of the absolute value every step
    descends for a small enough learning rate.

    Args:
        learning_rate: factor of the step, >= 0, dimensionless; a number (may be traced), a schedule, or a prefix tree
            of these.
        regularization: constant added to every curvature, >= 0, in units of the loss per squared parameter; may be
            traced or scheduled.

    Returns:
        The optimizer; its ``update`` requires ``params`` and ``value_fn``, as that of ``newton``.

    Raises:
        ValueError: a concrete argument lies outside its range.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> def loss(w):
        ...     return jnp.sum(jnp.array([1.0, 10.0]) * (w - 1.0) ** 2) / 2
        >>> params = jnp.zeros(2)
        >>> optimizer = regopt.diagonal_newton(learning_rate=0.5)
        >>> updates, state = optimizer.update(jax.grad(loss)(params), optimizer.init(params), params, value_fn=loss)
        >>> updates.round(4)
        Array([0.5, 0.5], dtype=float32)

    References:
        LeCun, Y., Bottou, L., Orr, G. B., & Müller, K.-R. (1998). Efficient BackProp. In Neural Networks: Tricks of the
        Trade. Springer. Section 9.1, with an estimate of the diagonal.

        Zhang, A., Lipton, Z. C., Li, M., & Smola, A. J. (2023). Dive into Deep Learning. Cambridge University Press.
        Section 12.3.3.
    """
    check_number("regularization", regularization, "[0, inf)")

    def update(gradient, state, x, *, value_fn, **extra_args):
        del state, extra_args
        product = hessian_product(value_fn, x)
        places = jnp.arange(x.size)
        diagonal = jax.lax.map(lambda i: product(jnp.zeros_like(x).at[i].set(1))[i], places)
        step = safe_divide(gradient, jnp.abs(diagonal) + like(regularization, x))
        return step, NewtonState(jnp.min(diagonal))

    return optax.chain(on_vector(Link(_init, update, NewtonState), wide=True), scale_by_learning_rate(learning_rate))


def _init(x: jax.Array) -> NewtonState:
    return NewtonState(jnp.zeros((), x.dtype))


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def solve_symmetric(
    matrix: jax.Array, vector: jax.Array, regularization: jax.Array, absolute: bool
) -> tuple[jax.Array, jax.Array]:
    """``(A + regularization I)^+ v``, or ``(|A| + regularization I)^+ v``, and the smallest eigenvalue of A.

    Eigenvalues that are 0 to rounding are left out of the inverse. The derivatives are finite even where eigenvalues
    coincide.
    """
    values, vectors, inverse = _spectrum(matrix, regularization, absolute)
    return vectors @ (inverse * (vectors.T @ vector)), values[0]


@solve_symmetric.defjvp
def _solve_symmetric_jvp(absolute, primals, tangents):
    (matrix, vector, regularization), (matrix_dot, vector_dot, regularization_dot) = primals, tangents
    values, vectors, inverse = _spectrum(matrix, regularization, absolute)
    coordinates = vectors.T @ vector
    turned = vectors.T @ matrix_dot @ vectors
    # divided differences of 1 / (|l| + r), in a form without differences of eigenvalues in the denominator
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
