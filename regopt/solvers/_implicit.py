"""Implicit differentiation: the slope of a solution from the equation that it solves, not from the solver's steps.

If ``F(x, theta) = 0`` then ``dx = -(dF/dx)^-1 dF/dtheta dtheta``. The solver is never differentiated, so it may use
``while_loop``, and memory does not grow with its steps.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from regopt._core.numerics import as_float
from regopt._core.types import Tree

Solved = TypeVar("Solved")

DENSE_UP_TO = 1000  # unknowns: up to here the linear system is solved by a decomposition, beyond by GMRES


def implicit_root(
    equation: Callable[[Tree], Tree], solve: Callable[[Tree], tuple[Tree, Tree]], start: Tree
) -> tuple[Tree, Tree]:
    """The root that ``solve`` finds, with derivatives from ``equation``, in everything that both functions close over.

    ``solve`` may be any program: it is not differentiated. Forward and reverse mode and ``vmap`` work. The derivative
    with respect to ``start`` is zero. At a root where the equation is not differentiable, as for an l1 penalty on the
    edge of its support, the derivative is that of one side.

    Args:
        equation: a function from x to a tree like x, zero at the solution; what it closes over may be traced.
        solve: a function from the start to ``(x, anything)``; the second part has no derivative.
        start: a tree of floating-point arrays.

    Returns:
        The pair that ``solve`` returns.

    Raises:
        TypeError: the equation does not return a tree like x.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.solvers import implicit_root
        >>> def square_root(a):
        ...     def solve(x):
        ...         return jax.lax.fori_loop(0, 20, lambda _, x: (x + a / x) / 2, x), None
        ...     return implicit_root(lambda x: x**2 - a, solve, jnp.ones(()))[0]
        >>> jax.value_and_grad(square_root)(4.0)
        (Array(2., dtype=float32), Array(0.25, dtype=float32, weak_type=True))

    References:
        Blondel, M., Berthet, Q., Cuturi, M., Frostig, R., Hoyer, S., Llinares-Lopez, F., Pedregosa, F., & Vert, J.-P.
        (2022). Efficient and modular implicit differentiation. NeurIPS. Section 2.1.

        Bertrand, Q., Klopfenstein, Q., Massias, M., Blondel, M., Vaiter, S., Gramfort, A., & Salmon, J. (2022).
        Implicit differentiation for fast hyperparameter selection in non-smooth convex learning. Journal of Machine
        Learning Research, 23(149), 1-43. For the derivative on the support.
    """
    kinds: list[jax.typing.DTypeLike] = []

    def as_floats(_, start):  # custom_root takes no integers, nor bools, beside the root
        root, rest = solve(start)
        kinds[:] = [jnp.asarray(x).dtype for x in jax.tree.leaves(rest)]
        return root, jax.tree.map(lambda x: x if jnp.issubdtype(x.dtype, jnp.inexact) else as_float(x), rest)

    root, rest = jax.lax.custom_root(equation, start, as_floats, _solve_linear, has_aux=True)
    leaves, structure = jax.tree.flatten(rest)
    rest = structure.unflatten([leaf.astype(kind) for leaf, kind in zip(leaves, kinds, strict=True)])
    return root, jax.lax.stop_gradient(rest)


def _solve_linear(function: Callable[[Solved], Solved], target: Solved) -> Solved:
    """The x with ``function(x) = target`` for a linear function of trees."""
    vector, unflatten = ravel_pytree(target)

    def flat(v):
        return ravel_pytree(function(unflatten(v)))[0]

    if vector.size <= DENSE_UP_TO:
        matrix = jax.vmap(flat, out_axes=1)(jnp.eye(vector.size, dtype=vector.dtype))
        return unflatten(jnp.linalg.solve(matrix, vector))

    def gmres(matvec, target):
        rounding = float(jnp.finfo(vector.dtype).eps) ** 0.8
        return jax.scipy.sparse.linalg.gmres(matvec, target, tol=rounding, restart=50, solve_method="incremental")[0]

    return unflatten(jax.lax.custom_linear_solve(flat, vector, gmres, gmres))
