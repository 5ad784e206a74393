"""When a sweep is saved, and how it tells other hosts that it still runs."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

from regopt import sweep
from regopt.sweep.engine import _checkpointing as checkpointing
from regopt.testing import MEAN_DATA, MEAN_TASK
from support.small_sweep import DATA, NUMBERS, SCHEDULE, TASK, same_bits

pytestmark = pytest.mark.usefixtures("one_segment_a_call")


@pytest.fixture
def clock(monkeypatch):
    """A clock that only a test moves on."""
    now = [100.0]
    monkeypatch.setattr(checkpointing.time, "monotonic", lambda: now[0])
    return now


def test_a_sign_of_life_is_given_every_ten_seconds_and_no_sooner(clock, monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(checkpointing, "alive", lambda folder: given.append((clock[0], folder)))
    saves = checkpointing.Checkpointing(None, tmp_path, 60.0)
    for clock[0] in (100.0, 109.9, 110.0, 110.1, 119.9, 125.0, 134.9, 135.0):
        saves.alive()
    assert given == [(110.0, tmp_path), (125.0, tmp_path), (135.0, tmp_path)]


def test_the_state_is_due_once_its_seconds_have_passed(clock, tmp_path):
    saves = checkpointing.Checkpointing(None, tmp_path, 60.0)
    due = []
    for clock[0] in (100.0, 159.9, 160.0, 170.0):
        due.append(saves.due())
    assert due == [False, False, True, True]


def test_a_sweep_that_trains_gives_signs_of_life_from_its_folder(monkeypatch, tmp_path):
    """Its record looks an hour old before each sign; afterwards it does not."""
    ages, alive = [], checkpointing.Checkpointing.alive

    def alive_after_an_hour(self):
        record = tmp_path / "lock.json"
        os.utime(record, (0, 0))
        self._seen -= 10
        alive(self)
        ages.append(record.stat().st_mtime)

    monkeypatch.setattr(checkpointing.Checkpointing, "alive", alive_after_an_hour)
    sweep.run(TASK, sweep.from_columns(NUMBERS), DATA, out=tmp_path, **SCHEDULE)
    assert len(ages) >= 3  # one for each segment
    assert min(ages) > 0


def test_a_population_goes_on_with_the_numbers_that_it_has_explored(tmp_path):
    numbers, explored = {"rate": np.geomspace(0.01, 0.5, 11)}, {"rate": sweep.log_uniform(0.01, 0.5)}
    scheduler = sweep.population_based_training(explored, fraction=0.3)
    options = {"steps": 12, "eval_every": 2, "batch_size": 2, "scheduler": scheduler}

    def run(**more):
        return sweep.run(MEAN_TASK, sweep.from_columns(numbers), MEAN_DATA, **options, **more)

    def stop(step, settings, metrics):
        if step == 8:
            raise RuntimeError("enough")

    whole = run()
    assert (whole.history.settings.numbers["rate"] != numbers["rate"].astype(np.float32)).any()
    with pytest.raises(RuntimeError, match="enough"):
        run(out=tmp_path, callbacks=[stop])
    again = run(out=tmp_path)
    same_bits(again, whole, np.arange(11))
    np.testing.assert_array_equal(again.history.parents, whole.history.parents)


def test_a_table_that_takes_longer_than_its_seconds_is_not_saved_all_the_time(clock, tmp_path):
    def save(folder):
        clock[0] += 100.0

    saves = checkpointing.Checkpointing(None, tmp_path, 60.0)
    saves.save_table(SimpleNamespace(save=save))
    assert not saves.due()
    clock[0] += 60.0
    assert saves.due()
