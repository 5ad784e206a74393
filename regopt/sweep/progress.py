"""A progress line on the terminal: settings done, the best so far, time left. Silent anywhere else."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class SweepProgress:
    """A context manager around a sweep; every segment of work moves the bar.

    Args:
        enabled: whether to show anything; on standard error, and only if that is a terminal.
        segments: segments of training to do, over all settings.
        settings: number of settings.
        monitor: name of the metric whose best value is shown.
    """

    def __init__(self, enabled: bool, *, segments: int, settings: int, monitor: str):
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.fields[done]}/{task.fields[settings]} settings"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("best {task.fields[monitor]} {task.fields[best]:.4g}, left"),
            TimeRemainingColumn(),
            console=console,
            disable=not (enabled and console.is_terminal),
        )
        self._task = self._progress.add_task(
            "sweep", total=segments, done=0, settings=settings, monitor=monitor, best=float("nan")
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, *, completed: int, done: int, best: float) -> None:
        """Show the segments completed, the settings done and the best metric so far."""
        self._progress.update(self._task, completed=completed, done=done, best=best)
