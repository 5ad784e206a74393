"""Where shards go: to the workers that have the fewest, and away from those that have more to do than others."""

import itertools

import numpy as np
import pytest

from regopt.sweep.engine._placement import Places
from regopt.sweep.executors._balance import fewest_first, moves
from regopt.sweep.executors._leases import Leases, Task, UnderWay
from regopt.sweep.executors._messages import Train


def test_shards_go_to_the_workers_that_have_the_fewest():
    found = fewest_first("abc", {"a": 2, "c": 1, "gone": 9})
    assert "".join(itertools.islice(found, 9)) == "bbcabcabc"


def test_shards_with_the_most_work_move_until_no_worker_has_two_more():
    holder, work = dict.fromkeys(range(5), "a") | {5: "b"}, [3.0, 9.0, 1.0, 7.0, 5.0, 8.0]
    assert list(moves("abc", holder, work.__getitem__, [], 2.0)) == [(1, "c"), (3, "b"), (4, "c")]
    assert list(moves("abc", holder, work.__getitem__, [1], 4.0)) == [(3, "c"), (4, "b")]


def test_level_shards_are_not_asked_how_much_they_have_to_do():
    def never(shard):
        raise AssertionError

    assert not list(moves("ab", {0: "a", 1: "b", 2: "a"}, never, [], 0.0))


@pytest.mark.parametrize(("workers", "calls"), [(2, 2), (800, 8), (2000, 10)])
def test_leases_of_many_workers_are_longer(workers, calls):
    leases, nobody = Leases(), np.zeros(0, int)
    task = Task(0, 0, Train(nobody, nobody, nobody, 1, 0, 10_000))
    for shard in range(workers):
        leases.begin(shard, UnderWay(task, f"{shard}", shard, 0.0))
    leases.begin("next", UnderWay(task._replace(operation=task.operation._replace(end=5)), "0", 0, 0.0))
    leases.answered(leases.end("next"), 1.25)
    first, _ = leases.split(task, "0")
    assert first.operation.end == calls  # of a quarter of a second: for half a second, 2 seconds, twice as many


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_calls_are_counted_without_making_them(packed, seed):
    random = np.random.default_rng(seed)
    places = Places(200, 3, 67, 16, packed=packed)
    places.admit(np.zeros(0, int))
    lanes = np.sort(random.choice(200, 90, replace=False))
    seats = places.plan(lanes, 0.01)
    assert places.count_calls(seats) == len(list(places.calls(lanes, seats)))
