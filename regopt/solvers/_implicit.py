"""Implicit differentiation: the slope of a solution from the equation that it solves, not from the solver's steps.

If ``F(x, theta) = 0`` then ``dx = -(dF/dx)^-1 dF/dtheta dtheta``. The solver is never differentiated, so it may use
``while_loop``, and memory does not grow with its steps.
"""

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from regopt._core.checks import check_function
from regopt._core.messages import brief
from regopt._core.numerics import as_float, widen
from regopt._core.types import Tree

Solved = TypeVar("Solved")

DENSE_UP_TO = 1000  # unknowns: up to here the linear system is solved by a decomposition, beyond by GMRES


def implicit_root(
    equation: Callable[[Tree], Tree], solve: Callable[[Tree], tuple[Tree, Tree]], start: Tree
) -> tuple[Tree, Tree]:
    """The root that ``solve`` finds, with derivatives from ``equation``, in everything that both functions close over.

    ``solve`` may be any JAX program: it is traced, but not differentiated. A solver on the host, such as one of SciPy,
    works through ``jax.pure_callback``. Forward and reverse mode and ``vmap`` work. The derivative with respect to
    ``start`` is zero. At a root where the equation is not differentiable, as for an l1 penalty on the edge of its
    support, the derivative is that of one side.

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


def with_slope_of(function: Callable[[], jax.Array], value: jax.Array) -> jax.Array:
    """A known value of the function, with the derivatives of the function.

    The function is traced, and becomes a part of the program only where that is differentiated.
    """
    return jax.lax.custom_root(lambda known: known - function(), value, lambda _, known: known, lambda _, slope: slope)


def custom_root(
    equation: Callable[..., Tree], *, has_aux: bool = False
) -> Callable[[Callable[..., Tree]], Callable[..., Tree]]:
    """A decorator that gives a solver ``(start, *arguments) -> x`` the derivatives of ``equation(x, *arguments) = 0``.

    The decorated solver may be jitted, vmapped, and differentiated in forward and reverse mode with respect to its
    arguments and to whatever the equation closes over; see ``implicit_root``.

    Args:
        equation: a function ``(x, *arguments)`` to a tree like x, zero at the solution; it gets the keyword arguments
            too. For a minimum, the gradient of the objective.
        has_aux: whether the solver returns ``(x, anything)``; the second part has no derivative; static.

    Returns:
        The decorator. The solver's start may be None, if the solver takes no start.

    Raises:
        TypeError: the equation does not return a tree like x, when the solver is called.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.solvers import custom_root
        >>> def ridge(w, strength, x, y):
        ...     return jnp.sum((x @ w - y) ** 2) / 2 + strength * jnp.sum(w**2) / 2
        >>> @custom_root(jax.grad(ridge))
        ... def solve(start, strength, x, y):
        ...     return jnp.linalg.solve(x.T @ x + strength * jnp.eye(x.shape[1]), x.T @ y)
        >>> jax.jacobian(solve, argnums=1)(None, 1.0, jnp.eye(2), jnp.array([4.0, 8.0]))
        Array([-1., -2.], dtype=float32, weak_type=True)

    References:
        Blondel, M., Berthet, Q., Cuturi, M., Frostig, R., Hoyer, S., Llinares-Lopez, F., Pedregosa, F., & Vert, J.-P.
        (2022). Efficient and modular implicit differentiation. NeurIPS. Section 2.1.
    """
    check_function("equation", equation)

    def decorate(solver: Callable[..., Tree]) -> Callable[..., Tree]:
        @wraps(solver)
        def solve(start: Tree, *arguments: Tree, **keywords: Tree) -> Tree:
            def run(start):
                found = solver(start, *arguments, **keywords)
                return found if has_aux else (found, None)

            def from_none(_):
                return run(None)

            known = start
            if start is None:
                known = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(run, None)[0])

            def zero_at(x):
                return equation(x, *arguments, **keywords)

            _check_like(known, jax.eval_shape(zero_at, known))
            root, rest = implicit_root(zero_at, from_none if start is None else run, known)
            return (root, rest) if has_aux else root

        return solve

    return decorate


def custom_fixed_point(
    function: Callable[..., Tree], *, has_aux: bool = False
) -> Callable[[Callable[..., Tree]], Callable[..., Tree]]:
    """A decorator that gives a solver ``(start, *arguments) -> x`` the derivatives of ``x = function(x, *arguments)``.

    Args:
        function: the function of the fixed point, one step of the iteration for example; it gets the keyword arguments
            too.
        has_aux: as for ``custom_root``; static.

    Returns:
        The decorator.

    Raises:
        TypeError: the function does not return a tree like x, when the solver is called.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.solvers import custom_fixed_point
        >>> def halfway(x, a):
        ...     return (x + a / x) / 2
        >>> @custom_fixed_point(halfway)
        ... def square_root(start, a):
        ...     return jax.lax.fori_loop(0, 20, lambda _, x: halfway(x, a), start)
        >>> jax.grad(square_root, argnums=1)(jnp.ones(()), 4.0)
        Array(0.25, dtype=float32, weak_type=True)

    References:
        Blondel, M., Berthet, Q., Cuturi, M., Frostig, R., Hoyer, S., Llinares-Lopez, F., Pedregosa, F., & Vert, J.-P.
        (2022). Efficient and modular implicit differentiation. NeurIPS. Section 2.2.
    """
    check_function("function", function)

    def equation(x: Tree, *arguments: Tree, **keywords: Tree) -> Tree:
        return jax.tree.map(jnp.subtract, x, function(x, *arguments, **keywords))

    return custom_root(equation, has_aux=has_aux)


def _check_like(x: Tree, value: Tree) -> None:
    """Refuse an equation whose value does not have the structure and shapes of x."""
    (leaves, structure), (others, other) = jax.tree.flatten(x), jax.tree.flatten(value)
    if structure != other or [jnp.shape(leaf) for leaf in leaves] != [jnp.shape(leaf) for leaf in others]:
        raise TypeError(f"the equation must return a tree like x, {brief(x)}, got {brief(value)}")


def _solve_linear(function: Callable[[Solved], Solved], target: Solved) -> Solved:
    """The x with ``function(x) = target`` for a linear function of trees."""
    narrow, unflatten = ravel_pytree(target)
    (vector,) = widen(narrow)  # no decomposition takes a narrower dtype

    def flat(v):
        return ravel_pytree(function(unflatten(v.astype(narrow.dtype))))[0].astype(vector.dtype)

    if vector.size <= DENSE_UP_TO:
        matrix = jax.vmap(flat, out_axes=1)(jnp.eye(vector.size, dtype=vector.dtype))
        return unflatten(jnp.linalg.solve(matrix, vector).astype(narrow.dtype))

    def gmres(matvec, target):
        rounding = float(jnp.finfo(vector.dtype).eps) ** 0.8
        return jax.scipy.sparse.linalg.gmres(matvec, target, tol=rounding, restart=50, solve_method="incremental")[0]

    return unflatten(jax.lax.custom_linear_solve(flat, vector, gmres, gmres).astype(narrow.dtype))
