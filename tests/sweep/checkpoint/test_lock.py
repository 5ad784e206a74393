"""One process at a time writes into a store; one that was killed does not keep others out."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time

import filelock
import psutil
import pytest

from regopt.sweep import checkpoint
from regopt.sweep.checkpoint import StoreAccessError, StoreInUseError, StoreTakenOverError
from regopt.sweep.checkpoint import _lock as lock
from support.stores import opened, run_script


def leave_lock(folder, **changes):
    """A record as a process leaves it that was killed."""
    own = lock.Holder(socket.gethostname(), os.getpid(), psutil.Process().create_time(), "2026-01-01 00:00:00")
    (folder / "lock.json").write_text(json.dumps(own._replace(**changes)._asdict()))


def ended_process():
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_an_open_store_is_closed_to_others(tmp_path):
    in_use = pytest.raises(StoreInUseError, match=f"is in use by process {os.getpid()} on ")
    with opened(tmp_path), in_use, opened(tmp_path):
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
            leave_lock(tmp_path, started=psutil.Process().create_time() - 10)
        case "cut short":
            (tmp_path / "lock.json").write_text('{"host": "h')
    assert checkpoint.holder(tmp_path) is None
    with opened(tmp_path, say=said.append):
        assert checkpoint.holder(tmp_path).pid == os.getpid()
    assert len(said) == (left != "cut short")
    assert all("which is gone: taking over" in line for line in said)


def test_a_process_that_has_ended_but_was_not_collected_is_gone():
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert psutil.pid_exists(process.pid)
    started = psutil.Process(process.pid).create_time()
    assert not lock.Holder(socket.gethostname(), process.pid, started, "").is_alive
    process.wait()


@pytest.mark.parametrize(("apart", "alive"), [(0.0, True), (1.5, True), (2.0, False), (-2.0, False)])
def test_a_start_within_two_seconds_is_the_same_process(apart, alive):
    """The clock may have been corrected since; a number that was given out again is of a process that began later."""
    process = psutil.Process()
    holder = lock.Holder(socket.gethostname(), process.pid, process.create_time() + apart, "")
    assert holder.is_alive == alive


@pytest.mark.parametrize("pid", [2**31, 10**30])
def test_a_number_that_no_process_can_have_is_gone(tmp_path, pid):
    leave_lock(tmp_path, pid=pid)
    assert checkpoint.holder(tmp_path) is None


def test_the_lock_of_another_host_is_refused_with_what_to_do(tmp_path):
    leave_lock(tmp_path, host="elsewhere")
    assert checkpoint.holder(tmp_path).host == "elsewhere"
    with (
        pytest.raises(StoreInUseError, match=r"by process \d+ on elsewhere since .* remove .*lock\.json"),
        opened(tmp_path),
    ):
        pass
    assert (tmp_path / "lock.json").exists()
    (tmp_path / "lock.json").unlink()
    with opened(tmp_path):
        pass


def test_the_lock_of_another_host_is_taken_over_after_an_hour_without_a_sign_of_life(tmp_path):
    leave_lock(tmp_path, host="elsewhere")
    record, said = tmp_path / "lock.json", []
    silent_since(record, 3000)
    with pytest.raises(StoreInUseError, match="elsewhere"), opened(tmp_path):
        pass
    silent_since(record, 4000)
    lock.alive(tmp_path)
    with pytest.raises(StoreInUseError, match="elsewhere"), opened(tmp_path):
        pass
    silent_since(record, 4000)
    with opened(tmp_path, say=said.append):
        assert checkpoint.holder(tmp_path).pid == os.getpid()
    assert len(said) == 1
    assert "elsewhere" in said[0]
    lock.alive(tmp_path)  # also where the record is gone
    assert not record.exists()


def silent_since(record, seconds):
    os.utime(record, 2 * (time.time() - seconds,))


def test_a_holder_that_was_taken_for_gone_saves_no_more(tmp_path):
    with opened(tmp_path) as kept:
        kept.save(0, {})
        leave_lock(tmp_path, host="elsewhere")
        with pytest.raises(
            StoreTakenOverError, match=r"taken over by process \d+ on elsewhere since .*: nothing is saved"
        ):
            kept.save(1, {})
        assert kept.number == 0
    assert checkpoint.holder(tmp_path).host == "elsewhere"  # whose lock stays


def test_a_living_holder_is_respected_where_the_system_locks_for_everyone(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda *arguments: None)
    leave_lock(tmp_path)
    with pytest.raises(StoreInUseError, match=f"in use by process {os.getpid()}"), opened(tmp_path):
        pass


def test_a_lock_file_that_was_removed_before_it_was_locked_does_not_count(tmp_path, monkeypatch):
    system, calls = fcntl.flock, 0

    def lock_late(*arguments):
        nonlocal calls
        calls += 1
        if calls == 1:
            (tmp_path / "lock").unlink()  # by a person, between our opening of the file and our lock
        return system(*arguments)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    with opened(tmp_path):
        assert calls == 2
        assert (tmp_path / "lock").exists()
        assert checkpoint.holder(tmp_path).pid == os.getpid()


KILLED = """
import errno, fcntl, os, signal, sys
from pathlib import Path
from regopt.sweep.checkpoint import _lock as lock

def without(*arguments):
    raise OSError(errno.ENOLCK, "No locks available")

if sys.argv[2] == "no flock":
    fcntl.flock = without
with lock.held(Path(sys.argv[1]), print):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def without_flock(*arguments):
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.mark.parametrize("kind", ["native", "no flock"])
def test_the_lock_of_a_process_that_was_killed_is_taken_over(tmp_path, monkeypatch, kind):
    if kind == "no flock":
        monkeypatch.setattr(fcntl, "flock", without_flock)
    said = []
    for _ in range(2):
        ended = subprocess.run([sys.executable, "-c", KILLED, tmp_path, kind], capture_output=True, text=True)
        assert (ended.returncode, ended.stderr) == (-signal.SIGKILL, "")
        assert (tmp_path / "lock.json").exists()
        assert checkpoint.holder(tmp_path) is None
    with opened(tmp_path, say=said.append):
        assert not (tmp_path / "lock.soft").exists()
    assert len(said) == 1
    assert "which is gone: taking over" in said[0]
    with opened(tmp_path):  # nothing is left to take over
        pass


@pytest.mark.parametrize("name", ["lock", "lock.json", "lock.soft"])
def test_a_lock_that_is_a_link_does_not_change_its_target(tmp_path, monkeypatch, name):
    monkeypatch.setattr(lock, "QUEUE", 0.2)
    folder, victim = tmp_path / "store", tmp_path / "victim"
    folder.mkdir()
    victim.write_text("precious")
    (folder / name).symlink_to(victim)
    if name == "lock.json":
        with opened(folder):
            assert checkpoint.holder(folder).pid == os.getpid()
    else:
        with pytest.raises((StoreAccessError, StoreInUseError)) as raised, opened(folder):
            pass
        assert "\n" not in str(raised.value)
    assert victim.read_text() == "precious"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"host": ' * 400 + "1" + "}" * 400,
        "[]",
        "null",
        '{"host": "h", "pid": true, "started": 0, "since": ""}',
        '{"host": "h", "pid": -1, "started": 0, "since": ""}',
        '{"host": "h", "pid": 1, "started": "0", "since": ""}',
        '{"host": ["h"], "pid": 1, "started": 0, "since": ""}',
        '{"host": "h", "pid": 1, "started": 0, "since": "", "more": 1}',
        "x" * 10_000_000,
    ],
    ids=range(10),
)
def test_a_record_that_no_process_wrote_names_nobody(tmp_path, text):
    (tmp_path / "lock.json").write_text(text)
    assert checkpoint.holder(tmp_path) is None
    with opened(tmp_path):
        assert checkpoint.holder(tmp_path).pid == os.getpid()


def test_a_record_has_at_most_four_kibibytes(tmp_path):
    leave_lock(tmp_path)
    record = tmp_path / "lock.json"
    for size, names in ((4096, True), (4097, False)):
        record.write_text(record.read_text().ljust(size))
        assert (checkpoint.holder(tmp_path) is not None) == names


def test_a_soft_lock_that_another_host_left_is_refused_with_what_to_remove(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "QUEUE", 0.2)
    with filelock.SoftFileLock(tmp_path / "lock.soft"):
        found = (tmp_path / "lock.soft").read_text()
    (tmp_path / "lock.soft").write_text(found.replace(socket.gethostname(), "elsewhere"))
    match = r"being opened by another process: .* remove .*lock\.soft"
    with pytest.raises(StoreInUseError, match=match), opened(tmp_path):
        pass


def test_a_process_that_was_killed_while_it_looked_at_the_record_keeps_nobody_out(tmp_path):
    script = KILLED.replace("with lock.held(Path(sys.argv[1]), print):", "with lock._one_by_one(Path(sys.argv[1])):")
    assert script != KILLED
    ended = subprocess.run([sys.executable, "-c", script, tmp_path, "native"], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (-signal.SIGKILL, "")
    assert (tmp_path / "lock.soft").exists()
    with opened(tmp_path):
        pass


RACE = """
import errno, fcntl, os, signal, sys
from pathlib import Path
from regopt.sweep.checkpoint import StoreError, StoreInUseError
from regopt.sweep.checkpoint import _lock as lock

def without(*arguments):
    raise OSError(errno.ENOSYS, "Function not implemented")

folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
if sys.argv[3] == "no flock":
    fcntl.flock = without
if sys.argv[3] == "flock for everyone":
    fcntl.flock = lambda *arguments: None
for number in range(rounds):
    if number % 2:  # one was killed before
        pid = os.fork()
        if pid == 0:
            with lock.held(folder, lambda line: None):
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
        assert (folder / "lock.json").exists()
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
            except StoreInUseError:
                os.write(tell, b"l")
            except StoreError as error:
                os.write(tell, b"?")
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
    assert not (folder / "lock.json").exists()
    print("".join(sorted(heard.decode())))
"""


@pytest.mark.parametrize("kind", ["native", "no flock", "flock for everyone"])
def test_of_processes_that_race_for_a_store_one_wins(tmp_path, kind):
    found = run_script(RACE, tmp_path, 8, kind)
    assert found == ["lllllw", "llllltw"] * 4


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_others_are_excluded_where_the_file_system_has_no_locks(tmp_path, monkeypatch, number):
    def without(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", without)
    in_use = pytest.raises(StoreInUseError, match=f"in use by process {os.getpid()}")
    with lock.held(tmp_path, print), in_use, lock.held(tmp_path, print):
        pass
    with lock.held(tmp_path, print):
        pass
