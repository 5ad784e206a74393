"""The vocabulary: what a number, a tree, a schedule, a penalty, a stopping rule and a task are.

Types only; nothing here computes. A *number* is a Python, NumPy or JAX scalar or a tracer, so every
argument annotated ``Number`` may be traced, vmapped over and differentiated.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, NoReturn, Protocol, Self, TypeAlias, TypeVar

import jax
import numpy as np
from typing_extensions import TypeAliasType

Element = TypeVar("Element", covariant=True)

# A pytree of arrays. A recursive alias such as optax.Params would refuse parameters that are dataclasses (equinox's
# modules, say) or hold a None, and would flag ``params["w"]`` and ``state.count`` on all that a function returns; so
# this is Any, and functions whose result has the structure of an argument say so by a type variable.
Tree: TypeAlias = Any

# One setting of a sweep: its numbers and its static values by name. A static value is whatever the task takes it for (a
# width, the name of an optimizer, an activation function), which no type can say.
Setting: TypeAlias = dict[str, Any]

# The extra arguments of an optimizer's update: functions and numbers, of which an optimizer takes those that it knows.
ExtraArgs: TypeAlias = dict[str, Any]

Mode: TypeAlias = Literal["min", "max"]  # whether a smaller or a larger value of a metric is better


class ListOf(Protocol[Element]):
    """A list to be read: ``list`` is invariant in its elements, and a string is a ``Sequence`` of strings."""

    def __iter__(self) -> Iterator[Element]: ...
    def reverse(self) -> None: ...


class Device(Protocol):
    """A ``jax.Device``, which is unknown to type checkers: jaxlib has no stubs for it."""

    @property
    def platform(self) -> str: ...
    @property
    def device_kind(self) -> str: ...
    def memory_stats(self) -> dict[str, int] | None: ...


# A ``jax.tree_util.PyTreeDef``, which is unknown to type checkers too.
PyTreeDef: TypeAlias = Any

Leaf: TypeAlias = jax.Array | np.ndarray  # an array of a tree; random keys are arrays of JAX

# A TypeAliasType has a name, which ``help`` prints instead of all that it stands for. Those that contain themselves go
# by a plain alias, because pyright takes a TypeAliasType inside its own call for a variable.
Number = TypeAliasType("Number", jax.typing.ArrayLike)  # a scalar: float, int, NumPy or JAX scalar, or tracer
Schedule: TypeAlias = Callable[[Number], jax.Array]  # step count -> number
Key: TypeAlias = jax.Array  # a typed key from jax.random.key

# A number or a schedule (regopt's, optax's or any function of the step count).
ScheduledNumber = TypeAliasType("ScheduledNumber", Number | Callable[[jax.Array], Number])

# A number, a prefix tree of numbers (one for a layer, say), or a mapping from path patterns to numbers.
_Numbers: TypeAlias = Number | Mapping[Any, "_Numbers"] | ListOf["_Numbers"] | tuple["_Numbers", ...]
NumberTree = TypeAliasType("NumberTree", _Numbers)

# A number, a schedule (regopt's, optax's or any function of the step count), or a tree or patterns of both.
_Schedules: TypeAlias = ScheduledNumber | Mapping[Any, "_Schedules"] | ListOf["_Schedules"] | tuple["_Schedules", ...]
NumberOrSchedule = TypeAliasType("NumberOrSchedule", _Schedules)

# A tree of bools, a prefix of one, or a mapping from path patterns to bools.
_Bools: TypeAlias = bool | np.bool_ | Mapping[Any, "_Bools"] | ListOf["_Bools"] | tuple["_Bools", ...]
BoolTree = TypeAliasType("BoolTree", _Bools)
# "weights", bools by layer, a function from parameters to these, None for all.
Mask = TypeAliasType("Mask", Literal["weights"] | BoolTree | Callable[[Tree], Tree] | None)

NO_PROX = 'the penalty has no prox: use how="gradient", which takes any penalty, or how="decoupled"'
NO_PROJECTION = "the penalty has no projection: pass one of regopt.projections as constraint"
NO_STRENGTH_MAX = (
    "the penalty has no largest strength, or it is not known: choose the strengths of the path yourself, or take a "
    "penalty with has_strength_max"
)

NO_LINEAR_MINIMUM = (
    "no lower bound of a linear function plus this penalty is known, so there is no duality gap: take a penalty with "
    "has_linear_minimum, or go by the residual"
)


def all_leaves(params: Tree) -> Tree:
    """The mask of a penalty that has none."""
    return jax.tree.map(lambda _: True, params)


def no_prox(params: Tree, step: NumberTree) -> Tree:
    """The prox of a penalty of which none is known: it raises."""
    del params, step
    raise ValueError(NO_PROX)


def no_projection(params: Tree, radius: Number) -> Tree:
    """The projection of a penalty of which none is known: it raises."""
    del params, radius
    raise ValueError(NO_PROJECTION)


def no_strength_max(grad_at_zero: Tree) -> jax.Array:
    """The largest strength of a penalty that has none, or of which it is not known: it raises."""
    del grad_at_zero
    raise ValueError(NO_STRENGTH_MAX)


def no_linear_minimum(grad: Tree, level: Number) -> jax.Array:
    """The least value of a linear function plus a penalty of which none is known: it raises."""
    del grad, level
    raise ValueError(NO_LINEAR_MINIMUM)


class LeafTerm(NamedTuple):
    """The term of a penalty for one leaf that it penalises, for ``penalties.explain`` and ``penalties.total``."""

    strength: Number  # a number, or an array with one for each entry or group
    axes: tuple[int, ...] | None  # the axes that run within a group; None for a penalty without groups
    joined: tuple[str, ...] = ()  # paths of the other leaves whose groups belong to the same ones
    numbered: bool = False  # whether the groups are numbered along an axis, which the axes alone cannot show


class _Penalty(NamedTuple):
    value: Callable[[Tree], jax.Array]
    prox: Callable[[Tree, NumberTree], Tree]
    mask: Callable[[Tree], Tree]
    project: Callable[[Tree, Number], Tree]
    strength_max: Callable[[Tree], jax.Array]
    stage: int | None
    linear_minimum: Callable[[Tree, Number], jax.Array]
    terms: Callable[[Tree], list[tuple[LeafTerm, ...]]] | None
    at: Callable[[jax.Array], "Penalty"] | None


class Penalty(_Penalty):
    """A regulariser, as pure functions of a parameter tree.

    ``value(params)`` is a float scalar (at least float32) in units of the loss, differentiable with a finite
    (sub)gradient. ``prox(params, step)`` is ``argmin_u |u - params|^2 / 2 + step * value(u)``, with the shapes and
    dtypes of ``params``. The step is a number, or a tree of numbers by layer or by coordinate: then it is
    ``argmin_u sum_i (u_i - params_i)^2 / (2 step_i) + value(u)``. ``mask(params)`` is the tree of bools that tells
    which leaves are penalised; without one they all are. ``project(params, radius)`` is the nearest point of the ball
    of the penalty's norm over these leaves, whatever the strength.

    ``strength_max(grad_at_zero)`` is the smallest strength, one for all layers, at which zero minimises a loss with
    this gradient plus the penalty (for a nonconvex penalty: is a stationary point); shape (). ``stage`` is for
    ``penalties.total``: where two penalise one leaf, the prox of their sum is their own in ascending order of stage,
    for the pairs listed there; None where that never holds. ``terms(params)`` is a list with the terms of each
    leaf, their strengths and axes of groups, and () for a leaf that is not penalised; None where it does not tell.

    ``linear_minimum(grad, level)`` is for convex penalties: a number that is never above ``<grad, u> + value(u)`` for
    any u with ``value(u) <= level``, and reaches that minimum where ``-grad`` is a subgradient; shape (). It is
    ``-inf`` where a leaf with a gradient is not penalised. Duality gaps come from it.

    ``at(count)`` is the penalty of a step, where numbers of it are schedules; the penalty itself then has no value and
    no prox. None where there are no schedules; ``now(count)`` serves both cases.

    Where ``prox``, ``project``, ``strength_max`` or ``linear_minimum`` is not known, give None: a call of it raises a
    ``ValueError`` that names the fix, and ``has_prox`` and its like are False.
    """

    __slots__ = ()

    def __new__(
        cls,
        value: Callable[[Tree], jax.Array],
        prox: Callable[[Tree, NumberTree], Tree] | None = None,
        mask: Callable[[Tree], Tree] | None = None,
        project: Callable[[Tree, Number], Tree] | None = None,
        strength_max: Callable[[Tree], jax.Array] | None = None,
        stage: int | None = None,
        linear_minimum: Callable[[Tree, Number], jax.Array] | None = None,
        terms: Callable[[Tree], list[tuple[LeafTerm, ...]]] | None = None,
        at: Callable[[jax.Array], "Penalty"] | None = None,
    ) -> Self:
        return super().__new__(
            cls,
            value,
            no_prox if prox is None else prox,
            all_leaves if mask is None else mask,
            no_projection if project is None else project,
            no_strength_max if strength_max is None else strength_max,
            stage,
            no_linear_minimum if linear_minimum is None else linear_minimum,
            terms,
            at,
        )

    def __add__(self, other: object) -> NoReturn:  # of tuples it would be a longer tuple
        raise TypeError("penalties are added by penalties.total(first, second)")

    def __mul__(self, factor: object) -> NoReturn:
        raise TypeError("a multiple of a penalty is penalties.scaled(penalty, factor)")

    __radd__, __rmul__ = __add__, __mul__

    def now(self, count: jax.Array) -> "Penalty":
        """The penalty of a step with this count: itself if none of its numbers is a schedule."""
        return self if self.at is None else self.at(count)

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> Self:  # ``_replace`` makes the new penalty by this
        return cls(*iterable)

    @property
    def has_prox(self) -> bool:
        """Whether ``prox`` is known; else a call of it raises."""
        return self.prox is not no_prox

    @property
    def has_projection(self) -> bool:
        """Whether ``project`` is known; else a call of it raises."""
        return self.project is not no_projection

    @property
    def has_strength_max(self) -> bool:
        """Whether ``strength_max`` exists and is known; else a call of it raises."""
        return self.strength_max is not no_strength_max

    @property
    def has_linear_minimum(self) -> bool:
        """Whether ``linear_minimum`` is known; else a call of it raises."""
        return self.linear_minimum is not no_linear_minimum


class Stopping(NamedTuple):
    """An early-stopping rule as a state machine over arrays; it runs inside jit, vmap and scan.

    ``init(params) -> state`` and ``update(state, params, metric) -> state``; the state has the fields ``stop``
    (bool, shape ()), ``best_params``, ``best_step`` and ``best_metric``.
    """

    init: Callable[[Tree], Tree]
    update: Callable[[Tree, Tree, Number], Tree]


class FrozenParams(Protocol):
    """The parameters of a task that are not trained, which a sweep holds once for all settings."""

    def values(self, h: Setting) -> Tree:
        """The frozen parameters in a setting."""
        ...

    def bound(self, values: Tree) -> AbstractContextManager[None]:
        """A context in which the task takes these values for its frozen parameters."""
        ...


# what the protocol of a task declares of the names that it reserves for what is trained
LOSS_MODES: Mapping[str, Mode] = MappingProxyType(
    {"loss": "min", "train_loss": "min", "validation_loss": "min", "test_loss": "min"}
)


class Task(NamedTuple):
    """The functions that a sweep trains: pure functions of one setting ``h``, a dict of numbers (and static values).

    ``init(key, h) -> state``, ``step(state, batch, key, h) -> (state, metrics)`` and
    ``evaluate(state, data, h) -> metrics``; metrics are dicts of scalars. ``predict(state, inputs, h) -> outputs``,
    one array, is for ``Result.predict``; a task may do without. ``parts()`` names what the task is made of, such as its
    model and its loss, for the message that a resumed sweep has another one; by default these are its functions.
    ``modes`` tells of the metrics of ``evaluate``, by name, whether a smaller ("min") or a larger ("max") value is
    better; ``loss``, also with ``train_``, ``validation_`` or ``test_`` before it, is reserved for what is trained and
    has "min" unless ``modes`` says otherwise. ``check(data, h)`` raises a ``ValueError`` where the data do not fit the
    task, before anything compiles. ``frozen`` are the parameters that ``sweep.supervised(trainable=...)`` does not
    train.
    """

    init: Callable[[Key, Tree], Tree]
    step: Callable[[Tree, Tree, Key, Tree], tuple[Tree, dict[str, jax.Array]]]
    evaluate: Callable[[Tree, Tree, Tree], dict[str, jax.Array]]
    predict: Callable[[Tree, Tree, Tree], jax.Array] | None = None
    parts: Callable[[], Mapping[str, object]] | None = None
    modes: Mapping[str, Mode] | None = None
    check: Callable[[Tree, Tree], None] | None = None
    frozen: FrozenParams | None = None


class InBatches(NamedTuple):
    """The parts of an evaluation in batches: the attribute ``in_batches`` of a task's ``evaluate``."""

    # (state, data, h) -> means over examples, rows of examples
    measure: Callable[[Tree, Tree, Tree], tuple[Tree, Tree]]
    # (means, rows, data, h) -> metrics
    finish: Callable[[Tree, Tree, Tree, Tree], dict[str, jax.Array]]
