"""The store of a sweep against damage, failing disks and being killed: nothing saved is lost, no wrong bit loaded."""

import ast
import errno
import json
import os
import random
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from stores import attempt, check_numbered, damage_file, opened, rubbish, run_script, save_numbered

from regopt.sweep import store
from regopt.sweep.store import StoreError, files, leaves, reading

QUICK_THEN_LONG = [10, pytest.param(50, marks=pytest.mark.long)]


@pytest.fixture
def unsynced(monkeypatch):
    """Without waiting for the disk, in tests that crash nothing."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


# Damage


def damage_store(folder, draw):
    """Damage one file, or mix up two."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    one, other = draw.sample(paths, 2)
    match draw.choice(["damage"] * 8 + ["swap", "older"]):
        case "damage":
            damage_file(one, draw)
        case "swap":
            first, second = one.read_bytes(), other.read_bytes()
            one.write_bytes(second)
            other.write_bytes(first)
        case "older":
            older, newer = sorted((folder / "states").iterdir())
            shutil.copy(older / "manifest.json", newer / "manifest.json")


@pytest.mark.parametrize("damages", [100, pytest.param(500, marks=pytest.mark.long)])
def test_no_damage_is_taken_for_the_truth(tmp_path, unsynced, damages):
    draw = random.Random(damages)
    with opened(tmp_path / "whole") as kept:
        save_numbered(kept, 1, 2, 3)
    outcomes = {3: 0, 2: 0, "refused": 0}
    for _ in range(damages):
        folder, said = tmp_path / "damaged", []
        shutil.copytree(tmp_path / "whole", folder)
        damage_store(folder, draw)
        number, refusal = 0, attempt(lambda folder=folder, said=said: check_opened(folder, said))
        if refusal is None:
            number = store.read(folder).number if not said else 2
            assert [" is damaged: going on from number 2" in line for line in said] == [True] * (3 - number)
        else:  # a part that both states need, or a file of each
            assert refusal.endswith("there is no other: restore the files from a copy, or start in another folder")
        outcomes[number or "refused"] += 1
        shutil.rmtree(folder)
    assert min(outcomes.values()) > damages / 20  # the test met all three


def check_opened(folder, said):
    with opened(folder, say=said.append) as kept:
        check_numbered(kept)
        assert kept.number == (2 if said else 3)


def test_a_damaged_state_is_replaced_by_the_next(tmp_path, unsynced):
    with opened(tmp_path) as kept:
        save_numbered(kept, 1, 2)
    damage_file(tmp_path / "states/000001/arrays/small/0", random.Random(0))
    said = []
    with opened(tmp_path, say=said.append) as kept:
        assert kept.number == 1
        save_numbered(kept, 2, 3)
    assert [path.name for path in reading.state_folders(tmp_path)] == ["000003", "000002"]
    assert "states/000001 (arrays/small/0) is damaged: going on from number 1, saved 20" in said[0]
    with opened(tmp_path) as kept:
        check_numbered(kept)


@pytest.mark.parametrize("change", [("number", 7), ("done", True), ("tables", {}), ("identity", {}), ("leaves", [])])
def test_a_manifest_vouches_for_itself(tmp_path, unsynced, change):
    with opened(tmp_path) as kept:
        save_numbered(kept, 1, 2)
    manifest = tmp_path / "states/000001/manifest.json"
    whole = json.loads(manifest.read_text())
    whole["content"].update([change])
    manifest.write_text(json.dumps(whole))
    said = []
    with opened(tmp_path, say=said.append) as kept:
        assert kept.number == 1
        check_numbered(kept)
    assert "states/000001 (manifest.json) is damaged" in said[0]


def test_an_unreadable_state_is_not_started_over(tmp_path, unsynced):
    with opened(tmp_path) as kept:
        save_numbered(kept, 1, 2)
    for path in tmp_path.rglob("manifest.json"):
        path.write_text("{}")
    with pytest.raises(StoreError, match=r"000001 \(manifest.json\) and .*000000 .* are damaged"), opened(tmp_path):
        pass
    with pytest.raises(StoreError, match=r"every state in .* is damaged"):
        store.read(tmp_path)


# Failing disks


def save_with_failure(kept, number, error, fails_at, monkeypatch):
    """Try to save while one of the calls to the system fails; the refusal, and how many calls there were."""
    calls = 0

    def failing(call):
        def fail_once(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == fails_at:
                raise OSError(error, os.strerror(error))
            return call(*arguments, **options)

        return fail_once

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(lambda descriptor: None))
        patch.setattr(Path, "mkdir", failing(Path.mkdir))
        patch.setattr(Path, "rename", failing(Path.rename))
        patch.setattr(Path, "write_text", failing(Path.write_text))
        return attempt(lambda: save_numbered(kept, number)), calls


def check_refusal(refusal, folder, error, before):
    assert refusal.startswith(f"cannot save to {folder}: {os.strerror(error)}; this needs about ")
    assert refusal.endswith(f" are free; state {before} is intact")
    assert "\n" not in refusal


def test_a_save_that_fails_anywhere_leaves_a_good_state(tmp_path, monkeypatch):
    with opened(tmp_path) as kept:
        save_numbered(kept, 1)
    errors = [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO]
    calls = fails_at = 0
    while calls >= fails_at:  # once beyond the last call
        fails_at += 1
        with opened(tmp_path) as kept:
            before = kept.number
            error = errors[fails_at % 4]
            refusal, calls = save_with_failure(kept, before + 1, error, fails_at, monkeypatch)
            assert refusal is None or rubbish(tmp_path) == []
            check_numbered(kept)
            if refusal is None:  # all that failed was to remove what is old
                assert kept.number == before + 1
            else:
                check_refusal(refusal, tmp_path, error, before)
                assert kept.number == before
        with opened(tmp_path) as kept:
            assert kept.number in (before, before + 1)  # the latter if only syncing the folder failed
            check_numbered(kept)
            assert rubbish(tmp_path) == []
    assert refusal is None
    assert calls > 12  # the failures went through all of a save


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
def test_all_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    events, rename = [], Path.rename

    def record_rename(path, target):
        there = [Path(one) for one in (path, *path.rglob("*"))]
        events.append((path, there))
        return rename(path, target)

    with opened(tmp_path) as kept, monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: events.append(Path(os.readlink(f"/proc/self/fd/{descriptor}"))))
        patch.setattr(Path, "rename", record_rename)
        save_numbered(kept, 1)
    renames = [at for at, event in enumerate(events) if isinstance(event, tuple)]
    assert [events[at][0].parent.name for at in renames] == ["tables", "tables", "states"]
    for at in renames:
        path, there = events[at]
        assert set(there) <= set(events[:at])
        assert events[at + 1] == path.parent  # and its name right after


def test_a_full_disk_within_orbax_is_called_by_its_name(tmp_path, monkeypatch, capfd):
    def fail(*arguments):
        raise ValueError("RESOURCE_EXHAUSTED: Failed to write 6 bytes: No space [os_error_code='28']")

    with opened(tmp_path) as kept:
        save_numbered(kept, 1)
        with monkeypatch.context() as patch:
            patch.setattr(leaves._checkpointer(), "save", fail)
            check_refusal(attempt(lambda: save_numbered(kept, 2)), tmp_path, errno.ENOSPC, 1)
        check_numbered(kept)
        save_numbered(kept, 2)
        check_numbered(kept)
    assert capfd.readouterr() == ("", "")


def test_a_real_limit_on_files_is_met(tmp_path):
    assert run_script(LIMITED, tmp_path) == ["File", "too", "large"]
    with opened(tmp_path, {}) as kept:
        assert kept.load({"a": np.zeros(9)})["a"].tolist() == [0.0] * 9


LIMITED = """
import resource, sys
import numpy as np
from regopt.sweep import store
with store.opened(sys.argv[1], {}) as kept:
    kept.save(0, {"a": np.zeros(9)})
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    try:
        kept.save(1, {"a": np.ones(9000)})
    except store.StoreError as error:
        print(str(error).split(": ")[1].split(";")[0])
"""


def test_a_folder_that_cannot_be_written_is_said_at_once(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", refuse)
        with pytest.raises(StoreError, match=r"cannot write to .*new: Read-only file system"), opened(tmp_path / "new"):
            pass
    with opened(tmp_path):
        pass
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(StoreError, match=r"cannot lock .*: Read-only file system"), opened(tmp_path):
            pass
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot write to .*file: Not a directory"), opened(tmp_path / "file"):
        pass


# Killed


KILLED = """
import os, random, signal, sys, time
import numpy as np, pandas
from regopt.sweep import store
from regopt.sweep.store import leaves

with leaves._quiet():
    leaves._checkpointer()
folder, kills = sys.argv[1], int(sys.argv[2])
draw = random.Random(kills)

def say(line):
    assert line.endswith("which is gone: taking over"), line  # and no state is ever seen half written

def work(tell):
    with store.opened(folder, {}, say=say) as kept:
        number = kept.number or 0
        if number:
            assert (kept.load({"a": np.zeros(1000)})["a"] == number).all()
            assert (kept.table("rows").row == number).all()
        os.write(tell, number.to_bytes(8, "little"))
        while True:
            number += 1
            kept.save(number, {"a": np.full(1000, float(number))}, {"rows": pandas.DataFrame({"row": [number]})})
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


@pytest.mark.parametrize("kills", QUICK_THEN_LONG)
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
    for parent in ("states", "tables"):
        (tmp_path / parent / f"{files.TEMPORARY}000001" / "arrays").mkdir(parents=True)
        (tmp_path / parent / f"{files.TEMPORARY}rows.000001.parquet").write_text("half")
    with opened(tmp_path) as kept:
        assert rubbish(tmp_path) == []
        check_numbered(kept)


# Nothing in a store runs


def test_the_store_has_no_way_to_run_what_it_reads():
    banned = {"pickle", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "dill"}
    for path in Path(store.__file__).parent.glob("*.py"):
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


def test_code_hidden_in_a_store_is_not_run(tmp_path, unsynced, monkeypatch):
    proof = tmp_path / "it ran"
    monkeypatch.setattr(leaves, "_is_one_of_many", lambda: True)
    with opened(tmp_path / "store") as kept:
        kept.save(0, {"a": np.zeros(3)})
    arrays = next((tmp_path / "store").rglob("small.npy"))
    np.save(arrays, np.array([Payload(proof)]), allow_pickle=True)
    manifest = arrays.parent.parent / "manifest.json"
    content = files.read_json(manifest)
    content["files"]["arrays/small.npy"] = files.fingerprint(arrays)  # by someone who knows how
    files.write_json(manifest, content)
    with opened(tmp_path / "store") as kept, pytest.raises(ValueError, match="allow_pickle=False"):
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
from regopt.sweep import store

tree = {"numpy": np.arange(5) + number, "jax": jax.device_put(np.float32(number), jax.local_devices()[1])}
with store.opened(f"{folder}/{number}", {}) as kept:
    kept.save(0, tree)
with store.opened(f"{folder}/{number}", {}) as kept:
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
