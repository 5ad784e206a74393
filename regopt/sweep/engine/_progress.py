"""Progress on the terminal: settings done, running, pruned and diverged, the best so far, throughput, time left.

Where standard error is neither a terminal nor a notebook with widgets, as in the log of a job, lines take its place: at
the beginning and at the end of compilation, each minute, and at the end of the sweep.
"""

import contextlib
import importlib.util
import math
import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

MINUTE = 60.0  # seconds between the lines of a log
REFRESH = 0.1  # seconds between updates of a bar: the best score is looked for in the whole table


def _is_looked_at(console: Console) -> bool:
    # without widgets rich shows nothing in a notebook but a warning
    return console.is_terminal or (console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None)


@contextlib.contextmanager
def compiling(enabled: bool, settings: int, where: str = "") -> Iterator[list[object]]:
    """Show what is being compiled and for how long: a line that disappears, or in a log one at the start and the end.

    A log also has a line for each minute that it takes.

    Args:
        enabled: whether to show anything, on standard error.
        settings: number of settings, for the line.
        where: the end of the line, such as the devices that the programs are compiled for.

    Yields:
        A list for the groups whose programs compile after this, while others train.
    """
    left: list[object] = []
    console = Console(stderr=True)
    text = f"compiling the programs of {settings:,} settings{where}"
    if not enabled:
        yield left
        return
    if _is_looked_at(console):
        with Progress(
            SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True
        ) as line:
            line.add_task(text, total=None)
            yield left
        return
    ended, began = threading.Event(), time.monotonic()
    console.print(text, soft_wrap=True)

    def write() -> None:
        while not ended.wait(MINUTE):
            console.print(f"{text}: {_duration(time.monotonic() - began)}", soft_wrap=True)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield left
    finally:
        ended.set()
        thread.join()
    more = f"; {len(left)} more groups of settings compile while others train" if left else ""
    console.print(f"compiled in {_duration(time.monotonic() - began)}{more}", soft_wrap=True)


class SweepProgress:
    """A context manager around a sweep that shows a bar, which moves with every segment.

    Args:
        enabled: whether to show anything, on standard error.
        segments: number of segments to train, over all settings.
        settings: number of settings.
        monitor: name of the metric whose best value is shown.
    """

    def __init__(self, enabled: bool, *, segments: int, settings: int, monitor: str):
        console = Console(stderr=True)
        self._progress = _TwoLines(
            TextColumn("{task.fields[done]}/{task.fields[settings]} settings"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not (enabled and _is_looked_at(console)),
        )
        self._log = console if enabled and not _is_looked_at(console) else None
        self._begun = self._written = time.monotonic()
        self._is_last = False
        self._task = self._progress.add_task(
            "sweep", total=segments, done=0, settings=settings, monitor=monitor, best=math.nan, counts={}
        )

    @property
    def shown(self) -> bool:
        """Whether an update is due: of the bar, the line of this minute, or the last one."""
        if self._log is None and self._progress.disable:
            return False
        pause = REFRESH if self._log is None else MINUTE
        return self._is_last or time.monotonic() - self._written >= pause

    def ends(self) -> None:
        """The next update is the last one, which a log shows whatever the time."""
        self._is_last = True

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(
        self, *, completed: int, done: int, best: float, running: int | None = None, pruned: int = 0, diverged: int = 0
    ) -> None:
        """Show the segments completed, the settings done and the best metric so far.

        Args:
            completed: number of segments trained, over all settings.
            done: number of settings that train no further, for whatever reason.
            best: the best metric so far; not shown where it is not finite.
            running: number of settings in training; by default all that are not done.
            pruned: number of settings that the scheduler ended.
            diverged: number of settings in which a NaN or an infinity occurred.
        """
        settings = self._progress.tasks[self._task].fields["settings"]
        counts = {"running": settings - done if running is None else running, "pruned": pruned, "diverged": diverged}
        self._progress.update(self._task, completed=completed, done=done, best=best, counts=counts)
        is_due, now = self.shown, time.monotonic()
        if is_due:
            self._written = now
        if is_due and self._log is not None:
            self._write(self._log, completed, done, best, counts)

    def _write(self, log: Console, completed: int, done: int, best: float, counts: dict[str, int]) -> None:
        """Write one line for a log."""
        task = self._progress.tasks[self._task]
        total, took = max(task.total or 0, 1), self._written - self._begun
        parts = [f"{done}/{task.fields['settings']} settings, {100 * completed / total:.0f} % in {_duration(took)}"]
        if 0 < completed < total:
            parts.append(f"{_duration(took * (total / completed - 1))} left")
        parts += [f"{count:,} {name}" for name, count in counts.items() if count]
        if math.isfinite(best):
            parts.append(f"best {task.fields['monitor']} {best:.4g}")
        log.print(Text(", ".join(parts)), soft_wrap=True)


class _TwoLines(Progress):
    """A bar, with a line of text below it for what does not fit beside it."""

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bar and the line."""
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            parts = [f"{count:,} {name}" for name, count in task.fields["counts"].items() if count]
            if math.isfinite(task.fields["best"]):
                parts.append(f"best {task.fields['monitor']} {task.fields['best']:.4g}")
            if task.speed and task.total:
                speed = task.speed * task.fields["settings"] / task.total
                parts.append(f"{_short(speed)} settings/s")
            yield Text(", ".join(parts), no_wrap=True, overflow="ellipsis")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < MINUTE else f"{seconds / 60:.0f} min"


def _short(speed: float) -> str:
    """A speed in at most six characters, so that the line fits a terminal of 80 columns."""
    if speed >= 1e4:
        return f"{speed / 1e6:.2g}M" if speed >= 1e6 else f"{speed / 1e3:.0f}k"
    return f"{speed:,.0f}" if speed >= 100 else f"{speed:.2g}"
