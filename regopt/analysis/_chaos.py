"""The rates at which trajectories of an iterated map come apart, as states and gradients of recurrent networks do."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from regopt._core.checks import check_function
from regopt._core.numerics import check_whole, widen


def lyapunov_exponents(
    step: Callable[[jax.Array], jax.Array], start: jax.Array, steps: int, *, warmup: int = 0, count: int | None = None
) -> jax.Array:
    """The growth rates ``l_i`` of a small distance along ``x <- step(x)``, for each of ``count`` directions.

    With ``J_t = d step(x_t) / dx`` and ``Q_0 = I``, ``J_t Q_t = Q_{t+1} R_{t+1}`` (QR) and
    ``l_i = mean_t log|R_{t,ii}|``. The largest says what happens to almost every small distance, and to a gradient that
    is propagated back through the steps: both grow or shrink by ``exp(l_1)`` a step. A trajectory with ``l_1 > 0`` is
    chaotic if it stays bounded. The sum of all n exponents is the mean of ``log|det J_t|``.

    Args:
        step: one step of the map, differentiable, ``[n] -> [n]``; static.
        start: the state before the first step, ``[n]``.
        steps: number of steps that are measured, >= 1; static.
        warmup: steps before the first one that is measured, >= 0; static.
        count: number of exponents, the largest ones, in [1, n]; by default n; static.

    Returns:
        The exponents in nats per step, ``[count]``, in the order of the directions; for many steps they descend.

    Raises:
        ValueError: an argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis import lyapunov_exponents
        >>> print(jnp.exp(lyapunov_exponents(lambda x: jnp.array([2.0, 0.5]) * x, jnp.ones(2), 10)).round(4))
        [2.  0.5]

    References:
        Benettin, G., Galgani, L., Giorgilli, A., & Strelcyn, J.-M. (1980). Lyapunov characteristic exponents for smooth
        dynamical systems and for Hamiltonian systems. Part 2. Meccanica, 15, 21-30. Equation 6.
    """
    check_function("step", step)
    check_whole("steps", steps, "[1, inf)")
    check_whole("warmup", warmup, "[0, inf)")
    if jnp.ndim(start) != 1 or not jnp.size(start):
        raise ValueError(f"start must be a vector, got an array of shape {jnp.shape(start)}")
    (state,) = widen(jnp.asarray(start))
    count = state.size if count is None else count
    check_whole("count", count, f"[1, {state.size}]")

    def advance(carry, _):
        x, directions = carry
        moved = jax.vmap(lambda v: jax.jvp(step, (x,), (v,))[1], in_axes=1, out_axes=1)(directions)
        directions, triangle = jnp.linalg.qr(moved)
        return (step(x), directions), jnp.log(jnp.abs(jnp.diagonal(triangle)))

    carry = state, jnp.eye(state.size, count, dtype=state.dtype)
    carry, _ = jax.lax.scan(advance, carry, length=warmup)
    return jnp.mean(jax.lax.scan(advance, carry, length=steps)[1], axis=0)
