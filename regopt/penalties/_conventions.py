"""The strengths of ``l1`` and ``l2`` that the numbers of other libraries mean.

In regopt a strength is that of ``strength * |w|_1`` or ``strength / 2 * |w|^2`` beside L, the mean of the loss over n
examples. A squared error carries a factor 1/2 in L: ``L = |y - X w|^2 / (2 n)``. Other libraries minimise other
objectives. With k for the number that a library takes, these are:

============================  ==================================================  ===========  ===========
library                       objective                                           l1 strength  l2 strength
============================  ==================================================  ===========  ===========
"regopt"                      ``L + k |w|_1`` or ``L + k / 2 |w|^2``              k            k
"glmnet"                      ``L + k |w|_1`` or ``L + k / 2 |w|^2``              k            k
"sklearn.Lasso"               ``L + k |w|_1``                                     k            none
"sklearn.ElasticNet"          ``L + k |w|_1`` or ``L + k / 2 |w|^2``              k            k
"sklearn.Ridge"               ``|y - X w|^2 + k |w|^2``                           none         k / n
"sklearn.LogisticRegression"  ``k n L + |w|_1`` or ``k n L + |w|^2 / 2``          1 / (k n)    1 / (k n)
"elasticnet"                  ``|y - X w|^2 + k |w|_1`` or ``... + k |w|^2``      k / (2 n)    k / n
"pytorch"                     ``L + k / 2 |w|^2``                                 none         k
"pytorch.MSELoss"             ``|y - X w|^2 / n + k / 2 |w|^2``                   none         k / 2
"keras"                       ``L + k |w|_1`` or ``L + k |w|^2``                  k            2 k
"keras.MeanSquaredError"      ``|y - X w|^2 / n + k |w|_1`` or ``... + k |w|^2``  k / 2        k
"deeplearning.ai"             ``L + k / (2 n) |w|_1`` or ``L + k / (2 n) |w|^2``  k / (2 n)    k / n
============================  ==================================================  ===========  ===========

For scikit-learn, k is ``alpha`` (``alpha * l1_ratio`` and ``alpha * (1 - l1_ratio)`` of ``ElasticNet``) or ``C`` of
``LogisticRegression``. For glmnet it is ``lambda``, of standardised inputs and, for ridge, a standardised y. For
PyTorch it is the ``weight_decay`` of SGD and Adam, for Keras the argument of ``regularizers.L1`` and ``L2``; both have
a row of their own for a mean squared error, which these libraries compute without the factor 1/2. "elasticnet" is
the objective of Zou & Hastie (2005), eq. (3), whose R package then rescales the minimum. "deeplearning.ai" is the
notation of that course on neural networks.
"""

from typing import Literal, NamedTuple, TypeAlias, get_args

import jax

from regopt._core.numerics import as_float, check_number, safe_divide
from regopt._core.types import Number

Library: TypeAlias = Literal[
    "regopt",
    "glmnet",
    "sklearn.Lasso",
    "sklearn.ElasticNet",
    "sklearn.Ridge",
    "sklearn.LogisticRegression",
    "elasticnet",
    "pytorch",
    "pytorch.MSELoss",
    "keras",
    "keras.MeanSquaredError",
    "deeplearning.ai",
]


class Convention(NamedTuple):
    """The strength that a library's number k means: ``l1 * k`` and ``l2 * k``, over n or inverted where it says so."""

    l1: float | None  # factor of the strength of l1; None where the library has no such penalty
    l2: float | None  # factor of the strength of l2, likewise
    by_examples: bool = False  # the data term is a sum, or k is divided by n: the strength is divided by n
    inverse: bool = False  # k multiplies the data term: the strength is that of 1 / k


CONVENTIONS: dict[Library, Convention] = {
    "regopt": Convention(1.0, 1.0),
    "glmnet": Convention(1.0, 1.0),
    "sklearn.Lasso": Convention(1.0, None),
    "sklearn.ElasticNet": Convention(1.0, 1.0),
    "sklearn.Ridge": Convention(None, 1.0, by_examples=True),
    "sklearn.LogisticRegression": Convention(1.0, 1.0, by_examples=True, inverse=True),
    "elasticnet": Convention(0.5, 1.0, by_examples=True),
    "pytorch": Convention(None, 1.0),
    "pytorch.MSELoss": Convention(None, 0.5),
    "keras": Convention(1.0, 2.0),
    "keras.MeanSquaredError": Convention(0.5, 1.0),
    "deeplearning.ai": Convention(0.5, 1.0, by_examples=True),
}


def l1_strength(number: Number, library: Library = "regopt", *, examples: Number | None = None) -> jax.Array:
    """The strength of ``l1`` that the number of a library means.

    The libraries and their objectives are in the table of ``regopt.penalties.CONVENTIONS``, whose factor ``l1`` it is:
    ``l1 * number``, divided by the number of examples where the library's data term is a sum over examples.

    Args:
        number: the number k that the library takes, >= 0 (> 0 for "sklearn.LogisticRegression"); may be traced.
        library: a key of ``CONVENTIONS``; static.
        examples: number n of examples, >= 1, for the libraries whose row has an n; may be traced.

    Returns:
        The strength, shape (), in JAX's default float dtype.

    Raises:
        ValueError: the library is unknown or has no L1 penalty, ``examples`` is missing, or a concrete number lies
            outside its range.

    Example:
        >>> from regopt.penalties import l1_strength
        >>> l1_strength(3.0, "elasticnet", examples=10)
        Array(0.15, dtype=float32)

    References:
        Friedman, J., Hastie, T., & Tibshirani, R. (2010). Regularization paths for generalized linear models via
        coordinate descent. Journal of Statistical Software, 33(1), 1-22. Equation (2), for glmnet.

        Zou, H., & Hastie, T. (2005). Regularization and variable selection via the elastic net. Journal of the Royal
        Statistical Society B, 67(2), 301-320. Equation (3).
    """
    return _strength(number, library, examples, "l1")


def l2_strength(number: Number, library: Library = "regopt", *, examples: Number | None = None) -> jax.Array:
    """The strength of ``l2`` that the number of a library means.

    The libraries and their objectives are in the table of ``regopt.penalties.CONVENTIONS``, whose factor ``l2`` it is:
    ``l2 * number``, divided by the number of examples where the library's data term is a sum over examples.

    Args:
        number: the number k that the library takes, >= 0 (> 0 for "sklearn.LogisticRegression"); may be traced.
        library: a key of ``CONVENTIONS``; static.
        examples: number n of examples, >= 1, for the libraries whose row has an n; may be traced.

    Returns:
        The strength, shape (), in JAX's default float dtype.

    Raises:
        ValueError: the library is unknown or has no L2 penalty, ``examples`` is missing, or a concrete number lies
            outside its range.

    Example:
        >>> from regopt.penalties import l2_strength
        >>> l2_strength(3.0, "keras"), l2_strength(3.0, "sklearn.Ridge", examples=10)
        (Array(6., dtype=float32), Array(0.3, dtype=float32))

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equation 7.2, for the objective of
        regopt.
    """
    return _strength(number, library, examples, "l2")


def l2_number(strength: Number, library: Library = "regopt", *, examples: Number | None = None) -> jax.Array:
    """The number that a library takes for this strength of ``l2``: the inverse of ``l2_strength``.

    Args:
        strength: strength of ``l2``, >= 0 (> 0 for "sklearn.LogisticRegression"); may be traced.
        library: a key of ``CONVENTIONS``; static.
        examples: number n of examples, >= 1, for the libraries whose row has an n; may be traced.

    Returns:
        The number k of the library, shape (), in JAX's default float dtype.

    Raises:
        ValueError: the library is unknown or has no L2 penalty, ``examples`` is missing, or a concrete number lies
            outside its range.

    Example:
        >>> from regopt.penalties import l2_number
        >>> l2_number(0.25, "sklearn.Ridge", examples=10)
        Array(2.5, dtype=float32)
        >>> l2_number(0.05, "sklearn.LogisticRegression", examples=10)
        Array(2., dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Equation 7.2, for the objective of
        regopt.
    """
    inverse = _convention(library).inverse
    check_number("strength", strength, "(0, inf)" if inverse else "[0, inf)")
    if inverse:
        return l2_strength(strength, library, examples=examples)
    return as_float(strength) / l2_strength(1.0, library, examples=examples)


def elastic_net_numbers(l1: Number, l2: Number) -> tuple[jax.Array, jax.Array]:
    """The strength and the l1_ratio of the ``elastic_net`` that equals ``l1(l1)`` plus ``l2(l2)``.

    The strength is ``l1 + l2`` and the ratio ``l1 / (l1 + l2)``. scikit-learn and glmnet take these two numbers
    already. The objective ``lambda * (a |w|^2 + (1 - a) |w|_1)``, without a factor 1/2, is
    ``elastic_net_numbers(l1_strength(lambda * (1 - a), library), l2_strength(lambda * a, library))`` with the library
    "keras", or "keras.MeanSquaredError" where the loss is a mean squared error without the factor 1/2.

    Args:
        l1: strength of ``l1``, >= 0; may be traced.
        l2: strength of ``l2``, >= 0; may be traced.

    Returns:
        The strength and the l1_ratio, each of shape (). The l1_ratio is 0 where both strengths are 0.

    Raises:
        ValueError: a concrete number is negative or NaN.

    Example:
        >>> from regopt.penalties import elastic_net_numbers
        >>> elastic_net_numbers(0.375, 0.125)
        (Array(0.5, dtype=float32), Array(0.75, dtype=float32))

    References:
        Zou, H., & Hastie, T. (2005). Regularization and variable selection via the elastic net. Journal of the Royal
        Statistical Society B, 67(2), 301-320. Equation (3).
    """
    check_number("l1", l1, "[0, inf)")
    check_number("l2", l2, "[0, inf)")
    strength = as_float(l1) + as_float(l2)
    return strength, safe_divide(as_float(l1), strength)


def decay_strength(decay: Number, learning_rate: Number | None = None) -> jax.Array:
    """The strength of ``l2`` that a decoupled weight decay means in ``regularize(..., how="decoupled")``.

    AdamW in PyTorch and in optax multiplies the weights by ``1 - learning_rate * decay`` in each step, so the strength
    is ``decay``. The paper multiplies them by ``1 - decay`` (times the schedule's multiplier), so the strength is
    ``decay / learning_rate``. For plain gradient descent, and only there, this is also the strength of the penalty in
    the loss.

    Args:
        decay: decay per step, >= 0, dimensionless; may be traced.
        learning_rate: the rate that the paper's form leaves out, > 0; may be traced. None selects PyTorch's form.

    Returns:
        The strength, shape (), in JAX's default float dtype.

    Raises:
        ValueError: a concrete number lies outside its range.

    Example:
        >>> from regopt.penalties import decay_strength
        >>> decay_strength(0.01), decay_strength(0.01, learning_rate=0.5)
        (Array(0.01, dtype=float32), Array(0.02, dtype=float32))

    References:
        Loshchilov, I., & Hutter, F. (2019). Decoupled weight decay regularization. ICLR. Equation (1) and Proposition
        1.
    """
    check_number("decay", decay, "[0, inf)")
    if learning_rate is None:
        return as_float(decay)
    check_number("learning_rate", learning_rate, "(0, inf)")
    return as_float(decay) / as_float(learning_rate)


def _convention(library: Library) -> Convention:
    if library not in CONVENTIONS:
        raise ValueError(f"library must be one of {', '.join(map(repr, get_args(Library)))}, got {library!r}")
    return CONVENTIONS[library]


def _strength(number: Number, library: Library, examples: Number | None, penalty: Literal["l1", "l2"]) -> jax.Array:
    convention = _convention(library)
    factor = convention.l1 if penalty == "l1" else convention.l2
    if factor is None:
        raise ValueError(f"the library {library!r} has no {penalty} penalty")
    check_number("number", number, "(0, inf)" if convention.inverse else "[0, inf)")
    if examples is not None:
        check_number("examples", examples, "[1, inf)")
    if not convention.by_examples:
        return factor * as_float(number)
    if examples is None:
        raise ValueError(f"the library {library!r} needs the number of examples")
    if convention.inverse:
        return factor / (as_float(number) * as_float(examples))
    return factor * as_float(number) / as_float(examples)
