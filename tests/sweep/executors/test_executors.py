"""Where the lanes of a sweep train changes no bit of it, and neither do workers that die, join or fall silent."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import regopt
from regopt import sweep
from regopt.data import Splits
from regopt.losses import cross_entropy
from regopt.sweep.executors._pool import LostError
from regopt.testing import MEAN_DATA, MEAN_TASK
from support import killed_sweep
from support.local_pool import LocalEngine
from support.same_sweeps import same
from support.small_sweep import DATA

SMALL = {"steps": 24, "scheduler": sweep.asynchronous_halving(3, 3), "save_every": 0.0}
RULES = {
    "none": None,
    "halving": sweep.successive_halving(3, 2),
    "asynchronous": sweep.asynchronous_halving(3, 3),
    "median": sweep.median_rule(),
}


@pytest.fixture(scope="module")
def whole():
    return killed_sweep.run(**SMALL)


@pytest.mark.parametrize("rule", RULES)
def test_workers_give_the_bits_of_as_many_devices(rule):
    options = {"steps": 24, "scheduler": RULES[rule]}
    if rule == "none":
        options |= {"slots": None}
    found = killed_sweep.run(executor=LocalEngine(), **options)
    same(found, killed_sweep.run(**options))


HELD = {
    "steps": 48,
    "slots": None,
    "patience": lambda h: jnp.where(h["rate"] > 0.9, 100, 4),  # some stop, and one diverges
    "save_every": 60.0,
}
LONG = {
    "none": None,
    "halving": sweep.successive_halving(3, 2),
    "hyperband": sweep.hyperband(3, over=()),
    "asynchronous": sweep.asynchronous_halving(3, 3),
    "median": sweep.median_rule(10),
    "repeats": sweep.successive_halving(2, 5, over=("seed",)),
    "population": sweep.population_based_training({"rate": sweep.log_uniform(0.01, 0.9)}, every=4),
}


@pytest.mark.parametrize(
    "rule", [name if name in ("none", "hyperband") else pytest.param(name, marks=pytest.mark.long) for name in LONG]
)
def test_rounds_that_run_to_the_next_decision_make_the_decisions_of_rounds_of_one_segment(rule, tmp_path):
    options = HELD | {"scheduler": LONG[rule]} | ({} if rule in ("none", "median") else {"patience": None})
    engine = LocalEngine(deaths=[9], leaves=[14])
    found = killed_sweep.run(tmp_path, executor=engine, **options)
    assert (engine.died, engine.left) == (1, 1)
    whole = killed_sweep.run(**options)
    same(found, whole)
    each = None if LONG[rule] is None else LONG[rule]._replace(rungs=None)
    asked = killed_sweep.run(**(options | {"scheduler": each}))
    assert asked.status.tolist() == whole.status.tolist()
    np.testing.assert_array_equal(asked.history.last_step, whole.history.last_step)
    np.testing.assert_array_equal(asked.history.seats < 0, whole.history.seats < 0)
    assert whole.history.stopped.any() == (rule in ("none", "median"))
    assert rule == "population" or whole.history.diverged.any() or whole.history.pruned[-1]


@pytest.mark.parametrize(("rungs", "furthest"), [(lambda total: [5], 5), (None, 1)])
def test_a_worker_waits_for_others_only_where_the_scheduler_decides(rungs, furthest):
    def decide(state):
        nobody = np.zeros_like(state.going)
        return sweep.Decision(nobody, nobody)

    done = np.zeros(killed_sweep.SETTINGS, int)
    ahead = []

    def seen(step, settings, metrics):
        done[list(settings)] = step // 2
        ahead.append(done.max() - done.min())

    scheduler = sweep.Scheduler(decide, "nothing", rungs=rungs)
    options = {"steps": 16, "slots": None, "patience": None, "scheduler": scheduler}
    same(killed_sweep.run(executor=LocalEngine(fast="0"), callbacks=[seen], **options), killed_sweep.run(**options))
    assert max(ahead) == furthest


def test_the_lanes_of_workers_that_leave_go_on_from_where_they_are(whole, tmp_path):
    engine = LocalEngine(leaves=[8, 25, 26])
    same(killed_sweep.run(tmp_path, executor=engine, **(SMALL | {"save_every": 1e6})), whole)
    assert engine.left == 3
    assert engine.repeated == 0


@pytest.mark.parametrize(("joins", "leaves"), [(17, 20), (10, 22), (17, 23)])
def test_a_worker_that_leaves_while_its_shards_move_loses_no_task(joins, leaves):
    options = HELD | {"scheduler": None, "steps": 96}
    engine = LocalEngine(workers=1, shards=4, joins=[joins], leaves=[leaves])
    whole = killed_sweep.run(executor=LocalEngine(workers=1, shards=4), **options)
    same(killed_sweep.run(executor=engine, **options), whole)
    assert engine.left == 1


def test_a_process_that_is_asked_to_end_hands_its_lanes_over():
    asked = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True, timeout=120, check=False)
    assert asked.returncode == 0, asked.stderr[-2000:]
    assert asked.stdout.split() == ["Left", "True"]


LEAVING = """
import os, signal
from types import SimpleNamespace
import numpy as np
from regopt.sweep.executors._messages import Left, Lease
from regopt.sweep.executors._worker import ActingWorker

class Empty(ActingWorker):
    def _shard(self, shard):
        self._groups[shard] = self._ended[shard] = []

worker = Empty(SimpleNamespace(cache=()), None)
os.kill(os.getpid(), signal.SIGTERM)
print(type(worker.run(Lease(0, 0, ()))).__name__, signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
"""


def test_workers_that_keep_nothing_give_the_same_bits(whole, tmp_path):
    with ThreadPoolExecutor(2) as threads:
        same(killed_sweep.run(tmp_path, executor=sweep.Futures(threads, shards=2), **SMALL), whole)


def test_a_call_without_the_first_lane_of_a_seat_trains_the_next_one_in_it():
    settings = sweep.from_columns({"rate": [1e30, 0.5, 0.3, 0.2]})  # the first setting leaves its seat to the third
    options = {"steps": 3, "eval_every": 1, "chunk": 2}
    one = sweep.run(MEAN_TASK, settings, MEAN_DATA, devices=jax.devices()[:1], **options)
    two = sweep.run(MEAN_TASK, settings, MEAN_DATA, executor=LocalEngine(shards=1, keeps_lanes=False), **options)
    assert two.status.tolist() == one.status.tolist() == ["diverged", "done", "done", "done"]
    np.testing.assert_array_equal(two.history.seats, one.history.seats)
    assert [two.state(row) for row in range(1, 4)] == [one.state(row) for row in range(1, 4)]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("seed", range(4))
def test_lanes_of_a_worker_that_dies_go_on_elsewhere_to_the_same_bits(seed, whole, tmp_path):
    deaths = np.random.default_rng(seed).choice(40, 5, replace=False)
    engine = LocalEngine(deaths=deaths)
    same(killed_sweep.run(tmp_path, executor=engine, **(SMALL | {"save_every": 0.05 * seed})), whole)
    assert engine.died == 5


def test_a_worker_that_hangs_is_given_up(whole):
    engine = LocalEngine(hangs=[7, 20])
    same(killed_sweep.run(executor=engine, **SMALL), whole)
    assert engine.hung == 2


def test_workers_that_join_get_lanes(whole):
    engine = LocalEngine(workers=1, joins=[9])
    same(killed_sweep.run(executor=engine, **SMALL), whole)
    assert engine.leases_of["1"] > 3


def test_states_that_go_from_setting_to_setting_survive_deaths(tmp_path):
    options = {"steps": 24, "slots": None, "patience": None}
    options["scheduler"] = sweep.population_based_training({"rate": sweep.log_uniform(0.01, 0.9)}, every=2)
    engine = LocalEngine(deaths=[11, 30, 52])
    same(killed_sweep.run(tmp_path, executor=engine, save_every=0.2, **options), killed_sweep.run(**options))
    assert engine.died == 3


@pytest.mark.parametrize("lease", [12, pytest.param(45, marks=pytest.mark.long)])
def test_a_coordinator_that_fails_goes_on_from_its_last_save(lease, whole, tmp_path):
    with pytest.raises(RuntimeError, match="the coordinator breaks"):
        killed_sweep.run(tmp_path, executor=LocalEngine(breaks=lease), **SMALL)
    same(killed_sweep.run(tmp_path, executor=LocalEngine(), **SMALL), whole)


def test_lanes_that_are_lost_again_and_again_end_the_sweep_with_the_reason():
    with pytest.raises(LostError, match="lost 4 times in a row: it died"):
        killed_sweep.run(executor=LocalEngine(deaths=range(6, 400)), **SMALL)


def test_static_groups_and_outputs(tmp_path):
    settings = sweep.grid({"rate": sweep.choice([0.1, 0.5, 1e30]), "kind": sweep.static(["a", "b"])})
    task = MEAN_TASK._replace(predict=lambda w, inputs, h: w * inputs)
    options = {"steps": 4, "eval_every": 1}
    one = sweep.run(task, settings, MEAN_DATA, **options)
    with ThreadPoolExecutor(2) as threads:
        two = sweep.run(task, settings, MEAN_DATA, executor=sweep.Futures(threads, shards=2), out=tmp_path, **options)
        assert two.status.tolist() == one.status.tolist()
        assert [two.state(row) for row in range(6)] == [one.state(row) for row in range(6)]
        for row in (0, 1):  # of the first group and of the last one
            assert two.refit(row).state(row) == one.refit(row).state(row) == one.state(row)
    inputs = np.arange(3.0, dtype=np.float32)
    np.testing.assert_array_equal(two.predict(inputs), one.predict(inputs))


@pytest.mark.parametrize("column", [{"fold": sweep.folds(4)}, {"replica": sweep.choice(range(3))}])
def test_settings_train_on_their_own_examples_on_workers(column):
    settings = sweep.grid({"rate": sweep.choice([0.1, 0.5, 0.9, 1.8]), **column})
    options = {"steps": 12, "eval_every": 2, "scheduler": sweep.successive_halving(2, 2, over=tuple(column))}
    if "replica" in column:
        options["resamples"] = [[0, 1], [1, 2], [2, 3]]
    data = Splits(np.arange(8.0, dtype=np.float32), MEAN_DATA.validation)
    found, whole = (sweep.run(MEAN_TASK, settings, data, executor=its, **options) for its in (LocalEngine(), None))
    assert found.status.tolist() == whole.status.tolist()
    jax.tree.map(np.testing.assert_array_equal, dict(found.history.curves), dict(whole.history.curves))


def test_optuna_is_told_the_same_of_workers():
    optuna = pytest.importorskip("optuna")
    values = []
    for executor in (LocalEngine(), None):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        for _ in range(2):
            trials, settings = sweep.ask(study, {"rate": sweep.uniform(0.1, 0.9)}, 4)
            result = sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=2, executor=executor)
            sweep.tell(study, trials, result)
        values.append([trial.value for trial in study.trials])
    assert values[0] == values[1]


def test_an_error_of_the_task_is_raised_as_it_is():
    def step(w, batch, key, h):
        raise ValueError("the task is wrong")

    settings = sweep.from_columns({"rate": [0.1, 0.5]})
    with pytest.raises(ValueError, match="the task is wrong"):
        sweep.run(MEAN_TASK._replace(step=step), settings, MEAN_DATA, steps=4, eval_every=1, executor=LocalEngine())


def test_an_error_of_a_worker_has_its_traceback_and_the_result_so_far():
    def batch_that_ends(step):
        if step >= 6:
            raise OSError("the data end here")
        return killed_sweep.batch_at(step)

    settings = sweep.from_columns({"rate": [0.1, 0.5]})
    data, options = Splits(batch_that_ends, killed_sweep.DATA.validation), {"steps": 12, "eval_every": 2}
    with pytest.raises(OSError, match="the data end here") as raised:
        sweep.run(killed_sweep.task(), settings, data, executor=LocalEngine(), **options)
    assert "in batch_that_ends" in str(raised.value.__cause__)
    assert vars(raised.value)["partial_result"].history.segments.max() > 0


@pytest.mark.parametrize(
    ("executor", "says"), [("rays", '"ray"'), (3, "executor must be"), (sweep.Ray, "executor must be")]
)
def test_what_is_no_executor_is_refused(executor, says):
    settings = sweep.from_columns({"rate": [0.1, 0.5]})
    with pytest.raises(ValueError, match=says):
        sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=1, executor=executor)


def test_an_executor_of_futures_needs_a_folder():
    settings = sweep.from_columns({"rate": [0.1, 0.5]})
    with ThreadPoolExecutor(1) as threads, pytest.raises(ValueError, match="pass out"):
        sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=1, executor=threads)


def test_frozen_parameters_and_data_that_stream_on_workers(tmp_path):
    class Classifier(nnx.Module):
        def __init__(self, rngs):
            self.trunk, self.head = nnx.Linear(6, 8, rngs=nnx.Rngs(0)), nnx.Linear(8, 3, rngs=rngs)

        def __call__(self, x):
            return self.head(jax.nn.relu(self.trunk(x)))

    x, y = DATA.train
    mapped = np.memmap(tmp_path / "x", x.dtype, "w+", shape=x.shape)
    mapped[:] = x
    data = Splits((mapped, np.asarray(y)), DATA.validation)
    task = sweep.supervised(
        lambda h, rngs: Classifier(rngs), cross_entropy, lambda h: regopt.sgd(h["rate"]), trainable="head/**"
    )
    settings = sweep.from_columns({"rate": [0.01, 0.1, 0.5]})
    options = {"steps": 4, "eval_every": 2, "batch_size": 4}
    one = sweep.run(task, settings, data, **options)
    engine = LocalEngine(deaths=[4])
    two = sweep.run(task, settings, data, executor=engine, **options)
    assert engine.died == 1
    jax.tree.map(np.testing.assert_array_equal, dict(two.history.curves), dict(one.history.curves))
    inputs = DATA.validation[0]
    np.testing.assert_allclose(two.predict(inputs), one.predict(inputs), rtol=1e-6)
