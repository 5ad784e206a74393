"""Which lanes have a place, which of them train next, and in which slots: worked out by hand."""

import numpy as np
import pytest

from regopt.sweep.engine._placement import Places

NOBODY = np.zeros(0, int)


def ready(places, segments, ended=(), wait=()):
    """The lanes of the next round."""
    every = np.arange(len(segments))
    found = places.ready(np.array(segments), ~np.isin(every, ended), np.isin(every, wait))
    return np.flatnonzero(found).tolist()


def test_lanes_that_fit_lie_in_turn_on_the_devices_and_keep_their_slots():
    places = Places(6, 2, 3, 2)
    assert places.waiting.all()
    assert places.admit(NOBODY).tolist() == list(range(6))
    assert places.device.tolist() == [0, 1, 0, 1, 0, 1]
    assert places.place.tolist() == [0, 0, 1, 1, 2, 2]
    assert places.waves.tolist() == [0] * 6
    assert places.plan(np.arange(6)).tolist() == [0, 2, 1, 3, 0, 2]  # two slots of each device
    assert places.leavers(np.ones(6, bool)).tolist() == []  # nobody waits for their places
    calls = [call.owners.tolist() for call in places.calls(np.arange(6))]
    assert calls == [[0, 2, 1, 3], [4, -1, 5, -1]]
    assert [call.places.tolist() for call in places.calls(np.array([4, 1]))] == [[2, 3, 0, 3]]  # 3 is no place


@pytest.mark.parametrize("seed", range(4))
def test_calls_of_any_seats_are_those_that_a_search_finds(seed):
    random = np.random.default_rng(seed)
    places = Places(60, 2, 30, 8, packed=True)
    places.admit(NOBODY)
    lanes = random.permutation(60)[:47]
    seats = places.plan(lanes, price=10.0)
    sizes = places.sizes.of(seats)
    turns = [int((seats[:at] == seat).sum()) for at, seat in enumerate(seats)]
    found = list(places.calls(lanes, seats))
    expected = sorted({*zip(sizes.tolist(), turns, strict=True)})
    assert len(found) == len(expected) == places.count_calls(seats)
    for call, (size, turn) in zip(found, expected, strict=True):
        its = {int(lane) for lane, s, t in zip(lanes, sizes, turns, strict=True) if (s, t) == (size, turn)}
        assert {*call.owners.tolist()} - {-1} == its
        for seat, lane in zip(seats, lanes, strict=True):
            if lane in its:
                assert call.owners[seat - places.sizes.firsts[size]] == lane
                assert call.places[seat - places.sizes.firsts[size]] == places.place[lane]
    assert list(places.calls(NOBODY)) == []


def test_full_calls_train_and_others_wait_for_lanes_that_may_still_come():
    places = Places(6, 2, 3, 2)
    places.admit(NOBODY)
    assert ready(places, [0] * 6) == list(range(6))  # nobody can fill the second call further
    assert ready(places, [0, 0, 0, 0, 1, 1]) == [0, 1, 2, 3]
    assert ready(places, [0, 0, 1, 1, 2, 2]) == [0, 1]  # no lane is behind them that could join, as in later steps
    assert ready(places, [0, 0, 1, 1, 1, 1]) == list(range(6))  # and those of step 1 fill a call
    assert ready(places, [1, 0, 1, 1, 1, 1], wait=[1]) == [0, 2, 3, 4, 5]
    assert ready(places, [0, 0, 1, 1, 1, 1], ended=[0, 1]) == [2, 3, 4, 5]
    assert ready(places, [0] * 6, ended=range(6)) == []


def test_a_lane_that_ends_gives_its_place_to_the_first_that_waits():
    places = Places(7, 2, 2, 2)
    assert places.streams
    assert places.packed
    assert places.waves.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert places.admit(NOBODY).tolist() == [0, 1, 2, 3]
    assert places.admit(NOBODY).tolist() == []
    assert places.waiting.tolist() == [False] * 4 + [True] * 3
    ended = np.arange(7) == 3
    leavers = places.leavers(ended)
    assert leavers.tolist() == [3]
    assert places.admit(leavers).tolist() == [4]
    assert (places.device[4], places.place[4], places.place[3]) == (1, 1, -1)
    all_ended = np.arange(7) <= 4
    assert places.leavers(all_ended).tolist() == [0, 1]  # no more than wait, and only those that have a place
    assert places.admit(places.leavers(all_ended)).tolist() == [5, 6]
    assert places.leavers(np.ones(7, bool)).tolist() == []


@pytest.mark.parametrize("devices", [1, 2])
def test_restored_places_go_on_as_those_that_were_saved(devices):
    places = Places(7, devices, 2, 2)
    places.admit(NOBODY)
    places.admit(np.array([1]))
    again = Places(7, devices, 2, 2)
    again.restore(places.device, places.place)
    for each in (places, again):
        assert each.admit(NOBODY).tolist() == []
        assert each.admit(np.array([0])).tolist() == [2 * devices + 1]
    np.testing.assert_array_equal(again.device, places.device)
    np.testing.assert_array_equal(again.place, places.place)


def test_one_lane_may_be_held_alone():
    for count in (6, 20):  # of which all fit, or not
        places = Places(count, 2, 3, 2)
        places.admit(NOBODY)
        places.alone(4, device=1)
        assert np.flatnonzero(places.place >= 0).tolist() == [4]
        assert (places.device[4], places.place[4]) == (1, 0)
        assert not places.waiting.any()
        assert places.admit(NOBODY).tolist() == []
        places.alone(None)
        assert (places.place < 0).all()
        assert not places.waiting.any()
