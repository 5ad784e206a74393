"""SIGINT and SIGTERM at any moment of a sweep: the first ends it in order, the second ends it at once."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

from regopt import sweep
from regopt.sweep.engine import _signals
from regopt.sweep.engine._signals import interruptible
from support import killed_sweep

pytestmark = pytest.mark.usefixtures("one_segment_a_call")

SECONDS = 2.0  # in which a second SIGINT must end the process

SCRIPT = """
import os, signal, sys, threading, time
import jax, jax.numpy as jnp
from regopt import sweep
from support import killed_sweep

signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background of a shell ignore it
moment, folder = sys.argv[1:]
task, compile = killed_sweep.task(), jax.stages.Lowered.compile
GROUPS = {"a run compiles groups": sweep.run, "a plan compiles groups": sweep.plan}

def say(*_):
    os.write(1, f"{moment}\\n".encode())  # in one piece, also where two devices say it at once

def say_and_sleep(x):
    say()
    time.sleep(60)
    return x

def step(state, batch, key, h):
    state, metrics = task.step(state, batch, key, h)
    x = state["x"]
    match moment:
        case "tracing":
            say()
            time.sleep(3)
        case "tracing until asked":  # the sweep's own handler is there until it has heard
            if (ask := signal.getsignal(signal.SIGINT)) is not signal.default_int_handler:
                say()
                while signal.getsignal(signal.SIGINT) is ask:
                    time.sleep(0.01)
        case "compiling":
            for number in range(400):
                x = x + jnp.cumsum(jax.lax.sort(x * number))[::-1]
        case "computing":
            jax.debug.callback(say)
            x = jax.lax.fori_loop(0, 10**9, lambda _, x: jnp.sin(x) + 1e-3, x)
        case "calling":
            x = jax.pure_callback(say_and_sleep, x, x, vmap_method="sequential")
    return {**state, "x": x}, metrics

def compile_aloud(self, *args, **options):
    if moment == "compiling":
        say()
    if moment in GROUPS and threading.current_thread() is not threading.main_thread():
        def waits(frame):
            return frame.f_code.co_name == "wait" and frame.f_back.f_code.co_name == "result"

        while not waits(sys._current_frames()[threading.main_thread().ident]):
            time.sleep(0.01)  # the main thread still traces, where an exception of a signal's handler may be lost
        say()
        time.sleep(10**6)  # as XLA does, this hears no signal
    return compile(self, *args, **options)

jax.stages.Lowered.compile = compile_aloud
killed_sweep.task = lambda: task._replace(step=step)
if moment in GROUPS:
    settings = sweep.grid({"rate": sweep.choice([0.1, 0.2]), "kind": sweep.static(["one", "other"])})
    GROUPS[moment](killed_sweep.task(), settings, killed_sweep.DATA, steps=2, eval_every=1)
if moment == "reading a batch":
    batch_at = killed_sweep.batch_at
    killed_sweep.batch_at = lambda step: say_and_sleep(None) if step >= 8 else batch_at(step)
if moment == "reading a validation batch":
    held_out_at = killed_sweep.held_out_at
    killed_sweep.held_out_at = lambda number: say_and_sleep(None) if number else held_out_at(number)
try:
    found = killed_sweep.run(folder or None, streams="reading" in moment)
except KeyboardInterrupt:
    print("asked twice", flush=True)
    raise
print("interrupted" if found.interrupted else "done", int(found.history.segments.sum()), flush=True)
"""


def started(moment, folder=""):
    """The script, once it is at this moment of the sweep."""
    words = [sys.executable, "-c", SCRIPT, moment, str(folder)]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(killed_sweep.__file__).parents[1]), *sys.path]),
        "JAX_NUM_CPU_DEVICES": str(jax.local_device_count()),
    }
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    said = process.stdout.readline()
    if said != f"{moment}\n":
        process.kill()
        process.communicate()
    assert said == f"{moment}\n"
    return process


@pytest.mark.parametrize(
    "moment", ["tracing", "compiling", "computing", "calling", "reading a batch", "reading a validation batch"]
)
def test_a_second_sigint_ends_the_process_at_once(moment):
    with started(moment) as process:
        if "reading" in moment:
            time.sleep(0.5)  # until the main thread waits for the batch
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert time.monotonic() - began < SECONDS


@pytest.mark.parametrize(("moment", "times"), [("a run compiles groups", 2), ("a plan compiles groups", 1)])
def test_an_interrupted_process_does_not_wait_for_threads_that_compile(moment, times):
    with started(moment) as process:
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        try:
            assert process.wait(60) == 130
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_jax_traces_is_not_lost(tmp_path, number):
    with started("tracing until asked", tmp_path) as process:
        process.send_signal(number)
        assert process.stdout.read().split()[-2:] == ["interrupted", "0"]
        assert process.wait(60) == 0
    assert sweep.load(tmp_path).interrupted


def test_a_second_sigint_of_the_command_line_ends_at_once_with_its_code(tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "configs/endless").mkdir(parents=True)
    (tmp_path / "configs/endless/default.toml").write_text("seed = 0\n")
    (tmp_path / "experiments/endless.py").write_text(
        '''"""Does it end?"""
import dataclasses, sys
import jax, jax.numpy as jnp

@dataclasses.dataclass(frozen=True)
class Config:
    seed: int = 0

def run(config, key):
    from regopt.sweep.engine._signals import interruptible
    with interruptible():
        jax.jit(endless)(jnp.ones(9)).block_until_ready()

def endless(x):
    jax.debug.callback(lambda: print("computing", flush=True))
    return jax.lax.fori_loop(0, 10**9, lambda _, x: jnp.sin(x) + 1e-3, x)

def claims(config, arrays):
    return []

def figure(config, arrays):
    return None
'''
    )
    words = [sys.executable, "-m", "regopt", "run", "endless", "default"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "computing\n"
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert time.monotonic() - began < SECONDS


def test_the_signals_of_an_event_loop_reach_it():
    loop, reader = socket.socketpair()
    loop.setblocking(False)
    before = signal.set_wakeup_fd(loop.fileno())
    try:
        with interruptible() as halt:
            assert not halt()
            signal.raise_signal(signal.SIGINT)
            assert halt()
            assert reader.recv(1) == bytes([signal.SIGINT])
        assert signal.set_wakeup_fd(before) == loop.fileno()
    finally:
        signal.set_wakeup_fd(before)
        loop.close()
        reader.close()


def test_the_second_sigint_is_an_exception_where_the_main_thread_hears_it():
    handler = signal.getsignal(signal.SIGINT)
    with interruptible() as halt:
        signal.raise_signal(signal.SIGINT)
        assert halt()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_burst_of_signals_that_nobody_reads_is_no_warning(monkeypatch):
    """Beyond a few hundred the buffer of the thread that listens is full, while it waits for the main thread."""
    said = []
    monkeypatch.setattr(_signals, "PATIENCE", 60.0)
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with _signals._ending_at_the_second([signal.SIGUSR1]):
            for _ in range(5000):
                signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not said


def test_the_second_sigterm_ends_a_process_whose_main_thread_hears_neither():
    script = """
import hashlib, os, signal, threading, time
from regopt.sweep.engine._signals import interruptible

def ask_twice():
    for _ in range(2):
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

with interruptible(terminable=True):
    threading.Thread(target=ask_twice, daemon=True).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # many minutes in C
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", script], env=environment) as process:
        try:
            assert process.wait(60) in (128 + signal.SIGTERM, -signal.SIGTERM)
        finally:
            process.kill()
