"""The arguments of a sweep are refused by name at the edges of what is allowed, and at the edges inside they pass."""

import jax
import numpy as np
import pytest

from regopt import sweep
from regopt.data import Splits
from regopt.sweep.engine import _checks as checks
from regopt.sweep.engine._config import SweepConfig
from support.small_sweep import DATA, NUMBERS, SCHEDULE, TASK

NOBODY = np.zeros(3, bool)


def decision(**changes):
    return sweep.Decision(NOBODY, NOBODY)._replace(**changes)


@pytest.mark.parametrize("parents", [[0, 1, 2], [2, 2, 2], np.zeros(3, np.uint8), None])
def test_a_decision_may_name_any_setting_as_a_parent(parents):
    checks.check_decision(decision(parents=None if parents is None else np.array(parents)), 3)


@pytest.mark.parametrize("parents", [[0, 1, 3], [-1, 1, 2], [0.0, 1.0, 2.0], NOBODY])
def test_a_parent_is_one_of_the_settings(parents):
    with pytest.raises(ValueError, match=r"the scheduler's parents must be integers in \[0, 3\), got "):
        checks.check_decision(decision(parents=np.array(parents)), 3)


@pytest.mark.parametrize("name", ["wait", "prune", "parents", "rate"])
def test_a_column_of_a_decision_has_an_entry_for_each_setting(name):
    column = np.zeros(2, int)
    wrong = decision(numbers={"rate": column}) if name == "rate" else decision(**{name: column})
    with pytest.raises(ValueError, match=rf"the scheduler's {name} must have shape \(3,\), got \(2,\)"):
        checks.check_decision(wrong, 3)
    with pytest.raises(ValueError, match="the scheduler must return a Decision, got "):
        checks.check_decision((NOBODY, NOBODY), 3)


def test_a_whole_number_is_at_least_one():
    check = checks.whole("slots")
    check(1)
    check(np.int64(7))
    for wrong in (0, 1.5, "2", None):
        with pytest.raises(ValueError, match="slots must be a whole number"):
            check(wrong)


def test_resamples_are_places_of_data_that_may_be_one_array():
    data = Splits(np.zeros((5, 2), np.float32), np.zeros((3, 2), np.float32))
    found = checks.as_resamples([[0, 4], [4, 0]], data)
    assert found.dtype == np.int32
    assert found.tolist() == [[0, 4], [4, 0]]
    with pytest.raises(ValueError, match=r"resamples must lie in \[0, 4\], the places of data.train, got 5"):
        checks.as_resamples([[0, 5]], data)


def test_folds_divide_the_examples_whatever_their_number():
    data = Splits(np.zeros((11, 2), np.float32), np.zeros((3, 2), np.float32))
    settings = sweep.from_columns({"rate": np.ones(3), "fold": np.arange(3)})
    trained, held_out = checks.as_folds(settings, data, jax.random.key(3), None)
    assert (trained.shape, held_out.shape) == ((3, 8), (3, 3))
    for train, held in zip(trained, held_out, strict=True):
        assert sorted([*train, *held]) == list(range(11))
    assert len(np.unique(held_out)) == 9  # no example is held out twice
    other = checks.as_folds(settings, data, jax.random.key(4), None)[1]
    assert other.tolist() != held_out.tolist()


def test_states_that_go_from_one_setting_to_another_leave_no_room_for_patience():
    numbers = sweep.from_columns({"rate": np.ones(4, np.float32), "count": np.arange(4)})
    moves = sweep.population_based_training({"rate": sweep.log_uniform(0.1, 1.0)})
    checks.check_changes(moves, numbers, None)
    checks.check_changes(None, numbers, 3)
    checks.check_changes(sweep.successive_halving(2), numbers, 3)
    with pytest.raises(
        ValueError, match="patience must be None with a scheduler that copies states between settings, got 3"
    ):
        checks.check_changes(moves, numbers, 3)


def test_a_sweep_is_silent_and_takes_all_devices_unless_told_otherwise():
    config = SweepConfig(TASK, sweep.from_columns(NUMBERS), DATA, **SCHEDULE)
    assert not config.progress
    assert not config.extend
    assert not config.allow_different
    assert config.devices == tuple(jax.local_devices())
