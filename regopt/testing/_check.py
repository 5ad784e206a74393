"""One call that runs every law that applies to a factory: ``check`` for a row, and a function for each kind."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping

import jax
from jax.typing import DTypeLike

from regopt._core.messages import brief, suggestion
from regopt._core.types import Key, Penalty, Schedule, Stopping, Tree
from regopt.testing._laws import LAWS, Cell, Law
from regopt.testing._laws._law import DTYPES
from regopt.testing._row import NONE, PROX, Numbers, ProxTraits, Row


def cells(
    row: Row, laws: Iterable[str] | None = None, dtypes: Iterable[DTypeLike] = DTYPES
) -> Iterator[tuple[Law, Cell]]:
    """Every law that applies to a row, with every cell in which it is checked.

    Args:
        row: the factory.
        laws: names of laws, all if not given.
        dtypes: of parameters and inputs.

    Yields:
        Laws and their arguments, for ``law.check(row, **cell)``.

    Raises:
        ValueError: there is no law of that name.

    Example:
        >>> from regopt import testing
        >>> row = next(row for row in testing.CATALOGUE if row.name == "penalties.l1")
        >>> [cell for law, cell in testing.cells(row, laws=["a number changes the result"])]
        [{'number': 'strength'}]
    """
    known = {law.name for law in LAWS}
    chosen = known if laws is None else set(laws)
    if chosen - known:
        raise ValueError(f"laws must be among those of regopt.testing.LAWS, got {sorted(chosen - known)}")
    allowed = set(dtypes)
    for law in LAWS:
        if law.name in chosen:
            yield from ((law, cell) for cell in law.cells_of(row) if cell.get("dtype") in allowed | {None})


def check(row: Row, *, laws: Iterable[str] | None = None, dtypes: Iterable[DTypeLike] = DTYPES) -> None:
    """Run every law that applies to a factory; the first broken one is raised.

    Args:
        row: the factory with its numbers.
        laws: names of laws, ``[law.name for law in LAWS]`` if not given.
        dtypes: of parameters and inputs, from float32, bfloat16, float16 and float64.

    Raises:
        AssertionError: a law is broken; the message is one line with the law, the number and the dtype.
        ValueError: a number is named that the factory does not take, or a law that does not exist.

    Example:
        >>> from regopt import testing
        >>> row = next(row for row in testing.CATALOGUE if row.name == "penalties.l1")
        >>> testing.check(row, laws=["a number changes the result"])  # every law if no names are given
    """
    _check_numbers(row)
    for law, cell in cells(row, laws, dtypes):
        law.check(row, **cell)


def _check_numbers(row: Row) -> None:
    """Refuse names that are no arguments of the factory, which every law would report in its own words."""
    known = {
        name for made in (row.factory, row.build) if made is not None for name in inspect.signature(made).parameters
    }
    for field in ("numbers", "ends", "refused"):
        values = getattr(row, field)
        if not isinstance(values, Mapping):
            example = '{"strength": (0.3, 1.7)}'
            raise ValueError(
                f"{field} must be a mapping from arguments to values, such as {example}, got {brief(values)}"
            )
        for name in values:
            if name not in known:
                raise ValueError(f"{field} has {name!r}, which is no argument of {row.name}; {suggestion(name, known)}")


def check_optimizer(
    factory: Callable[..., object],
    numbers: Numbers,
    *,
    ends: Numbers = NONE,
    refused: Numbers = NONE,
    build: Callable[..., object] | None = None,
    updates: str = "parameters",
    full_batch: bool = False,
    laws: Iterable[str] | None = None,
    dtypes: Iterable[DTypeLike] = DTYPES,
) -> None:
    """Check an optimizer, or a link of a chain.

    Args:
        factory: numbers -> ``optax.GradientTransformationExtraArgs``.
        numbers: by argument, two or more valid values; the first is the usual one.
        ends: by argument, the closed ends of its range, where slopes must be finite, too.
        refused: by argument, values that construction must refuse by name; by default NaN.
        build: what to call instead of the factory, where it needs more than numbers.
        updates: whose dtypes the updates have: "parameters"; of a link of a chain "incoming" (the gradient's) or
            "wide" (at least float32).
        full_batch: whether its update takes the objective as ``value_fn``.
        laws: names of laws, all if not given.
        dtypes: of the parameters.

    Raises:
        AssertionError: a law is broken.
        ValueError: a number is named that the factory does not take, or a law that does not exist.

    Example:
        >>> import regopt
        >>> from regopt import testing
        >>> testing.check_optimizer(regopt.sgd, {"learning_rate": (0.1, 0.01)}, laws=["a number changes the result"])
    """
    kind = "second_order" if full_batch else "transform"
    row = Row(factory, kind, numbers, ends, build, updates=updates, refused=refused)
    check(row, laws=laws, dtypes=dtypes)


def check_penalty(
    factory: Callable[..., Penalty],
    numbers: Numbers,
    *,
    ends: Numbers = NONE,
    refused: Numbers = NONE,
    prox: ProxTraits | None = PROX,
    laws: Iterable[str] | None = None,
    dtypes: Iterable[DTypeLike] = DTYPES,
) -> None:
    """Check a penalty: its value and slope, its proximal operator and its projection, where it has them.

    Args:
        factory: numbers -> ``Penalty``, defined for any tree of parameters and for a matrix of shape (3, 4).
        numbers: by argument, two or more valid values; the first is the usual one.
        ends: by argument, the closed ends of its range.
        refused: by argument, values that construction must refuse by name; by default NaN.
        prox: what the proximal operator promises; None leaves its laws out.
        laws: names of laws, all if not given.
        dtypes: of the parameters.

    Raises:
        AssertionError: a law is broken.
        ValueError: a number is named that the factory does not take, or a law that does not exist.

    Example:
        >>> from regopt import penalties, testing
        >>> testing.check_penalty(penalties.l2, {"strength": (0.3, 1.7)}, laws=["a number changes the result"])
    """
    check(Row(factory, "penalty", numbers, ends, refused=refused, prox=prox), laws=laws, dtypes=dtypes)


def check_projection(
    factory: Callable[..., Callable[[jax.Array], jax.Array]],
    numbers: Numbers,
    *,
    ends: Numbers = NONE,
    refused: Numbers = NONE,
    outside: Callable[..., float] | None = None,
    laws: Iterable[str] | None = None,
    dtypes: Iterable[DTypeLike] = DTYPES,
) -> None:
    """Check a projection onto a convex set.

    Args:
        factory: numbers -> a function from a matrix of shape (3, 4) to the nearest point of the set.
        numbers: by argument, two or more valid values; the first is the usual one.
        ends: by argument, the closed ends of its range.
        refused: by argument, values that must be refused by name; by default NaN.
        outside: ``(point, **numbers) -> how far outside of the set``, at most 0 inside; without it, feasibility is
            checked only as far as the other laws imply it.
        laws: names of laws, all if not given.
        dtypes: of the matrix.

    Raises:
        AssertionError: a law is broken.
        ValueError: a number is named that the factory does not take, or a law that does not exist.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt import testing
        >>> def below(w, top):
        ...     return jnp.minimum(w, jnp.asarray(top, w.dtype))
        >>> factory = lambda top: lambda w: below(w, top)
        >>> testing.check_projection(factory, {"top": (0.5, 1.0)}, laws=["a number changes the result"])
    """
    check(Row(factory, "projection", numbers, ends, refused=refused, outside=outside), laws=laws, dtypes=dtypes)


def check_schedule(
    factory: Callable[..., Schedule],
    numbers: Numbers,
    *,
    ends: Numbers = NONE,
    refused: Numbers = NONE,
    laws: Iterable[str] | None = None,
) -> None:
    """Check a schedule at counts from 0 to 1000.

    Args:
        factory: numbers -> a function from a count to a number.
        numbers: by argument, two or more valid values; the first is the usual one.
        ends: by argument, the closed ends of its range.
        refused: by argument, values that construction must refuse by name; by default NaN.
        laws: names of laws, all if not given.

    Raises:
        AssertionError: a law is broken.
        ValueError: a number is named that the factory does not take, or a law that does not exist.

    Example:
        >>> from regopt import schedules, testing
        >>> testing.check_schedule(schedules.constant, {"value": (0.1, 0.3)}, laws=["a number changes the result"])
    """
    check(Row(factory, "schedule", numbers, ends, refused=refused), laws=laws)


def check_noise(
    factory: Callable[..., Callable[[Key, jax.Array], Tree]],
    numbers: Numbers,
    *,
    ends: Numbers = NONE,
    refused: Numbers = NONE,
    laws: Iterable[str] | None = None,
    dtypes: Iterable[DTypeLike] = DTYPES,
) -> None:
    """Check noise, an augmentation, an initializer or a layer.

    Args:
        factory: numbers -> ``apply(key, x)`` for an input of shape (4, 3).
        numbers: by argument, two or more valid values; the first is the usual one.
        ends: by argument, the closed ends of its range.
        refused: by argument, values that must be refused by name; by default NaN.
        laws: names of laws, all if not given.
        dtypes: of the input.

    Raises:
        AssertionError: a law is broken.
        ValueError: a number is named that the factory does not take, or a law that does not exist.

    Example:
        >>> from regopt import noise, testing
        >>> factory = lambda rate: lambda key, x: noise.dropout(key, x, rate)
        >>> testing.check_noise(factory, {"rate": (0.3, 0.6)}, laws=["a number changes the result"])
    """
    check(Row(factory, "noise", numbers, ends, refused=refused), laws=laws, dtypes=dtypes)


def check_stopping(
    factory: Callable[..., Stopping],
    numbers: Numbers,
    *,
    ends: Numbers = NONE,
    refused: Numbers = NONE,
    laws: Iterable[str] | None = None,
    dtypes: Iterable[DTypeLike] = DTYPES,
) -> None:
    """Check an early-stopping rule.

    Args:
        factory: numbers -> ``Stopping``.
        numbers: by argument, two or more valid values; the first is the usual one.
        ends: by argument, the closed ends of its range.
        refused: by argument, values that construction must refuse by name; by default NaN.
        laws: names of laws, all if not given.
        dtypes: of the parameters.

    Raises:
        AssertionError: a law is broken.
        ValueError: a number is named that the factory does not take, or a law that does not exist.

    Example:
        >>> from regopt import testing, training
        >>> laws = ["the slope in every number is finite"]
        >>> testing.check_stopping(training.early_stopping, {"patience": (2.0, 3.0)}, laws=laws)
    """
    check(Row(factory, "stopping", numbers, ends, refused=refused), laws=laws, dtypes=dtypes)
