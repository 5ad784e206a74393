"""The tables of a result, as pandas and xarray objects."""

from typing import TYPE_CHECKING, Any

import numpy as np

from regopt.sweep.results._outcome import Outcome
from regopt.sweep.space._dimensions import Column

if TYPE_CHECKING:
    import pandas
    import xarray


def table_of(result: Outcome) -> "pandas.DataFrame":
    """See ``Result.to_pandas``."""
    pandas = _import("pandas")
    history = result.history
    bad = pandas.array(history.first_bad_step, dtype="Int64")
    bad[~history.diverged] = pandas.NA
    columns = {
        **{name: _as_column(column) for name, column in history.settings.columns.items()},
        "status": result.status,
        "last_step": history.last_step,
        "kept_step": result.kept_step,
        "first_bad_step": bad,
        **result.kept_metrics(),
    }
    return pandas.DataFrame(columns, index=pandas.RangeIndex(len(history.settings), name="setting"))


def curves(result: Outcome) -> "xarray.Dataset":
    """See ``Result.curves``."""
    xarray = _import("xarray")
    history = result.history
    coordinates = {name: ("setting", _as_column(column)) for name, column in history.settings.columns.items()}
    return xarray.Dataset(
        {name: (("setting", "step"), values) for name, values in history.curves.items()},
        coords={"setting": np.arange(len(history.settings)), "step": history.steps, **coordinates},
    )


def lineage(result: Outcome) -> "pandas.DataFrame":
    """See ``Result.lineage``."""
    pandas = _import("pandas")
    history = result.history
    trained = np.arange(len(history.steps)) < history.segments[:, None]
    settings, segments = np.nonzero(trained)
    parents = history.parents[trained]
    columns = {
        "setting": settings,
        "step": segments * int(history.steps[0]),
        "parent": np.where(parents < 0, settings, parents),
        **{name: values[trained] for name, values in history.used.items()},
    }
    return pandas.DataFrame(columns)


def _as_column(values: Column) -> np.ndarray:
    """A column as a one-dimensional array; values that are tuples stay whole."""
    if isinstance(values, np.ndarray):
        return values
    column = np.empty(len(values), object)
    column[:] = values
    return column


def _import(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"this needs {name}: pip install 'regopt[experiments]'") from error
