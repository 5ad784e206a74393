"""Hosts that share a folder: every setting once, whoever trains it, with the bits of the host's own sweep."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from regopt import sweep
from regopt.sweep.checkpoint import StoreInUseError, StoreMismatchError
from regopt.sweep.checkpoint import _lock as lock
from regopt.sweep.executors import _hosts as sharing
from regopt.sweep.executors._elsewhere import Elsewhere
from regopt.sweep.results import _layout
from regopt.sweep.results._io import NAME
from support import killed_sweep

ALL = {"slots": None, "scheduler": None, "patience": 20, "save_every": 0.1}
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from support import killed_sweep
print("go", flush=True)
killed_sweep.run(sys.argv[2], hosts=sys.argv[3], slots=None, scheduler=None, patience=20, save_every=0.1)
"""


@pytest.fixture(scope="module")
def whole():
    return killed_sweep.run(**ALL)


def host(folder, which):
    words = [sys.executable, "-c", SCRIPT, str(Path(killed_sweep.__file__).parents[1]), str(folder), which]
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": str(jax.local_device_count()),
        "JAX_ENABLE_X64": str(jax.config.read("jax_enable_x64")),
    }
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)


def close(found, whole):
    """A setting of a share is in another slot than in the whole sweep, which may cost a rounding."""
    np.testing.assert_array_equal(found.status, whole.status)
    for name, curve in whole.history.curves.items():
        np.testing.assert_allclose(found.history.curves[name], curve, rtol=1e-5, atol=1e-7, err_msg=name)


def test_two_hosts_of_which_one_is_killed(whole, tmp_path):
    """The other takes its share over where it was."""
    with host(tmp_path, "2/2") as second:
        while not list(tmp_path.glob(f"share-2-of-2/{NAME}")):
            time.sleep(0.01)
        second.kill()
    partial = sweep.load(tmp_path)
    assert partial.interrupted
    assert len(partial.history.settings) == killed_sweep.SETTINGS // 2
    trained = partial.history.segments.sum()
    assert trained > 0
    first = killed_sweep.run(tmp_path, hosts="1/2", **ALL)
    close(first, whole)
    assert not first.interrupted
    loaded = sweep.load(tmp_path)
    assert loaded.to_pandas().equals(first.to_pandas())
    best = first.best()
    assert first.state(best)["count"] == best.step
    refit = first.refit(best.index)
    np.testing.assert_array_equal(
        refit.history.curves["validation_loss"][best.index], first.history.curves["validation_loss"][best.index]
    )
    assert set(refit.status[1 - best.index % 2 :: 2]) == {"unfinished"}  # of the other share
    assert not refit.interrupted


def test_a_host_leaves_a_share_alone_that_another_trains(whole, tmp_path, caplog):
    folder = _layout.folder_of(tmp_path, 1, 2)
    folder.mkdir(parents=True)
    with lock.held(folder, print):
        alone = killed_sweep.run(tmp_path, hosts=(0, 2), **ALL)
    assert "share-2-of-2 is left to others" in caplog.text
    assert set(alone.status[1::2]) == {"unfinished"}
    np.testing.assert_array_equal(alone.status[::2], whole.status[::2])
    with pytest.raises(ValueError, match="setting 1 is of a share that is not here"):
        alone.state(1)
    close(killed_sweep.run(tmp_path, hosts=(1, 2), **ALL), whole)


def test_a_sweep_is_divided_in_one_way(tmp_path):
    divided, plain = tmp_path / "divided", tmp_path / "plain"
    short = {**ALL, "patience": 1}
    killed_sweep.run(divided, hosts=(0, 3), **short)
    with pytest.raises(StoreMismatchError, match="holds shares of 3 hosts: go on with 3 hosts, or use another folder"):
        killed_sweep.run(divided, hosts=(0, 2), **short)
    with pytest.raises(StoreMismatchError, match="holds shares of 3 hosts"):
        killed_sweep.run(divided, **short)
    killed_sweep.run(plain, **short)
    with pytest.raises(StoreMismatchError, match="holds a sweep of one host: go on with no hosts"):
        killed_sweep.run(plain, hosts=(0, 2), **short)
    _layout.folder_of(divided, 0, 2).mkdir()
    with pytest.raises(ValueError, match="shares of 2 and of 3 hosts"):
        sweep.load(divided)


@pytest.mark.parametrize("loss", ["table", "all states", "table damaged"])
def test_what_another_host_has_lost_takes_nothing_else_along(tmp_path, caplog, loss):
    """A table that is missing, as after a kill behind the last save, or damaged, is written again from the states."""
    short = {**ALL, "patience": 1}
    share = _layout.folder_of(tmp_path, 1, 2)
    folder = _layout.folder_of(tmp_path, 0, 2)
    folder.mkdir(parents=True)
    with lock.held(folder, print):
        killed_sweep.run(tmp_path, hosts=(1, 2), **short)
    if loss == "all states":
        for manifest in share.glob("states/*/manifest.json"):
            manifest.write_text("{")
    elif loss == "table":
        (share / NAME).unlink()
    else:
        (share / NAME).write_bytes(b"half of it")
    found = killed_sweep.run(tmp_path, hosts=(0, 2), **short)
    assert "unfinished" not in found.status[::2]
    assert ("unfinished" in found.status[1::2]) == (loss == "all states")
    assert ("damaged" in caplog.text) == (loss == "all states")


def test_asynchronous_halving_cuts_what_another_host_has_beaten(tmp_path):
    """The first host alone would let its best third pass; the second one has met better settings before it."""
    columns = {"rate": np.where(np.arange(12) % 2, 0.3, np.linspace(0.01, 0.02, 12))}
    settings = sweep.from_columns(columns)

    def run(which, out=tmp_path):
        return sweep.run(
            killed_sweep.task(),
            settings if which else settings.take(np.arange(0, 12, 2)),
            killed_sweep.DATA,
            steps=80,
            eval_every=2,
            batch_size=4,
            scheduler=sweep.asynchronous_halving(3, 4),
            hosts=which,
            out=out,
        )

    alone = run(None, None)
    assert 0 < np.sum(alone.status == "pruned") < 6
    folder = _layout.folder_of(tmp_path, 0, 2)
    folder.mkdir(parents=True)
    with lock.held(folder, print):
        run((1, 2))
    both = run((0, 2))
    assert (both.status[::2] == "pruned").all()
    assert (both.history.segments[::2] == 4).all()
    assert (both.status[1::2] == "done").all()  # all alike


def test_the_scores_elsewhere_are_read_when_they_were_saved_anew(tmp_path):
    share, other = (_layout.folder_of(tmp_path, number, 2) for number in (0, 1))
    elsewhere = Elsewhere(share, lambda record: record.scores("validation_loss", "min", keeps_best=False))
    assert elsewhere().size == 0
    result = killed_sweep.run(**ALL)
    result.save(other)
    result.save(share)
    assert elsewhere().shape == (killed_sweep.SETTINGS, killed_sweep.EVALUATIONS)
    (other / NAME).write_bytes(b"half of it")
    assert elsewhere().shape == (killed_sweep.SETTINGS, killed_sweep.EVALUATIONS)  # as it was read before


def test_a_holder_on_another_host_counts_as_gone_after_an_hour_of_silence(tmp_path):
    path = tmp_path / lock.RECORD
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": 0.0, "since": "yesterday"}))
    with pytest.raises(StoreInUseError, match="cannot be checked"), lock.held(tmp_path, print):
        pass
    os.utime(path, (time.time() - 4000,) * 2)
    said = []
    with lock.held(tmp_path, said.append):
        assert "taking over" in said[0]


@pytest.mark.parametrize(("given", "expected"), [("1/4", (0, 4)), ("4/4", (3, 4)), ((0, 1), (0, 1)), ([1, 2], (1, 2))])
def test_hosts_in_words(given, expected):
    assert sharing.as_hosts(given) == expected


@pytest.mark.parametrize("given", ["0/4", "5/4", "1/0", "one", "1/4/2", (4, 4), (-1, 2), (0.0, 2), 3])
def test_bad_hosts_are_named(given):
    with pytest.raises(ValueError, match="hosts must be"):
        sharing.as_hosts(given)


def test_hosts_need_a_folder_and_settings():
    with pytest.raises(ValueError, match="hosts need a folder"):
        killed_sweep.run(hosts="1/2")
    with pytest.raises(ValueError, match="hosts must be at most the settings, 24, got 25"):
        killed_sweep.run("nowhere", hosts="1/25")


def test_shares_are_disjoint_and_cover_all():
    for size, count in [(10, 3), (4, 4), (1000, 7)]:
        rows = np.concatenate([_layout.share(size, number, count) for number in range(count)])
        np.testing.assert_array_equal(np.sort(rows), np.arange(size))
