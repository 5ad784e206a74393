"""Mistakes in a task or its data, said in one line: where a number was used that is not known while JAX traces."""

import contextlib
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import jax

from regopt._core.messages import one_line
from regopt._core.types import Setting

_STATIC = "make its column static by sweep.static([...])"
_NO_SIZE = ("Shapes must be 1D sequences", "'float' object cannot be interpreted as an integer")
_COUNTERPARTS = {
    ("flax.nnx.nn.stochastic", "Dropout"): "flax.nnx.Dropout decides in Python on its rate: use regopt.layers.Dropout",
    ("flax.linen.stochastic", "Dropout"): (
        "flax.linen.Dropout decides in Python on its rate: use regopt.noise.dropout(key, x, rate) in the module, with "
        'self.make_rng("dropout")'
    ),
    ("optax.schedules", ""): "optax's schedules decide in Python on their numbers: use those of regopt.schedules",
    ("optax._src.schedule", ""): "optax's schedules decide in Python on their numbers: use those of regopt.schedules",
}


class _Place(NamedTuple):
    module: str
    function: str
    line: str  # file and line
    installed: bool  # whether the file is of an installed package


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn the errors with which JAX refuses a traced number into one line: the place, the cause and the fix."""
    try:
        yield
    except (TypeError, ValueError, jax.errors.JAXTypeError, IndexError) as error:
        line = explanation(error)
        if line is None:
            raise
        raise ValueError(one_line(line)) from error


def explanation(error: Exception) -> str | None:
    """The mistake behind an error of tracing, in one line; None where it is none of those that are known."""
    places = list(_places(error))
    own = next((place.line for place in reversed(places) if not _is_library(place)), None)
    where = "" if own is None else f"{own}: "
    concretized = isinstance(error, jax.errors.ConcretizationTypeError | jax.errors.TracerIntegerConversionError)
    said = str(error)
    shapes = isinstance(error, TypeError) and said.startswith(_NO_SIZE)
    hashed = isinstance(error, TypeError) and said.startswith("unhashable type:") and "Tracer" in said
    if concretized or shapes:
        for place in reversed(places):
            for (module, name), counterpart in _COUNTERPARTS.items():
                if place.module.startswith(module) and place.function.startswith(name):
                    return where + counterpart
    if isinstance(error, jax.errors.TracerBoolConversionError):
        return (
            f"{where}a Python `if`, `while`, `and` or `or` decides on a traced number: use jnp.where or jax.lax.cond, "
            "or make the column static by sweep.static([...])"
        )
    if isinstance(error, jax.errors.TracerArrayConversionError):
        return f"{where}NumPy is called on a traced array: use jax.numpy in place of numpy"
    if concretized or shapes:
        return (
            f"{where}a traced number is used as a size, an index or a Python number: {_STATIC}, or leave out int() and "
            "float()"
        )
    if hashed:
        return f"{where}a traced number is used as a key of a dict or a set: {_STATIC}"
    return None


def _places(error: BaseException) -> Iterator[_Place]:
    """The frames of an error and of those that it was raised from, outermost first."""
    for link in _chain(error):
        trace = link.__traceback__
        while trace is not None:
            frame: FrameType = trace.tb_frame
            name = str(frame.f_globals.get("__name__", ""))
            path = Path(frame.f_code.co_filename)
            installed = "site-packages" in path.parts
            yield _Place(name, frame.f_code.co_qualname, f"{path.name}:{trace.tb_lineno}", installed)
            trace = trace.tb_next


def _chain(error: BaseException) -> list[BaseException]:
    links = [error]
    while (before := links[0].__cause__) is not None and before not in links:
        links.insert(0, before)
    return links


def _is_library(place: _Place) -> bool:
    """Whether a frame is of a library rather than of the task's author."""
    return place.installed or place.module.split(".")[0] in {
        "jax",
        "flax",
        "optax",
        "regopt",
        "contextlib",
        "functools",
    }


class Asked(Setting):
    """A setting that remembers which of its columns were asked for."""

    def __init__(self, values: Mapping[str, object], asked: set[str]):
        super().__init__(values)
        self.asked = asked

    def __getitem__(self, name: str) -> object:
        self.asked.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return super().__contains__(name)

    def get(self, name: str, default: object = None) -> object:
        """The value of a column, or the default; the column counts as asked for."""
        self.asked.add(name)
        return super().get(name, default)

    def _all(self) -> None:
        self.asked.update(super().keys())

    def __iter__(self) -> Iterator[str]:
        self._all()
        return super().__iter__()

    def keys(self) -> KeysView[str]:
        """``dict.keys``; all columns count as asked for."""
        self._all()
        return super().keys()

    def values(self) -> ValuesView[object]:
        """``dict.values``; all columns count as asked for."""
        self._all()
        return super().values()

    def items(self) -> ItemsView[str, object]:
        """``dict.items``; all columns count as asked for."""
        self._all()
        return super().items()

    def copy(self) -> Setting:
        """``dict.copy``; all columns count as asked for."""
        self._all()
        return super().copy()

    def __or__(self, other: Setting) -> Setting:
        self._all()
        return super().__or__(other)

    def __ror__(self, other: Setting) -> Setting:
        self._all()
        return super().__ror__(other)
