"""The vocabulary: what a number, a tree, a schedule, a penalty, a stopping rule and a task are.

Types only; nothing here computes. A *number* is a Python, NumPy or JAX scalar or a tracer, so every
argument annotated ``Number`` may be traced, vmapped over and differentiated.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax

Number: TypeAlias = jax.typing.ArrayLike  # a scalar: float, int, NumPy or JAX scalar, or tracer
Schedule: TypeAlias = Callable[[Number], jax.Array]  # step count -> number
Key: TypeAlias = jax.Array  # a typed key from jax.random.key
Device: TypeAlias = Any  # a jax.Device
Tree: TypeAlias = Any  # a pytree of arrays
NumberTree: TypeAlias = Any  # a number, or a prefix tree of numbers (one for a layer, say)
NumberOrSchedule: TypeAlias = Any  # a number, a schedule, or a prefix tree of both (one for a layer, say)
Mask: TypeAlias = Any  # "weights", a tree of bools or a prefix of one, a function from parameters to one, None for all


class Penalty(NamedTuple):
    """A regulariser, as pure functions of a parameter tree.

    ``value(params)`` is a float scalar (at least float32) in units of the loss, differentiable with a finite
    (sub)gradient. ``prox(params, step)`` is ``argmin_u |u - params|^2 / 2 + step * value(u)``, with the
    shapes and dtypes of ``params``; None where no closed form is known. The step is a number, or a tree of numbers by
    layer or by coordinate: then it is ``argmin_u sum_i (u_i - params_i)^2 / (2 step_i) + value(u)``. ``mask(params)``
    is the tree of bools that tells which leaves are penalised. ``project(params, radius)`` is the nearest point of the
    ball of the penalty's norm over these leaves, whatever the strength; None where none is known.

    ``strength_max(grad_at_zero)`` is the smallest strength, one for all layers, at which zero minimises a loss with
    this gradient plus the penalty (for a nonconvex penalty: is a stationary point); shape (). None where there is
    no such strength or it is not known. ``stage`` is for ``penalties.total``: where two penalise one leaf, the prox of
    their sum is their own in ascending order of stage, for the pairs listed there; None where that never holds.
    """

    value: Callable[[Tree], jax.Array]
    prox: Callable[[Tree, NumberTree], Tree] | None
    mask: Callable[[Tree], Tree]
    project: Callable[[Tree, Number], Tree] | None = None
    strength_max: Callable[[Tree], jax.Array] | None = None
    stage: int | None = None


class Stopping(NamedTuple):
    """An early-stopping rule as a state machine over arrays; it runs inside jit, vmap and scan.

    ``init(params) -> state`` and ``update(state, params, metric) -> state``; the state has the fields ``stop``
    (bool, shape ()), ``best_params``, ``best_step`` and ``best_metric``.
    """

    init: Callable[[Tree], Any]
    update: Callable[[Any, Tree, Number], Any]


class Task(NamedTuple):
    """What a sweep trains: pure functions of one setting ``h``, a dict of numbers (and static values).

    ``init(key, h) -> state``, ``step(state, batch, key, h) -> (state, metrics)`` and
    ``evaluate(state, data, h) -> metrics``; metrics are dicts of scalars. ``predict(state, inputs, h) -> outputs``,
    one array, is for ``Result.predict``; a task may do without.
    """

    init: Callable[[Key, Any], Tree]
    step: Callable[[Tree, Tree, Key, Any], tuple[Tree, dict[str, jax.Array]]]
    evaluate: Callable[[Tree, Tree, Any], dict[str, jax.Array]]
    predict: Callable[[Tree, Tree, Any], jax.Array] | None = None
