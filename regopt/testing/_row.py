"""The row of one factory in a catalogue: how to call it, the numbers that it takes, the promises of its result."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import jax

from regopt._core.types import Number

Numbers: TypeAlias = Mapping[str, Sequence[float]]  # values by argument
# The object that a factory returns: a transformation, a penalty, a schedule or another kind, as ``Row.kind`` tells.
Made: TypeAlias = Any
NONE: Numbers = MappingProxyType({})


class ProxTraits(NamedTuple):
    """The promises of a penalty's proximal operator beside being the minimum; each promise is checked.

    The laws call the penalty on a matrix of shape (3, 4).
    """

    convex: bool = True  # the value is convex: the prox is firmly non-expansive and obeys Moreau's identity
    odd: bool = True  # prox(-w) = -prox(w)
    keeps_zeros: bool = True  # an entry that is 0 stays 0
    finite: bool = True  # the value is finite everywhere; False for the indicator of a set
    steps_by_entry: bool = True  # the prox takes an array of steps, one for each entry
    permute: Callable[[jax.Array], jax.Array] | None = None  # prox(permute(w)) = permute(prox(w))
    scaled: Callable[..., Mapping[str, Number]] | None = None  # numbers -> those with which prox(2 w) = 2 prox(w)


PROX = ProxTraits()


class Row(NamedTuple):
    """One factory of a catalogue: an optimizer, a penalty, a schedule and so on, with numbers to call it with."""

    factory: Callable[..., Made]
    kind: str  # "transform", "second_order", "penalty", "projection", "schedule", "noise" or "stopping"
    numbers: Numbers  # by argument, at least two valid values; the first is the usual one
    ends: Numbers = NONE  # by argument, the closed ends of its range and other hard values
    build: Callable[..., Made] | None = None  # numbers -> object, where the factory needs more than numbers
    updates: str = "parameters"  # whose dtypes a transform's updates have; a link of a chain: "wide" or "incoming"
    variant: str = ""  # tells this row from others of the same factory
    group: str = ""  # the row of the Markdown table that lists the factory; empty: it is not listed
    refused: Numbers = NONE  # by argument, values that raise ValueError; by default NaN
    suite: Mapping[str, float] | None = None  # arguments with which an optimizer converges in optax's own tests
    descends: bool = True  # False: a transform with a learning rate that is no optimizer by itself
    needs_residuals: bool = False  # a least-squares method, whose update takes ``residual_fn``
    prox: ProxTraits | None = PROX  # of a penalty; None where its prox is not that of its value
    outside: Callable[..., float] | None = None  # of a projection: (point, **numbers) -> how far outside, or <= 0

    @property
    def label(self) -> str:
        """The factory's name with the variant."""
        name = getattr(self.factory, "__name__", repr(self.factory))
        return f"{name}, {self.variant}" if self.variant else name

    @property
    def name(self) -> str:
        """The label after the name of the factory's public package."""
        return f"{self.factory.__module__.split('._')[0].removeprefix('regopt.')}.{self.label}"

    @property
    def is_optimizer(self) -> bool:
        """Whether it is a first-order optimizer with a learning rate."""
        own_dtypes = self.kind == "transform" and self.updates == "parameters"
        return own_dtypes and self.descends and "learning_rate" in self.numbers

    def usual(self) -> dict[str, float]:
        """The usual value of each number."""
        return {name: values[0] for name, values in self.numbers.items()}

    def make(self, **numbers: Number) -> Made:
        """The object for these numbers, the usual values for the others."""
        return (self.build or self.factory)(**(self.usual() | numbers))

    def function(self, *arguments: str) -> Callable[..., Made]:
        """The function to call with these arguments: the factory, or ``build`` where the factory takes others."""
        try:
            inspect.signature(self.factory).bind(**dict.fromkeys(arguments))
        except TypeError:
            return self.build or self.factory
        return self.factory

    def plain(self, **arguments: Number) -> Made:
        """The object with the factory's own defaults; the usual values for the numbers that have no default."""
        taken = inspect.signature(self.factory).parameters
        required = {n: v for n, v in self.usual().items() if n in taken and taken[n].default is inspect.Parameter.empty}
        given = required | arguments
        if self.variant or self.function(*given) is not self.factory:
            return self.make(**arguments)
        return self.factory(**given)
