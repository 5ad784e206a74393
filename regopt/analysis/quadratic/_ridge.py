"""Ridge regression for the squared errors and the strengths that different libraries use."""

import jax

from regopt._core.numerics import check_range, like, widen
from regopt._core.types import Number
from regopt.analysis.quadratic._solve import ridge
from regopt.penalties import Library, l2_number, l2_strength


def ridge_alpha(strength: Number, examples: Number, library: Library = "regopt") -> jax.Array:
    """The a in ``(X'X + a I)^-1 X'y``, the minimum of the ridge objective of a library.

    It is the number that scikit-learn's ``Ridge`` calls ``alpha``: n times the strength of ``penalties.l2``. The
    objectives are those of ``penalties.CONVENTIONS``. For example, ``|Xw - y|^2 / (2 n) + strength / 2 |w|^2``
    ("regopt") has ``a = n strength`` and ``|Xw - y|^2 + strength |w|^2`` ("sklearn.Ridge") has ``a = strength``.

    Args:
        strength: the number that the library takes, >= 0 (> 0 for "sklearn.LogisticRegression"); may be traced.
        examples: number n of examples, >= 1; may be traced.
        library: a key of ``penalties.CONVENTIONS``; static.

    Returns:
        a, an array of JAX's default float dtype.

    Raises:
        ValueError: a concrete number lies outside its range, or the library is unknown or has no L2 penalty.

    Example:
        >>> from regopt.analysis.quadratic import ridge_alpha
        >>> ridge_alpha(0.5, examples=10), ridge_alpha(0.5, examples=10, library="sklearn.Ridge")
        (Array(5., dtype=float32), Array(0.5, dtype=float32))

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equations (7.14)-(7.17), where the
        factor 1/2 of the squared error is missing.
    """
    check_range("strength", strength, "[0, inf)")
    return l2_number(l2_strength(strength, library, examples=examples), "sklearn.Ridge", examples=examples)


def ridge_solution(x: jax.Array, y: jax.Array, strength: Number, library: Library = "regopt") -> jax.Array:
    """``(X'X + a I)^-1 X'y``, the minimum of the ridge objective of a library, with a from ``ridge_alpha``.

    Args:
        x: inputs, ``[examples, n]``.
        y: targets, ``[examples]``.
        strength: the number that the library takes, >= 0; may be traced.
        library: a key of ``penalties.CONVENTIONS``; static.

    Returns:
        The weights, ``[n]``, from the singular values of X. Those up to ``max(examples, n)`` roundings of the largest
        count as 0, at every strength. At strength 0 the weights are the least-squares solution of smallest norm.

    Raises:
        ValueError: shapes do not match, a concrete number lies outside its range, or the library is unknown or has no
            L2 penalty.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.quadratic import ridge_solution
        >>> ridge_solution(jnp.eye(2), jnp.array([2.0, 4.0]), 1.0, "sklearn.Ridge")
        Array([1., 2.], dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equation (7.17).

        Hoerl, A. E., & Kennard, R. W. (1970). Ridge regression: Biased estimation for nonorthogonal problems.
        Technometrics, 12(1), 55-67. Equation (2.1).
    """
    x, y = widen(x, y)
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise ValueError(f"x must have shape [examples, n] and y [examples], got {x.shape} and {y.shape}")
    return ridge(x, y, like(ridge_alpha(strength, len(x), library), x))
