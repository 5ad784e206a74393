"""Callbacks of a sweep: what they are told, and what comes of one that fails."""

import numpy as np
import pytest

from regopt import sweep
from regopt.testing import MEAN_DATA, MEAN_TASK
from support.local_pool import LocalEngine

SETTINGS = sweep.from_columns({"rate": [0.1, 0.2, 0.5, 0.9, 1e30]})
OPTIONS = {"steps": 4, "eval_every": 1, "chunk": 2}


class Seen:
    """Keeps what it is told, as ``(row, step) -> loss``."""

    def __init__(self):
        self.losses, self.settings, self.ended = {}, {}, []

    def on_segment(self, step, settings, metrics):
        assert set(metrics) == {"train_loss", "validation_loss"}
        for row, setting, loss in zip(settings, settings.values(), metrics["validation_loss"], strict=True):
            self.settings[row] = setting
            assert (row, step) not in self.losses
            self.losses[row, step] = loss

    def on_end(self, result):
        self.ended.append(result)


def run(**options):
    return sweep.run(MEAN_TASK, SETTINGS, MEAN_DATA, **(OPTIONS | options))


@pytest.mark.parametrize("slots", [None, 2])
def test_every_segment_is_told_once(slots):
    seen, calls = Seen(), []
    result = run(callbacks=[seen, lambda step, settings, metrics: calls.append((step, list(settings)))], slots=slots)
    trained = [(row, step) for row in range(5) for step in (1, 2, 3, 4) if step <= result.history.last_step[row]]
    assert sorted(seen.losses) == trained
    assert (4, 2) not in seen.losses  # it diverged
    for (row, step), loss in seen.losses.items():
        np.testing.assert_array_equal(loss, result.history.curves["validation_loss"][row, step - 1])
    assert seen.settings == {row: SETTINGS.row(row) for row in range(5)}
    assert seen.ended == [result]
    assert sorted((row, step) for step, rows in calls for row in rows) == trained
    result.refit(1)
    assert sorted(seen.losses) == trained  # it is no part of the sweep


def test_the_lanes_of_workers_are_seen_as_those_of_this_process():
    here, there = Seen(), Seen()
    run(callbacks=[here])
    run(callbacks=[there], executor=LocalEngine())
    assert there.losses == here.losses
    assert there.settings == here.settings


@pytest.mark.usefixtures("one_segment_a_call")
def test_what_was_trained_before_an_error_is_saved_whole_and_goes_on_to_the_same_bits(tmp_path):
    straight = run()

    def fails(step, settings, metrics):
        if step == 2 and 1 in settings:
            raise OSError("no space on the other disk")

    with pytest.raises(OSError, match="no space on the other disk") as caught:
        run(out=tmp_path, callbacks=[fails], save_every=1e6)
    notes = " ".join(caught.value.__notes__)
    assert "raised by a callback of sweep.run" in notes
    assert "all are saved" in notes
    partial = caught.value.partial_result
    assert partial.history.last_step[1] in (2, 3)  # a call may run while the callback is told of the one before
    seen = Seen()
    resumed = run(out=tmp_path, callbacks=[seen])
    assert [step for row, step in seen.losses if row == 1] == list(range(partial.history.last_step[1] + 1, 5))
    np.testing.assert_array_equal(resumed.history.curves["train_loss"], straight.history.curves["train_loss"])


def test_an_error_at_the_end_is_raised_when_all_is_saved(tmp_path):
    class Fails(Seen):
        def on_end(self, result):
            raise RuntimeError("at the end")

    with pytest.raises(RuntimeError, match="at the end"):
        run(out=tmp_path, callbacks=[Fails()])
    assert sweep.load(tmp_path).status.tolist() == ["done"] * 4 + ["diverged"]


def test_a_callback_that_exits_ends_the_sweep_once_all_is_saved(tmp_path):
    def exits(step, settings, metrics):
        raise SystemExit(3)

    with pytest.raises(SystemExit) as raised:
        run(out=tmp_path, callbacks=[exits])
    assert raised.value.code == 3
    saved = sweep.load(tmp_path)
    assert 0 < saved.history.segments.sum() == raised.value.partial_result.history.segments.sum()


def test_the_end_is_told_after_an_error_of_the_task():
    seen = Seen()

    def decide(state):
        if state.segments.max() == 2:
            raise RuntimeError("a scheduler's own")
        return sweep.Decision(np.zeros_like(state.going), np.zeros_like(state.going))

    with pytest.raises(RuntimeError, match="a scheduler's own"):
        run(callbacks=[seen], scheduler=sweep.Scheduler(decide, "failing"))
    assert len(seen.ended) == 1
    assert seen.ended[0].interrupted


def test_wrong_callbacks_are_named():
    for wrong in (Seen(), print, "log"):
        with pytest.raises(ValueError, match="callbacks must be a list, got"):
            run(callbacks=wrong)
    with pytest.raises(ValueError, match="callbacks must be functions, or have on_segment, got 3"):
        run(callbacks=[3])
