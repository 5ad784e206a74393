"""The programs of groups: compiled several at a time, equal ones once, and the same as those of a group alone."""

import os
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regopt import sweep
from regopt.data import Splits
from regopt.layers import MLP
from regopt.losses import cross_entropy
from regopt.sweep import Task
from regopt.sweep.engine import _executables as executables
from regopt.sweep.engine._devices import available_cores
from regopt.sweep.engine._group import Group
from support.small_sweep import DATA, SCHEDULE, optimizer

pytestmark = pytest.mark.usefixtures("one_segment_a_call")

RATES = [0.01, 0.02, 0.05, 0.1]
MEAN = Splits(jnp.array([0.5, 1.5]), jnp.array([1.0]))


def columns(name, values):
    return sweep.from_columns({"learning_rate": RATES * len(values), name: [v for v in values for _ in RATES]})


def wide():
    """A task whose program depends on the static ``width``."""
    widths = {"narrow": 4, "wide": 8}
    return sweep.supervised(lambda h, rngs: MLP((6, widths[h["width"]], 3), rngs=rngs), cross_entropy, optimizer)


def run(task, settings, data=DATA, **options):
    return sweep.run(task, settings, data, **(SCHEDULE | options))


@pytest.fixture
def compiled(monkeypatch):
    """The programs that XLA compiles."""
    programs, compile_one = [], jax.stages.Lowered.compile

    def spy(self, *args, **options):
        programs.append(self)
        return compile_one(self, *args, **options)

    monkeypatch.setattr(jax.stages.Lowered, "compile", spy)
    return programs


def moving(towards):
    """A task in which w moves by a function of the setting."""
    return Task(
        init=lambda key, h: jnp.zeros(()),
        step=lambda w, batch, key, h: (w + towards(h), {"loss": jnp.mean((batch - w) ** 2)}),
        evaluate=lambda w, data, h: {"validation_loss": jnp.mean((data.validation - w) ** 2)},
    )


def test_groups_with_equal_programs_compile_once(compiled):
    def model(h, rngs):
        assert h["name"] in "ab"
        return MLP((6, 8, 3), rngs=rngs)

    task = sweep.supervised(model, cross_entropy, optimizer)
    both = run(task, columns("name", ["a", "b"]))
    assert len(compiled) == 2  # a segment and a start
    assert both.compile_seconds > 0
    alone = run(task, columns("name", ["a"]))
    for name, curve in alone.history.curves.items():
        assert np.array_equal(both.history.curves[name], np.concatenate([curve, curve])), name


def test_programs_that_read_other_columns_are_not_equal(compiled):
    """Their texts are, because JAX leaves out the arguments that a program does not use."""
    numbers = {"x": [0.25, 0.5], "y": [1.0, 2.0]}
    task = moving(lambda h: h[h["reads"]])
    settings = sweep.from_columns({**{n: c * 2 for n, c in numbers.items()}, "reads": ["x", "x", "y", "y"]})
    result = sweep.run(task, settings, MEAN, steps=1, eval_every=1)
    assert [float(result.state(row)) for row in range(4)] == [0.25, 0.5, 1.0, 2.0]


def test_programs_that_close_over_other_arrays_are_not_equal():
    arrays = {"small": np.arange(3.0, dtype=np.float32), "large": np.arange(3.0, dtype=np.float32) + 10}
    task = moving(lambda h: h["rate"] * jnp.sum(arrays[h["which"]]))
    settings = sweep.from_columns({"rate": [1.0, 1.0], "which": ["small", "large"]})
    result = sweep.run(task, settings, MEAN, steps=1, eval_every=1)
    assert [float(result.state(row)) for row in range(2)] == [3.0, 33.0]


def test_groups_compile_at_the_same_time(monkeypatch):
    """Each compilation waits for another one to begin, on the cores that the process may use."""
    compile_one, both = executables._timed, threading.Barrier(2, timeout=60)
    begun = []

    def together(lowered):
        begun.append(lowered)
        if len(begun) <= 2:
            both.wait()
        return compile_one(lowered)

    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1}, raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.setattr(executables, "_timed", together)
    result = run(wide(), columns("width", ["narrow", "wide"]))
    assert len(begun) == 4
    assert (result.status == "done").all()


@pytest.mark.parametrize(("counted", "cores"), [(6, 6), (None, 1)])
def test_a_system_without_affinity_masks_has_the_cores_that_it_counts(monkeypatch, counted, cores):
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: counted)
    assert available_cores() == cores


def test_what_compiles_before_the_training_is_not_counted_again_in_it(monkeypatch):
    told, late = [], Group.late_seconds
    monkeypatch.setattr(Group, "late_seconds", lambda group: told.append(late(group)) or told[-1])
    run(wide(), columns("width", ["narrow", "wide"]))
    assert len(told) > 2
    assert set(told) == {(0.0, 0.0)}


def test_a_sweep_of_groups_resumes_with_the_same_programs(tmp_path):
    """Compiled in the background or alone, remembered or new, they have one digest; so the folder takes the sweep."""
    settings = columns("width", ["narrow", "wide"])

    class Ends(Exception):
        pass

    def end(step, rows, metrics):
        raise Ends

    with pytest.raises(Ends):
        run(wide(), settings, out=tmp_path, callbacks=[end])
    resumed = run(wide(), settings, out=tmp_path)
    alone = [run(wide(), columns("width", [width])) for width in ("narrow", "wide")]
    for name, curve in resumed.history.curves.items():
        assert np.array_equal(curve, np.concatenate([each.history.curves[name] for each in alone])), name


def test_an_error_of_the_compiler_ends_the_sweep(monkeypatch):
    def broken(lowered):
        raise jax.errors.JaxRuntimeError("INTERNAL: broken")

    monkeypatch.setattr(executables, "_timed", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="broken"):
        run(wide(), columns("width", ["narrow", "wide"]))


def test_an_error_while_programs_compile_ends_the_process_with_its_own_status():
    script = """
import sys, jax, jax.numpy as jnp
from regopt.sweep.engine._executables import Executables

def step(x):
    for number in range(60):
        x = x + jnp.cumsum(jax.lax.sort(x * number))[::-1]
    return x

try:
    with Executables() as executables:
        executables.compile(jax.jit(step).lower(jnp.ones(100)), "digest", calls_back=True)
        raise ValueError
except ValueError:
    sys.exit(3)
"""
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "0"}
    assert subprocess.run([sys.executable, "-c", script], env=environment, timeout=120).returncode == 3
