"""A sweep with a folder goes on from where it was killed, to the bits of one that never was."""

import contextlib
import errno
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from regopt import sweep
from regopt.sweep.checkpoint import StoreError, read
from regopt.sweep.engine._checkpointing import Checkpointing
from regopt.sweep.engine._progress import SweepProgress
from regopt.sweep.results._history import History
from regopt.sweep.results._io import NAME
from regopt.testing import MEAN_DATA, MEAN_TASK
from support import killed_sweep
from support.same_sweeps import same

pytestmark = pytest.mark.usefixtures("one_segment_a_call")

SCRIPT = Path(killed_sweep.__file__)


@pytest.fixture(scope="module")
def whole():
    """Never interrupted, and never saved."""
    return killed_sweep.run()


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(tmp_path_factory.mktemp("cache"))
    return os.environ | {
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_NUM_CPU_DEVICES": str(jax.local_device_count()),
        "JAX_ENABLE_X64": str(jax.config.read("jax_enable_x64")),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }


@contextlib.contextmanager
def child(folder, environment, *words):
    """The script, as soon as it is about to begin."""
    with subprocess.Popen(
        [sys.executable, SCRIPT, folder, *words], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        yield process


def test_the_sweep_has_all_kinds_of_ends(whole):
    assert set(whole.status) == {"done", "pruned", "diverged", "stopped"}
    assert len(set(whole.history.last_step)) > 4


def killed(folder, environment, times, draw, *words):
    """Start the sweep and kill it at random moments, so often."""
    for _ in range(times):
        with child(folder, environment, *words) as process:
            time.sleep(draw.uniform(0.3, 2.0))
            process.kill()


@pytest.mark.parametrize("times", [5, pytest.param(int(os.environ.get("KILLS", "50")), marks=pytest.mark.long)])
def test_killed_at_random_moments_it_ends_with_the_same_bits(whole, environment, tmp_path, times):
    """Fifty times to a sweep; a thousand times, in about an hour, by KILLS=1000 pytest -m long on this file."""
    draw = np.random.default_rng(times)
    for begun in range(0, times, 50):
        folder = tmp_path / f"sweep-{begun}"
        killed(folder, environment, min(times - begun, 50), draw)
        same(killed_sweep.run(folder), whole)
    same(killed_sweep.run(folder), whole)  # which trains nothing
    loaded = sweep.load(folder)
    assert not loaded.interrupted
    assert loaded.to_pandas().equals(whole.to_pandas())


def test_killed_while_its_data_stream_it_ends_with_the_same_bits(environment, tmp_path):
    killed(tmp_path, environment, 2, np.random.default_rng(1), "streams")
    same(killed_sweep.run(tmp_path, streams=True), killed_sweep.run(streams=True))


def test_a_resume_keeps_the_order_of_the_columns_and_a_reopened_sweep_is_not_changed(tmp_path, monkeypatch):
    """JAX sorts the keys of a dictionary; these columns and metrics are not sorted."""
    names = ["seed", "rate"]
    columns = {"seed": np.arange(24) % 5, "rate": np.linspace(0.01, 0.9, 24)}
    options = {"steps": 20, "eval_every": 2, "batch_size": 4, "chunk": 2, "save_every": 1e9}

    def run(folder):
        return sweep.run(killed_sweep.task(), sweep.from_columns(columns), killed_sweep.DATA, out=folder, **options)

    whole, add = run(tmp_path / "whole"), History.add

    def add_and_interrupt(self, *report):
        add(self, *report)
        if self.segments.sum() == 100:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(History, "add", add_and_interrupt)
        assert run(tmp_path / "resumed").interrupted
    resumed = run(tmp_path / "resumed")
    assert list(whole.history.settings.columns) == list(resumed.history.settings.columns) == names
    assert resumed.to_pandas().equals(whole.to_pandas())
    parquet = [(tmp_path / name / "table.parquet").read_bytes() for name in ("whole", "resumed")]
    assert parquet[0] == parquet[1]
    files = {path: path.read_bytes() for path in (tmp_path / "resumed").rglob("*") if path.is_file()}
    reopened = run(tmp_path / "resumed")
    assert list(reopened.history.settings.columns) == names
    assert {path: path.read_bytes() for path in (tmp_path / "resumed").rglob("*") if path.is_file()} == files


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_and_the_sweep_goes_on(whole, environment, tmp_path, number):
    with child(tmp_path / "sweep", environment) as process:
        while not list((tmp_path / "sweep").glob(NAME)):
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(30) == 143  # the script's own word that it was interrupted
    partial = sweep.load(tmp_path / "sweep")
    assert partial.interrupted
    assert 0 < partial.history.segments.sum() < whole.history.segments.sum()
    same(killed_sweep.run(tmp_path / "sweep"), whole)


def test_a_second_sigterm_ends_a_process_that_waits_for_a_long_segment(environment, tmp_path):
    script = f"""
import sys
sys.path.insert(0, {str(Path(killed_sweep.__file__).parents[1])!r})
import os, time, jax
from support import killed_sweep
from support.same_sweeps import same
def wait(x):
    os.write(1, b"stepping\\n")  # in one piece, also where two devices step at once
    time.sleep(30)
    return x
task = killed_sweep.task()
step = task.step
def slow(state, batch, key, h):
    state, metrics = step(state, batch, key, h)
    return {{**state, "x": jax.pure_callback(wait, state["x"], state["x"], vmap_method="sequential")}}, metrics
killed_sweep.task = lambda: task._replace(step=slow)
killed_sweep.run({str(tmp_path)!r})
"""
    words = [sys.executable, "-c", script]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "stepping\n"
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) in (-signal.SIGTERM, 143)  # the first of which a shell shows as 143


def test_a_signal_in_the_last_save_does_not_cut_it_short(whole, tmp_path, monkeypatch):
    save = Checkpointing.save

    def save_and_terminate(self, *arguments, **options):
        if options["done"]:
            signal.raise_signal(signal.SIGTERM)
        save(self, *arguments, **options)

    monkeypatch.setattr(Checkpointing, "save", save_and_terminate)
    same(killed_sweep.run(tmp_path, save_every=1e9), whole)
    assert read(tmp_path).done


def test_a_save_does_not_wait_for_the_end_of_a_round(tmp_path, monkeypatch):
    save, counts = Checkpointing.save, []

    def counted(self, state, **options):
        counts.append(int(state.owed.sum()))
        save(self, state, **options)

    monkeypatch.setattr(Checkpointing, "save", counted)
    few = {"steps": 8, "slots": None, "scheduler": None, "patience": None}
    whole = killed_sweep.run(**few)
    found = killed_sweep.run(tmp_path, save_every=0, **few)
    for name, curve in whole.history.curves.items():
        np.testing.assert_array_equal(found.history.curves[name], curve)
    assert len(set(counts)) > 3  # with many, some, few and none of a round left to train


def test_the_progress_of_a_sweep_that_goes_on_counts_what_was_done(tmp_path, monkeypatch):
    totals, seen = [], []
    begin = SweepProgress.__init__

    def watch(self, shown, *, segments, settings, monitor):
        totals.append((segments, settings))
        begin(self, shown, segments=segments, settings=settings, monitor=monitor)

    monkeypatch.setattr(SweepProgress, "__init__", watch)
    monkeypatch.setattr(SweepProgress, "shown", True)
    monkeypatch.setattr(SweepProgress, "update", lambda self, **now: seen.append((now["completed"], now["done"])))
    add = History.add

    def add_and_interrupt(self, *report):
        add(self, *report)
        if self.segments.sum() == 300:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(History, "add", add_and_interrupt)
    partial = killed_sweep.run(tmp_path)
    assert partial.interrupted
    killed_sweep.run(tmp_path)
    assert totals == [(killed_sweep.SETTINGS * killed_sweep.EVALUATIONS, killed_sweep.SETTINGS)] * 2
    assert max(seen) == totals[0]
    assert seen == sorted(seen)


def test_schedules_may_be_numbers_of_numpy(tmp_path):
    sizes = {"steps": np.int64(8), "eval_every": np.int32(2), "batch_size": np.int64(4), "chunk": np.int64(2)}
    short = {"slots": None, "scheduler": None, "patience": None}
    first = killed_sweep.run(tmp_path, **sizes, **short)
    again = killed_sweep.run(tmp_path, **{name: int(size) for name, size in sizes.items()}, **short)
    np.testing.assert_array_equal(first.history.curves["validation_loss"], again.history.curves["validation_loss"])


def test_a_full_disk_under_the_table_is_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("regopt.sweep.results._io.write_arrays", full)
    with pytest.raises(StoreError, match=r"cannot save the table to .*: No space left .* needs about [\d,]+ bytes"):
        killed_sweep.run(tmp_path)
    assert read(tmp_path).done or read(tmp_path).number > 0


def test_without_pandas_the_parquet_file_is_left_out(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "pandas" else find(name))
    killed_sweep.run(tmp_path, patience=lambda h: 1)
    assert not (tmp_path / "table.parquet").exists()
    assert not sweep.load(tmp_path).interrupted


def test_an_interrupted_round_goes_on_where_it_was(whole, tmp_path, monkeypatch):
    """Ctrl-C in the middle of a round, again and again, in one process."""
    add, calls = History.add, []

    def add_and_interrupt(self, *report):
        add(self, *report)
        calls.append(report)
        if len(calls) % 137 == 0:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(History, "add", add_and_interrupt)
    rounds = 0
    while (outcome := killed_sweep.run(tmp_path, save_every=1e9)).interrupted:
        rounds += 1
    assert rounds > 1
    same(outcome, whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 480}, "config.steps was 240, is 480"),
        ({"chunk": 4}, r"config.chunk was \[2\], is \[4\]"),
        ({"slots": 12}, "config.slots was"),
        ({"batch_size": 3}, "config.batch_size was 4, is 3"),
        ({"noise": "shared"}, "config.noise was 'per lane', is 'shared'"),
        ({"scheduler": sweep.asynchronous_halving(4, 20)}, "config.scheduler was"),
        ({"monitor": "train_loss"}, "config.monitor was 'validation_loss', is 'train_loss'"),
        ({"patience": lambda h: 31}, r"task.patience \(<lambda>\) has changed"),
        ({"key": jax.random.key(1)}, r"key \(key<fry>\[\]\) has changed"),
    ],
)
def test_another_sweep_is_refused(tmp_path_factory, options, message):
    folder = tmp_path_factory.getbasetemp() / "refusing"
    short = {"steps": 240, "patience": lambda h: 1}
    if not folder.exists():
        killed_sweep.run(folder, **short)
    with pytest.raises(StoreError, match=message):
        killed_sweep.run(folder, **(short | options))


def test_other_data_and_settings_are_refused_or_said_aloud(tmp_path, monkeypatch, caplog):
    short = {"patience": lambda h: 1}
    killed_sweep.run(tmp_path, **short)
    monkeypatch.setattr(killed_sweep, "DATA", killed_sweep.DATA._replace(train=(np.ones(12, np.float32),)))
    with pytest.raises(StoreError, match=r"data.train.0 \(float32\[12\]\) has changed"):
        killed_sweep.run(tmp_path, **short)
    killed_sweep.run(tmp_path, allow_different=True, **short)
    assert "although data.train.0 (float32[12]) has changed" in caplog.text


@pytest.mark.long
def test_memory_stays_flat_over_ten_thousand_segments(tmp_path):
    """Resident memory over the second thousand segments and over the last: 1 % more at most."""
    sizes, add = [], History.add

    def add_and_measure(self, *report):
        add(self, *report)
        sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))

    patch = pytest.MonkeyPatch()
    patch.setattr(History, "add", add_and_measure)
    killed_sweep.run(tmp_path, steps=10_000, eval_every=1, patience=None, scheduler=None, slots=None, save_every=1.0)
    patch.undo()
    assert len(sizes) > 10_000
    assert np.median(sizes[-1000:]) <= 1.01 * np.median(sizes[1000:2000])


STOPPED = {"steps": 6, "eval_every": 1}


def stop_at_three(step, settings, metrics):
    if step == 3:
        raise RuntimeError("enough")


@pytest.mark.parametrize("lanes", [4, 5])
@pytest.mark.parametrize("order", [1, -1])
def test_a_sweep_goes_on_with_another_number_of_devices_where_that_is_allowed(tmp_path, lanes, order):
    few, more = [jax.devices()[:1], jax.devices()[:2]][::order]
    settings = sweep.from_columns({"rate": np.linspace(0.1, 0.7, lanes)})
    whole = sweep.run(MEAN_TASK, settings, MEAN_DATA, **STOPPED)
    with pytest.raises(RuntimeError, match="enough"):
        sweep.run(MEAN_TASK, settings, MEAN_DATA, out=tmp_path, devices=few, callbacks=[stop_at_three], **STOPPED)
    found = sweep.run(MEAN_TASK, settings, MEAN_DATA, out=tmp_path, devices=more, allow_different=True, **STOPPED)
    again = sweep.run(MEAN_TASK, settings, MEAN_DATA, out=tmp_path, devices=few, allow_different=True, **STOPPED)
    for each in (found, again):
        for name, curve in whole.history.curves.items():
            np.testing.assert_allclose(each.history.curves[name], curve, rtol=1e-6, err_msg=name)
        for row in range(lanes):
            np.testing.assert_allclose(each.state(row), whole.state(row), rtol=1e-6)


@pytest.mark.parametrize("chunk", [1, 2])
def test_a_sweep_goes_on_with_calls_of_another_size_where_that_is_allowed(tmp_path, chunk):
    settings = sweep.from_columns({"rate": np.linspace(0.1, 0.7, 5)})
    options = STOPPED | {"devices": jax.devices()[:1]}
    whole = sweep.run(MEAN_TASK, settings, MEAN_DATA, **options)
    with pytest.raises(RuntimeError, match="enough"):
        sweep.run(MEAN_TASK, settings, MEAN_DATA, out=tmp_path, chunk=5, callbacks=[stop_at_three], **options)
    found = sweep.run(MEAN_TASK, settings, MEAN_DATA, out=tmp_path, chunk=chunk, allow_different=True, **options)
    for name, curve in whole.history.curves.items():
        np.testing.assert_allclose(found.history.curves[name], curve, rtol=1e-6, err_msg=name)
    assert found.refit(4).status[4] == "done"
