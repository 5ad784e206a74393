"""The loss of a model with several outputs, as a weighted sum over its tasks."""

from collections.abc import Callable, Mapping
from functools import reduce
from typing import TypeAlias

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_range, like, widen
from regopt._core.types import Number, Tree
from regopt.losses._metric import metric

Measure: TypeAlias = Callable[[Tree, Tree], jax.Array]  # (outputs, targets) -> scalar


def multi_task(measures: Mapping[str, Measure], weights: Mapping[str, Number] | None = None) -> Measure:
    """``sum_k weight_k * measure_k(outputs[k], targets[k])`` over tasks k: the loss of a model with several outputs.

    Args:
        measures: for each task, by name, a function ``(outputs, targets) -> scalar``; static.
        weights: for each task, by name, a weight >= 0 in units of the sum per unit of the measure; may be traced. None
            for a weight of 1 each.

    Returns:
        A function ``(outputs, targets) -> scalar`` of dicts by task, in at least float32. It ignores outputs of other
        tasks.

    Raises:
        ValueError: there are no measures, a concrete weight is negative, or measures and weights have different names;
            when the function is called, outputs or targets lack a task.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.losses import multi_task, squared_error
        >>> loss = multi_task({"age": squared_error, "dose": squared_error}, weights={"age": 1.0, "dose": 0.5})
        >>> outputs = {"age": jnp.array([1.0]), "dose": jnp.array([2.0])}
        >>> loss(outputs, {"age": jnp.array([0.0]), "dose": jnp.array([0.0])})
        Array(1.5, dtype=float32)

    References:
        Caruana, R. (1997). Multitask learning. Machine Learning, 28, 41-75.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 7.7.
    """
    weights = dict.fromkeys(measures, 1.0) if weights is None else weights
    if not measures:
        raise ValueError("measures must name at least one task, got none")
    if set(weights) != set(measures):
        raise ValueError(f"weights must be those of the measures {sorted(measures)}, got {sorted(weights)}")
    for name, weight in weights.items():
        check_range(f"the weight of {name}", weight, "[0, inf)")

    @metric(mode="min")
    def loss(outputs, targets):
        for part, given in (("outputs", outputs), ("targets", targets)):
            if missing := set(measures) - set(given):
                raise ValueError(f"{part} must have {sorted(measures)}, got no {sorted(missing)}")
        terms = widen(*(measure(outputs[name], targets[name]) for name, measure in measures.items()))
        return reduce(jnp.add, [like(weights[name], term) * term for name, term in zip(measures, terms, strict=True)])

    return loss
