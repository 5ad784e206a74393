"""Training data that can only be iterated over: taken where all settings are at the same step, with their state."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pytest

from regopt import sweep
from regopt.data import Splits
from regopt.sweep.checkpoint import StoreError, read
from regopt.sweep.engine._iterated import Iterated
from regopt.sweep.results._io import NAME
from support import killed_sweep
from support.same_sweeps import same
from support.small_sweep import DATA, TASK, X, Y, same_bits

SETTINGS = sweep.from_columns({"learning_rate": np.geomspace(0.01, 0.1, 6), "weight_decay": np.full(6, 0.01)})
OPTIONS = {"steps": 12, "eval_every": 4, "chunk": 2}


def at_step(step):
    rows = np.random.default_rng([3, step]).integers(40, size=8)
    return X[rows].astype(float), Y[rows]


def generated(stop=10**6):
    return (at_step(step) for step in range(stop))


class Loader:
    """Batches that may be iterated over again and again, perhaps in another order each time."""

    def __init__(self, size=5, shuffles=False, fails_at=None):
        self.size, self.shuffles, self.fails_at, self.given = size, shuffles, fails_at, 0

    def __iter__(self):
        for number in range(self.size):
            self.given += 1
            if self.given == self.fails_at:
                raise OSError("the disk is gone")
            yield at_step(self.given + 100 if self.shuffles else number)


def in_grain(fails_at=None):
    grain = pytest.importorskip("grain")

    def read(step):
        if step == fails_at:
            raise OSError("the disk is gone")
        return at_step(step)

    return grain.MapDataset.range(100).map(read).to_iter_dataset()


def run(train, settings=SETTINGS, **options):
    return sweep.run(TASK, settings, Splits(train, DATA.validation), **(OPTIONS | options))


@pytest.fixture(scope="module")
def by_step():
    return run(at_step)


@pytest.mark.parametrize(
    "data", [generated, in_grain, lambda: iter(in_grain())], ids=["generator", "grain", "grain iterator"]
)
def test_batches_that_are_iterated_over_train_as_those_of_a_function(by_step, data):
    same_bits(run(data()), by_step, slice(None))


def test_what_begins_again_can_be_saved_at_its_first_step():
    data = Iterated(Loader())
    first = data.block(0, 3)()
    assert data.position(3)["step"] == 3
    data.begin_again()
    position = data.position(0)
    assert position == {"step": 0, "last": None}
    other = Iterated(Loader())
    other.go_on(position)
    jax.tree.map(np.testing.assert_array_equal, other.block(0, 3)(), first)


def test_what_can_be_iterated_over_again_begins_again_at_its_end():
    same_bits(run(Loader()), run(lambda step: at_step(step % 5)), slice(None))


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 4},
        {"scheduler": sweep.successive_halving(eta=2.0)},
        {"scheduler": sweep.asynchronous_halving(eta=2.0)},
        {"scheduler": sweep.hyperband(eta=2.0)},
        {"scheduler": sweep.population_based_training({"learning_rate": sweep.log_uniform(0.01, 0.1)}, every=1)},
    ],
    ids=["patience", "halving", "asynchronous", "hyperband", "population"],
)
@pytest.mark.long
def test_schedulers_that_keep_settings_together_decide_as_with_random_access(options):
    same_bits(run(generated(), steps=24, **options), run(at_step, steps=24, **options), slice(None))


def test_several_programs_read_the_same_batches():
    settings = sweep.grid({"width": sweep.static([4, 8]), "learning_rate": sweep.choice([0.01, 0.1])})
    same_bits(run(generated(12), settings), run(at_step, settings), slice(None))


def interrupted(by_step, folder, make):
    """A sweep whose data fail once, after which the same call goes on."""
    with pytest.raises(OSError, match="the disk is gone"):
        run(make(9), out=folder)
    before = sweep.load(folder).history.segments.max()
    assert 0 < before < 3
    same_bits(run(make(None), out=folder), by_step, slice(None))


def position(folder):
    return read(folder).position


def test_a_sweep_goes_on_from_the_state_of_its_iterator(by_step, tmp_path):
    interrupted(by_step, tmp_path, in_grain)
    with pytest.raises(OSError, match="the disk is gone"):
        run(in_grain(9), out=tmp_path / "other")
    assert position(tmp_path / "other") == {"step": 8, "state": {"json": {"next_index": 8}}}


def test_a_sweep_goes_on_without_a_state_by_dropping_batches(by_step, tmp_path):
    interrupted(by_step, tmp_path, lambda fails_at: Loader(100, fails_at=fails_at))


def test_a_sweep_does_not_go_on_with_other_batches(tmp_path):
    def differs(step, later):
        return at_step(step + 50 if step == 7 and later else step)

    def make(stop, later=False):
        return (differs(step, later) for step in range(stop))

    with pytest.raises(ValueError, match=r"data\.train has ended at step 9"):
        run(make(9), out=tmp_path)
    with pytest.raises(StoreError, match=r"gives another batch at step 7 than the one that was trained on"):
        run(make(100, later=True), out=tmp_path)
    with pytest.raises(StoreError, match=r"data\.train \(batches\) has changed"):
        run(Loader(100, shuffles=True), out=tmp_path)
    assert not run(make(100, later=True), out=tmp_path, allow_different=True).interrupted


@pytest.mark.long
def test_killed_while_it_iterates_it_ends_with_the_same_bits(tmp_path):
    pytest.importorskip("grain")
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": str(jax.local_device_count()),
        "JAX_ENABLE_X64": str(jax.config.read("jax_enable_x64")),
    }
    words = [sys.executable, Path(killed_sweep.__file__), tmp_path, "iterates"]
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) as process:
        while not list(tmp_path.glob(NAME)) and process.poll() is None:
            time.sleep(0.01)
        process.kill()
    before = sweep.load(tmp_path)
    whole = killed_sweep.run(iterates=True)
    assert 0 < before.history.segments.sum() < whole.history.segments.sum()
    same(killed_sweep.run(tmp_path, iterates=True), whole)


@pytest.mark.parametrize("data", [Loader, in_grain, lambda: iter(in_grain())], ids=["again", "grain", "iterator"])
def test_a_setting_is_trained_again_where_the_data_can_begin_again(data):
    result = run(data())
    again = result.refit(3)
    for name, curve in result.history.curves.items():
        np.testing.assert_array_equal(again.history.curves[name][3], curve[3], err_msg=name)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (generated, "can be iterated over only once, so nothing can be trained again"),
        (lambda: Loader(shuffles=True), "must give the same batches when it is iterated over again, got others"),
    ],
)
def test_a_setting_is_not_trained_again_on_other_batches(data, message):
    result = run(data())
    with pytest.raises(ValueError, match=message) as error:
        result.refit(3)
    assert "\n" not in str(error.value)


def test_a_plan_gives_an_iterator_back(by_step):
    iterator = iter(in_grain())
    plan = sweep.plan(TASK, SETTINGS, Splits(iterator, DATA.validation), **OPTIONS)
    assert plan.groups[0].flops > 0
    assert iterator.get_state() == {"next_index": 0}
    same_bits(run(iterator), by_step, slice(None))
    with pytest.raises(
        ValueError, match=r"a plan takes batches from data\.train: pass what can be iterated over more than once"
    ):
        sweep.plan(TASK, SETTINGS, Splits(generated(), DATA.validation), **OPTIONS)


def test_nothing_is_read_after_the_end_of_a_sweep_that_ends_early():
    read = []

    def slow():
        for step in range(1000):
            time.sleep(0.01)
            read.append(step)
            yield at_step(step)

    def nobody(state):
        return sweep.Decision(np.zeros_like(state.going), state.going & (state.segments > 0))

    run(slow(), steps=400, scheduler=sweep.Scheduler(nobody, "nobody"))
    before = len(read)
    time.sleep(0.1)
    assert len(read) == before == 8


def test_where_the_data_are_is_known_at_both_ends_of_a_block_after_others_were_left_out():
    data = Iterated(generated())
    data.block(8, 4)()
    assert [data.position(step)["step"] for step in (8, 12)] == [8, 12]
    data.go_on(data.position(12))
    other = Iterated(generated())
    other.go_on(data.position(12))


class Marked:
    """An iterator with a state."""

    def __init__(self, state):
        self.state = state

    def __iter__(self):
        return self

    def __next__(self):
        return at_step(0)

    def get_state(self):
        return self.state

    def set_state(self, state):
        self.state = state


@pytest.mark.parametrize("state", [{"shards": [{3: "three"}]}, {3: 1}, object(), float("nan")])
def test_a_state_that_json_would_change_is_refused(state):
    with pytest.raises(
        ValueError, match=r"get_state of the iterator of data\.train must give values for JSON or bytes"
    ):
        Iterated(Marked(state))


def test_a_position_is_refused_by_an_iterator_of_the_other_kind():
    with_state, without = Iterated(Marked({"at": 0})), Iterated(generated())
    with pytest.raises(ValueError, match="must be an iterator with get_state and set_state, as in the saved sweep"):
        without.go_on(with_state.position(0))
    with pytest.raises(ValueError, match="must be an iterator without get_state and set_state, as in the saved sweep"):
        with_state.go_on(without.position(0))


def waits(state):
    hold = np.arange(len(state.going)) == 0
    return sweep.Decision(hold & state.going & (state.segments == 1) & (state.segments.min() < 2), np.zeros_like(hold))


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (generated, {"slots": 4}, "slots must be at least the 6 settings of a program where data.train can only be"),
        (generated, {"executor": ThreadPoolExecutor(1)}, "executor must be None where data.train can only be iterated"),
        (generated, {"extend": True, "out": "x"}, "extend must be False where data.train can only be iterated over"),
        (generated, {"mapping": "measured", "chunk": None}, 'mapping must not be "measured" where data.train'),
        (
            generated,
            {"resamples": [[0, 1]]},
            "data.train must be arrays in memory with resamples, got data that stream",
        ),
        (generated, {"batch_size": 8}, "batch_size must be None where data.train gives whole batches, got 8"),
        (generated, {"scheduler": sweep.Scheduler(waits, "waits")}, "the scheduler must let all settings train"),
        (lambda: generated(0), {}, "data.train must have at least one batch, got none"),
        (lambda: generated(9), {}, "data.train has ended at step 9: pass a longer iterator, or fewer steps"),
        (lambda: Loader(0), {}, "data.train must have at least one batch, got none"),
    ],
)
def test_settings_that_are_not_together_are_refused_in_one_line(data, options, message):
    with pytest.raises(ValueError, match=message) as error:
        run(data(), **options)
    assert "\n" not in str(error.value)
