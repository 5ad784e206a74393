"""The folders of the shares of a sweep that several hosts train."""

import re
from pathlib import Path

import numpy as np

from regopt.sweep.checkpoint import StoreMismatchError, read


def share(size: int, host: int, hosts: int) -> np.ndarray:
    """The settings of a host, ``[settings]``, int: every ``hosts``-th of ``size``, from number ``host`` on."""
    return np.arange(host, size, hosts)


def folder_of(out: Path, host: int, hosts: int) -> Path:
    """The folder of the share of a host."""
    return out / f"share-{host + 1}-of-{hosts}"


def shares_in(out: Path) -> tuple[int, dict[int, Path]]:
    """The number of hosts that the sweep in a folder is divided among, and the shares by host; else 0 and none.

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
    """Refuse a folder with a sweep that is divided otherwise than among ``hosts`` hosts; 0 means no division.

    Raises:
        StoreMismatchError: the folder holds a sweep with another division.
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
