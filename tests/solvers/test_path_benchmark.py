"""What the benchmark of paths reports: the seconds that go to compiling, and rows that no peer has solved."""

import importlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.fixture
def paths(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "experiments" / "benchmarks"))
    before = set(sys.modules)
    yield importlib.import_module("paths")
    for name in set(sys.modules) - before:
        if name.startswith(("paths", "path_", "_style")):
            del sys.modules[name]


def test_nested_events_of_the_compiler_count_once(paths, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(paths.time, "time", lambda: clock[0])

    def event(name, seconds, now):
        clock[0] = now
        jax.monitoring.record_event_duration_secs(name, seconds)

    def program():
        event("/jax/core/compile/inner", 1.0, 8.0)
        event("/jax/core/compile/outer", 3.0, 10.0)  # from 7 to 10
        event("/jax/core/compile/overlapping", 2.0, 11.0)  # from 9 to 11
        event("/jax/elsewhere", 50.0, 70.0)
        event("/jax/core/compile/later", 2.0, 80.0)
        return jnp.zeros(())

    assert paths.seconds_compiling(program) == pytest.approx(6.0)


def test_only_a_first_call_compiles_and_an_error_leaves_no_listener(paths):
    program, x = jax.jit(lambda x: jnp.sort(x * 3 + 1)), jnp.arange(7.0)
    assert paths.seconds_compiling(program, x) > 0
    assert paths.seconds_compiling(program, x) == 0

    from jax._src import monitoring

    heard = monitoring._event_duration_secs_listeners
    before = list(heard)

    def failing():
        raise RuntimeError

    with pytest.raises(RuntimeError):
        paths.seconds_compiling(failing)
    assert heard == before


def arrays_of(paths, gaps, differences, seconds):
    libraries = 1 + len(paths.PEERS)
    none = np.full((1, libraries), np.nan)
    arrays = {"gaps": none.copy(), "differences": none.copy(), "seconds": np.full((1, libraries, 3), np.nan)}
    arrays["gaps"][0, : len(gaps)], arrays["differences"][0, : len(differences)] = gaps, differences
    arrays["seconds"][0, : len(seconds)] = np.array(seconds)[:, None]
    return arrays | {"compiled": np.array([1.0]), "states": np.full((1, libraries), paths.State.MEASURED)}


def test_a_row_that_no_peer_has_solved_says_so(paths):
    config = paths.Config(problems=(6,))
    arrays = arrays_of(paths, [5e-9, 1e-3], [0.0, 1e-4], [58.0])
    (row,) = paths.table(config, arrays).to_dict("records")
    assert row["largest difference of objectives"] == "no peer reached the gap"
    ours, compiled = paths.claims(config, arrays)
    assert "no peer reached the gap" in ours.statement
    assert (ours.measured, ours.expected, ours.holds) == (5e-9, 1e-8, True)
    assert "compile" in compiled.statement
    short = paths.claims(config, arrays_of(paths, [5e-8, 1e-3], [0.0, 1e-4], [np.nan]))[0]
    assert not short.holds


def test_a_row_that_a_peer_has_solved_has_its_ratio_and_its_difference(paths):
    config = paths.Config(problems=(1,))
    arrays = arrays_of(paths, [5e-9, 8e-9, 1e-3], [0.0, 2e-9, 1e-3], [0.5, 1.0])
    (row,) = paths.table(config, arrays).to_dict("records")
    assert row["largest difference of objectives"] == "2.0e-09"
    ratio, difference, _ = paths.claims(config, arrays)
    assert (ratio.measured, ratio.expected) == (0.5, 0.75)
    assert (difference.measured, difference.expected) == (2e-9, 1e-8)
