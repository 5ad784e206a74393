"""The commands on the folder of a sweep, finished or not: its best settings, its page, its executor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from regopt.experiment._config import COMMAND_LINE, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from http.server import ThreadingHTTPServer

    from rich.console import RenderableType

    from regopt.report import Findings, Watched


def best_settings(folder: Path, rows: int) -> RenderableType:
    """Summarise a sweep for a terminal.

    Args:
        folder: what a sweep or ``Result.save`` wrote.
        rows: how many settings to show, >= 1.

    Returns:
        A table for rich to print.

    Raises:
        ConfigError: the folder holds no sweep, or the number of rows is out of range.
    """
    if rows < 1:
        raise ConfigError(COMMAND_LINE, "--rows", f"must be an integer in [1, inf), got {rows}")
    found = _findings(folder, thorough=False)
    from regopt.report import summary

    return summary(found, rows)


def write_report(folder: Path, out: Path | None) -> Path:
    """Write the HTML page of a sweep.

    Args:
        folder: what a sweep or ``Result.save`` wrote.
        out: the page; by default ``report.html`` in the folder.

    Returns:
        Where the page is.

    Raises:
        ConfigError: the folder holds no sweep, the page cannot be written, or a package is missing.
    """
    page = out or folder / "report.html"
    if out and not page.parent.is_dir():  # reported before the analysis takes its seconds
        raise ConfigError(COMMAND_LINE, "--out", f"must lie in a folder that exists, got {page}")
    found = _findings(folder, thorough=True)
    try:
        from regopt.report import write_page

        write_page(page, found)
    except ModuleNotFoundError as error:
        raise ConfigError(COMMAND_LINE, "report", f"needs {error.name}: pip install 'regopt[experiments]'") from error
    except OSError as error:
        raise ConfigError(COMMAND_LINE, "--out", f"cannot write {page}: {error.strerror or error}") from error
    return page


def executor_of(name: str | None, address: str | None) -> object:
    """The executor of ``sweep.run`` that the options of the command line select."""
    if name is None:
        if address is not None:
            raise ConfigError(COMMAND_LINE, "--address", "needs --executor ray")
        return None
    from regopt.sweep import Ray

    return Ray(address=address)


def _findings(folder: Path, *, thorough: bool) -> Findings:
    """Read the sweep in a folder; an error in the folder becomes one line."""
    from regopt.sweep import load

    try:
        result = load(folder)
    except (OSError, ValueError) as error:
        inside = sorted(folder.glob("*/sweep.npz"))  # that of an experiment lies in the folder of its run
        hint = f"; did you mean {inside[0].parent}?" if inside else ""
        raise ConfigError(folder, "", str(error).removeprefix(f"{folder}: ") + hint) from error
    return result.findings(os.path.basename(os.path.abspath(folder)), thorough=thorough)


def watch(folders: Sequence[Path], port: int) -> ThreadingHTTPServer:
    """A server of the pages of sweeps, which follows them while they train.

    Args:
        folders: what sweeps write, at least one.
        port: where to listen, on the loopback interface; 0 takes a free one.

    Returns:
        The server; ``serve_forever`` starts it.

    Raises:
        ConfigError: there is no such folder, the port cannot be used, or a package is missing.
    """
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(folder, "", "no such folder")
    if not 0 <= port < 2**16:
        raise ConfigError(COMMAND_LINE, "--port", f"must lie in [0, 65535], got {port}")
    try:
        from regopt.report import server

        return server([_watched(folder) for folder in folders], port)
    except ModuleNotFoundError as error:
        raise ConfigError(COMMAND_LINE, "watch", f"needs {error.name}: pip install 'regopt[experiments]'") from error
    except OSError as error:
        raise ConfigError(COMMAND_LINE, "--port", f"cannot listen on {port}: {error.strerror or error}") from error


def _watched(folder: Path) -> Watched:
    from regopt.report import Watched

    def saved() -> list[Path]:
        return sorted(folder.glob("**/sweep.npz"))

    def version() -> str:
        return "-".join(str(path.stat().st_mtime_ns) for path in saved()) or "none"

    def read() -> Findings | None:
        if not saved():
            return None
        found = _findings(folder, thorough=False)
        done = "unfinished" not in set(found.table["status"])
        return _findings(folder, thorough=True) if done else found

    return Watched(str(folder), read, version)
