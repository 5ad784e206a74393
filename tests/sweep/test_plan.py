"""What a sweep would take, said before it runs."""

from types import SimpleNamespace
from typing import NamedTuple

import jax
import numpy as np
import pytest
from flax import nnx

import regopt
from regopt import sweep
from regopt.layers import convolution_by_product
from regopt.losses import cross_entropy
from regopt.sweep.engine import _memory as memory
from regopt.sweep.engine._prepare import prepare
from support.small_sweep import DATA, NUMBERS, SCHEDULE, TASK


def test_a_plan_counts_settings_bytes_and_arithmetic():
    settings = sweep.from_columns(NUMBERS | {"name": ["narrow"] * 4 + ["wide"] * 7})
    plan = sweep.plan(TASK, sweep.from_columns(NUMBERS), DATA, slots=6, **(SCHEDULE | {"chunk": 3}))
    (group,) = plan.groups
    assert (group.settings, group.held, group.chunk, plan.segments) == (11, 6, 3, 3)
    weights = 6 * 8 + 8 + 8 * 3 + 3
    assert 3 * 4 * weights <= group.lane_bytes <= 3 * 4 * weights + 64  # parameters and Adam's two moments, and counts
    products = 2 * 10 * (2 * 6 * 8 + 3 * 8 * 3)  # of a step: forward, by weights, and but for the first layer by inputs
    adam = 12 * weights
    assert 12 * products < group.flops < 12 * (2 * products + 5 * adam)
    assert plan.seconds > 0
    assert "11 settings in 1 program(s) on 2 device(s), 3 segments each" in str(plan)
    two = sweep.plan(TASK, settings, DATA, **(SCHEDULE | {"chunk": 3}))
    assert [each.static for each in two.groups] == [{"name": "narrow"}, {"name": "wide"}]
    assert "name = 'wide', 7 settings" in str(two)


def test_programs_that_compile_at_the_same_time_do_not_add_up(monkeypatch):
    def prepared(*arguments):
        runner = prepare(*arguments)
        for group in runner.groups:
            group.compile_seconds = 1e9  # as long as many others took beside it
        return runner

    monkeypatch.setattr("regopt.sweep._plan.prepare", prepared)
    plan = sweep.plan(TASK, sweep.from_columns(NUMBERS), DATA, **SCHEDULE)
    assert 0 < plan.compile_seconds < 1e6


def test_a_plan_may_be_for_one_device_alone():
    (group,) = sweep.plan(TASK, sweep.from_columns(NUMBERS), DATA, devices=jax.devices()[:1], **SCHEDULE).groups
    assert (group.settings, group.held, group.chunk) == (11, 11, 11)


def test_a_run_after_its_plan_compiles_nothing():
    options = SCHEDULE | {"chunk": 2, "steps": 8}
    sweep.plan(TASK, sweep.from_columns(NUMBERS), DATA, **options)
    assert sweep.run(TASK, sweep.from_columns(NUMBERS), DATA, **options).compile_seconds == 0
    other = {"learning_rate": np.array([0.1, 0.2]), "weight_decay": np.zeros(2)}
    assert sweep.run(TASK, sweep.from_columns(other), DATA, **options).compile_seconds > 0


@pytest.mark.parametrize("convolution", [jax.lax.conv_general_dilated, convolution_by_product])
def test_a_plan_names_convolutions_that_are_slow_on_a_cpu(convolution):
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Conv(1, 2, (3,), conv_general_dilated=convolution, rngs=rngs)
            self.last = nnx.Linear(12, 3, rngs=rngs)

        def __call__(self, x):
            return self.last(self.first(x[..., None]).reshape(len(x), -1))

    task = sweep.supervised(lambda h, rngs: Net(rngs), cross_entropy, lambda h: regopt.sgd(h["rate"]))
    plan = sweep.plan(task, sweep.from_columns({"rate": [0.1, 0.2]}), DATA, **SCHEDULE)
    slow = convolution is not convolution_by_product
    assert plan.groups[0].slow_convolutions is slow
    assert ("regopt.layers.convolution_by_product" in str(plan)) is slow


def test_a_plan_refuses_what_a_run_refuses():
    with pytest.raises(ValueError, match="steps must be a multiple"):
        sweep.plan(TASK, sweep.from_columns(NUMBERS), DATA, **(SCHEDULE | {"steps": 13}))


def test_groups_share_the_memory(monkeypatch):
    """What is held of all groups together fits the room for lanes, whatever their sizes."""
    columns = NUMBERS | {"name": ["narrow"] * 4 + ["wide"] * 7}
    whole = sweep.plan(TASK, sweep.from_columns(columns), DATA, **(SCHEDULE | {"chunk": 3}))
    room = sum(group.held * group.lane_bytes for group in whole.groups) / 2
    monkeypatch.setattr("regopt.sweep.engine._recipe.resting_room", lambda devices: room)
    plan = sweep.plan(TASK, sweep.from_columns(columns), DATA, **(SCHEDULE | {"chunk": 3}))
    assert all(group.held < group.settings for group in plan.groups)
    rounding = sum(group.lane_bytes for group in plan.groups)  # to the same number on both devices
    assert sum(group.held * group.lane_bytes for group in plan.groups) <= room + rounding


def test_a_container_may_have_less_memory_than_the_machine(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "CONTAINER", limit)
    whole = memory.resting_room(jax.devices())
    for text, expected in (("max\n", whole), ("1048576\n", 2**19)):
        limit.write_text(text)
        assert memory.resting_room(jax.devices()) == expected


def test_a_chunk_that_the_compiler_refuses_is_halved_until_it_fits():
    """Compilers for TPUs raise where a program needs more than the memory of a device."""
    asked = []

    class Accelerator(NamedTuple):
        platform: str = "tpu"

        def memory_stats(self):
            return {"bytes_limit": 16e9}

    def compile_at(lanes):
        asked.append(lanes)
        if lanes > 60:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm")
        return SimpleNamespace(memory_analysis=lambda: SimpleNamespace(temp_size_in_bytes=lanes * 1e6))

    chunk, _ = memory.fit_chunk(compile_at, 200, 1e6, Accelerator())
    assert asked == [200, 100, 50]
    assert chunk == 50

    def broken(lanes):
        raise jax.errors.JaxRuntimeError("UNIMPLEMENTED: no such operation")

    with pytest.raises(jax.errors.JaxRuntimeError, match="UNIMPLEMENTED"):
        memory.fit_chunk(broken, 200, 1e6, Accelerator())


def test_what_is_in_use_at_the_moment_does_not_decide_about_the_chunk():
    class Accelerator(NamedTuple):
        bytes_in_use: float
        platform: str = "gpu"

        def memory_stats(self):
            return {"bytes_limit": 64e9, "bytes_in_use": self.bytes_in_use}

    class Program(NamedTuple):
        lanes: int

        def memory_analysis(self):
            return SimpleNamespace(temp_size_in_bytes=self.lanes * 200e6)

    def chunk(in_use, taken):
        return memory.fit_chunk(Program, 512, 20e6, Accelerator(in_use), taken)[0]

    assert chunk(1e9, 0.0) == chunk(6e9, 0.0)
    assert chunk(1e9, 0.0) * 200e6 <= 0.8 * (64e9 - 512 * 20e6)
    assert chunk(1e9, 20e9) * 200e6 <= 0.8 * (64e9 - 512 * 20e6 - 20e9)
