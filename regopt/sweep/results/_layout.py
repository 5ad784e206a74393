"""Where the shares of a sweep on several hosts lie in its folder."""

import re
from pathlib import Path

import numpy as np

from regopt.sweep.checkpoint import StoreMismatchError, read


def share(size: int, host: int, hosts: int) -> np.ndarray:
    """The settings of a host, ``[settings]``, int: every ``hosts``-th."""
    return np.arange(host, size, hosts)


def folder_of(out: Path, host: int, hosts: int) -> Path:
    """Where a host's share lies."""
    return out / f"share-{host + 1}-of-{hosts}"


def shares_in(out: Path) -> tuple[int, dict[int, Path]]:
    """Among how many hosts the sweep in a folder is divided, and the shares by host; 0 and none where one alone writes.

    Raises:
        StoreMismatchError: there are shares of several divisions.
    """
    names = [re.fullmatch(r"share-(\d+)-of-(\d+)", path.name) for path in sorted(out.glob("share-*-of-*"))]
    found = [(int(name[1]) - 1, int(name[2]), out / name[0]) for name in names if name]
    divisions = sorted({hosts for _, hosts, _ in found})
    if len(divisions) > 1:
        raise StoreMismatchError(f"{out} holds shares of {' and of '.join(map(str, divisions))} hosts: move some away")
    return max(divisions, default=0), {host: path for host, _, path in found}


def check_division(out: Path, hosts: int) -> None:
    """Refuse a folder with a sweep that is divided otherwise: among so many hosts, 0 where one alone writes.

    Raises:
        StoreMismatchError: it is.
    """
    there = shares_in(out)[0]
    if there == hosts or not (there or read(out)):
        return
    what, how = (f"shares of {there} hosts", f"{there} hosts") if there else ("a sweep of one host", "no hosts")
    raise StoreMismatchError(f"{out} holds {what}: go on with {how}, or use another folder")


def is_done(folder: Path) -> bool:
    """Whether a share is trained to its end."""
    found = read(folder) if folder.exists() else None
    return found is not None and found.done
