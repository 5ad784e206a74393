"""Workers that fall silent, die together or end, and queues that are slow: lanes go on elsewhere to the same bits."""

import itertools
import signal
import subprocess
import sys
import weakref
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regopt import sweep
from regopt.sweep.executors._carried import CarriedShards
from regopt.sweep.executors._leases import Task
from regopt.sweep.executors._messages import Failure, Read, Start, Write
from regopt.sweep.executors._pool import LostError, NoWorkersError
from regopt.sweep.executors._remote import Requeued
from regopt.sweep.executors._shards import Shards
from regopt.testing import MEAN_DATA, MEAN_TASK
from support import killed_sweep
from support.local_pool import LocalEngine
from support.same_sweeps import same

# each shard trains to the end without waiting for others
LONE = {"steps": 48, "slots": None, "scheduler": None, "patience": None, "save_every": 60.0}


@pytest.fixture(scope="module")
def lone():
    return killed_sweep.run(executor=LocalEngine(), **LONE)


@pytest.mark.parametrize("hangs", [[7], [7, 8]])
def test_a_worker_that_hangs_is_noticed_in_time_while_others_answer(hangs):
    engine = LocalEngine(workers=4, shards=4, hangs=hangs, lost_after=2.0)
    whole = killed_sweep.run(executor=LocalEngine(workers=4, shards=4), **LONE)
    same(killed_sweep.run(executor=engine, **LONE), whole)
    assert engine.hung == len(engine.silences) == len(hangs)
    assert max(engine.silences) < 2.0 + 1.0 + 0.3  # an answer takes 0.1 s of this clock


def test_workers_that_die_together_are_one_loss():
    options = LONE | {"slots": None, "chunk": 1}
    engine = LocalEngine(workers=8, shards=8, deaths=[20], at_once=7)
    whole = killed_sweep.run(executor=LocalEngine(workers=8, shards=8), **options)
    same(killed_sweep.run(executor=engine, **options), whole)
    assert engine.died == 7


@pytest.mark.parametrize("failures", [[7], [7, 8, 20]])
def test_a_device_that_fails_costs_its_worker_alone(failures, lone):
    engine = LocalEngine(failures=failures)
    same(killed_sweep.run(executor=engine, **LONE), lone)
    assert engine.failed == len(failures)


def test_a_device_error_that_each_worker_meets_ends_the_sweep_with_the_reason():
    engine = LocalEngine(failures=range(6, 400))
    with pytest.raises(LostError, match="lost 4 times in a row: its device failed: RESOURCE_EXHAUSTED") as raised:
        killed_sweep.run(executor=engine, **LONE)
    assert engine.failed >= 4
    assert isinstance(raised.value.__cause__.__cause__, jax.errors.JaxRuntimeError)


def test_lanes_that_kill_each_worker_end_the_sweep():
    engine = LocalEngine(poison=9)
    with pytest.raises(LostError, match="lost 4 times in a row: it died"):
        killed_sweep.run(executor=engine, **LONE)
    assert engine.died == 4


def test_a_queue_that_is_long_is_not_silent():
    engine = LocalEngine(workers=1, shards=8, slow=20, lost_after=10.0, keeps_lanes=False)
    options = LONE | {"steps": 4, "chunk": 1}
    same(killed_sweep.run(executor=engine, **options), killed_sweep.run(executor=LocalEngine(shards=8), **options))
    assert engine.given_out == engine.answers


def test_a_lease_that_a_queue_never_answers_is_given_out_again(lone):
    engine = LocalEngine(workers=1, hangs=[5, 9], keeps_lanes=False)
    same(killed_sweep.run(executor=engine, **LONE), lone)
    assert engine.given_out == engine.answers + 2


def test_an_executor_that_answers_nothing_more_has_lost_its_workers(tmp_path):
    engine = LocalEngine(workers=1, hangs=range(30, 1000), keeps_lanes=False)
    with pytest.raises(NoWorkersError, match=r"answered nothing in 2 x lost_after = 10 s.* make the same call again"):
        killed_sweep.run(tmp_path, executor=engine, **(LONE | {"save_every": 0.0}))
    whole = killed_sweep.run(executor=LocalEngine(), **LONE)
    same(killed_sweep.run(tmp_path, executor=LocalEngine(workers=1, keeps_lanes=False), **LONE), whole)


def test_a_device_that_fails_in_the_process_of_the_coordinator_is_tried_again(tmp_path):
    file = tmp_path / "fault"

    def batches(step):
        if step == 12 and not file.exists():
            file.touch()
            jnp.zeros(2**50)
        return killed_sweep.batch_at(step)

    with ThreadPoolExecutor(1) as threads:
        found = killed_sweep.run(tmp_path / "sweep", executor=sweep.Futures(threads, shards=2), batches=batches, **LONE)
    assert file.exists()
    same(found, killed_sweep.run(batches=batches, **LONE))


def test_a_process_whose_device_failed_answers_and_ends():
    done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGTERM, done.stderr[-2000:]
    assert done.stdout == "its device failed: it is gone\n"


ENDING = """
import jax
from regopt.sweep.executors._messages import Failure
from regopt.sweep.executors._pool import LostError
from regopt.sweep.executors._remote import Requeued

call = Requeued(lambda: Failure(jax.errors.JaxRuntimeError("it is gone")))
call._coordinator = "elsewhere", 0
for _ in range(2):
    try:
        call()
    except LostError as error:
        print(error, flush=True)
"""


class Breaking(ThreadPoolExecutor):
    """An executor that breaks at its first work, and then takes no more."""

    broken = False

    def submit(self, function, *arguments):
        if self.broken:
            raise BrokenExecutor("it broke")
        future, self.broken = Future(), True
        future.set_exception(BrokenExecutor("it broke"))
        return future


class Broken(Breaking):
    """An executor that has broken before any work."""

    broken = True


@pytest.mark.parametrize("kinds", [[Broken], [Breaking] * 2, [Breaking] * 3])
def test_an_executor_that_breaks_while_it_starts_is_made_anew_twice(kinds, tmp_path):
    made = iter([*kinds, ThreadPoolExecutor])
    engine = sweep.Futures(lambda: next(made)(1), shards=1)
    run = partial(sweep.run, MEAN_TASK, sweep.from_columns({"rate": [0.5]}), MEAN_DATA, steps=1, eval_every=1)
    if len(kinds) < 3:
        assert run(executor=engine, out=tmp_path).status.tolist() == ["done"]
    else:
        with pytest.raises(NoWorkersError, match="no worker of the executor starts: BrokenExecutor: it broke"):
            run(executor=engine, out=tmp_path)


class Silent(ThreadPoolExecutor):
    """An executor that never answers."""

    def submit(self, function, *arguments):
        return Future()


def test_an_executor_whose_first_worker_hangs_ends_in_one_line(tmp_path):
    engine = sweep.Futures(Silent(1), shards=1, lost_after=0.01)
    settings = sweep.from_columns({"rate": [0.5]})
    with pytest.raises(NoWorkersError, match=r"no worker of the executor starts: no answer in lost_after = 0\.01 s"):
        sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=1, eval_every=1, executor=engine, out=tmp_path)


def test_a_lease_that_submitit_interrupts_is_its_next_order(tmp_path):
    submission = pytest.importorskip("submitit.core.utils").DelayedSubmission(Requeued(divmod), 7, 3)
    again = submission._checkpoint_function()
    again.dump(tmp_path / "order")
    assert type(submission).load(tmp_path / "order").result() == (2, 1)


def test_what_submitit_raises_is_no_error_of_the_task():
    utils = pytest.importorskip("submitit.core.utils")
    with pytest.raises(utils.UncompletedJobError, match="timed-out too many times"):
        Requeued(lambda: Failure(utils.UncompletedJobError("timed-out too many times")))()
    answer = Failure(ValueError("the task is wrong"))
    assert Requeued(lambda: answer)() is answer


def test_lanes_that_are_carried_are_kept_once():
    shards, base = CarriedShards(LocalEngine(keeps_lanes=False).pool(None), 1), Write(*map(np.zeros, range(3)))
    kept = weakref.ref(base.lanes)
    shards.settle(0, 0, base)
    del base
    assert kept() is None


class Answering:
    """A pool with one worker that does nothing at once."""

    keeps_lanes, lost_after = True, 1e9

    def __init__(self):
        self._numbers, self._owed = itertools.count(), {}

    def workers(self):
        return ["0"]

    def clock(self):
        return 0.0

    def submit(self, worker, lease):
        self._owed[number := next(self._numbers)] = lease
        return number

    def wait(self, handles, seconds):
        return min(handles)

    def result(self, handle):
        if handle not in self._owed:
            raise LostError("its worker has ended")
        return [None for _ in self._owed.pop(handle).operations]

    def drop(self, worker):
        self._owed.clear()

    def close(self):
        self._owed.clear()


def test_shards_that_are_closed_owe_nothing():
    pool, lanes = Answering(), np.arange(2)
    shards = Shards(pool, 2)
    starting = shards.run([Task(0, shard, Start(lanes, lanes)) for shard in range(2)])
    next(starting)
    starting.close()
    assert shards.failed
    shards.close()
    again = [Task(0, shard, Read(lanes)) for shard in range(2)]
    assert [task for task, _ in shards.run(again)] == again


def test_the_states_so_far_outlive_an_error_and_the_workers():
    def decide(state):
        if state.segments.min() >= 3:
            raise RuntimeError("no more")
        nobody = np.zeros_like(state.going)
        return sweep.Decision(nobody, nobody)

    options = LONE | {"scheduler": sweep.Scheduler(decide, "three")}
    results = []
    for executor in (LocalEngine(), None):
        with pytest.raises(RuntimeError, match="no more") as raised:
            killed_sweep.run(executor=executor, **options)
        results.append(vars(raised.value)["partial_result"])
    same(*results)


def test_no_worker_is_left_after_a_refit():
    engine = LocalEngine()
    result = killed_sweep.run(executor=engine, **LONE)
    assert not engine.alive
    alone = result.refit(1)
    assert not engine.alive
    np.testing.assert_array_equal(alone.state(1)["x"], result.state(1)["x"])
