"""One process at a time writes into a store; one that was killed does not keep others out."""

import errno
import json
import os
import subprocess
from pathlib import Path

import pytest

from regopt.sweep import checkpoint
from regopt.sweep.checkpoint import StoreError
from regopt.sweep.checkpoint import _lock as lock
from support.stores import opened, run_script


def leave_lock(folder, **changes):
    """A lock file as a process leaves it that was killed."""
    own = lock.Holder(lock.socket.gethostname(), os.getpid(), lock.process_start(os.getpid()), "2026-01-01 00:00:00")
    (folder / "lock").write_text(json.dumps(own._replace(**changes)._asdict()))


def ended_process():
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_an_open_store_is_closed_to_others(tmp_path):
    with opened(tmp_path), pytest.raises(StoreError, match=f"is in use by process {os.getpid()} on "), opened(tmp_path):
        pass
    with opened(tmp_path):  # and not for ever
        pass


@pytest.mark.parametrize("left", ["ended", "reused number", "cut short"])
def test_the_lock_of_a_process_that_is_gone_is_taken_over(tmp_path, left):
    said = []
    match left:
        case "ended":
            leave_lock(tmp_path, pid=ended_process())
        case "reused number":  # this very process, had it started earlier
            leave_lock(tmp_path, started="another boot 1")
        case "cut short":
            (tmp_path / "lock").write_text('{"host": "h')
    assert checkpoint.holder(tmp_path) is None
    with opened(tmp_path, say=said.append):
        assert checkpoint.holder(tmp_path).pid == os.getpid()
    assert len(said) == (left != "cut short")
    assert all("which is gone: taking over" in line for line in said)


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
def test_a_process_that_has_ended_but_was_not_collected_is_gone():
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert Path(f"/proc/{process.pid}").exists()
    assert lock.process_start(process.pid) is None
    process.wait()


def test_the_lock_of_another_host_is_refused_with_what_to_do(tmp_path):
    leave_lock(tmp_path, host="elsewhere")
    assert checkpoint.holder(tmp_path).host == "elsewhere"
    with pytest.raises(StoreError, match=r"by process \d+ on elsewhere since .* remove .*lock"), opened(tmp_path):
        pass
    assert (tmp_path / "lock").exists()
    (tmp_path / "lock").unlink()
    with opened(tmp_path):
        pass


def test_a_holder_that_was_taken_for_gone_saves_no_more(tmp_path):
    with opened(tmp_path) as kept:
        kept.save(0, {})
        leave_lock(tmp_path, host="elsewhere")
        with pytest.raises(StoreError, match=r"taken over by process \d+ on elsewhere since .*: nothing is saved"):
            kept.save(1, {})
        assert kept.number == 0
    assert checkpoint.holder(tmp_path).host == "elsewhere"  # whose lock stays


def test_a_living_holder_is_respected_where_the_system_locks_for_everyone(tmp_path, monkeypatch):
    monkeypatch.setattr(lock.fcntl, "flock", lambda *arguments: None)
    leave_lock(tmp_path)
    with pytest.raises(StoreError, match=f"in use by process {os.getpid()}"), opened(tmp_path):
        pass


def test_a_lock_file_that_its_holder_has_just_removed_does_not_count(tmp_path, monkeypatch):
    system, calls = lock.fcntl.flock, 0

    def lock_late(*arguments):
        nonlocal calls
        calls += 1
        if calls == 1:
            (tmp_path / "lock").unlink()  # as the holder does between our opening of the file and our lock
        return system(*arguments)

    monkeypatch.setattr(lock.fcntl, "flock", lock_late)
    with opened(tmp_path):
        assert calls == 2
        assert checkpoint.holder(tmp_path).pid == os.getpid()


RACE = """
import os, sys
from pathlib import Path
from regopt.sweep.checkpoint import StoreError
from regopt.sweep.checkpoint import _lock as lock

folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
for number in range(rounds):
    if number % 2:  # one was killed before
        (folder / "lock").write_text('{"host": "%s", "pid": %d, "started": "before", "since": ""}'
                                     % (lock.socket.gethostname(), os.getpid()))
    go, start = os.pipe()
    over, end = os.pipe()
    told, tell = os.pipe()
    children = []
    for _ in range(6):
        pid = os.fork()
        children.append(pid)
        if pid == 0:
            os.close(start)
            os.close(end)
            os.read(go, 1)
            try:
                with lock.held(folder, lambda line: os.write(tell, b"t")):
                    os.write(tell, b"w")
                    os.read(over, 1)
            except StoreError as error:
                os.write(tell, b"l" if "in use by" in str(error) else b"?")
            os._exit(0)
    os.close(start)
    heard = b""
    while heard.count(b"w") + heard.count(b"l") + heard.count(b"?") < 6:
        heard += os.read(told, 64)
    os.close(end)
    for pid in children:
        os.waitpid(pid, 0)
    for descriptor in (go, over, told, tell):
        os.close(descriptor)
    assert not (folder / "lock").exists()
    print("".join(sorted(heard.decode())))
"""


def test_of_processes_that_race_for_a_store_one_wins(tmp_path):
    found = run_script(RACE, tmp_path, 20)
    assert found == ["lllllw", "llllltw"] * 10


@pytest.mark.parametrize("missing", ["the file system's", "the system's"])
def test_the_name_guards_where_there_are_no_locks(tmp_path, monkeypatch, missing):
    def without(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    if missing == "the system's":
        monkeypatch.setattr(lock, "fcntl", None)
    else:
        monkeypatch.setattr(lock.fcntl, "flock", without)
    in_use = pytest.raises(StoreError, match=f"in use by process {os.getpid()}")
    with lock.held(tmp_path, print), in_use, lock.held(tmp_path, print):
        pass
    with lock.held(tmp_path, print):
        pass
