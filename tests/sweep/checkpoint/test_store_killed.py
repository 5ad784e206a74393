"""The store of a sweep whose process is killed while it saves, and a store with code hidden in it."""

import ast
import json
import os
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from regopt._core.io import TEMPORARY, write_json
from regopt.sweep import checkpoint
from regopt.sweep.checkpoint import StoreDamagedError
from regopt.sweep.checkpoint import _manifest as reading
from support.stores import check_numbered, opened, rubbish, run_script, save_numbered, vouch_for


@pytest.fixture
def unsynced(monkeypatch):
    """Without waiting for the disk, in tests that crash nothing."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


KILLED = """
import os, random, signal, sys, time
import numpy as np
from regopt.sweep import checkpoint
folder, kills = sys.argv[1], int(sys.argv[2])
draw = random.Random(kills)

def say(line):
    assert line.endswith("which is gone: taking over"), line  # and no state is ever seen half written

def work(tell):
    with checkpoint.opened(folder, {}, say=say) as kept:
        number = kept.number or 0
        if number:
            assert (kept.load({"a": np.zeros(1000)})["a"] == number).all()
        os.write(tell, number.to_bytes(8, "little"))
        while True:
            number += 1
            kept.save(number, {"a": np.full(1000, float(number))})
            os.write(tell, number.to_bytes(8, "little"))

acknowledged = 0
for kill in range(kills):
    hear, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work(tell)
        finally:
            os._exit(1)
    os.close(tell)
    heard = b""
    while kill % 4 and len(heard) < 16:  # else it may be killed while it opens
        heard += os.read(hear, 8) or sys.exit("a state was lost or wrong")
    time.sleep(draw.uniform(0, 0.05))
    os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status), "a state was lost or wrong"
    while more := os.read(hear, 4096):
        heard += more
    os.close(hear)
    numbers = [int.from_bytes(heard[at:at + 8], "little") for at in range(0, len(heard), 8)]
    assert not numbers or numbers[0] >= acknowledged, (numbers, acknowledged)
    acknowledged = max([acknowledged, *numbers])
print(acknowledged)
"""


@pytest.mark.parametrize("kills", [10, pytest.param(50, marks=pytest.mark.long)])
def test_a_process_killed_while_it_saves_loses_nothing_acknowledged(tmp_path, kills):
    acknowledged = int(run_script(KILLED, tmp_path, kills)[0])
    with opened(tmp_path, {}, say=lambda line: None) as kept:
        assert rubbish(tmp_path) == []
        assert kept.number in (acknowledged, acknowledged + 1)
        assert acknowledged >= 3 * kills // 4
        assert set(kept.load({"a": np.zeros(1000)})["a"]) == {kept.number}
        kept.save(kept.number + 1, {"a": np.zeros(1000)})
    assert len(reading.state_folders(tmp_path)) == 2


def test_what_a_killed_process_left_half_written_is_removed(tmp_path, unsynced):
    with opened(tmp_path) as kept:
        save_numbered(kept, 1)
    (tmp_path / "states" / f"{TEMPORARY}000001").mkdir()
    (tmp_path / "states" / f"{TEMPORARY}000001" / "small.npy").write_text("half")
    (tmp_path / "states" / f"{TEMPORARY}000002").write_text("half")
    with opened(tmp_path) as kept:
        assert rubbish(tmp_path) == []
        check_numbered(kept)


def test_the_next_write_removes_what_a_killed_process_left_of_the_same_file(tmp_path):
    path, host = tmp_path / "table[1].json", socket.gethostname()
    process = subprocess.Popen(["true"])
    process.wait()
    gone, other = (tmp_path / f"{TEMPORARY}{path.name}-{host}-{pid}" for pid in (process.pid, os.getppid()))
    elsewhere = tmp_path / f"{TEMPORARY}{path.name}-elsewhere-{process.pid}"
    odd = tmp_path / f"{TEMPORARY}{path.name}-{host}-{10**30}"
    for left in (gone, other, elsewhere, odd):
        left.write_text("half")
    write_json(path, {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1}
    assert sorted(tmp_path.iterdir()) == sorted([path, other, elsewhere, odd])  # those may still be in use


# Nothing in a store runs


def test_the_store_has_no_way_to_run_what_it_reads():
    banned = {"pickle", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "dill"}
    for path in Path(checkpoint.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            assert not banned & {name.split(".")[0] for name in [*names, getattr(node, "module", None) or ""]}
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in ("eval", "exec", "compile", "__import__")
                assert "allow_pickle=True" not in ast.unparse(node)


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_code_hidden_in_a_store_is_not_run(tmp_path, unsynced):
    proof = tmp_path / "it ran"
    with opened(tmp_path / "store") as kept:
        kept.save(0, {"a": np.zeros(3)})
    path = tmp_path / "store/states/000000"
    np.save(path / "small.npy", np.array([Payload(proof)]), allow_pickle=True)
    vouch_for(path)
    with (
        opened(tmp_path / "store") as kept,
        pytest.raises(StoreDamagedError, match=r"small\.npy holds object \[1\] where float64"),
    ):
        kept.load({"a": np.zeros(3)})
    assert not proof.exists()


@pytest.mark.long
def test_memory_stays_flat_over_many_saves(tmp_path, unsynced):
    def resident_pages():
        return int(Path("/proc/self/statm").read_text().split()[1])

    tree = {"a": jnp.ones(100)}
    with opened(tmp_path) as kept:
        for number in range(2000):
            kept.save(number, tree)
            if number == 500:
                before = resident_pages()
    assert resident_pages() < 1.01 * before


GROUP = """
import sys
import jax
import numpy as np

folder, port, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize(f"localhost:{port}", 2, number)
from regopt.sweep import checkpoint

tree = {"numpy": np.arange(5) + number, "jax": jax.device_put(np.float32(number), jax.local_devices()[1])}
with checkpoint.opened(f"{folder}/{number}", {}) as kept:
    kept.save(0, tree)
with checkpoint.opened(f"{folder}/{number}", {}) as kept:
    found = kept.load(tree)
assert found["jax"].sharding == tree["jax"].sharding
print(found["numpy"][0], found["jax"])
"""


@pytest.mark.long
def test_each_of_a_group_of_processes_has_a_store_of_its_own(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    with ThreadPoolExecutor() as pool:
        ran = [pool.submit(run_script, GROUP, tmp_path, port, number) for number in range(2)]
        assert [one.result() for one in ran] == [["0", "0.0"], ["1", "1.0"]]
