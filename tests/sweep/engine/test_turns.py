"""A segment begins while the last call of the one before runs, and no call trains a lane whose results are unknown."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regopt import sweep
from regopt.sweep.engine._group import Group
from regopt.sweep.engine._placement import NONE, Places
from regopt.sweep.engine._repeat import Pace
from regopt.sweep.engine._turns import Turns, one_behind
from regopt.sweep.results._history import History, Marks
from regopt.testing import MEAN_DATA, MEAN_TASK

SEGMENTS = 5


class Steady(Pace):
    """As many segments in each call."""

    def read(self, trained, count):
        del trained, count


class Drawn(Pace):
    """A random number of segments in each call."""

    def __init__(self, seed):
        super().__init__()
        self._random = np.random.default_rng(seed)

    def read(self, trained, count):
        assert 1 <= trained.max() <= count
        self.segments = int(self._random.integers(1, SEGMENTS + 1))


def drive(lanes, chunk, ending, *, packed=False, devices=1, pace=None):
    """Each call is read when the next one has begun: the events, and the segments that each lane trains.

    On each device a call trains until one of its lanes ends.
    """
    places = Places(lanes, devices, -(-lanes // devices), chunk, packed=packed)
    everyone = places.admit(NONE)
    turns = Turns(places, everyone, np.zeros(lanes, int), SEGMENTS, places.plan(everyone), pace or Steady())
    events, trained, waiting = [], [[] for _ in range(lanes)], None

    def read(turn, owners):
        events.append(("read", turn.segment, tuple(owners)))
        numbers = turn.segment + np.arange(turn.count)[:, None]
        ends = ending[owners] == numbers
        first = np.where(ends, numbers, SEGMENTS).min(axis=0)
        last = np.array([first[places.device[owners] == device].min() for device in places.device[owners]])
        done = numbers <= last
        for lane, count in zip(owners, done.sum(axis=0), strict=True):
            trained[lane].extend(range(turn.segment, turn.segment + count))
        nothing = np.where(done, 0, -1)
        turns.read(turn, owners, Marks(np.where(done, ends, -1), nothing, nothing))

    for turn in turns:
        begun = None
        if turn is not None:
            assert turn.count >= 1
            owners = turn.call.owners[turn.call.owners >= 0]
            events.append(("begin", turn.segment, tuple(owners)))
            begun = turn, owners
        if waiting is not None:
            read(*waiting)
        waiting = begun
    if waiting is not None:
        read(*waiting)
    return events, trained


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("devices", "pace"), [(1, None), (1, Drawn(0)), (3, Drawn(1))])
def test_each_lane_trains_each_segment_once_until_it_ends(seed, packed, devices, pace):
    random = np.random.default_rng(seed)
    lanes, chunk = int(random.integers(1, 12)), int(random.integers(1, 5))
    ending = random.integers(0, 2 * SEGMENTS, lanes)
    events, trained = drive(lanes, chunk, ending, packed=packed, devices=devices, pace=pace)
    assert trained == [list(range(min(end + 1, SEGMENTS))) for end in ending.tolist()]
    running = set()
    for kind, _, owners in events:
        if kind == "begin":
            assert not running & {*owners}
            running |= {*owners}
        else:
            running -= {*owners}


def test_calls_are_planned_anew_only_where_lanes_that_have_ended_were_to_train(monkeypatch):
    lanes, planned, calls = 64, [], Places.calls
    monkeypatch.setattr(Places, "calls", lambda self, *asked: planned.append(len(asked[0])) or calls(self, *asked))
    drive(lanes, 2, np.random.default_rng(0).integers(0, SEGMENTS, lanes))
    assert len(planned) <= 3 * SEGMENTS


def test_a_segment_begins_before_the_last_call_of_the_one_before_is_read():
    events, _ = drive(6, 2, np.full(6, SEGMENTS))
    assert events.index(("begin", 1, (0, 1))) < events.index(("read", 0, (4, 5)))
    alone, _ = drive(2, 2, np.full(2, SEGMENTS))
    assert alone[:3] == [("begin", 0, (0, 1)), ("read", 0, (0, 1)), ("begin", 1, (0, 1))]


def test_each_call_is_reported_without_its_padding_once_the_next_one_is_launched():
    order = []

    def launched():
        for call in range(3):
            order.append(f"launch {call}")
            yield np.array([2 * call, -1, 2 * call + 1]), {"loss": 10.0 * call + jnp.arange(3.0)}, 1

    for call, (owners, seats, outcome) in enumerate(one_behind(launched())):
        order.append(f"report {call}")
        assert owners.tolist() == [2 * call, 2 * call + 1]
        assert seats.tolist() == [0, 2]
        assert outcome["loss"].tolist() == [10 * call, 10 * call + 2]
    assert order == ["launch 0", "launch 1", "report 0", "launch 2", "report 1", "report 2"]
    assert list(one_behind([])) == []


def test_a_call_that_waits_for_the_one_before_runs_while_that_one_is_reported():
    order = []

    def launched():
        for call in range(3):
            if call:
                yield None
            order.append(f"launch {call}")
            yield np.array([0]), jnp.array([call]), 1

    def learned(report):
        order.append(f"read {int(report[2][0])}")
        return int(report[2][0])

    for call in one_behind(launched(), learned):
        order.append(f"report {call}")
    assert order == [
        *("launch 0", "read 0", "launch 1", "report 0"),
        *("read 1", "launch 2", "report 1", "read 2", "report 2"),
    ]


def test_what_was_read_is_reported_also_if_the_next_call_cannot_begin():
    def launched():
        yield np.array([0]), jnp.array([0]), 1
        yield None
        raise OSError("no room")

    reports = one_behind(launched())
    assert next(reports)[0].tolist() == [0]
    with pytest.raises(OSError, match="no room"):
        next(reports)


def test_the_sweep_has_the_bits_of_one_that_waits_after_each_segment(monkeypatch):
    settings = sweep.from_columns({"rate": [0.1, 0.5, 1e30, 0.3, 0.2, 1e25, 0.7]})
    options = {"steps": 6, "eval_every": 1, "patience": 3, "chunk": 2, "devices": jax.devices()[:1]}
    events, call, add = [], Group._call, History.add

    def begun(self, ids, step, *others):
        events.append(("begin", int(step)))
        return call(self, ids, step, *others)

    def added(self, segment, *rest):
        events.append(("read", segment))
        return add(self, segment, *rest)

    monkeypatch.setattr(Group, "_call", begun)
    monkeypatch.setattr(History, "add", added)
    result = sweep.run(MEAN_TASK, settings, MEAN_DATA, **options)
    last_read = len(events) - 1 - events[::-1].index(("read", 0))
    assert events.index(("begin", 1)) < last_read

    def advance(self, lanes, segments, until, halt, seats, own=Group.advance):
        behind = segments == segments.min()
        return own(self, lanes[behind], segments[behind], int(segments.min()) + 1, halt, seats[behind])

    monkeypatch.setattr(Group, "advance", advance)
    waits = sweep.run(MEAN_TASK, settings, MEAN_DATA, **options)
    for name, curve in waits.history.curves.items():
        assert np.array_equal(result.history.curves[name], curve, equal_nan=True), name
    assert np.array_equal(result.history.seats, waits.history.seats)
    assert result.status.tolist() == waits.status.tolist()
    assert result.busy_share == waits.busy_share
