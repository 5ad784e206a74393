"""Where the lanes of a sweep train changes no bit of it, and neither do workers that die, join or fall silent."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from regopt import sweep
from support import killed_sweep
from support.local_pool import LocalEngine
from sweep.test_resume import same

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


def test_workers_that_keep_nothing_give_the_same_bits(whole, tmp_path):
    with ThreadPoolExecutor(2) as threads:
        same(killed_sweep.run(tmp_path, executor=sweep.Futures(threads, shards=2), **SMALL), whole)


@pytest.mark.parametrize("seed", range(4))
def test_lanes_of_a_worker_that_dies_go_on_elsewhere_to_the_same_bits(seed, whole, tmp_path):
    deaths = np.random.default_rng(seed).choice(40, 5, replace=False)
    engine = LocalEngine(deaths=deaths)
    same(killed_sweep.run(tmp_path, executor=engine, **(SMALL | {"save_every": 0.05 * seed})), whole)
    assert engine.died == 5


def test_a_silent_worker_is_given_up(whole):
    engine = LocalEngine(silent=[7, 20])
    same(killed_sweep.run(executor=engine, **SMALL), whole)
