"""Descent on a validation metric by its hypergradient, with any optax optimizer, on a scale for each number."""

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from regopt._core import trees
from regopt._core.checks import check_choice
from regopt._core.numerics import check_range
from regopt._core.training_data import check_steps
from regopt._core.types import Tree
from regopt.sweep.hypergradients._through_run import as_numbers

Scale: TypeAlias = Literal["log", "logit", "linear"]

# to the descent's own variable and back, and where the numbers may lie
_SCALES = {
    "log": (jnp.log, jnp.exp, "(0, inf)"),
    "logit": (jax.scipy.special.logit, jax.nn.sigmoid, "(0, 1)"),
    "linear": (lambda x: x, lambda x: x, "(-inf, inf)"),
}


class HasGradient(Protocol):
    """A metric with its gradient, as ``hypergradient`` and ``implicit_hypergradient`` return them."""

    @property
    def value(self) -> jax.Array: ...
    @property
    def gradient(self) -> Tree: ...


class Tuned(NamedTuple):
    """The path of a descent and its best point."""

    h: Tree  # the accepted point with the best value, the first of equals
    value: jax.Array  # shape (), float: the metric there; inf if no point was accepted, -inf if it is to be maximised
    round: jax.Array  # shape (), int32: its place in the path
    path: Tree  # h of every round, with a leading axis [rounds]
    values: jax.Array  # [rounds], float: the metric at each
    metrics: Tree  # the results' field ``metrics``, each with a leading axis [rounds]; () where they have none
    accepted: jax.Array  # [rounds], bool: False where value or gradient was not finite, and the step was halved


class _Descent(NamedTuple):
    """The values that are carried from round to round, on the scale of the descent."""

    accepted: Tree  # the last point with a finite value and gradient
    trial: Tree  # the point to evaluate next
    opt_state: Tree


def tune(
    hypergradient_of: Callable[[Tree], HasGradient],
    h: Tree,
    optimizer: optax.GradientTransformation,
    *,
    rounds: int,
    scale: Scale | Tree = "log",
) -> Tuned:
    """Descend on a metric by its hypergradient, or ascend on one to maximise, and return the best point of the path.

    A round evaluates the metric and its gradient at one point and steps from there. If either is not finite, the point
    is not accepted: the next point is halfway back to the last accepted one, and the optimizer does not see the round.
    So a learning rate at which training diverges costs rounds and nothing else.

    The best of many rounds has a metric that is too good, because the search fits the validation examples; report the
    metric on another set. The descent is deterministic, and a pure function, which may be jitted and mapped over ``h``
    and the arrays that ``hypergradient_of`` closes over.

    Args:
        hypergradient_of: ``h -> result`` with the fields ``value`` and ``gradient``, as
            ``lambda h: sweep.hypergradient(task, h, data, steps=100)`` or an ``implicit_hypergradient``. The value is
            minimised, or maximised where the result has a field ``sign`` of -1, as for a metric that declares it.
        h: where to start, any tree of real numbers and arrays.
        optimizer: any optax or regopt optimizer without a line search; its steps are on the scale of the descent, and
            it gets ``value`` too.
        rounds: evaluations of metric and gradient, the first one at the start; >= 1, static.
        scale: what the optimizer moves: the "log" of numbers in (0, inf) (strengths, learning rates), the "logit" of
            numbers in (0, 1) (momentum, dropout rates), or the number itself, "linear"; one for all, or a prefix tree.

    Returns:
        The best point and the path.

    Raises:
        ValueError: a concrete number lies outside its scale, an argument is out of range or of another type than
            stated, or the metric or its gradient is not finite at the start and so on the whole path (not raised under
            jit).

    Example:
        >>> import regopt
        >>> from regopt import sweep
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> tuned = sweep.tune(  # the validation loss after 2 steps is (1 - rate)**4
        ...     lambda h: sweep.hypergradient(MEAN_TASK, h, MEAN_DATA, steps=2),
        ...     {"rate": 0.5},
        ...     regopt.sgd(0.1),
        ...     rounds=20,
        ...     scale="linear",
        ... )
        >>> float(tuned.values[0]), bool(tuned.value < 0.01)
        (0.0625, True)

    References:
        Pedregosa, F. (2016). Hyperparameter optimization with approximate gradient. ICML. Algorithm 1, without the
        decreasing tolerance.
    """
    check_steps(1, 1, rounds=rounds)
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise ValueError(f"optimizer must be an optax transformation, got {optimizer!r}")
    h = as_numbers(h)
    scales = _scales_of(scale, h)
    start = jax.tree.map(lambda name, x: _SCALES[name][0](x), scales, h)
    transform = optax.with_extra_args_support(optimizer)

    def evaluate(point):
        h, pull_back = jax.vjp(lambda z: jax.tree.map(lambda name, x: _SCALES[name][1](x), scales, z), point)
        found = hypergradient_of(h)
        if not (hasattr(found, "value") and hasattr(found, "gradient")):
            raise ValueError(
                f"hypergradient_of must return a result with value and gradient, got a {type(found).__name__}"
            )
        sign = jnp.asarray(getattr(found, "sign", 1), jnp.asarray(found.value).dtype)
        gradient = jax.tree.map(lambda slope: sign.astype(slope.dtype) * slope, pull_back(found.gradient)[0])
        seen = h, found.value, getattr(found, "metrics", ()), sign
        return seen, gradient, jnp.isfinite(found.value) & (trees.count_not_finite(gradient) == 0)

    def one_round(descent, _):
        seen, gradient, good = evaluate(descent.trial)
        updates, opt_state = transform.update(gradient, descent.opt_state, descent.trial, value=seen[3] * seen[1])
        onward = optax.apply_updates(descent.trial, updates)
        back = jax.tree.map(lambda a, b: (a + b) / 2, descent.accepted, descent.trial)
        after = trees.where(
            good,
            _Descent(descent.trial, onward, opt_state),
            _Descent(descent.accepted, back, descent.opt_state),
        )
        return after, (*seen, good)

    first = _Descent(start, start, transform.init(start))
    path, values, metrics, sign, accepted = jax.lax.scan(one_round, first, length=rounds)[1]
    if not isinstance(accepted, Tracer) and not np.any(accepted):
        raise ValueError(f"h must start where the metric and its gradient are finite, got {h}")
    found = jnp.where(accepted, sign * values, jnp.inf)
    best = jnp.argmin(found).astype(jnp.int32)
    return Tuned(jax.tree.map(lambda x: x[best], path), (sign * found)[best], best, path, values, metrics, accepted)


def _scales_of(scale: Tree, h: Tree) -> Tree:
    """The name of the scale of each number, after a check that it is known and that the number lies on it."""
    try:
        scales = jax.tree.broadcast(scale, h)
    except ValueError as error:
        raise ValueError(f"scale must be a name or a prefix tree of names for h, got {scale!r}") from error
    for (path, name), number in zip(jax.tree.leaves_with_path(scales), jax.tree.leaves(h), strict=True):
        check_choice("scale", name, _SCALES)
        check_range(f"h{jax.tree_util.keystr(path)} on the {name} scale", number, _SCALES[name][2])
    return scales
