"""Merging the shares of a sweep on several hosts into one result."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np

from regopt._core.types import Tree
from regopt.sweep.results._history import ARRAYS, History
from regopt.sweep.results._layout import share
from regopt.sweep.results._result import Result
from regopt.sweep.space import Settings


class StatesWhenAsked:
    """The states of a share that another host has finished: read when the first of them is asked for.

    Args:
        open_share: reads the share with its states.
    """

    def __init__(self, open_share: Callable[[], Result]):
        self._opened = functools.cache(open_share)

    def state(self, setting: int) -> Tree:
        """See ``States``."""
        return self._opened().states.state(setting)

    def refit(self, setting: int | None) -> Result:
        """See ``States``."""
        return self._opened().states.refit(setting)

    def outputs(self, wanted: np.ndarray, inputs: Tree) -> np.ndarray:
        """See ``States``."""
        return self._opened().states.outputs(wanted, inputs)


class StatesOfShares:
    """The states of a sweep on several hosts, each in the share of its host.

    Args:
        parts: results by host.
        rows: for each host the rows of its settings in the whole.
        hosts: the number of hosts.
        settings: all settings of the sweep.
    """

    def __init__(self, parts: Mapping[int, Result], rows: Mapping[int, np.ndarray], hosts: int, settings: Settings):
        self._parts, self._rows, self._hosts, self._settings = parts, rows, hosts, settings
        self._owner = {int(row): (host, place) for host in parts for place, row in enumerate(rows[host])}

    def state(self, setting: int) -> Tree:
        """See ``States``."""
        host, place = self._find(setting)
        return self._parts[host].states.state(place)

    def refit(self, setting: int | None) -> Result:
        """See ``States``."""
        if setting is None:
            raise ValueError("shares of several hosts are trained again one setting at a time: refit(setting)")
        host, place = self._find(setting)
        again = self._parts[host].states.refit(place)
        return dataclasses.replace(merge({host: again}, self._hosts, self._settings), interrupted=again.interrupted)

    def outputs(self, wanted: np.ndarray, inputs: Tree) -> np.ndarray:
        """See ``States``."""
        for setting in np.flatnonzero(wanted):
            self._find(int(setting))
        outputs = {host: part.states.outputs(wanted[self._rows[host]], inputs) for host, part in self._parts.items()}
        one = next(iter(outputs.values()))
        together = np.full((len(wanted), *one.shape[1:]), np.nan, one.dtype)
        for host, some in outputs.items():
            together[self._rows[host]] = some
        return together

    def _find(self, setting: int) -> tuple[int, int]:
        """The host of a setting, and its row there."""
        if setting not in self._owner:
            raise ValueError(f"setting {setting} is of a share that is not here")
        return self._owner[setting]


def merge(parts: Mapping[int, Result], hosts: int, settings: Settings | None = None) -> Result:
    """Merge the shares of some hosts into one result.

    Args:
        parts: results by host, at least one.
        hosts: the number of hosts.
        settings: all settings of the sweep; by default those of the parts, without gaps for the absent shares.

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
    counts = np.zeros(size, int)
    for host, part in parts.items():
        counts[rows[host]] = 0 if part.parameters is None else part.parameters
    return dataclasses.replace(
        first,
        history=whole,
        parameters=counts,
        interrupted=bool(whole.training.any()),
        run_seconds=sum(part.run_seconds for part in parts.values()),
        trace_seconds=sum(part.trace_seconds for part in parts.values()),
        compile_seconds=sum(part.compile_seconds for part in parts.values()),
        states=StatesOfShares(parts, rows, hosts, whole.settings),
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
