"""Calls of several segments: the same bits as calls of one, no step after the end of a lane, and their number."""

import signal

import jax
import numpy as np
import pytest

from regopt import sweep
from regopt.sweep.engine import _repeat
from regopt.sweep.engine._group import Group
from regopt.sweep.engine._repeat import MOST, Pace
from regopt.testing import MEAN_DATA, MEAN_TASK

RATES = [0.1, 0.5, 1e30, 0.3, 0.2, 1e9, 0.7, 1.5, 2.1]  # some diverge, at different segments
DEVICES = len(jax.devices())


def trained(monkeypatch, most, rates=RATES, **options):
    """A sweep whose calls train up to ``most`` segments, whatever the clock says, and the segments asked of each."""
    asked, call = [], Group._call

    def counted(self, ids, step, count, block):
        asked.append(int(count))
        return call(self, ids, step, count, block)

    with monkeypatch.context() as patch:
        patch.setattr(_repeat, "SECONDS", 1e9)
        patch.setattr(Group, "_call", counted)
        patch.setattr("regopt.sweep.engine._group.Pace", lambda _: Pace(most))
        result = sweep.run(
            MEAN_TASK, sweep.from_columns({"rate": rates}), MEAN_DATA, steps=40, eval_every=2, chunk=2, **options
        )
    return result, asked


@pytest.mark.parametrize("mapping", ["vmap", "map"])
@pytest.mark.parametrize("devices", [1, DEVICES])
@pytest.mark.parametrize(
    "options",
    [{}, {"patience": 2}, {"scheduler": sweep.successive_halving(2)}],
    ids=["all", "patience", "halving"],
)
def test_the_bits_do_not_depend_on_the_segments_of_a_call(monkeypatch, options, devices, mapping):
    options = options | {"devices": jax.devices()[:devices], "mapping": mapping}
    (one, ones), *others = (trained(monkeypatch, most, **options) for most in (1, 3, MOST))
    assert set(ones) == {1}
    for several, asked in others:
        assert max(asked) > 1
        for name, curve in one.history.curves.items():
            np.testing.assert_array_equal(several.history.curves[name], curve, err_msg=name)
        assert several.status.tolist() == one.status.tolist()
        for name in ("seats", "last_step", "first_bad_step", "best_step"):
            np.testing.assert_array_equal(getattr(several.history, name), getattr(one.history, name), err_msg=name)
        for row in range(len(RATES)):
            assert_same(several.state(row), one.state(row))


@pytest.mark.parametrize("devices", [1, DEVICES])
def test_an_interrupted_sweep_goes_on_to_the_same_bits(monkeypatch, tmp_path, devices):
    options = {"devices": jax.devices()[:devices]}
    straight, _ = trained(monkeypatch, 1, **options)
    once = [signal.SIGINT]

    def interrupt(step, settings, metrics):
        if step >= 10 and once:
            signal.raise_signal(once.pop())

    part, asked = trained(monkeypatch, 3, out=tmp_path, callbacks=[interrupt], **options)
    assert part.interrupted
    assert max(asked) == 3
    assert 10 <= part.history.last_step.max() < 40
    whole, _ = trained(monkeypatch, MOST, out=tmp_path, **options)
    assert whole.status.tolist() == straight.status.tolist()
    for name, curve in straight.history.curves.items():
        np.testing.assert_array_equal(whole.history.curves[name], curve, err_msg=name)
    for row in range(len(RATES)):
        assert_same(whole.state(row), straight.state(row))


def assert_same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_calls_grow_where_no_lane_ends(monkeypatch):
    _, asked = trained(monkeypatch, MOST, [0.1, 0.2], devices=jax.devices()[:1])
    assert asked == [1, 2, 4, 8, 5]
    assert sum(asked) == 20


@pytest.mark.parametrize("seconds", [0.0, 0.03, 0.06, 0.15])
def test_a_call_takes_about_the_time_that_it_may(monkeypatch, seconds):
    now, pace = [0.0], Pace()
    monkeypatch.setattr(_repeat.time, "perf_counter", lambda: now[0])
    pace.begin()
    for _ in range(8):
        count = pace.segments
        now[0] += max(count * seconds, 1e-9)
        pace.read(np.full(3, count), count)
    assert pace.segments == (min(int(_repeat.SECONDS / seconds), MOST) if seconds else MOST)


def test_after_a_lane_has_ended_early_the_next_call_trains_one_segment(monkeypatch):
    now, pace = [0.0], Pace()
    monkeypatch.setattr(_repeat.time, "perf_counter", lambda: now[0])
    pace.begin()
    seen = []
    for trained_segments in ([1, 1], [2, 2], [4, 3], [1, 1], [2, 2]):
        seen.append(pace.segments)
        now[0] += 1e-6
        pace.read(np.array(trained_segments), pace.segments)
    assert seen == [1, 2, 4, 1, 2]
