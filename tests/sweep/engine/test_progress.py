"""The progress of a sweep: everything on a terminal, nothing anywhere else."""

import io
import re

import numpy as np
import pytest
from rich.console import Console

from regopt.sweep.engine import _progress as progress
from regopt.sweep.engine._progress import SweepProgress


def shown(monkeypatch, *updates, terminal=True, enabled=True):
    """The lines that a terminal of 80 columns was given, in their order."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=80, color_system=None, legacy_windows=False)
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    with SweepProgress(enabled, segments=400, settings=40, monitor="validation_loss") as bar:
        for update in updates:
            bar.update(**update)
    frames = re.sub(r"\x1b\[[?\d;]*[A-Za-z]|\r", "\n", stream.getvalue())  # without what moves the cursor
    return [line for line in frames.splitlines() if line.strip()]


def test_a_terminal_shows_all_of_it(monkeypatch):
    lines = shown(
        monkeypatch,
        {"completed": 10, "done": 0, "best": 2.5},
        {"completed": 200, "done": 12, "best": 0.12345, "running": 20, "pruned": 7, "diverged": 3},
    )
    last = lines[-2:]
    assert "12/40 settings" in last[0]
    assert "50%" in last[0]
    assert "left" in last[0]
    assert "20 running, 7 pruned, 3 diverged, best validation_loss 0.1235" in last[1]
    assert "settings/s" in last[1]
    assert all(len(line) <= 80 for line in last)


def test_what_is_not_known_is_not_shown(monkeypatch):
    last = shown(monkeypatch, {"completed": 10, "done": 4, "best": np.inf})[-1]
    assert "36 running" in last
    assert "best" not in last
    assert "pruned" not in last


@pytest.mark.parametrize(("terminal", "enabled"), [(False, True), (True, False)])
def test_it_is_silent_where_nobody_looks(monkeypatch, terminal, enabled):
    update = {"completed": 10, "done": 4, "best": 0.5}
    assert shown(monkeypatch, update, terminal=terminal, enabled=enabled) == []
