"""The shares of a sweep on several hosts as one result."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np

from regopt.sweep.results._history import ARRAYS, History
from regopt.sweep.results._layout import share
from regopt.sweep.results._result import Result
from regopt.sweep.space import Settings


def opened_when_asked(result: Result, open_share: Callable[[], Result]) -> Result:
    """A share that another host has finished, whose states are read when the first is asked for."""
    opened = functools.cache(open_share)
    return dataclasses.replace(
        result,
        state_of=lambda index: opened().state_of(index),
        refit_of=lambda index: opened().refit_of(index),
        outputs_of=lambda wanted, inputs: opened().outputs_of(wanted, inputs),
    )


def merge(parts: Mapping[int, Result], hosts: int, settings: Settings | None = None) -> Result:
    """The shares as one result.

    Args:
        parts: results by host, at least one.
        hosts: of how many.
        settings: of the whole sweep; by default those of the parts, which then stand closer together.

    Returns:
        The result. States, predictions and ``refit`` are those of the parts; settings of absent shares are unfinished.
    """
    first = next(iter(parts.values()))
    size = sum(len(part.history.settings) for part in parts.values()) if settings is None else len(settings)
    rows = {host: share(size, host, hosts) for host in parts}
    if settings is None:  # number the rows of the shares that are there
        total = max(len(part.history.settings) for part in parts.values()) * hosts
        places = np.concatenate([share(total, host, hosts)[: len(p.history.settings)] for host, p in parts.items()])
        rank = np.argsort(np.argsort(places))
        ends = np.cumsum([len(part.history.settings) for part in parts.values()])
        rows = dict(zip(parts, np.split(rank, ends[:-1]), strict=True))
    history = first.history
    whole = History.empty(
        _settings(parts, rows, size) if settings is None else settings,
        list(dict.fromkeys(name for part in parts.values() for name in part.history.curves)),
        history.steps,
        tuple(history.used),
    )
    for host, part in parts.items():
        for name in ARRAYS:
            getattr(whole, name)[rows[host]] = getattr(part.history, name)
        for ours, theirs in ((whole.curves, part.history.curves), (whole.used, part.history.used)):
            for name, values in theirs.items():
                ours[name][rows[host]] = values
    owner = {int(row): (host, place) for host in parts for place, row in enumerate(rows[host])}

    def find(index: int) -> tuple[int, int]:
        if index not in owner:
            raise ValueError(f"setting {index} is of a share that is not here")
        return owner[index]

    def state_of(index: int):
        host, place = find(index)
        return parts[host].state_of(place)

    def refit_of(index: int | None) -> Result:
        if index is None:
            raise ValueError("shares of several hosts are trained again one setting at a time: refit(setting)")
        host, place = find(index)
        again = parts[host].refit_of(place)
        return dataclasses.replace(merge({host: again}, hosts, whole.settings), interrupted=again.interrupted)

    def outputs_of(wanted: np.ndarray, inputs):
        if absent := set(np.flatnonzero(wanted)) - set(owner):
            raise ValueError(f"setting {min(absent)} is of a share that is not here")
        outputs = {host: part.outputs_of(wanted[rows[host]], inputs) for host, part in parts.items()}
        one = next(iter(outputs.values()))
        together = np.full((size, *one.shape[1:]), np.nan, one.dtype)
        for host, some in outputs.items():
            together[rows[host]] = some
        return together

    return dataclasses.replace(
        first,
        history=whole,
        interrupted=bool(whole.training.any()),
        run_seconds=sum(part.run_seconds for part in parts.values()),
        trace_seconds=sum(part.trace_seconds for part in parts.values()),
        compile_seconds=sum(part.compile_seconds for part in parts.values()),
        state_of=state_of,
        refit_of=refit_of,
        outputs_of=outputs_of,
    )


def _settings(parts: Mapping[int, Result], rows: Mapping[int, np.ndarray], size: int) -> Settings:
    order = np.argsort(np.concatenate([rows[host] for host in parts]))
    assert len(order) == size
    tables = [part.history.settings for part in parts.values()]
    numbers = {name: np.concatenate([table.numbers[name] for table in tables])[order] for name in tables[0].numbers}
    static = {}
    for name in tables[0].static:
        column = [value for table in tables for value in table.static[name]]
        static[name] = tuple(column[place] for place in order)
    return Settings(numbers, static)
