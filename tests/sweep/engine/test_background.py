"""Groups train as soon as their own programs are compiled, to the same bits, and errors and ends come when due."""

import os
import re
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regopt import sweep
from regopt.data import Splits
from regopt.sweep.engine import _executables as executables
from regopt.sweep.engine._group import Group

pytestmark = pytest.mark.usefixtures("one_segment_a_call")

SIZES = [7, 13]  # of the state, one for each group
SETTINGS = sweep.grid({"size": sweep.static(SIZES), "rate": sweep.choice([0.1, 0.2, 0.5, 0.9])})
SECOND = slice(4, None)
DATA = Splits(jnp.array([0.5, 1.5]), jnp.array([1.0]))


def new_task():
    """A task whose programs nobody has compiled: w moves towards the mean of the data."""
    return sweep.Task(
        init=lambda key, h: jnp.zeros(h["size"]),
        step=lambda w, batch, key, h: (w + h["rate"] * jnp.mean(batch - w[0]), {"loss": jnp.mean((batch - w[0]) ** 2)}),
        evaluate=lambda w, data, h: {"validation_loss": jnp.mean((data.validation - w[0]) ** 2)},
    )


def run(task, **options):
    return sweep.run(task, SETTINGS, DATA, steps=4, eval_every=1, **options)


def is_second(lowered):
    return re.search(r"\b13xf32", lowered.as_text()) is not None


@pytest.fixture
def gate(monkeypatch):
    """The programs of the second group compile once this is set."""
    opens, compile_one = threading.Event(), executables._timed

    def timed(lowered):
        if is_second(lowered):
            assert opens.wait(60), "nothing trained before all programs were compiled"
        return compile_one(lowered)

    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2}, raising=False)
    monkeypatch.setattr(executables, "_timed", timed)
    return opens


def assert_same(one, other):
    for name, curve in other.history.curves.items():
        assert np.array_equal(one.history.curves[name], curve, equal_nan=True), name
    assert np.array_equal(one.history.seats, other.history.seats)
    assert one.status.tolist() == other.status.tolist()


def assert_nothing_compiles():
    for thread in threading.enumerate():
        if thread.name == "compile":
            thread.join(60)
            assert not thread.is_alive()


@pytest.mark.parametrize("scheduler", [None, sweep.successive_halving(2.0)], ids=["no scheduler", "halving"])
def test_the_first_group_trains_while_the_second_compiles(gate, scheduler):
    trained = []

    def watch(step, settings, metrics):
        trained.append((step, min(settings), gate.is_set()))
        gate.set()

    task = new_task()
    result = run(task, scheduler=scheduler, callbacks=[watch])
    assert trained[0][1:] == (0, False)
    assert_nothing_compiles()
    again = run(task, scheduler=scheduler)  # its programs are remembered
    assert again.compile_seconds == 0 < result.compile_seconds
    assert_same(result, again)


def test_an_error_of_the_compiler_comes_when_its_group_is_needed(monkeypatch, tmp_path):
    compile_one = executables._timed

    def broken(lowered):
        if is_second(lowered):
            raise jax.errors.JaxRuntimeError("INTERNAL: broken")
        return compile_one(lowered)

    monkeypatch.setattr(executables, "_timed", broken)
    task = new_task()
    with pytest.raises(jax.errors.JaxRuntimeError, match="broken") as caught:
        run(task, out=tmp_path)
    partial = caught.value.partial_result
    assert partial.status.tolist() == ["done"] * 4 + ["unfinished"] * 4
    notes = " ".join(caught.value.__notes__)
    assert "while the programs of 4 settings with size=13 were compiled" in notes
    assert "their table is saved, and no states" in notes
    monkeypatch.setattr(executables, "_timed", compile_one)
    assert_same(run(task, out=tmp_path), run(task))


def test_ctrl_c_does_not_wait_for_the_compiler(gate):
    def ask(step, settings, metrics):
        if step == 1:
            signal.raise_signal(signal.SIGINT)

    task = new_task()
    result = run(task, callbacks=[ask])
    assert result.interrupted
    assert not gate.is_set()
    assert np.isnan(result.history.curves["validation_loss"][SECOND]).all()
    with pytest.raises(ValueError, match=r"not kept: refit\(4\)"):
        result.state(4)
    gate.set()
    assert_nothing_compiles()
    curve = result.refit(4).history.curves["validation_loss"][4]
    assert np.array_equal(curve, run(task).history.curves["validation_loss"][4])


@pytest.fixture
def asked(gate, monkeypatch):
    """The first settings of the groups that were asked to have their programs; the second may compile then."""
    found, compile_group = [], Group.compile

    def ask(self):
        found.append(int(self.indices[0]))
        if self.indices[0] == 4:
            gate.set()
        return compile_group(self)

    monkeypatch.setattr(Group, "compile", ask)
    return found


def interrupt(step, settings, metrics):
    if step == 1 and min(settings) == 0:
        signal.raise_signal(signal.SIGINT)


def counting():
    """A scheduler that lets all settings train, and counts in a variable that it closes over."""
    calls = 0

    def decide(state):
        nonlocal calls
        calls += 1
        nobody = np.zeros_like(state.going)
        return sweep.Decision(nobody, nobody)

    return sweep.Scheduler(decide, "counts")


@pytest.mark.parametrize(
    ("scheduler", "segments"),
    [(lambda: None, 2), (counting, 1)],  # without one, the second segment runs while the callback is told of the first
    ids=["no scheduler", "one that counts"],
)
def test_a_sweep_that_is_saved_waits_for_its_programs_and_resumes(gate, asked, scheduler, segments, tmp_path):
    task = new_task()
    result = run(task, out=tmp_path, callbacks=[interrupt], save_every=0.0, scheduler=scheduler())
    assert asked[-1] == 4
    assert result.interrupted
    assert result.status.tolist() == ["unfinished"] * 8
    assert np.isfinite(result.history.curves["validation_loss"]).sum() == 4 * segments
    assert_same(run(task, out=tmp_path, scheduler=scheduler()), run(task, scheduler=scheduler()))


def test_a_setting_that_is_trained_again_needs_the_programs_of_its_group_alone(gate, asked):
    result = run(new_task(), callbacks=[interrupt])
    gate.set()
    assert_nothing_compiles()
    asked.clear()
    again = result.refit(0)
    assert asked == [0]
    with pytest.raises(ValueError, match="not kept"):
        again.state(4)


def test_an_error_that_loses_the_lanes_does_not_wait_for_the_compiler(gate, asked, monkeypatch, tmp_path):
    def lost(*arguments):
        raise jax.errors.JaxRuntimeError("INTERNAL: lost")

    monkeypatch.setattr(Group, "_call", lost)
    with pytest.raises(jax.errors.JaxRuntimeError, match="lost") as caught:
        run(new_task(), out=tmp_path)
    assert 4 not in asked
    assert "their table is saved, and no states" in " ".join(caught.value.__notes__)
    gate.set()
    assert_nothing_compiles()


def test_lanes_that_could_not_begin_are_not_saved(monkeypatch, tmp_path):
    compile_group = Group.compile

    def full(*arguments):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no room")

    def without_room(self):
        if compile_group(self).indices[0] == 4:
            self._start = full
        return self

    task = new_task()
    with monkeypatch.context() as broken:
        broken.setattr(Group, "compile", without_room)
        with pytest.raises(jax.errors.JaxRuntimeError, match="no room") as caught:
            run(task, out=tmp_path)
    assert "their table is saved, and no states" in " ".join(caught.value.__notes__)
    assert_same(run(task, out=tmp_path), run(task))
