"""One sweep on several hosts that share a folder and nothing else.

Host i of n trains every n-th setting, in a store of its own, and then what others have left that are gone. Nobody waits
for anybody; whoever reads the folder puts the shares together.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from regopt.messages import brief
from regopt.sweep.record import ARRAYS, Record
from regopt.sweep.space import Settings
from regopt.sweep.store import StoreError, read
from regopt.sweep.table import Result


def as_hosts(hosts: tuple[int, int] | str) -> tuple[int, int]:
    """Which host this is, counted from 0, and of how many; as text "1/4" is the first of four.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(hosts, str):
        found = re.fullmatch(r"(\d+)/(\d+)", hosts)
        pair = (int(found[1]) - 1, int(found[2])) if found else None
    else:
        pair = (hosts[0], hosts[1]) if isinstance(hosts, tuple | list) and len(hosts) == 2 else None
    if pair is None or not all(type(number) is int for number in pair) or not 0 <= pair[0] < pair[1]:
        raise ValueError(f'hosts must be (host, hosts) with 0 <= host < hosts, or text like "1/4", got {brief(hosts)}')
    return pair


def share(size: int, host: int, hosts: int) -> np.ndarray:
    """The settings of a host, ``[settings]``, int: every ``hosts``-th."""
    return np.arange(host, size, hosts)


def folder_of(out: Path, host: int, hosts: int) -> Path:
    """Where a host's share lies."""
    return out / f"share-{host + 1}-of-{hosts}"


def shares_in(out: Path) -> tuple[int, dict[int, Path]]:
    """Among how many hosts the sweep in a folder is divided, and the shares by host; 0 and none where one alone writes.

    Raises:
        StoreError: there are shares of several divisions.
    """
    names = [re.fullmatch(r"share-(\d+)-of-(\d+)", path.name) for path in sorted(out.glob("share-*-of-*"))]
    found = [(int(name[1]) - 1, int(name[2]), out / name[0]) for name in names if name]
    divisions = sorted({hosts for _, hosts, _ in found})
    if len(divisions) > 1:
        raise StoreError(f"{out} holds shares of {' and of '.join(map(str, divisions))} hosts: move some away")
    return max(divisions, default=0), {host: path for host, _, path in found}


def check_division(out: Path, hosts: int) -> None:
    """Refuse a folder with a sweep that is divided otherwise: among so many hosts, 0 where one alone writes.

    Raises:
        StoreError: it is.
    """
    there = shares_in(out)[0]
    if there == hosts or not (there or read(out)):
        return
    what, how = (f"shares of {there} hosts", f"{there} hosts") if there else ("a sweep of one host", "no hosts")
    raise StoreError(f"{out} holds {what}: go on with {how}, or use another folder")


def is_done(folder: Path) -> bool:
    """Whether a share is trained to its end."""
    found = read(folder) if folder.exists() else None
    return found is not None and found.done


def opened_when_asked(result: Result, open_share: Callable[[], Result]) -> Result:
    """A share that another host has finished, whose states are read when the first is asked for."""
    opened = functools.cache(open_share)
    return dataclasses.replace(
        result,
        state_of=lambda index: opened().state_of(index),
        refit_of=lambda index: opened().refit_of(index),
        outputs_of=lambda wanted, inputs: opened().outputs_of(wanted, inputs),
    )


def train_shares(
    train: Callable[[int, Path], Result],
    finished: Callable[[Path], bool],
    out: Path,
    host: int,
    hosts: int,
    say: Callable[[str], object],
) -> Iterator[tuple[int, Result]]:
    """Train one's own share, and then those that nobody trains.

    Args:
        train: ``(host, folder) -> result``: trains the share of a host, or goes on with it.
        finished: whether the share in a folder is trained and its table written.
        out: the folder that all hosts see.
        host: which this is.
        hosts: of how many.
        say: told whose share is taken over.

    Yields:
        Hosts, and the results of their shares.
    """
    for number in [host, *range(host + 1, hosts), *range(host)]:
        folder = folder_of(out, number, hosts)
        if number != host and finished(folder):
            continue
        try:
            result = train(number, folder)
        except StoreError as error:
            if number == host and "is in use" not in str(error):
                raise
            say(f"{folder.name} is left to others: {error}")
            continue
        yield number, result
        if result.interrupted:
            return


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
    size = sum(len(part.record.settings) for part in parts.values()) if settings is None else len(settings)
    rows = {host: share(size, host, hosts) for host in parts}
    if settings is None:  # number the rows of the shares that are there
        total = max(len(part.record.settings) for part in parts.values()) * hosts
        places = np.concatenate([share(total, host, hosts)[: len(p.record.settings)] for host, p in parts.items()])
        rank = np.argsort(np.argsort(places))
        ends = np.cumsum([len(part.record.settings) for part in parts.values()])
        rows = dict(zip(parts, np.split(rank, ends[:-1]), strict=True))
    record = first.record
    whole = Record.empty(
        _settings(parts, rows, size) if settings is None else settings,
        list(dict.fromkeys(name for part in parts.values() for name in part.record.curves)),
        record.steps,
        tuple(record.used),
    )
    for host, part in parts.items():
        for name in ARRAYS:
            getattr(whole, name)[rows[host]] = getattr(part.record, name)
        for ours, theirs in ((whole.curves, part.record.curves), (whole.used, part.record.used)):
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
        record=whole,
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
    tables = [part.record.settings for part in parts.values()]
    numbers = {name: np.concatenate([table.numbers[name] for table in tables])[order] for name in tables[0].numbers}
    static = {}
    for name in tables[0].static:
        column = [value for table in tables for value in table.static[name]]
        static[name] = tuple(column[place] for place in order)
    return Settings(numbers, static)
