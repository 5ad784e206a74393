"""A sweep that ends by an exception: what was trained is kept, and the same call resumes once the cause is gone."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from regopt import sweep
from regopt.sweep.checkpoint import StoreError, read
from regopt.sweep.engine._checkpointing import Checkpointing
from regopt.sweep.engine._progress import SweepProgress
from regopt.sweep.schedulers import Decision
from support import killed_sweep

SHORT = {"steps": 40, "patience": None, "scheduler": None, "slots": None, "save_every": 1e9}
CURVES = ("validation_loss", "train_loss")


class Wrong(Exception):
    pass


def failing_scheduler(after):
    """Lets all settings train, and raises once this many segments of each are done; 0 never raises."""

    def decide(state):
        if after and state.segments.min() >= after:
            raise Wrong("no more")
        nobody = np.zeros_like(state.going)
        return Decision(nobody, nobody)

    return sweep.Scheduler(decide, "all train")


def task_that_calls_python(check):
    """``killed_sweep.task`` with a call of Python in each step."""
    task = killed_sweep.task()

    def step(state, batch, key, h):
        state, metrics = task.step(state, batch, key, h)
        count = jax.pure_callback(check, state["count"], state["count"], vmap_method="sequential")
        return {**state, "count": count}, metrics

    return task._replace(step=step)


def same(found, whole):
    for name in CURVES:
        np.testing.assert_array_equal(found.history.curves[name], whole.history.curves[name])
    for row in range(killed_sweep.SETTINGS):
        for a, b in zip(*map(jax.tree.leaves, (found.state(row), whole.state(row))), strict=True):
            np.testing.assert_array_equal(a, b)


def rubbish(folder):
    return [path for path in folder.rglob("*") if path.name.startswith(".")]


def test_an_error_of_a_scheduler_saves_what_was_trained(tmp_path):
    whole = killed_sweep.run(**SHORT | {"scheduler": failing_scheduler(0)})
    with pytest.raises(Wrong, match="no more") as raised:
        killed_sweep.run(tmp_path, **SHORT | {"scheduler": failing_scheduler(7)})
    partial = raised.value.partial_result
    assert (partial.history.segments == 7)[~partial.history.diverged].all()
    assert read(tmp_path).number == partial.history.segments.sum()
    assert sweep.load(tmp_path).to_pandas().equals(partial.to_pandas())
    assert sweep.load(tmp_path).interrupted
    (note,) = raised.value.__notes__
    assert note.isprintable()
    assert f"{partial.history.segments.sum()} segments were trained" in note
    assert f"all are saved in {tmp_path}" in note
    assert not rubbish(tmp_path)
    again = killed_sweep.run(tmp_path, **SHORT | {"scheduler": failing_scheduler(0)}, allow_different=True)
    same(again, whole)


def test_without_a_folder_the_error_has_the_partial_result():
    with pytest.raises(Wrong) as raised:
        killed_sweep.run(**SHORT | {"scheduler": failing_scheduler(3)})
    partial = raised.value.partial_result
    assert partial.interrupted
    assert partial.state(0)["count"] == 6
    assert np.isfinite(partial.history.curves["validation_loss"][0, :3]).all()


def test_an_error_of_a_task_saves_what_was_trained_before_it(tmp_path, monkeypatch):
    calls, fails_at = [], [None]

    def check(count):
        calls.append(count)
        if len(calls) == fails_at[0]:
            raise Wrong("in a step")
        return count

    task = task_that_calls_python(check)
    monkeypatch.setattr(killed_sweep, "task", lambda: task)
    whole = killed_sweep.run(**SHORT)
    fails_at[0], saved = len(calls) // 3, 0
    for _ in range(2):
        calls.clear()
        with pytest.raises(Exception, match="in a step") as raised:
            killed_sweep.run(tmp_path, **SHORT)
        assert read(tmp_path).number == raised.value.partial_result.history.segments.sum() > saved
        assert "all are saved" in raised.value.__notes__[-1]
        saved = read(tmp_path).number
    fails_at[0] = None
    same(killed_sweep.run(tmp_path, **SHORT), whole)


def test_an_error_between_two_calls_does_not_save_lanes_that_are_ahead_of_their_history(tmp_path, monkeypatch):
    """The next call runs while one is shown."""
    whole = killed_sweep.run(**SHORT)
    shown = []

    def update(self, **now):
        shown.append(now)
        if len(shown) in (20, 50):
            raise Wrong("in the progress line")

    monkeypatch.setattr(SweepProgress, "shown", True)
    monkeypatch.setattr(SweepProgress, "update", update)
    with pytest.raises(Wrong) as raised:
        killed_sweep.run(tmp_path, **SHORT)
    assert read(tmp_path) is None
    assert "their table is saved" in raised.value.__notes__[0]
    assert sweep.load(tmp_path).history.segments.sum() == raised.value.partial_result.history.segments.sum() > 0
    with pytest.raises(Wrong):
        killed_sweep.run(tmp_path, **SHORT)
    same(killed_sweep.run(tmp_path, **SHORT), whole)


def test_an_error_of_the_store_is_not_followed_by_another_save(tmp_path, monkeypatch):
    saves = []

    def fail(self, state, *, done):
        saves.append(done)
        raise StoreError("the disk is full")

    monkeypatch.setattr(Checkpointing, "save", fail)
    with pytest.raises(StoreError, match="the disk is full") as raised:
        killed_sweep.run(tmp_path, **SHORT | {"save_every": 0.0})
    assert saves == [False]
    assert raised.value.partial_result.history.segments.sum() > 0


def test_a_save_that_fails_after_an_error_does_not_hide_it(tmp_path, monkeypatch):
    def fail(self, state, *, done):
        raise StoreError("the disk is full")

    monkeypatch.setattr(Checkpointing, "save", fail)
    with pytest.raises(Wrong) as raised:
        killed_sweep.run(tmp_path, **SHORT | {"scheduler": failing_scheduler(2)})
    assert "not all of them are saved: the disk is full" in raised.value.__notes__[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n: None, "must return a Decision, got None"),
        (lambda n: Decision(np.zeros(n - 1, bool), np.zeros(n, bool)), r"wait must have shape \(24,\), got \(23,\)"),
        (lambda n: Decision(np.zeros(n, bool), True), r"prune must have shape \(24,\), got \(\)"),
        (lambda n: Decision(*np.zeros((2, n), bool), np.full(n, n)), r"parents must be integers in \[0, 24\)"),
        (lambda n: Decision(*np.zeros((2, n), bool), None, {"rate": [0.1]}), r"rate must have shape \(24,\)"),
    ],
)
def test_a_decision_of_another_form_is_refused_before_it_is_acted_on(change, message):
    scheduler = sweep.Scheduler(lambda state: change(len(state.going)), "wrong")
    with pytest.raises(ValueError, match=message):
        killed_sweep.run(**SHORT | {"scheduler": scheduler})


@pytest.mark.parametrize("method", ["save", "save_table"])
def test_an_error_of_the_last_save_has_the_whole_result(tmp_path, monkeypatch, method):
    def fail(self, *arguments, **options):
        raise StoreError("the disk is full")

    ended = []
    monkeypatch.setattr(Checkpointing, method, fail)
    tracker = SimpleNamespace(on_segment=lambda *told: None, on_end=ended.append)
    with pytest.raises(StoreError, match="the disk is full") as raised:
        killed_sweep.run(tmp_path, **SHORT, callbacks=[tracker])
    found = raised.value.partial_result
    assert ended == [found]
    same(found, killed_sweep.run(**SHORT))


def test_an_error_of_a_callback_at_the_end_has_the_whole_result():
    def fail(result):
        raise Wrong("at the end")

    tracker = SimpleNamespace(on_segment=lambda *told: None, on_end=fail)
    with pytest.raises(Wrong) as raised:
        killed_sweep.run(**SHORT, callbacks=[tracker])
    same(raised.value.partial_result, killed_sweep.run(**SHORT))
