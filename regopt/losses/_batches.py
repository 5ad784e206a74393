"""Metrics of evaluations in batches: a metric that is no mean over examples declares the statistics that are.

An evaluation in batches (``eval_batch_size`` of ``sweep.run`` and ``training.fit``) takes a metric for a mean over
examples and averages it over batches. That is wrong for a perplexity, which is a function of a mean, and for an area
under a curve, which needs all outputs at once. The declaration is an attribute of the metric.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, ParamSpec, TypeVar

import jax

from regopt._core.checks import check_function
from regopt._core.types import Tree

Arguments = ParamSpec("Arguments")
Scalar = TypeVar("Scalar", bound=jax.typing.ArrayLike)


class Reduction(NamedTuple):
    """The declaration of ``from_means`` and ``at_once``: the attribute ``reduction`` of a metric."""

    statistics: Callable[..., Tree] | None  # as the metric, a tree of means over examples; None needs all outputs
    # from the means over all examples, or the metric's value, to the metric
    finish: Callable[[Tree], jax.typing.ArrayLike]


def from_means(statistics: Callable[Arguments, Tree], finish: Callable[[Tree], Scalar]) -> Callable[Arguments, Scalar]:
    """The metric ``finish(statistics(outputs, targets))``, where the statistics are means over examples.

    An evaluation in batches averages the statistics, weighted by the size of the batches, and finishes once at the end.

    Args:
        statistics: ``(outputs, targets) -> mean``, a number or a tree of numbers, each a mean over the examples; with a
            third argument named ``h`` it is given the setting.
        finish: from the means over all examples to the metric, a scalar.

    Returns:
        The metric, a function of the arguments of ``statistics``.

    Raises:
        ValueError: an argument is no function.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt import losses
        >>> root_mean_square = losses.from_means(lambda outputs, y: jnp.mean((outputs - y) ** 2), jnp.sqrt)
        >>> float(root_mean_square(jnp.array([1.0, 5.0]), jnp.array([1.0, 1.0])))  # sqrt((0 + 16) / 2)
        2.8284270763397217

    References:
        Jelinek, F., Mercer, R. L., Bahl, L. R., & Baker, J. K. (1977). Perplexity: A measure of the difficulty of
        speech recognition tasks. Journal of the Acoustical Society of America, 62(S1), S63. The exponential of a mean.
    """
    check_function("statistics", statistics)
    check_function("finish", finish)

    @functools.wraps(statistics)
    def metric(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Scalar:
        return finish(statistics(*args, **kwargs))

    metric.reduction = Reduction(statistics, finish)  # type: ignore[attr-defined]
    return metric


def at_once(metric: Callable[Arguments, Scalar]) -> Callable[Arguments, Scalar]:
    """The same metric, declared to need the outputs of all examples at once, as an area under a curve does.

    An evaluation in batches collects the outputs of all batches and computes the metric from them, so its memory grows
    with the outputs of the validation set, though not with what a model holds in between.

    Args:
        metric: ``(outputs, targets) -> scalar``; with a third argument named ``h`` it is given the setting.

    Returns:
        The metric.

    Raises:
        ValueError: ``metric`` is no function.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt import losses
        >>> largest_error = losses.at_once(lambda outputs, y: jnp.max(jnp.abs(outputs - y)))
        >>> float(largest_error(jnp.array([1.0, 5.0]), jnp.array([1.0, 1.0])))
        4.0

    References:
        Hanley, J. A., & McNeil, B. J. (1982). The meaning and use of the area under a receiver operating characteristic
        (ROC) curve. Radiology, 143(1), 29-36. A metric of pairs of examples.
    """
    check_function("metric", metric)

    @functools.wraps(metric)
    def whole(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Scalar:
        return metric(*args, **kwargs)

    whole.reduction = Reduction(None, lambda value: value)  # type: ignore[attr-defined]
    return whole
