"""What a sweep would take, said before it runs."""

import numpy as np
import pytest
from test_sweep_engine import DATA, NUMBERS, SCHEDULE, TASK

from regopt import sweep


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


def test_a_run_after_its_plan_compiles_nothing():
    options = SCHEDULE | {"chunk": 2, "steps": 8}
    sweep.plan(TASK, sweep.from_columns(NUMBERS), DATA, **options)
    assert sweep.run(TASK, sweep.from_columns(NUMBERS), DATA, **options).compile_seconds == 0
    other = {"learning_rate": np.array([0.1, 0.2]), "weight_decay": np.zeros(2)}
    assert sweep.run(TASK, sweep.from_columns(other), DATA, **options).compile_seconds > 0


def test_a_plan_refuses_what_a_run_refuses():
    with pytest.raises(ValueError, match="steps must be a multiple"):
        sweep.plan(TASK, sweep.from_columns(NUMBERS), DATA, **(SCHEDULE | {"steps": 13}))
