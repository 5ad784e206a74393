"""What travels between the coordinator of a sweep and its workers."""

import errno
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regopt.data import Splits
from regopt.sweep.checkpoint import StoreAccessError
from regopt.sweep.executors import _futures
from regopt.sweep.executors._futures import _stored
from regopt.sweep.executors._messages import CACHE, Job, failure, portable
from regopt.sweep.executors._worker import Worker

NUMBERS = np.arange(40_000.0).reshape(200, 200)
VIEWS = {
    "whole": lambda x: x,
    "rows": lambda x: x[3:][:90],
    "every other row": lambda x: x[1::2],
    "backwards": lambda x: x[::-1, 5::-2],
    "a column": lambda x: x[:, 7],
    "one number": lambda x: x[3:4, 4:5],
    "transposed": lambda x: x.T,
}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("view", VIEWS)
def test_views_of_mapped_files_stay_mapped(tmp_path, view, order):
    np.save(tmp_path / "x.npy", np.asarray(NUMBERS, order=order))
    sent = pickle.dumps(portable(Splits(VIEWS[view](np.load(tmp_path / "x.npy", mmap_mode="r")), None)).train)
    assert len(sent) < 2000
    read = pickle.loads(sent).read()
    assert isinstance(read, np.memmap)
    np.testing.assert_array_equal(read, VIEWS[view](NUMBERS))


@pytest.mark.parametrize("own", [None, "its own"])
def test_a_worker_keeps_its_programs_where_the_coordinator_does_unless_it_has_a_folder(own):
    before = getattr(jax.config, CACHE[0])
    try:
        jax.config.update(CACHE[0], own)
        Worker(Job("token", {}, 1, 1, None, None, ((CACHE[0], "shared"),)), Splits(None, None))
        assert getattr(jax.config, CACHE[0]) == (own or "shared")
    finally:
        jax.config.update(CACHE[0], before)


def test_a_copy_in_memory_is_still_an_array_that_streams(tmp_path):
    np.save(tmp_path / "x.npy", NUMBERS)
    array = np.load(tmp_path / "x.npy", mmap_mode="r").copy()
    sent = pickle.loads(pickle.dumps(portable(Splits(array, None)).train))
    assert isinstance(sent, np.memmap)
    np.testing.assert_array_equal(sent, NUMBERS)


def test_what_was_written_to_a_copy_on_write_map_is_sent(tmp_path):
    np.save(tmp_path / "x.npy", NUMBERS)
    array = np.load(tmp_path / "x.npy", mmap_mode="c")
    array[0] = -1
    sent = pickle.loads(pickle.dumps(portable(Splits(array, None)).train))
    np.testing.assert_array_equal(sent, array)


@pytest.mark.parametrize("first", ["{prefix}", "{base_prefix}"])
def test_modules_beside_a_script_travel_also_after_a_package_has_put_a_folder_before_theirs(tmp_path, first):
    """``import ray`` puts a folder of its own at the front of ``sys.path``."""
    (tmp_path / "beside.py").write_text("")
    script = tmp_path / "script.py"
    script.write_text(f"""
import sys
import beside
from regopt.sweep.executors._modules import own_modules

sys.path.insert(0, "{first}/thirdparty_files".format(prefix=sys.prefix, base_prefix=sys.base_prefix))
print([module.__name__ for module in own_modules()])
""")
    said = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    assert said == "['beside']\n"


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
@pytest.mark.parametrize("mapped", [False, True])
def test_data_in_the_folder_come_back_as_they_were(tmp_path, dtype, mapped):
    array = NUMBERS.astype(dtype)
    if mapped:  # in memory, and yet such data stream
        np.save(tmp_path / "x.npy", NUMBERS.astype(np.float32))
        array = np.load(tmp_path / "x.npy", mmap_mode="r").astype(dtype)
    found = pickle.loads(pickle.dumps(_stored(tmp_path / "data", Splits(array, None)).train)).read()
    assert isinstance(found, np.memmap) == mapped
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array)


def test_data_that_the_disk_has_no_room_for_end_in_one_line(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(_futures.np, "save", full)
    with pytest.raises(
        StoreAccessError, match=r"data of the workers to .*: No space left on device; this needs 320,000"
    ):
        _stored(tmp_path, Splits(NUMBERS, None))
    assert list(tmp_path.iterdir()) == []


class OddError(Exception):
    """An error that cannot be made anew from its arguments."""

    def __init__(self, left, right):
        super().__init__(f"{left} and {right}")


@pytest.mark.parametrize(
    ("raised", "kind", "says"),
    [
        (ValueError("plain"), ValueError, "plain"),
        (OddError(1, 2), RuntimeError, "OddError: 1 and 2"),
        (ValueError(lambda: 0), RuntimeError, "ValueError: <function"),
    ],
)
def test_an_error_travels_with_its_traceback(raised, kind, says):
    def fails():
        raise raised

    try:
        fails()
    except Exception as error:
        found = pickle.loads(pickle.dumps(failure(error))).raised()
    assert type(found) is kind
    assert str(found).startswith(says)
    assert "in fails" in str(found.__cause__)
