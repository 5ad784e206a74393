"""Line searches: the minimum of the parabola along a line, and optax's searches with a safe failure.

A line search follows a transformation that gives a direction, as in
``optax.chain(sgd(1.0), scale_by_exact_linesearch())``. The loops of "zoom", "backtracking" and ``newton_cg`` can be
differentiated in forward mode only (``jax.jvp``).
"""

from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from regopt._core.numerics import safe_divide
from regopt._core.types import Tree
from regopt.optimizers._flat import Link, on_vector

LineSearch: TypeAlias = Literal["zoom", "backtracking", "exact_quadratic"] | optax.GradientTransformationExtraArgs


class LineSearchState(NamedTuple):
    """State of a line search: the last step. Every search starts from a fresh state, so nothing else is carried."""

    step: jax.Array  # shape (), at least float32: factor of the direction in the last update; 1 before it


def scale_by_exact_linesearch() -> optax.GradientTransformationExtraArgs:
    """The minimum of a quadratic along the line ``w + step * u``: ``step = -g'u / u'Hu``, by one product with H.

    The step is exact on a quadratic; on another function it is Newton's method along the line. Where ``u'Hu <= 0``
    there is no minimum and the step is 1. The updates keep the dtypes of the parameters.

    Returns:
        The transformation; its ``update`` requires ``params`` and ``value_fn``.

    Raises:
        ValueError: an ``update`` comes without ``params`` or ``value_fn``.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import regopt
        >>> def loss(w):
        ...     return 2 * jnp.sum((w - 1.0) ** 2)
        >>> params = jnp.zeros(2)
        >>> optimizer = optax.chain(regopt.sgd(1.0), regopt.optimizers.scale_by_exact_linesearch())
        >>> updates, state = optimizer.update(jax.grad(loss)(params), optimizer.init(params), params, value_fn=loss)
        >>> updates
        Array([1., 1.], dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Algorithm 8.9.

        Nocedal, J., & Wright, S. J. (2006). Numerical Optimization (2nd ed.). Springer. Equation 3.55.
    """
    return on_vector(_exact())


def line_search(which: LineSearch, curvature: float = 0.9) -> Link:
    """A line search along a vector, by name, or one of optax's.

    * "zoom": strong Wolfe conditions with ``c1 = 1e-4`` and ``c2 = curvature``; the first trial step is 1.
    * "backtracking": sufficient decrease with ``c1 = 1e-4``; the step starts at 1 and is halved.
    * "exact_quadratic": ``scale_by_exact_linesearch``.

    If "zoom" or "backtracking" finds no step that decreases the value, as at a minimum to rounding, the step is 0.

    Args:
        which: the name, or any transformation of vectors such as optax's line searches.
        curvature: the share of the slope that may remain, c2, in (1e-4, 1).

    Returns:
        The transformation of vectors.

    Raises:
        ValueError: the name is unknown.

    References:
        Nocedal, J., & Wright, S. J. (2006). Numerical Optimization (2nd ed.). Springer. Algorithms 3.1, 3.5 and 3.6.
    """
    if isinstance(which, optax.GradientTransformation):
        return _as_it_is(optax.with_extra_args_support(which))
    if which == "exact_quadratic":
        return _exact()
    if which == "zoom":
        return _safe(optax.scale_by_zoom_linesearch(30, curv_rtol=curvature, initial_guess_strategy="one"))
    if which == "backtracking":
        return _safe(optax.scale_by_backtracking_linesearch(30, decrease_factor=0.5, increase_factor=1.0))
    raise ValueError(f'linesearch must be "zoom", "backtracking" or "exact_quadratic", got {which!r}')


def _exact() -> Link:
    def update(direction, state, x, *, value_fn, **extra_args):
        del state, extra_args

        def slope(step):
            return jax.jvp(lambda t: value_fn(x + t * direction), (step,), (jnp.ones_like(step),))[1]

        zero = jnp.zeros((), x.dtype)
        first, second = jax.jvp(slope, (zero,), (jnp.ones_like(zero),))
        step = jnp.where(second > 0, safe_divide(-first, second), 1)
        return step * direction, LineSearchState(step)

    return Link(_init, update, LineSearchState)


def _safe(search: optax.GradientTransformationExtraArgs) -> Link:
    """One of optax's searches, started from a fresh state; the step is 0 where it found no decrease.

    A state that holds a step of 0 would repeat it for ever.
    """

    def update(direction, state, x, *, value_fn, grad):
        del state
        value = value_fn(x)
        _, found = promoted(search, direction, search.init(x), x, value=value, value_fn=value_fn, grad=grad)
        decreased = (found.info.decrease_error <= 0) | (found.value < value)
        step = jnp.where(decreased, found.learning_rate, 0).astype(x.dtype)
        return jnp.where(step == 0, 0, step * direction), LineSearchState(step)

    return Link(_init, update, LineSearchState)


def _as_it_is(search: optax.GradientTransformationExtraArgs) -> Link:
    def update(direction, state, x, *, value_fn, grad):
        return promoted(search, direction, state, x, value=value_fn(x), value_fn=value_fn, grad=grad)

    return Link(search.init, update, object)  # the class of the state of another search is not known


def promoted(transform: optax.GradientTransformation, *places: Tree, **extra_args: object) -> tuple[Tree, Tree]:
    """The update of one of optax's transformations, which mixes 64-bit numbers with 32-bit parameters."""
    with jax.numpy_dtype_promotion("standard"):
        return optax.with_extra_args_support(transform).update(*places, **extra_args)


def _init(x: jax.Array) -> LineSearchState:
    return LineSearchState(jnp.ones((), x.dtype))
