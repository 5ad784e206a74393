"""Mistakes in a task, found or explained before its program trains: the one line that says what is wrong, and where.

The task checks its data, columns that it never asks for are named, and an error with which JAX refuses a traced number
is turned into the place, the cause and the fix.
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import jax
import numpy as np
from flax import errors

from regopt._core.messages import brief, cut, one_line
from regopt._core.training_data import for_batches
from regopt.data import Splits
from regopt.report import REPEATED
from regopt.sweep.engine._config import SweepConfig
from regopt.sweep.engine._traced import Asked, NotOfSettingError, Traced, asked_columns, starts_alike, take_batch
from regopt.sweep.space import Settings
from regopt.sweep.space._settings import BATCH_SIZE

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


_TOLD = "give __call__ an argument `train` and pass it on, as in"
_OF_FLAX = {
    errors.InvalidRngError: f"a flax.linen module draws noise where it is off: {_TOLD} nn.Dropout(0.5)(x, not train)",
    errors.ModifyScopeVariableError: (
        f"a flax.linen module changes its variables in an evaluation: {_TOLD} "
        "nn.BatchNorm(use_running_average=not train)"
    ),
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
    except (TypeError, ValueError, jax.errors.JAXTypeError, IndexError, errors.FlaxError) as error:
        line = explanation(error)
        if line is None:
            raise
        raise ValueError(one_line(line)) from error


def explanation(error: Exception) -> str | None:
    """The mistake behind an error of tracing, in one line; None where the mistake is not a known one."""
    places, where = list(_places(error)), _own_line(error)
    concretized = isinstance(error, jax.errors.ConcretizationTypeError | jax.errors.TracerIntegerConversionError)
    said = str(error)
    shapes = isinstance(error, TypeError) and said.startswith(_NO_SIZE)
    hashed = isinstance(error, TypeError) and said.startswith("unhashable type:") and "Tracer" in said
    if concretized or shapes:
        for place in reversed(places):
            for (module, name), counterpart in _COUNTERPARTS.items():
                if place.module.startswith(module) and place.function.startswith(name):
                    return where + counterpart
    if of_flax := _of_flax(error, places[-1].module if places else ""):
        return where + of_flax
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


def _own_line(error: BaseException) -> str:
    """The file and the line of the task's author at which an error was raised, with a colon; or nothing."""
    own = next((place.line for place in reversed(list(_places(error))) if not _is_library(place)), None)
    return "" if own is None else f"{own}: "


def _of_flax(error: Exception, raised: str) -> str | None:
    """The mistake behind an error of a layer of flax that draws noise or keeps means, by the module that raised it."""
    for kind, line in _OF_FLAX.items():
        if isinstance(error, kind):
            return line
    said = str(error)
    if "must be passed to the constructor or at call time" in said and raised.startswith("flax.linen"):
        return f"a layer of flax.linen has to know whether it trains: {_TOLD} nn.Dropout(0.5)(x, not train)"
    if "`rngs` argument" in said and raised.startswith("flax.nnx"):
        return "a layer of flax.nnx that draws noise needs random numbers: nnx.Dropout(0.5, rngs=rngs)"
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


_LOG = logging.getLogger(__name__)
FEW = 8  # a sweep of fewer programs gets no warning about their number
_OF_THE_ENGINE = {*REPEATED, BATCH_SIZE}


def check_examples(config: SweepConfig, settings: Settings, firsts: Sequence[int]) -> None:
    """Let the task check the data with the first setting of each group, and warn if all seeds begin alike.

    A task without a check is traced on a first batch, if ``data.train`` is a list.

    Args:
        config: the arguments of the sweep.
        settings: the settings of the sweep.
        firsts: the first row of each group.

    Raises:
        ValueError: the data do not fit the task.
    """
    check = getattr(config.task, "check", None)
    if check is not None and getattr(check, "init", config.task.init) is config.task.init:
        for row in firsts:
            check(config.sample, settings.row(row))
    elif config.stream is None and isinstance(config.data.train, list):
        try:
            take_batch(Traced(config, settings.row(firsts[0])), config.batch_size)
        except Exception as error:
            said = cut(f"{type(error).__name__}: {error}")
            raise ValueError(
                f"the task does not take a batch of data.train, which is a list of {len(config.data.train)}, all of "
                f"which are in each batch ({said}); {for_batches('train')}"
            ) from error
    warn_of_one_start(config, settings, firsts[0])


def warn_of_one_start(config: SweepConfig, settings: Settings, first: int) -> None:
    """Say in one line that all seeds begin with the same parameters, because the task draws them from its own key."""
    if len(np.unique(settings.numbers.get("seed", ()))) < 2:
        return
    with contextlib.suppress(Exception):  # the error of a task is raised where it trains
        if starts_alike(Traced(config, settings.row(first))):
            _LOG.warning(
                "all seeds begin with the same parameters, which are drawn from a key of the model's own, such as "
                "nnx.Rngs(0): let it draw from the rngs or the key that it is given, as lambda h, rngs: Net(rngs=rngs) "
                "does"
            )


def warn_of_unused(config: SweepConfig, settings: Settings, firsts: Sequence[int]) -> None:
    """Say in one line which columns the task never asks for: they change nothing.

    Raises:
        ValueError: the task asks another dict, such as the data, for a name that it does not have.
    """
    wanted = {name for name in settings.columns if name not in _OF_THE_ENGINE}
    changed = set() if config.scheduler is None else set(config.scheduler.changes)
    asked: set[str] = set()
    if callable(config.patience):
        config.patience(Asked(settings.row(firsts[0]), asked))
    for row in firsts:
        if wanted <= asked:
            return
        try:
            asked |= asked_columns(Traced(config, settings.row(row)))
        except NotOfSettingError as error:
            raise ValueError(_not_of_setting(error, config.sample)) from error
        except Exception:
            return  # the error of a task is raised where it trains
    if unused := sorted(wanted - asked):
        also = " although the scheduler changes it" if changed & set(unused) else ""
        _LOG.warning(
            "the task never asks for the column%s %s, so %s nothing%s",
            "s" if len(unused) > 1 else "",
            " and ".join(map(repr, unused)),
            "they change" if len(unused) > 1 else "it changes",
            also,
        )


def _not_of_setting(error: NotOfSettingError, data: Splits) -> str:
    """The line for a name that a task has asked the data, its state or another dict for."""
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(data)]
    names = sorted({str(key.key) for path in paths for key in path if isinstance(key, jax.tree_util.DictKey)})
    known = f"; names in the data: {', '.join(names[:20])}" if names else ""
    return f"{_own_line(error)}a dict has no {brief(error.args[0])}, and it is not the setting{known}"


def warn_of_no_rung(config: SweepConfig) -> None:
    """Say in one line that a scheduler decides nothing, because the sweep ends before its first rung."""
    scheduler, total = config.scheduler, len(config.evaluated)
    if scheduler is not None and scheduler.rungs is not None and not scheduler.rungs(total):
        _LOG.warning(
            "%s decides nothing: it counts segments of eval_every = %d steps, and the sweep has %d",
            scheduler.name,
            config.eval_every,
            total,
        )


def warn_of_programs(settings: Settings, groups: int) -> None:
    """Say in one line that static values make more than one program for every two settings."""
    if groups >= FEW and 2 * groups > len(settings):
        name, values = max(settings.static.items(), key=lambda item: len(set(map(repr, item[1]))))
        _LOG.warning(
            "%d settings need %d programs, and each is compiled: the static column %r has %d values; "
            "take fewer, as with sweep.choice or sweep.static",
            *(len(settings), groups, name, len(set(map(repr, values)))),
        )
