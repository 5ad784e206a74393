"""The store of a sweep against damage and failing disks: nothing saved is lost, no wrong bit loaded."""

import errno
import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from regopt.sweep import checkpoint
from regopt.sweep.checkpoint import StoreAccessError, StoreDamagedError
from regopt.sweep.checkpoint import _manifest as reading
from support.stores import attempt, check_numbered, damage_file, opened, rubbish, run_script, save_numbered


@pytest.fixture
def unsynced(monkeypatch):
    """Without waiting for the disk, in tests that crash nothing."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


# Damage


def damage_store(folder, draw):
    """Damage one file, or mix up two."""
    paths = sorted(path for path in (folder / "states").rglob("*") if path.is_file())
    one, other = draw.sample(paths, 2)
    match draw.choice(["damage"] * 7 + ["swap"] * 2 + ["older"]):
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
            number = checkpoint.read(folder).number if not said else 2
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
    damage_file(tmp_path / "states/000001/small.npy", random.Random(0))
    said = []
    with opened(tmp_path, say=said.append) as kept:
        assert kept.number == 1
        save_numbered(kept, 2, 3)
    assert [path.name for path in reading.state_folders(tmp_path)] == ["000003", "000002"]
    assert "states/000001 (small.npy) is damaged: going on from number 1, saved 20" in said[0]
    with opened(tmp_path) as kept:
        check_numbered(kept)


@pytest.mark.parametrize("change", [("number", 7), ("done", True), ("identity", {}), ("leaves", [])])
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
    with (
        pytest.raises(StoreDamagedError, match=r"000001 \(manifest.json\) and .*000000 .* are damaged"),
        opened(tmp_path),
    ):
        pass
    with pytest.raises(StoreDamagedError, match=r"every state in .* is damaged"):
        checkpoint.read(tmp_path)


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
        patch.setattr(Path, "open", failing(Path.open))
        patch.setattr(Path, "replace", failing(Path.replace))
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
    assert calls > 10  # the failures went through all of a save: a folder, 4 files, 4 times fsync, 2 new names


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
def test_all_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    synced, renamed, rename = [], [], Path.replace

    def check_and_rename(path, target):
        assert {path, *path.rglob("*")} <= set(synced)
        renamed.append((path.parent, len(synced)))
        return rename(path, target)

    with opened(tmp_path) as kept, monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}"))))
        patch.setattr(Path, "replace", check_and_rename)
        save_numbered(kept, 1)
    assert [parent.name for parent, _ in renamed] == ["states"]
    assert all(synced[at] == parent for parent, at in renamed)  # and its name right after


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_called_by_its_name(tmp_path, monkeypatch, capfd):
    system = Path.open

    def open_full(path, mode="r", **options):
        return system(Path("/dev/full"), "wb") if mode == "xb" else system(path, mode, **options)

    with opened(tmp_path) as kept:
        save_numbered(kept, 1)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", open_full)
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
from regopt.sweep import checkpoint
with checkpoint.opened(sys.argv[1], {}) as kept:
    kept.save(0, {"a": np.zeros(9)})
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    try:
        kept.save(1, {"a": np.ones(9000)})
    except checkpoint.StoreError as error:
        print(str(error).split(": ")[1].split(";")[0])
"""


def test_a_folder_that_cannot_be_written_is_said_at_once(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", refuse)
        with (
            pytest.raises(StoreAccessError, match=r"cannot write to .*new: Read-only file system"),
            opened(tmp_path / "new"),
        ):
            pass
    with opened(tmp_path):
        pass
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(StoreAccessError, match=r"cannot lock .*: Read-only file system"), opened(tmp_path):
            pass
    (tmp_path / "file").touch()
    with pytest.raises(StoreAccessError, match=r"cannot write to .*file: Not a directory"), opened(tmp_path / "file"):
        pass
