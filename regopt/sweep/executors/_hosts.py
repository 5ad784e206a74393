"""One sweep on several hosts that share a folder and nothing else.

Host i of n trains every n-th setting in a store of its own, and then the unfinished shares of hosts that are gone. No
host waits for another. Whoever reads the folder merges the shares.
"""

import dataclasses
import logging
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from regopt._core.messages import brief
from regopt.sweep.checkpoint import StoreError, StoreInUseError
from regopt.sweep.results import Result, load
from regopt.sweep.results._io import NAME
from regopt.sweep.results._layout import check_division, folder_of, is_done, share, shares_in
from regopt.sweep.results._merge import StatesWhenAsked, merge
from regopt.sweep.space import Settings

_LOG = logging.getLogger(__name__)


def as_hosts(hosts: tuple[int, int] | str) -> tuple[int, int]:
    """The number of this host, counted from 0, and the number of hosts; as text "1/4" is the first of four.

    Raises:
        ValueError: the argument is neither such a pair nor such a text.
    """
    if isinstance(hosts, str):
        found = re.fullmatch(r"(\d+)/(\d+)", hosts)
        pair = (int(found[1]) - 1, int(found[2])) if found else None
    else:
        pair = (hosts[0], hosts[1]) if isinstance(hosts, tuple | list) and len(hosts) == 2 else None
    if pair is None or not all(type(number) is int for number in pair) or not 0 <= pair[0] < pair[1]:
        raise ValueError(f'hosts must be (host, hosts) with 0 <= host < hosts, or text like "1/4", got {brief(hosts)}')
    return pair


def train_together(
    train: Callable[[np.ndarray, Path], Result], settings: Settings, out: Path, host: int, hosts: int
) -> Result:
    """Train the share of one host, and merge it with the shares that other hosts have saved.

    Args:
        train: ``(rows, folder) -> result``: trains these settings in a store of their own, or resumes them.
        settings: all settings of the sweep.
        out: the folder that all hosts see.
        host: the number of this host, counted from 0.
        hosts: the number of hosts.

    Returns:
        The result of all shares that are there.

    Raises:
        ValueError: there are more hosts than settings.
        StoreInUseError: nothing is done yet, and other hosts hold all shares.
    """
    if hosts > len(settings):
        raise ValueError(f"hosts must be at most the settings, {len(settings)}, got {hosts}")
    check_division(out, hosts)

    def train_share(number, folder):
        return train(share(len(settings), number, hosts), folder)

    parts = dict(_train_shares(train_share, out, host, hosts))
    others = {}
    for number, folder in shares_in(out)[1].items():
        if number in parts or not (folder / NAME).exists():
            continue
        try:
            found = load(folder)
            done = is_done(folder)
        except (StoreError, ValueError) as error:
            _LOG.warning("%s is left out: %s", folder.name, error)
            continue
        others[number] = (
            dataclasses.replace(found, states=StatesWhenAsked(partial(train_share, number, folder))) if done else found
        )
    if not parts and not others:
        raise StoreInUseError(f"{out}: all shares are in the hands of others, and nothing is done yet")
    return merge(parts | others, hosts, settings)


def _train_shares(
    train: Callable[[int, Path], Result], out: Path, host: int, hosts: int
) -> Iterator[tuple[int, Result]]:
    """Train the share of this host, and then those that no host trains.

    Args:
        train: ``(host, folder) -> result``: trains the share of a host, or resumes it.
        out: the folder that all hosts see.
        host: the number of this host, counted from 0.
        hosts: the number of hosts.

    Yields:
        The number of a host, and the result of its share.
    """
    for number in [host, *range(host + 1, hosts), *range(host)]:
        folder = folder_of(out, number, hosts)
        if number != host and _is_finished(folder):
            continue
        try:
            result = train(number, folder)
        except StoreError as error:
            if number == host and not isinstance(error, StoreInUseError):
                raise
            _LOG.warning("%s is left to others: %s", folder.name, error)
            continue
        yield number, result
        if result.interrupted:
            return


def _is_finished(folder: Path) -> bool:
    """Whether a share is trained to its end and its table says so; a damaged share is not finished."""
    try:
        return is_done(folder) and not load(folder).interrupted
    except (StoreError, FileNotFoundError, ValueError):
        return False
