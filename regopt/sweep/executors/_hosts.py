"""One sweep on several hosts that share a folder and nothing else.

Host i of n trains every n-th setting in a store of its own, and then the shares of hosts that are gone. No host waits
for another; whoever reads the folder merges the shares.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from regopt._core.messages import brief
from regopt.sweep.checkpoint import StoreError
from regopt.sweep.results import Result
from regopt.sweep.results._layout import folder_of


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
