"""Quasi-Newton methods: the inverse Hessian is estimated from the change of the gradient along past steps."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core.checks import check_index
from regopt._core.numerics import safe_divide, safe_norm
from regopt._core.types import Number, Tree
from regopt.optimizers._flat import Link, descending, on_vector
from regopt.optimizers._linesearch import LineSearch, line_search, promoted


class BFGSState(NamedTuple):
    """State of ``bfgs``; the state of the line search follows it. Arrays are at least float32."""

    count: Number  # shape (), int32: updates so far
    pairs: jax.Array  # shape (), int32: updates of the matrix so far, without the skipped ones
    params: jax.Array  # [parameters], at the last update
    gradient: jax.Array  # [parameters], at the last update
    inverse_hessian: jax.Array  # [parameters, parameters], symmetric, positive definite


def bfgs(*, linesearch: LineSearch = "zoom") -> optax.GradientTransformationExtraArgs:
    """BFGS, ``d = -M g`` and a line search along d, with a dense approximation M of the inverse Hessian.

    With the last step s and the change y of the gradient along it,
    ``M <- (I - s y' / y's) M (I - y s' / y's) + s s' / y's``. Before the first such update ``M = (y's / y'y) I``. The
    update is skipped where the curvature ``y's`` is not positive to rounding, so M stays positive definite. The first
    direction is ``-g``, shortened to length 1 if it is longer. Memory grows with the square of the number of
    parameters; ``lbfgs`` needs less.

    Call ``update(grads, state, params, value_fn=...)``, as for ``newton``.

    Args:
        linesearch: ``"zoom"`` (strong Wolfe conditions with ``c2 = 0.9``), ``"backtracking"``,
            ``"exact_quadratic"``, or a line search of optax; static.

    Returns:
        The optimizer.

    Raises:
        ValueError: ``linesearch`` is unknown.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> def loss(w):
        ...     return jnp.sum(jnp.array([1.0, 10.0]) * (w - 1.0) ** 2) / 2
        >>> params = jnp.zeros(2)
        >>> optimizer = regopt.bfgs(linesearch="exact_quadratic")
        >>> state = optimizer.init(params)
        >>> for _ in range(2):
        ...     updates, state = optimizer.update(jax.grad(loss)(params), state, params, value_fn=loss)
        ...     params = params + updates
        >>> params.round(4)
        Array([1., 1.], dtype=float32)

    References:
        Nocedal, J., & Wright, S. J. (2006). Numerical Optimization (2nd ed.). Springer. Algorithm 6.1 with equations
        6.17 and 6.20.
    """

    def init(x):
        # two arrays, because one buffer cannot be donated twice
        counts = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
        return BFGSState(*counts, jnp.zeros_like(x), jnp.zeros_like(x), jnp.eye(x.size, dtype=x.dtype))

    def update(gradient, state, x, **extra_args):
        del extra_args
        s, y = x - state.params, gradient - state.gradient
        rounding = jnp.finfo(x.dtype).eps * safe_norm(s) * safe_norm(y)
        usable = (state.count > 0) & (s @ y > rounding)
        start = jnp.where(state.pairs == 0, safe_divide(s @ y, y @ y), 1)
        learned = updated_inverse(start * state.inverse_hessian, s, jnp.where(usable, y, 0))
        inverse = jnp.where(usable, learned, state.inverse_hessian)
        direction = descending(-(inverse @ gradient), gradient)
        length = jnp.where(state.count == 0, jnp.maximum(safe_norm(gradient), 1), 1)
        count = optax.safe_increment(state.count)
        return direction / length, BFGSState(count, state.pairs + usable.astype(jnp.int32), x, gradient, inverse)

    return on_vector(Link(init, update, BFGSState), line_search(linesearch))


def updated_inverse(inverse: jax.Array, s: jax.Array, y: jax.Array) -> jax.Array:
    """``(I - rho s y') M (I - rho y s') + rho s s'`` with ``rho = 1 / y's``: equation 6.17, by outer products.

    The result M satisfies the secant equation ``M y = s``.
    """
    rho = safe_divide(jnp.ones_like(s[0]), s @ y)
    turned = inverse @ y
    cross = rho * jnp.outer(s, turned)
    return inverse - cross - cross.T + rho * (1 + rho * (y @ turned)) * jnp.outer(s, s)


def lbfgs(*, memory_size: int = 10, linesearch: LineSearch = "zoom") -> optax.GradientTransformationExtraArgs:
    """L-BFGS: the product ``M g`` of BFGS from the last ``memory_size`` pairs of s and y, without a matrix.

    The recursion is optax's, applied to the parameters as one vector in at least float32. Where its direction does not
    descend, as after a pair of negative curvature, the step goes along ``-g``.

    Call ``update(grads, state, params, value_fn=...)``, as for ``newton``.

    Args:
        memory_size: number of pairs, >= 1; static.
        linesearch: as for ``bfgs``; static.

    Returns:
        The optimizer.

    Raises:
        ValueError: ``memory_size`` is below 1, or ``linesearch`` is unknown.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import regopt
        >>> def loss(w):
        ...     return jnp.sum(jnp.array([1.0, 10.0]) * (w - 1.0) ** 2) / 2
        >>> params = jnp.zeros(2)
        >>> optimizer = regopt.lbfgs(memory_size=5)
        >>> state = optimizer.init(params)
        >>> for _ in range(10):
        ...     updates, state = optimizer.update(jax.grad(loss)(params), state, params, value_fn=loss)
        ...     params = params + updates
        >>> params.round(3)
        Array([1., 1.], dtype=float32)

    References:
        Nocedal, J., & Wright, S. J. (2006). Numerical Optimization (2nd ed.). Springer. Algorithms 7.4 and 7.5.

        Liu, D. C., & Nocedal, J. (1989). On the limited memory BFGS method for large scale optimization. Mathematical
        Programming, 45, 503-528.
    """
    check_index("memory_size", memory_size)
    if memory_size < 1:
        raise ValueError(f"memory_size must be at least 1, got {memory_size}")
    recursion = optax.scale_by_lbfgs(memory_size)

    def init(x):
        state: Tree = recursion.init(x)
        return state._replace(weights_memory=state.weights_memory.astype(x.dtype))

    def update(gradient, state, x, **extra_args):
        del extra_args
        product, after = promoted(recursion, gradient, state, x)
        direction = descending(-product.astype(x.dtype), gradient)
        return direction, after

    return on_vector(Link(init, update, optax.ScaleByLBFGSState), line_search(linesearch))
