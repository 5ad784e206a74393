"""Checks of the concrete arguments of a quadratic analysis, which also convert them to one dtype."""

from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from regopt._core.numerics import check_range, like, widen
from regopt._core.types import Number

Hessian: TypeAlias = jax.Array | tuple[jax.Array, jax.Array]  # [n, n], or eigenvalues [n] and eigenvectors [n, n]


def checked_eigenvalues(eigenvalues: jax.Array) -> jax.Array:
    """Eigenvalues >= 0, in at least float32."""
    check_range("eigenvalues", eigenvalues, "[0, inf)")
    (values,) = widen(eigenvalues)
    if values.ndim != 1:
        matrix = ", the values of eigendecomposition(hessian)" if values.ndim == 2 else ""
        raise ValueError(f"eigenvalues must have shape [n]{matrix}, got {values.shape}")
    return values


def checked_point(name: str, point: jax.Array, matrix: jax.Array) -> jax.Array:
    """A point with an entry for each row of a matrix ``[n, n]`` or a diagonal ``[n]``, in its dtype."""
    if jnp.shape(point) != matrix.shape[:1]:
        raise ValueError(f"{name} must have shape {matrix.shape[:1]}, as the Hessian has, got {jnp.shape(point)}")
    return like(point, matrix)


def checked_rate(learning_rate: Number, eigenvalues: jax.Array, times_largest: float) -> jax.Array:
    """A learning rate in (0, times_largest / max(eigenvalues)], in their dtype."""
    check_range("learning_rate", learning_rate, "(0, inf)")
    if not isinstance(eigenvalues, Tracer) and not isinstance(learning_rate, Tracer):
        largest = float(np.max(np.asarray(eigenvalues), initial=0))  # a jnp function would be traced inside of jit
        if np.max(learning_rate) * largest > times_largest * (1 + 1e-6):
            bound = f"{times_largest:g} / {largest:.6g} = {times_largest / largest:.6g}"
            raise ValueError(f"learning_rate must be at most {bound}, got {learning_rate}")
    return like(learning_rate, eigenvalues)


def checked_hessian(hessian: jax.Array) -> jax.Array:
    """A symmetric, positive semidefinite matrix, in at least float32."""
    (hessian,) = widen(hessian)
    if hessian.ndim != 2 or hessian.shape[0] != hessian.shape[1]:
        raise ValueError(f"hessian must have shape [n, n], got {hessian.shape}")
    if isinstance(hessian, Tracer):
        return hessian
    if not np.isfinite(np.asarray(hessian)).all():
        raise ValueError("hessian must be finite, got NaN or inf")
    matrix = np.asarray(hessian)
    asymmetry = np.max(np.abs(matrix - matrix.T))
    if asymmetry > 1e-5 * np.max(np.abs(matrix)):
        raise ValueError(f"hessian must be symmetric, got entries that differ by {asymmetry:.3g} from their mirror")
    values = np.linalg.eigvalsh(matrix)
    if values[0] < -4 * len(values) * np.finfo(values.dtype).eps * np.max(np.abs(values)):
        raise ValueError(f"hessian must be positive semidefinite, got the eigenvalue {values[0]:.6g}")
    return hessian


def rounding(values: jax.Array) -> jax.Array:
    """The largest eigenvalue that rounding may give for an eigenvalue of 0."""
    return 4 * len(values) * jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(values))
