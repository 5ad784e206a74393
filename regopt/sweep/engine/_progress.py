"""Progress on the terminal: settings done, running, pruned and diverged, the best so far, throughput, time left.

Nothing is shown where standard error is no terminal.
"""

import math
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text


class SweepProgress:
    """A context manager around a sweep that shows a bar, which moves with every segment.

    Args:
        enabled: whether to show anything; on standard error, and only if that is a terminal.
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
            disable=not (enabled and console.is_terminal),
        )
        self._task = self._progress.add_task(
            "sweep", total=segments, done=0, settings=settings, monitor=monitor, best=math.nan, counts={}
        )

    @property
    def shown(self) -> bool:
        """Whether the bar is visible."""
        return not self._progress.disable

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


def _short(speed: float) -> str:
    """A speed in at most six characters, so that the line fits a terminal of 80 columns."""
    if speed >= 1e4:
        return f"{speed / 1e6:.2g}M" if speed >= 1e6 else f"{speed / 1e3:.0f}k"
    return f"{speed:,.0f}" if speed >= 100 else f"{speed:.2g}"
