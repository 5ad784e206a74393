"""The strengths of ``l1``, ``l2`` and ``elastic_net`` that others' numbers mean.

A strength here is that of ``strength |w|_1`` or ``strength / 2 |w|^2`` beside L, a mean over n examples, with its half
where it is a squared error: ``|y - X w|^2 / (2 n)``. What others minimise, with their number k:

==============  ==========================================================  ============  ============
scale           objective                                                   l1 strength   l2 strength
==============  ==========================================================  ============  ============
"half"          ``L + k |w|_1`` or ``L + k / 2 |w|^2``                      k             k
"plain"         ``L + k |w|_1`` or ``L + k |w|^2``                          k             2 k
"mse"           ``|y - X w|^2 / n + k |w|_1`` or ``... + k |w|^2``          k / 2         k
"examples"      ``L + k / (2 n) |w|_1`` or ``L + k / (2 n) |w|^2``          k / (2 n)     k / n
"sum"           ``|y - X w|^2 + k |w|_1`` or ``... + k |w|^2``              k / (2 n)     k / n
"inverse"       ``k sum of losses + |w|_1`` or ``... + |w|^2 / 2``          1 / (k n)     1 / (k n)
==============  ==========================================================  ============  ============

"half" are Goodfellow et al. (2016), (7.2); scikit-learn's ``Lasso`` and ``ElasticNet``; glmnet, of standardised inputs
and, for ridge, a standardised y; PyTorch's ``weight_decay`` of SGD and Adam, whose loss is L. "sum" are scikit-learn's
``Ridge`` and Zou & Hastie (2005), "inverse" its ``LogisticRegression``, "examples" a network's decay in many lectures.
"""

from typing import Literal, TypeAlias, get_args

import jax

from regopt._core.numerics import as_float, check_range, safe_divide
from regopt._core.types import Number

Scale: TypeAlias = Literal["half", "plain", "mse", "examples", "sum", "inverse"]


def l1_strength(number: Number, scale: Scale = "half", *, examples: Number | None = None) -> jax.Array:
    """The strength of ``l1`` that a number on another scale means; see the module's table.

    Args:
        number: k of the table, >= 0 ("inverse": > 0); may be traced.
        scale: a row of the table.
        examples: n of the table, >= 1, for "examples", "sum" and "inverse"; may be traced.

    Returns:
        The strength, shape ().

    Raises:
        ValueError: an unknown scale, examples missing, or a concrete number outside its range.

    References: Friedman, Hastie & Tibshirani (2010), (2), for glmnet; scikit-learn's user guide, section 1.1.

    >>> l1_strength(3.0, "sum", examples=10)
    Array(0.15, dtype=float32)
    """
    return _factor(number, scale, examples, {"half": 1.0, "plain": 1.0, "mse": 0.5, "examples": 0.5, "sum": 0.5})


def l2_strength(number: Number, scale: Scale = "half", *, examples: Number | None = None) -> jax.Array:
    """The strength of ``l2`` that a number on another scale means; see the module's table.

    Args:
        number: k of the table, >= 0 ("inverse": > 0); may be traced.
        scale: a row of the table.
        examples: n of the table, >= 1, for "examples", "sum" and "inverse"; may be traced.

    Returns:
        The strength, shape ().

    Raises:
        ValueError: an unknown scale, examples missing, or a concrete number outside its range.

    References: Goodfellow et al. (2016), (7.2); scikit-learn's user guide, section 1.1.

    >>> l2_strength(3.0, "plain"), l2_strength(3.0, "sum", examples=10)
    (Array(6., dtype=float32), Array(0.3, dtype=float32))
    """
    return _factor(number, scale, examples, {"half": 1.0, "plain": 2.0, "mse": 1.0, "examples": 1.0, "sum": 1.0})


def l2_number(strength: Number, scale: Scale = "half", *, examples: Number | None = None) -> jax.Array:
    """The number on another scale that means this strength of ``l2``: the inverse of ``l2_strength``.

    Args:
        strength: >= 0 ("inverse": > 0); may be traced.
        scale: a row of the module's table.
        examples: n of the table, >= 1, for "examples", "sum" and "inverse"; may be traced.

    Returns:
        k of the table, shape ().

    Raises:
        ValueError: an unknown scale, examples missing, or a concrete number outside its range.

    >>> l2_number(0.25, "sum", examples=10), l2_number(0.05, "inverse", examples=10)
    (Array(2.5, dtype=float32), Array(2., dtype=float32))
    """
    check_range("strength", strength, "(0, inf)" if scale == "inverse" else "[0, inf)")
    if scale == "inverse":
        return l2_strength(strength, scale, examples=examples)
    return as_float(strength) / l2_strength(1.0, scale, examples=examples)


def elastic_net_numbers(l1: Number, l2: Number) -> tuple[jax.Array, jax.Array]:
    """The strength and the l1_ratio of the ``elastic_net`` that is ``l1(l1)`` and ``l2(l2)`` together.

    scikit-learn's and glmnet's numbers are those already. ``lambda (a |w|^2 + (1 - a) |w|_1)``, the parts exchanged and
    no half, is ``elastic_net_numbers(l1_strength(lambda (1 - a), scale), l2_strength(lambda a, scale))`` with the
    scale "plain", or "mse" where the loss is the mean squared error without its half.

    Args:
        l1: strength of the first, >= 0; may be traced.
        l2: strength of the second, >= 0; may be traced.

    Returns:
        The strength, their sum, and the l1_ratio, the first's part (0 where both are 0); of shape ().

    Raises:
        ValueError: a concrete number is negative or NaN.

    References: Zou & Hastie (2005), (3); scikit-learn's ``ElasticNet``.

    >>> elastic_net_numbers(0.375, 0.125)
    (Array(0.5, dtype=float32), Array(0.75, dtype=float32))
    """
    check_range("l1", l1, "[0, inf)")
    check_range("l2", l2, "[0, inf)")
    strength = as_float(l1) + as_float(l2)
    return strength, safe_divide(as_float(l1), strength)


def decay_strength(decay: Number, learning_rate: Number | None = None) -> jax.Array:
    """The strength of ``l2`` that a decoupled weight decay means, in ``regularize(..., how="decoupled")``.

    PyTorch's and optax's AdamW shrink by ``learning_rate * decay`` a step: the strength is the decay. The paper shrinks
    by ``decay`` itself (times the schedule's multiplier): the strength is ``decay / learning_rate``, which for plain
    gradient descent, and for it alone, is also that of the penalty in the loss.

    Args:
        decay: >= 0, dimensionless; may be traced.
        learning_rate: > 0, the rate that the paper's form leaves out; may be traced. None for PyTorch's form.

    Returns:
        The strength, shape ().

    Raises:
        ValueError: a concrete number lies outside its range.

    References: Loshchilov & Hutter (2019), (1) and Proposition 1.

    >>> decay_strength(0.01), decay_strength(0.01, learning_rate=0.5)
    (Array(0.01, dtype=float32), Array(0.02, dtype=float32))
    """
    check_range("decay", decay, "[0, inf)")
    if learning_rate is None:
        return as_float(decay)
    check_range("learning_rate", learning_rate, "(0, inf)")
    return as_float(decay) / as_float(learning_rate)


def _factor(number: Number, scale: Scale, examples: Number | None, factors: dict[str, float]) -> jax.Array:
    if scale not in get_args(Scale):
        raise ValueError(f"scale must be one of {', '.join(map(repr, get_args(Scale)))}, got {scale!r}")
    check_range("number", number, "(0, inf)" if scale == "inverse" else "[0, inf)")
    if scale not in ("examples", "sum", "inverse"):
        return factors[scale] * as_float(number)
    if examples is None:
        raise ValueError(f'the scale "{scale}" needs the number of examples')
    check_range("examples", examples, "[1, inf)")
    if scale == "inverse":
        return 1 / (as_float(number) * as_float(examples))
    return factors[scale] * as_float(number) / as_float(examples)
