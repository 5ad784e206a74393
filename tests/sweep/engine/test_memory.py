"""How many lanes train at once on a CPU: as many as its cache has room for, in calls of equal sizes."""

from types import SimpleNamespace
from typing import NamedTuple

import jax
import numpy as np
import pytest

from regopt.sweep import successive_halving
from regopt.sweep.engine import _memory as memory


class Cpu(NamedTuple):
    platform: str = "cpu"


@pytest.fixture
def room(monkeypatch):
    """A CPU with 2 MiB for the temporaries of a call, whatever lies at rest."""
    monkeypatch.setattr(memory, "_room", lambda device, resting: 2.0**21)
    return 2**21


def compiler(lane_needs, asked):
    """A compiler whose programs need so many bytes for a lane."""

    def compile_at(lanes):
        asked.append(lanes)
        analysis = SimpleNamespace(temp_size_in_bytes=lanes * lane_needs)
        return SimpleNamespace(lanes=lanes, memory_analysis=lambda: analysis)

    return compile_at


@pytest.mark.parametrize(
    ("capacity", "lane_bytes", "lane_needs", "expected"),
    [
        (320, 2**15 - 1, 2**10, [32]),  # small lanes
        (320, 2**15, 2**10, [16]),
        (320, 2**19, 2**19, [4]),  # a lane takes its own bytes at least: 16 are never compiled
        (320, 2**22, 2**22, [1]),
        (320, 2**15, 2**18, [16, 8]),  # the temporaries of 16 do not fit, those of 8 do
        (33, 2**10, 2**10, [17]),  # two calls of 17 rather than one of 32 and one of 1
        (5, 2**10, 2**10, [5]),
    ],
)
def test_the_chunk_fills_the_cache_in_calls_of_equal_sizes(room, capacity, lane_bytes, lane_needs, expected):
    asked = []
    chunk, program = memory.fit_chunk(compiler(lane_needs, asked), capacity, lane_bytes, Cpu())
    assert asked == expected
    assert (chunk, program.lanes) == (expected[-1], expected[-1])


@pytest.mark.parametrize(
    ("capacity", "lane_bytes", "expected"),
    [(41, 2**15, 3), (500, 2**15, 16), (41, 2**15 - 1, 21)],  # many settings fill calls, and small ones cost little
)
def test_calls_are_small_where_few_of_the_settings_train_to_the_end(room, capacity, lane_bytes, expected):
    asked = []
    most = memory.least_padded(capacity, lane_bytes, Cpu(), successive_halving(3).going(27))
    chunk, _ = memory.fit_chunk(compiler(2**10, asked), capacity, lane_bytes, Cpu(), most=most)
    assert asked == [chunk] == [expected]
    assert memory.first_chunk(capacity, lane_bytes, Cpu(), 0.0, True, False, most) == expected


@pytest.mark.parametrize("capacity", [1, 2, 7, 16, 41, 128])
@pytest.mark.parametrize("eta", [1.5, 3.0])
def test_smaller_calls_for_halving_save_time(capacity, eta):
    going = successive_halving(eta).going(27)
    lanes = [max(int(np.ceil(share * capacity - 1e-9)), 1) for share in going]

    def seconds(chunk):  # of calls that cost two lanes more than they have
        return sum(-(-count // chunk) * (chunk + 2) for count in lanes)

    usual = min(capacity, 16)
    least = min(map(seconds, range(1, usual + 1)))
    found = memory.least_padded(capacity, 2**15, Cpu(), going)
    if found is None:
        assert seconds(usual) <= 1.05 * least / 0.9
    else:
        assert seconds(found) < 0.9 * seconds(usual)
        assert seconds(found) <= 1.05 * least


def test_calls_of_an_accelerator_are_as_large_as_they_can_be():
    assert memory.least_padded(41, 2**15, Cpu("gpu"), successive_halving(3).going(27)) is None


def test_lanes_rest_on_the_device_or_leave_its_room_to_the_calls(monkeypatch):
    resting = []
    monkeypatch.setattr(memory, "_room", lambda device, rests: resting.append(rests) or 2.0**40)
    for at_rest in (True, False):
        memory.fit_chunk(compiler(2**10, []), 320, 2**15, Cpu("gpu"), taken=7.0, at_rest=at_rest)
    assert resting == [320 * 2**15 + 7.0, 7.0]


def test_lanes_that_run_one_after_the_other_need_no_room_for_each(room):
    asked = []
    chunk, program = memory.fit_chunk(compiler(room, asked), 320, room, Cpu(), one_by_one=lambda: True)
    assert asked == [16]
    assert (chunk, program.lanes) == (16, 16)


def test_it_may_be_known_only_once_compiled_that_lanes_run_one_after_the_other(room):
    asked = []
    chunk, program = memory.fit_chunk(compiler(room, asked), 320, room // 4, Cpu(), one_by_one=lambda: len(asked) > 0)
    assert asked == [4]
    assert (chunk, program.lanes) == (4, 4)


def test_lanes_at_rest_are_those_of_the_slots_or_what_the_room_holds():
    assert memory.lanes_at_rest(100, 11, 10.0, 500.0, 2) == 6  # of 11 on two devices
    assert memory.lanes_at_rest(5, 11, 10.0, 500.0, 2) == 3
    assert memory.lanes_at_rest(100, None, 10.0, 500.0, 2) == 25
    assert memory.lanes_at_rest(7, None, 10.0, 500.0, 2) == 4
    assert memory.lanes_at_rest(100, None, 1e6, 500.0, 2) == 1  # one at least


@pytest.mark.parametrize(
    ("kind", "gigabytes"),  # of the data sheets; a part of it is not JAX's
    [("TPU v5 lite", 16 * 1.0737), ("TPU v5", 95 * 1.0737), ("TPU v6 lite", 32 * 1.0737), ("NVIDIA H200", 141 * 0.75)],
)
def test_a_device_that_cannot_be_asked_has_the_memory_of_its_data_sheet(kind, gigabytes):
    class Described(NamedTuple):
        device_kind: str

        def memory_stats(self):
            raise jax.errors.JaxRuntimeError("UNIMPLEMENTED")

    assert 0.97 * gigabytes < memory.memory_limit(Described(kind)) / 1e9 <= 1.08 * gigabytes
    assert memory.memory_limit(Described("something else")) == 8 * 2**30
