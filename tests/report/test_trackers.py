"""Trackers write one run a setting while a sweep trains, and never stop it; the real clients read it back."""

import logging
import sqlite3
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from regopt import report, sweep
from regopt.report import _live as _live_module
from regopt.report._trackers import _live
from regopt.testing import MEAN_DATA, MEAN_TASK

SETTINGS = sweep.from_columns({"rate": [0.1, 0.5, 1e30], "name": ["a", "b", "c"]})


def run(tracker):
    return sweep.run(MEAN_TASK, SETTINGS, MEAN_DATA, steps=4, eval_every=1, callbacks=[tracker])


class Tool:
    """Keeps what a tracker writes; fails in one of its functions."""

    def __init__(self, fails=""):
        self.fails, self.runs, self.writes = fails, {}, []

    def _perhaps_fail(self, name):
        if name == self.fails:
            raise ConnectionError("the server\nis away")

    def open(self, row, setting):
        self._perhaps_fail("open")
        self.runs[row] = [setting, [], None]
        return row

    def write(self, run, points):
        self._perhaps_fail("write")
        self.writes.append(len(points))
        self.runs[run][1].extend(points)

    def close(self, run, status):
        self._perhaps_fail("close")
        self.runs[run][2] = status


def test_a_tracker_has_a_run_for_each_setting():
    tool = Tool()
    result = run(_live("a tool", tool, every=0.0))
    assert [(setting, status) for setting, _, status in tool.runs.values()] == [
        ({"rate": 0.1, "name": "a"}, "done"),
        ({"rate": 0.5, "name": "b"}, "done"),
        ({"rate": 1e30, "name": "c"}, "diverged"),
    ]
    for row, (_, points, _) in tool.runs.items():
        for step, values in points:
            assert all(np.isfinite(value) for value in values.values())
            for name, value in values.items():
                assert value == pytest.approx(result.history.curves[name][row, step - 1], rel=1e-12)
    assert [step for step, _ in tool.runs[0][1]] == [1, 2, 3, 4]


def test_points_are_written_in_batches():
    tool = Tool()
    run(_live("a tool", tool, every=1e6))
    assert tool.writes[:2] == [4, 4]


def test_points_that_wait_for_a_slow_tool_are_bounded_and_their_loss_is_said(monkeypatch, caplog):
    monkeypatch.setattr(_live_module, "MOST", 10)
    answers, tool = threading.Event(), Tool()
    begin = tool.open

    def open_late(row, setting):
        assert answers.wait(60), "the sweep waits"
        return begin(row, setting)

    tool.open = open_late
    live = _live_module.Live("a tool", tool, every=0.0)
    with caplog.at_level(logging.WARNING, logger="regopt"):
        for step in range(1, 1001):
            live.on_segment(step, {0: {"rate": 0.1}, 1: {"rate": 0.5}}, {"loss": np.full(2, step)})
            assert sum(map(len, live._points.values())) <= 10
            assert live._work.qsize() <= 1
        answers.set()
        live.on_end(SimpleNamespace(status=np.array(["done", "done"])))
    steps = {row: [step for step, _ in points] for row, (_, points, _) in tool.runs.items()}
    assert steps[0] == steps[1] == sorted(set(steps[0]))
    assert steps[0][0] == 1
    assert steps[0][-1] == 1000
    lost = 2000 - len(steps[0]) - len(steps[1])
    assert [record.getMessage() for record in caplog.records] == [
        "a tool is slower than the sweep: of more than 10 points that wait for it, every second one is dropped; "
        "the result has all of them",
        f"a tool was too slow and did not get {lost} points",
    ]


@pytest.mark.parametrize("fails", ["open", "write", "close"])
def test_a_failing_tool_is_one_warning(fails, caplog):
    with caplog.at_level(logging.WARNING, logger="regopt"):
        result = run(_live("a tool", Tool(fails), every=0.0))
    assert result.status.tolist() == ["done", "done", "diverged"]
    lines = [record.getMessage() for record in caplog.records if "a tool" in record.getMessage()]
    assert lines == ["a tool failed, and the sweep goes on without it: ConnectionError: the server is away"]


@pytest.mark.parametrize("every", [-1.0, float("nan"), "10"])
def test_seconds_between_writes_are_checked(every):
    with pytest.raises(ValueError, match=r"every must .*\[0, inf\), got"):
        _live("a tool", Tool(), every=every)


def test_training_does_not_wait_for_a_tool():
    """It opens its first run when the last segment has trained."""
    last, tool = threading.Event(), Tool()
    begin = tool.open

    def open_late(row, setting):
        assert last.wait(60), "the sweep waits"
        return begin(row, setting)

    tool.open = open_late
    tracker = _live("a tool", tool, every=0.0)
    callbacks = [tracker, lambda step, settings, metrics: last.set() if step == 4 else None]
    result = sweep.run(MEAN_TASK, SETTINGS, MEAN_DATA, steps=4, eval_every=1, callbacks=callbacks)
    assert [status for _, _, status in tool.runs.values()] == result.status.tolist()


def test_a_tool_that_never_answers_is_one_warning(monkeypatch, caplog):
    monkeypatch.setattr(_live_module, "PATIENCE", 0.1)
    answers, tool = threading.Event(), Tool()
    tool.open = lambda row, setting: answers.wait(60)
    with caplog.at_level(logging.WARNING, logger="regopt"):
        result = run(_live("a tool", tool, every=0.0))
    answers.set()
    assert result.status.tolist() == ["done", "done", "diverged"]
    lines = [record.getMessage() for record in caplog.records if "a tool" in record.getMessage()]
    assert lines == ["a tool failed, and the sweep goes on without it: it has not answered for 0 s"]


def test_tensorboard_shows_every_curve(tmp_path):
    pytest.importorskip("tensorboardX", reason="the extra tensorboard is not installed")
    accumulators = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="the extra tensorboard is not installed"
    )
    result = run(report.track_tensorboard(tmp_path, every=0.0))
    for row in (0, 1):
        events = accumulators.EventAccumulator(str(tmp_path / f"setting-{row:04d}")).Reload()
        curve = {event.step: event.value for event in events.Scalars("validation_loss")}
        expected = result.history.curves["validation_loss"][row]
        assert list(curve) == [1, 2, 3, 4]
        np.testing.assert_allclose(list(curve.values()), expected, rtol=1e-6)


@pytest.mark.filterwarnings("ignore")  # of the libraries below mlflow
def test_mlflow_has_a_run_for_each_setting(tmp_path):
    tracking = pytest.importorskip("mlflow.tracking", reason="the extra mlflow is not installed")
    pytest.importorskip("sqlalchemy", reason="mlflow-skinny has no database")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    result = run(report.track_mlflow(uri, "live", every=0.0))
    client = tracking.MlflowClient(tracking_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name("live").experiment_id])
    states = {found.data.params["rate"]: found.info.status for found in runs}
    assert states == {"0.1": "FINISHED", "0.5": "FINISHED", "1e+30": "FAILED"}
    one = next(found for found in runs if found.data.params["rate"] == "0.5")
    points = client.get_metric_history(one.info.run_id, "validation_loss")
    np.testing.assert_allclose([point.value for point in points], result.history.curves["validation_loss"][1])


@pytest.mark.filterwarnings("ignore")  # of the client
def test_wandb_writes_offline_runs(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="the client of Weights & Biases is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run(report.track_wandb("live", mode="offline", dir=str(tmp_path), every=0.0))
    wandb.teardown()  # its process writes the files a little after a run has finished
    files = list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(files) == 3
    contents = [path.read_bytes() for path in files]
    for row in range(3):
        assert sum(f"setting-{row:04d}".encode() in content for content in contents) == 1
    assert sum(b"validation_loss" in content for content in contents) >= 2


@pytest.mark.filterwarnings("ignore")  # of the client
def test_trackio_has_a_run_for_each_setting(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    pytest.importorskip("trackio", reason="trackio is not installed")
    result = run(report.track_trackio("live", every=0.0, auto_log_gpu=False, auto_log_cpu=False))
    (path,) = tmp_path.glob("**/*.db")
    with sqlite3.connect(path) as database:
        rows = database.execute("select run_name, step, metrics from metrics order by run_name, step").fetchall()
    assert {name for name, _, _ in rows} >= {"setting-0000", "setting-0001"}
    assert [step for name, step, _ in rows if name == "setting-0001"] == [1, 2, 3, 4]
    del result
