"""The progress of a sweep: everything on a terminal, one line a minute in a log."""

import io
import re
import time

import numpy as np
import pytest
from rich.console import Console

from regopt import sweep
from regopt.sweep.engine import _progress as progress
from regopt.sweep.engine import _runner as runner
from regopt.sweep.engine._progress import SweepProgress
from support.small_sweep import DATA, SCHEDULE, TASK


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


@pytest.mark.parametrize("terminal", [False, True])
def test_it_is_silent_where_nobody_asks(monkeypatch, terminal):
    update = {"completed": 10, "done": 4, "best": 0.5}
    assert shown(monkeypatch, update, terminal=terminal, enabled=False) == []


def test_a_bar_asks_for_no_more_updates_than_a_person_sees(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    asked = []
    bar = SweepProgress(True, segments=400, settings=40, monitor="validation_loss")
    for now[0] in np.arange(100) / 100:
        if bar.shown:
            asked.append(now[0])
            bar.update(completed=1, done=0, best=0.5)
    assert 5 <= len(asked) <= 10
    bar.ends()
    assert bar.shown


def test_a_log_has_one_line_a_minute_and_one_at_the_end(monkeypatch):
    now = [0.0]

    def monotonic():
        return now[0]

    monkeypatch.setattr(progress.time, "monotonic", monotonic)
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=False, width=80)
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    with SweepProgress(True, segments=400, settings=40, monitor="validation_loss") as bar:
        for seconds, completed in ((30, 50), (61, 100), (100, 150), (125, 200)):
            now[0] = float(seconds)
            if bar.shown:
                bar.update(completed=completed, done=5, best=0.5, running=30, diverged=5)
        now[0] = 130.0
        bar.ends()
        bar.update(completed=400, done=40, best=0.25, running=0, diverged=5)
    assert stream.getvalue().splitlines() == [
        "5/40 settings, 25 % in 1 min, 3 min left, 30 running, 5 diverged, best validation_loss 0.5",
        "5/40 settings, 50 % in 2 min, 2 min left, 30 running, 5 diverged, best validation_loss 0.5",
        "40/40 settings, 100 % in 2 min, 5 diverged, best validation_loss 0.25",
    ]


def test_compilation_is_shown(monkeypatch):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    with progress.compiling(True, 1200):
        pass
    assert "compiling the programs of 1,200 settings 0:00:00" in stream.getvalue()
    stream = io.StringIO()
    log = Console(file=stream, force_terminal=False, width=80)
    monkeypatch.setattr(progress, "Console", lambda **_: log)
    monkeypatch.setattr(progress, "MINUTE", 0.05)
    with progress.compiling(True, 12):
        deadline = time.monotonic() + 10
        while stream.getvalue().count("\n") < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "compiling the programs of 12 settings"
    assert lines[1].startswith("compiling the programs of 12 settings: ")
    assert lines[-1].startswith("compiled in ")
    with progress.compiling(False, 12):
        pass


@pytest.mark.parametrize("monitor", ["validation_loss", "validation_accuracy"])
def test_a_sweep_shows_what_its_result_says(monkeypatch, monitor):
    seen = []

    class Shown(SweepProgress):
        shown = True

        def update(self, **counts):
            seen.append(counts)

    monkeypatch.setattr(runner, "SweepProgress", Shown)
    settings = sweep.from_columns({"learning_rate": [0.01, 0.1, 1e30, 0.03]})
    scheduler = sweep.successive_halving(2)
    result = sweep.run(TASK, settings, DATA, monitor=monitor, scheduler=scheduler, **SCHEDULE)
    history = result.history
    assert seen[-1] == {
        "completed": 4 * 3,  # a setting that has ended counts as complete
        "done": 4,
        "best": pytest.approx(result.best().metrics[monitor]),
        "running": 0,
        "pruned": int(history.pruned.sum()),
        "diverged": 1,
    }
    assert history.pruned.any()
    assert [counts["completed"] for counts in seen] == sorted(counts["completed"] for counts in seen)
    assert seen[0]["done"] < 4
    assert seen[0]["running"] > 0


def test_a_short_sweep_in_a_log_says_what_it_does(capfd):
    settings = sweep.from_columns({"learning_rate": [0.01, 0.1, 1e30]})
    sweep.run(TASK, settings, DATA, progress=True, **SCHEDULE)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "compiling the programs of 3 settings"
    assert re.fullmatch(r"compiled in \d+ s", lines[1])
    assert re.fullmatch(r"3/3 settings, 100 % in \d+ s, 1 diverged, best validation_loss [\d.]+", lines[2])
    assert len(lines) == 3


def test_a_notebook_without_widgets_has_lines(monkeypatch):
    console = Console(file=io.StringIO(), force_jupyter=True)
    assert console.is_jupyter
    for found, looked_at in ((None, False), (object(), True)):
        monkeypatch.setattr(progress.importlib.util, "find_spec", lambda _, found=found: found)
        assert progress._is_looked_at(console) == looked_at
