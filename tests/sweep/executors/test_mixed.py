"""A fleet of several kinds of devices is refused unless asked for, and then the table says where a setting trained."""

import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from regopt import sweep
from regopt._core.io import environment
from regopt.sweep import checkpoint
from regopt.sweep.engine._placement import Places
from regopt.sweep.executors._fleet import check_alike
from regopt.sweep.executors._messages import NEVER, Facts, Prepared, Train, again
from regopt.sweep.executors._ray import RayPool
from regopt.sweep.executors._ray_cluster import Starting
from regopt.sweep.executors._worker import Worker, _trained
from regopt.sweep.results._history import Marks
from support import killed_sweep
from support.local_pool import LocalEngine
from support.same_sweeps import same

OPTIONS = {"steps": 12, "scheduler": None, "slots": None}


def like(kind, **changes):
    """The environment of this process, with another kind of device."""
    own = environment()
    return own | {"device": own["device"] | {"kind": kind}} | changes


def report(kind, program="a", **changes):
    """The report of a worker in that environment, whose one group has this program."""
    return Prepared(like(kind, **changes), [Facts(1, 1, 1.0, "vmap", [], {"segment": program}, 0, 0.0, 0.0)])


def test_another_kind_of_device_is_refused_unless_asked():
    with pytest.raises(ValueError, match=r"the fleet is mixed: device is .*old.*new.*mixed=True"):
        check_alike(report("old"), report("new"), mixed=False)
    check_alike(report("old"), report("new"), mixed=True)
    check_alike(report("old"), report("old"), mixed=False)


@pytest.mark.parametrize("mixed", [False, True])
def test_a_worker_with_other_code_is_refused(mixed):
    with pytest.raises(ValueError, match="the functions of the task compile to different programs"):
        check_alike(report("old"), report("old", "b"), mixed=mixed)


@pytest.mark.parametrize("name", ["flags", "versions", "device"])
def test_another_version_or_platform_is_refused_in_any_case(name):
    other = report("new", **{name: {**environment()["device"], "platform": "other"}})
    with pytest.raises(ValueError, match=f"the fleet is mixed:.*{name} is") as refused:
        check_alike(report("old"), other, mixed=True)
    assert "mixed=True" not in str(refused.value)


@pytest.fixture
def replaced(monkeypatch):
    """The worker that prepares has an old device, and all leases run on a new one."""
    kinds = iter(["old"])
    monkeypatch.setattr(Worker, "environment", lambda self: like(next(kinds, "new")))


@pytest.mark.usefixtures("replaced")
def test_futures_refuse_a_mixed_fleet(tmp_path):
    with ThreadPoolExecutor(1) as threads, pytest.raises(ValueError, match="the fleet is mixed"):
        killed_sweep.run(tmp_path, executor=sweep.Futures(threads, shards=2), **OPTIONS)


@pytest.mark.usefixtures("replaced")
def test_futures_on_a_mixed_fleet_say_where_each_setting_trained(tmp_path):
    with ThreadPoolExecutor(1) as threads:
        engine = sweep.Futures(threads, shards=2, mixed=True)
        found = killed_sweep.run(tmp_path, executor=engine, **OPTIONS)
        again = killed_sweep.run(tmp_path, executor=engine, **OPTIONS)
        with pytest.raises(checkpoint.StoreError, match="kind was 'mixed: bits depend"):
            killed_sweep.run(tmp_path, executor=sweep.Futures(threads, shards=2), **OPTIONS)
    whole = killed_sweep.run(**OPTIONS)
    same(found, whole)  # in truth there is one kind
    assert "device" not in whole.to_pandas()
    for result in (found, again, sweep.load(tmp_path)):
        assert set(result.to_pandas()["device"]) == {"new"}
    stored = checkpoint.read(tmp_path)
    assert stored is not None
    assert stored.identity["device"]["kind"].startswith("mixed: bits depend on the kind of device")


def test_settings_of_two_kinds_of_workers_say_which():
    engine = LocalEngine(kinds=["old", "new"])
    found = killed_sweep.run(executor=engine, **OPTIONS)
    shard = found.history.seats[:, 0] // 2  # two seats to a shard and call
    assert set(found.to_pandas()["device"]) == {"old", "new"}
    for part in np.unique(shard % 2):
        assert found.to_pandas()["device"][shard % 2 == part].nunique() == 1


def test_what_a_lost_worker_has_done_is_said_of_the_one_that_goes_on():
    engine = LocalEngine(kinds=["old", "old", "new"], deaths=[5])
    found = killed_sweep.run(executor=engine, **OPTIONS)
    assert engine.died == 1
    assert set(found.to_pandas()["device"]) == {"old", "new"}


def test_a_column_of_that_name_is_refused_on_a_mixed_fleet():
    from regopt.testing import MEAN_DATA, MEAN_TASK

    settings = sweep.from_columns({"rate": [0.1, 0.5], "device": [1, 2]})
    with pytest.raises(ValueError, match="a mixed fleet adds a column 'device'"):
        sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=2, eval_every=1, executor=LocalEngine(kinds=["old"]))


@pytest.mark.parametrize("mixed", [False, True])
def test_ray_greets_another_kind_only_if_asked(mixed):
    pytest.importorskip("ray")
    pool = RayPool(sweep.Ray(mixed=mixed))
    pool._ray = SimpleNamespace(
        wait=lambda handles, num_returns, timeout: (handles, []),
        get=lambda handle: Prepared(like("new"), []),
        exceptions=SimpleNamespace(RayTaskError=RuntimeError, RayError=RuntimeError),
    )
    pool._expected, pool._starting = (
        Prepared(like("old"), []),
        {"ready": Starting("1", "actor", "ready", time.monotonic())},
    )
    if mixed:
        pool._greet()
        assert pool._actors == {"1": "actor"}
    else:
        with pytest.raises(ValueError, match="the fleet is mixed"):
            pool._greet()


def test_work_done_again_on_another_kind_ends_where_the_table_says():
    places = Places(2, 1, 2, 2, packed=False)
    places.admit(np.zeros(0, int))
    stops = {0: 1}  # by lane: the segment in which early stopping ends it

    def advance(lanes, segments, until, halt, seats):
        zero, segment = np.zeros(len(lanes), int), int(segments[0])
        stop = np.array([segment == stops.get(int(lane)) for lane in lanes]).astype(int)
        yield segment, "", len(seats), (lanes, seats, ({}, Marks(zero, stop, zero)))

    group = SimpleNamespace(held=SimpleNamespace(places=places), advance=advance)
    order = Train(np.array([0, 1]), np.zeros(2, int), np.array([0, 1]), 1, 0, 4)

    def lanes_of(order):
        ended = np.full(2, NEVER)
        done = list(_trained(group, ended, order, "new"))
        return done, [its.lanes.tolist() for its in done], ended.tolist()

    done, trained, ended = lanes_of(order)
    assert (trained, ended) == ([[0, 1], [0, 1], [1], [1]], [1, NEVER])
    stops = {1: 0}  # what another kind of device would make of it
    assert lanes_of(order)[1:] == ([[0, 1], [0], [0], [0]], [NEVER, 0])
    assert lanes_of(again(order, done))[1:] == (trained, ended)
