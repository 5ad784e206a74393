"""Diagnosis of a model from its training and validation errors, and advice on what to try next.

The functions interpret errors that have been measured. Thresholds are arguments, because they depend on the task. For
measurements of bias and variance, which need replicas, see ``bias_variance``.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.numerics import as_float, check_range, widen
from regopt._core.types import Number

GOOD, UNDERFITS, OVERFITS, BOTH, SUSPICIOUS = range(5)

ADVICE = {
    GOOD: ("good", "Both errors reach the goal. Confirm it once on test data that no choice has seen."),
    UNDERFITS: (
        "underfits (bias)",
        "The training error misses the goal and validation is close to it. Try a larger model, longer or better "
        "training, better features, or less regularisation; more data will not help.",
    ),
    OVERFITS: (
        "overfits (variance)",
        "Training reaches the goal and validation does not. Try more data or augmentation, more regularisation, "
        "earlier stopping, an ensemble, or a smaller model.",
    ),
    BOTH: (
        "underfits and overfits",
        "The training error misses the goal and validation is far above it. Make the model fit the training data "
        "first, then regularise.",
    ),
    SUSPICIOUS: (
        "validation better than training",
        "The training error misses the goal and validation meets it, which generalisation does not explain. Measure "
        "the training error with dropout and augmentation off, look for validation examples among the training ones, "
        "and for a validation set that is too small or too easy.",
    ),
}


class LearningCurve(NamedTuple):
    """A power law ``limit + scale * examples**-rate`` of an error against the size of the training set."""

    limit: jax.Array  # shape (): the error with unlimited data
    scale: jax.Array  # shape ()
    rate: jax.Array  # shape (), > 0
    residual: jax.Array  # shape (): root mean square of the residuals, relative to that of the errors


def diagnose(train_error: Number, validation_error: Number, goal: Number, gap: Number) -> jax.Array:
    """The case, one of five, that a pair of errors belongs to, as a code that ``advice`` explains.

    An error is called high if it is above the goal. The pair (training, validation) is good if both errors are low. It
    overfits if only the validation error is high. If both are high, the model underfits where the validation error is
    within ``gap`` of the training error, and otherwise both under- and overfits. A high training error with a low
    validation error is suspicious.

    Args:
        train_error: training error, >= 0, of any shape; may be traced.
        validation_error: validation error, >= 0, of the same shape; may be traced.
        goal: the error to reach, >= 0, for example that of humans or of the best known method; may be traced.
        gap: the largest difference that counts as close, >= 0; may be traced.

    Returns:
        int32 codes ``GOOD``, ``UNDERFITS``, ``OVERFITS``, ``BOTH``, ``SUSPICIOUS``, in the shape of the errors.

    Raises:
        ValueError: a concrete number is negative or NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis import diagnose
        >>> diagnose(jnp.array([0.01, 0.01, 0.2]), jnp.array([0.02, 0.2, 0.21]), goal=0.05, gap=0.05)
        Array([0, 2, 1], dtype=int32)

    References:
        Ng, A. (2018). Machine Learning Yearning. deeplearning.ai. Chapters 20-27.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 11.3.
    """
    for name, value in (("train_error", train_error), ("validation_error", validation_error)):
        check_range(name, value, "[0, inf)")
    check_range("goal", goal, "[0, inf)")
    check_range("gap", gap, "[0, inf)")
    train, validation, goal, gap = (as_float(x) for x in (train_error, validation_error, goal, gap))
    far = validation - train > gap
    when_high = jnp.where(validation <= goal, SUSPICIOUS, jnp.where(far, BOTH, UNDERFITS))
    return jnp.where(train > goal, when_high, jnp.where(validation > goal, OVERFITS, GOOD)).astype(jnp.int32)


def advice(code: int | jax.Array) -> str:
    """A description of the case of a code and of what to try next.

    Args:
        code: a code that ``diagnose`` returned; must be concrete.

    Returns:
        A few sentences.

    Raises:
        ValueError: the code is unknown.

    Example:
        >>> from regopt.analysis import advice
        >>> advice(2)[:20]
        'Overfits (variance).'
    """
    number = int(code)
    if number not in ADVICE:
        raise ValueError(f"code must lie in [0, {len(ADVICE) - 1}], got {number}")
    name, text = ADVICE[number]
    return f"{name[0].upper()}{name[1:]}. {text}"


def fit_learning_curve(examples: jax.Array, errors: jax.Array) -> LearningCurve:
    """``limit + scale * examples**-rate``, fitted by least squares to errors at several sizes of the training set.

    The rate is the best of a grid of 400 values in [0.05, 2]; limit and scale, both >= 0, follow in closed form. An
    error that does not fall gives the scale 0. Three sizes fit any falling curve, so a limit is reliable only if there
    are more sizes and the residual is small.

    Args:
        examples: sizes of the training set, > 0, ``[n]`` with n >= 3.
        errors: the error at each size, ``[n]``.

    Returns:
        The power law.

    Raises:
        ValueError: there are fewer than three sizes, the shapes differ, or a concrete value lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis import fit_learning_curve
        >>> round(float(fit_learning_curve(jnp.array([10.0, 40.0, 160.0]), jnp.array([0.6, 0.35, 0.225])).limit), 2)
        0.1

    References:
        Cortes, C., Jackel, L. D., Solla, S. A., Vapnik, V., & Denker, J. S. (1993). Learning curves: Asymptotic values
        and rate of convergence. NeurIPS. Equation (1).

        Hestness, J., Narang, S., Ardalani, N., Diamos, G., Jun, H., Kianinejad, H., Patwary, M. M. A., Yang, Y., &
        Zhou, Y. (2017). Deep learning scaling is predictable, empirically. arXiv:1712.00409. Section 2.
    """
    check_range("examples", examples, "(0, inf)")
    check_range("errors", errors, "(-inf, inf)")
    examples, errors = widen(examples, errors)
    if examples.ndim != 1 or len(examples) < 3 or errors.shape != examples.shape:
        raise ValueError(f"examples and errors must have one shape [n >= 3], got {examples.shape} and {errors.shape}")
    relative = examples / jnp.min(examples)

    def at(rate):
        falls = relative**-rate
        centred, spread = falls - jnp.mean(falls), errors - jnp.mean(errors)
        scale = jnp.maximum(jnp.sum(centred * spread) / jnp.sum(jnp.square(centred)), 0)
        limit = jnp.mean(errors) - scale * jnp.mean(falls)
        through_zero = jnp.sum(falls * errors) / jnp.sum(jnp.square(falls))
        scale, limit = jnp.where(limit < 0, through_zero, scale), jnp.maximum(limit, 0)
        return limit, scale, jnp.sum(jnp.square(limit + scale * falls - errors))

    rates = jnp.linspace(0.05, 2.0, 400, dtype=examples.dtype)
    limits, scales, misfits = jax.vmap(at)(rates)
    best = jnp.argmin(misfits)
    residual = jnp.sqrt(misfits[best] / jnp.sum(jnp.square(errors)))
    return LearningCurve(limits[best], scales[best] * jnp.min(examples) ** rates[best], rates[best], residual)


def read_learning_curve(examples: jax.Array, train_errors: jax.Array, validation_errors: jax.Array, goal: float) -> str:
    """A statement whether more data would help, from both errors at several sizes of the training set.

    Args:
        examples: sizes of the training set, ascending, ``[n]`` with n >= 3.
        train_errors: training error at each size, ``[n]``.
        validation_errors: validation error at each size, ``[n]``.
        goal: the error to reach.

    Returns:
        A few sentences, with the numbers that they are based on.

    Raises:
        ValueError: there are fewer than three sizes, the shapes differ, or a value lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis import read_learning_curve
        >>> examples, validation = jnp.array([10.0, 40.0, 160.0]), jnp.array([0.6, 0.35, 0.225])
        >>> print(read_learning_curve(examples, jnp.zeros(3), validation, goal=0.25))
        The goal is reached at 160 examples. Validation error tends to about 0.0998 (power law, residual 0.0%).
    """
    curve = fit_learning_curve(examples, validation_errors)
    sizes, validation, train = (np.asarray(x, float) for x in (examples, validation_errors, train_errors))
    basis = (
        f"Validation error tends to about {float(curve.limit):.3g} (power law, residual {float(curve.residual):.1%})."
    )
    gap = validation[-1] - train[-1]
    if validation[-1] <= goal:
        return f"The goal is reached at {sizes[-1]:g} examples. {basis}"
    if float(curve.limit) >= goal:
        cause = "the training error is above it as well: reduce the bias" if train[-1] > goal else "change the model"
        return f"More data alone will not reach {goal:g}; {cause}. {basis}"
    needed = (float(curve.scale) / (goal - float(curve.limit))) ** (1 / float(curve.rate))
    return f"More data helps: the gap is still {gap:.3g}, and about {needed:.2g} examples would reach {goal:g}. {basis}"
