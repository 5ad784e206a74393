"""The workers of Ray that hang while they start, and answers that are found together, on a Ray that is made up."""

import itertools
import logging
from types import SimpleNamespace

import pytest

from regopt import sweep
from regopt._core.io import environment
from regopt.data import Splits
from regopt.sweep.executors import _ray
from regopt.sweep.executors._messages import Job, Prepared
from regopt.sweep.executors._ray import RayPool
from regopt.sweep.executors._ray_cluster import connect, ends_of

pytest.importorskip("ray")
JOB = Job("token", {}, 1, 1, None, None)


class MadeUpRay:
    """A cluster with room for some workers, of which those with these numbers never answer.

    Args:
        room: for how many workers there is room.
        hang: the numbers of workers, counted from 0, that run and never are ready.
        pending: the numbers of workers whose process never runs.
    """

    exceptions = SimpleNamespace(RayTaskError=KeyError, RayError=OSError)
    cloudpickle = SimpleNamespace(register_pickle_by_value=lambda module: None)

    def __init__(self, room, hang=(), pending=()):
        self.room, self.accelerators, self.killed, self.waits = room, {}, [], 0
        self.asked = {}  # the resources of the last worker
        self.environment = environment()  # of a worker that is asked now
        self.dying = ()  # numbers of workers that die before they are ready
        self._silent = {(what, number) for what in ("prepare", "process") for number in pending}
        self._silent |= {("prepare", number) for number in hang}
        self._numbers = itertools.count()

    def is_initialized(self):
        return True

    def cluster_resources(self):
        return {"CPU": self.room, **self.accelerators}

    available_resources = cluster_resources

    def remote(self, **options):
        self.asked = options
        return lambda kind: SimpleNamespace(remote=self._actor)

    def _actor(self, job, data):
        number = next(self._numbers)
        process, prepare = (SimpleNamespace(remote=lambda name=name: (name, number)) for name in ("process", "prepare"))
        return SimpleNamespace(number=number, prepare=prepare, __ray_ready__=process)

    def put(self, data):
        return data

    def wait(self, handles, num_returns=1, timeout=None):
        self.waits += 1
        ready = [handle for handle in handles if handle not in self._silent][:num_returns]
        return ready, [handle for handle in handles if handle not in ready]

    def get(self, handle):
        if handle[1] in self.dying:
            raise OSError("it died")
        return Prepared(self.environment, [])

    def kill(self, actor):
        self.killed.append(actor.number)


def pool(ray, lost_after):
    """The workers of that Ray, given up at once or never."""
    made = RayPool(sweep.Ray(lost_after=lost_after))
    made._ray = ray
    return made


@pytest.fixture(autouse=True)
def nobody_waits_for_long(monkeypatch):
    """The made-up Ray answers at once or never."""
    monkeypatch.setattr(_ray, "_START_SECONDS", 0.2)
    monkeypatch.setattr(_ray, "_PLACE_SECONDS", 0.0)


def test_a_worker_that_hangs_at_its_start_is_given_up_and_started_anew(caplog):
    ray = MadeUpRay(2, hang=[1])
    workers = pool(ray, 1e-9)
    prepared = workers.open(JOB, Splits(None, None))
    with caplog.at_level(logging.WARNING):
        workers.join(JOB, prepared)
    assert (workers.workers(), ray.killed) == (["1"], [1])
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("worker 2 is lost while it starts: no answer in 1e-09 s; pass a larger lost_after")
    workers._looked = -1e9
    assert workers.workers() == ["1", "3"]


def test_a_worker_that_is_in_time_is_not_given_up():
    ray = MadeUpRay(2, hang=[1])
    workers = pool(ray, 1e9)
    workers.join(JOB, workers.open(JOB, Splits(None, None)))
    assert (workers.workers(), ray.killed) == (["1"], [])


@pytest.mark.parametrize(("pending", "waits"), [(True, False), (False, True)])
def test_the_start_waits_for_workers_that_compile_and_not_for_those_without_a_node(monkeypatch, pending, waits):
    """Ray offers the room of a dead node for a while, and a process that should run there never does."""
    seconds = iter(range(100, 300))
    monkeypatch.setattr(_ray.time, "monotonic", lambda: float(next(seconds)))
    monkeypatch.setattr(_ray, "_START_SECONDS", 50.0)
    ray = MadeUpRay(2, **{"pending" if pending else "hang": [1]})
    workers = pool(ray, 1e9)
    workers.join(JOB, workers.open(JOB, Splits(None, None)))
    assert list(workers._actors) == ["1"]
    assert (next(seconds) > 150) == waits


def test_a_worker_of_another_kind_that_joins_late_is_left_out_and_the_sweep_goes_on(caplog):
    ray = MadeUpRay(1)
    workers = pool(ray, 1e9)
    workers.join(JOB, workers.open(JOB, Splits(None, None)))
    ray.room, ray.environment = 2, environment() | {"flags": "--others"}
    for _ in range(2):  # it keeps its room, so that no other one starts there
        workers._looked = -1e9
        assert workers.workers() == ["1"]
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("worker 2 is refused: the fleet is mixed: flags is ")
    assert said.endswith("; the sweep goes on without it")
    workers.drop("1")
    with pytest.raises(ValueError, match="the fleet is mixed"):  # nobody is left to go on
        workers.workers()
    workers.close()
    assert ray.killed == [0, 1, 2]


def test_where_a_worker_dies_at_its_start_none_starts_for_a_while(monkeypatch, caplog):
    monkeypatch.setattr(_ray, "_START_SECONDS", 60.0)
    ray = MadeUpRay(1)
    workers = pool(ray, 1e9)
    workers.join(JOB, workers.open(JOB, Splits(None, None)))
    ray.room, ray.dying = 2, range(1, 100)
    workers._looked = -1e9
    for _ in range(3):
        assert workers.workers() == ["1"]
    assert [record.getMessage() for record in caplog.records] == ["worker 2 is lost while it starts: it died"]
    workers.drop("1")  # now there is need of one
    ray.dying = [1]
    assert workers.workers() == ["3", "4"]


def test_a_sweep_that_has_lost_all_workers_says_that_it_waits(monkeypatch, caplog):
    ray = MadeUpRay(1)
    workers = pool(ray, 1e9)
    workers.join(JOB, workers.open(JOB, Splits(None, None)))
    workers.drop("1")
    ray.room = 0

    def free():
        ray.room = 1
        return {"CPU": 0.5}

    ray.available_resources = free
    monkeypatch.setattr(_ray.time, "sleep", lambda seconds: None)
    assert workers.workers() == ["2"]
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == "no worker of Ray is left, and the sweep waits for another one; the cluster has free: CPU 0.5"


def test_what_ray_says_of_a_lost_worker_is_cut_to_the_reason():
    said = f"it died {'x' * 300} Worker exit detail: End of file. Some common causes include: (1) the OOM killer"
    assert ends_of(said).endswith("Worker exit detail: End of file.")
    assert len(ends_of(said)) < 240


@pytest.mark.parametrize("hang", [1, 2, 3])
def test_a_first_worker_that_hangs_is_started_three_times(hang):
    ray = MadeUpRay(1, hang=range(hang))
    workers = pool(ray, 1e-9)
    if hang == 3:
        with pytest.raises(ValueError, match="no worker of Ray starts: no answer in 1e-09 s"):
            workers.open(JOB, Splits(None, None))
    else:
        workers.open(JOB, Splits(None, None))
        assert workers.workers() == [f"{hang + 1}"]
    assert ray.killed == list(range(hang))


def test_a_first_worker_that_waits_for_room_goes_on_waiting():
    ray = MadeUpRay(1, pending=range(9))
    workers = pool(ray, 1e-9)
    workers.open(JOB, Splits(None, None))
    assert (workers.workers(), ray.killed) == (["10"], list(range(9)))


@pytest.mark.parametrize(
    ("there", "asked", "gpus", "others", "room"),
    [
        ({}, {}, 0, None, 8),
        ({"GPU": 2}, {}, 1, None, 2),
        ({"GPU": 2}, {"num_gpus": 0}, 0, None, 8),
        ({"GPU": 2}, {"num_gpus": 0.5}, 0.5, None, 4),
        ({"TPU": 4}, {}, 0, {"TPU": 1}, 4),
        ({"TPU": 4}, {"resources": {"TPU": 2}}, 0, {"TPU": 2}, 2),
    ],
)
def test_a_worker_has_an_accelerator_where_there_are_any(there, asked, gpus, others, room):
    ray = MadeUpRay(8)
    ray.accelerators = there
    workers = RayPool(sweep.Ray(**asked))
    workers._ray = ray
    assert workers.size() == room
    workers.open(JOB, Splits(None, None))
    assert (ray.asked["num_cpus"], ray.asked["num_gpus"], ray.asked["resources"]) == (1, gpus, others)


def test_a_cluster_without_room_says_what_a_worker_needs():
    workers = RayPool(sweep.Ray(num_gpus=2))
    workers._ray = MadeUpRay(8)
    with pytest.raises(ValueError, match="no room for a worker with CPU 1, GPU 2; it has CPU 8"):
        workers.open(JOB, Splits(None, None))


def test_answers_that_came_together_are_looked_for_once():
    ray = MadeUpRay(1)
    workers = pool(ray, 1.0)
    handles = {("run", number): None for number in range(100)}
    for _ in range(100):
        del handles[workers.wait(handles.keys(), 1.0)]
    assert not handles
    assert ray.waits == 2
    ray._silent.add(("run", 0))
    assert workers.wait([("run", 0)], 0.0) is None


def test_a_pool_that_is_closed_keeps_no_answers():
    workers = pool(MadeUpRay(1), 1.0)
    workers.wait([("run", 0), ("run", 1)], 1.0)
    assert workers._answered
    workers.close()
    assert not workers._answered


@pytest.mark.parametrize(
    ("address", "variable", "asked"),
    [(None, "", "local"), (None, "head:6379", None), ("auto", "", "auto"), ("auto", "head:6379", "auto")],
)
def test_no_address_starts_a_cluster_and_never_looks_for_an_old_one(monkeypatch, address, variable, asked):
    monkeypatch.setenv("RAY_ADDRESS", variable)
    given = {}
    ray = SimpleNamespace(is_initialized=lambda: False, init=lambda **options: given.update(options))
    connect(ray, address)
    assert given["address"] == asked
