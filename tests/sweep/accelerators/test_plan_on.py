"""Plans for devices that are not there."""

import os

import jax
import numpy as np
import pytest
from flax import nnx

import regopt
from regopt import sweep
from regopt.losses import cross_entropy
from regopt.sweep.accelerators import _process, _targets
from regopt.sweep.accelerators._group_plan import to_rent
from support.small_sweep import DATA, NUMBERS, SCHEDULE, TASK

SETTINGS = sweep.from_columns(NUMBERS)


def needs_libtpu():
    pytest.importorskip("libtpu", reason='libtpu is not installed: pip install "regopt[tpu]"')


def test_a_plan_on_a_cpu_counts_a_step_and_runs_nothing():
    plan = sweep.plan(TASK, SETTINGS, DATA, on="cpu", **(SCHEDULE | {"chunk": 3}))
    (group,) = plan.groups
    cost = group.cost
    assert (group.settings, group.chunk) == (11, 3)
    assert cost.products == 5  # two forward, two by weights, one by inputs
    assert cost.flops == pytest.approx(3 * 2 * 10 * (2 * 6 * 8 + 3 * 8 * 3), rel=0.01)
    assert cost.transposes == ()
    assert group.flops == cost.flops / 3 * 12
    assert group.fits > 1000
    assert "compiled for and not run" in str(plan)
    assert "0 transposes" in str(plan)
    assert "no estimate of the time" in str(plan)


def test_lanes_one_after_the_other_are_counted_one_by_one():
    plan = sweep.plan(TASK, SETTINGS, DATA, on="cpu", **(SCHEDULE | {"chunk": 4, "mapping": "map"}))
    (group,) = plan.groups
    assert group.cost.products == 5
    assert group.flops == group.cost.flops * 12
    assert "kernels for 1 settings" in str(plan)
    assert plan._repr_html_().count("<td>") >= 8


@pytest.mark.parametrize(
    ("fits", "devices", "estimate", "told"),
    [
        (40, 4, 1e-6, "2 such devices hold all settings at once and take about 6 s; 4 take 3 s; {} about 12 s {}"),
        (
            44,
            4,
            None,
            "1 such device holds all settings at once and takes at least 12 s; 4 take 3 s; {} at least 12 s {}",
        ),
        (11, 1, 1e-6, "1 such device holds all settings at once; {} about 3 s {}"),
        (8, 4, None, "6 such devices hold all settings at once; 4 train them in turns; {} at least 12 s {}"),
        (0, 4, 1e-6, "larger devices, or a mesh that divides a setting (partition=): one does not fit on a device"),
    ],
)
def test_a_plan_tells_how_many_devices_to_rent(fits, devices, estimate, told):
    plan = sweep.plan(TASK, SETTINGS, DATA, on="cpu", **SCHEDULE)
    (group,) = plan.groups
    assert to_rent([group], devices).endswith(" all settings at once")  # nothing is known of the time
    group = group._replace(fits=fits, seconds=3.0, cost=group.cost._replace(estimate=estimate))
    expected = told.format("the training steps cost", "of device time, which is not measured")
    assert to_rent([group], devices) == expected
    assert "to rent" not in str(plan)


def test_a_plan_on_a_device_refuses_what_does_not_go_with_it(monkeypatch):
    with pytest.raises(ValueError, match="devices must be None with on"):
        sweep.plan(TASK, SETTINGS, DATA, on="cpu", devices=jax.devices()[:1], **SCHEDULE)
    with pytest.raises(ValueError, match="on must be a str or None, got 3"):
        sweep.plan(TASK, SETTINGS, DATA, on=3, **SCHEDULE)
    monkeypatch.setattr(_targets, "find_spec", lambda module: None)
    for name, extra in (("tpu v5e:2x2", "tpu"), ("nvidia h200", "cuda")):
        with pytest.raises(ValueError, match=rf'needs the extra {extra}: pip install "regopt\[{extra}\]"'):
            sweep.plan(TASK, SETTINGS, DATA, on=name, **SCHEDULE)


def test_a_plan_on_a_tpu_leaves_this_process_as_it_is():
    needs_libtpu()
    before, devices = dict(os.environ), jax.devices()
    body = nnx.Linear(6, 4, rngs=nnx.Rngs(0))

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.body, self.head = body, nnx.Linear(4, 3, rngs=rngs)

        def __call__(self, x):
            return self.head(jax.nn.relu(self.body(x)))

    task = sweep.supervised(
        lambda h, rngs: Model(rngs), cross_entropy, lambda h: regopt.adamw(h["learning_rate"]), trainable="head/**"
    )
    settings = sweep.from_columns({"learning_rate": np.geomspace(1e-3, 0.1, 8)})
    plan = sweep.plan(task, settings, DATA, on="tpu v5e:2x2", **SCHEDULE)
    (group,) = plan.groups
    assert plan.devices == 4
    assert group.chunk == 2
    body_once = 2 * 10 * 6 * 4
    assert group.cost.flops == pytest.approx(body_once + 2 * 2 * (2 * 10 * 4 * 3), rel=0.02)  # forward and by weights
    assert plan.seconds == pytest.approx(group.cost.estimate * 12)
    assert "by the compiler, not measured" in str(plan)
    assert dict(os.environ) == before
    assert jax.devices() == devices
    assert not any(device.platform == "tpu" for device in jax.devices())


def test_a_topology_that_a_compiler_does_not_know_ends_in_one_line(monkeypatch):
    def refuse(**options):
        raise jax.errors.JaxRuntimeError("INVALID_ARGUMENT: no layout\n 3x3")

    monkeypatch.setattr(_targets.topologies, "get_topology_desc", refuse)
    with pytest.raises(ValueError, match="got 'tpu v5e:3x3'; its compiler says: no layout 3x3"):
        _targets.devices_of_target(_targets.target_of("tpu v5e:3x3"))


def test_a_compiler_that_aborts_ends_in_one_line(monkeypatch):
    """As XLA does where a check fails; only the process that compiles ends."""
    program = "import os, sys; print('F0000 x.cc:1] Check failed: false', file=sys.stderr, flush=True); os.abort()"
    monkeypatch.setattr(_process, "_PROGRAM", program)
    with pytest.raises(RuntimeError, match=r"ended with code -\d+: F0000 x.cc:1\] Check failed: false"):
        _process._asked_elsewhere(b"", {})
    monkeypatch.setattr(_process, "_PROGRAM", "")
    with pytest.raises(RuntimeError, match="ended with code 0: it said nothing"):
        _process._asked_elsewhere(b"", {})


def test_an_error_comes_back_from_the_other_process_with_its_traceback():
    cloudpickle = pytest.importorskip("cloudpickle")
    asked = cloudpickle.dumps((["no request"], _targets.target_of("cpu"), {}))
    found = _process._asked_elsewhere(asked, {"JAX_PLATFORMS": "cpu"})
    assert isinstance(found.raised(), AttributeError)
    assert "in serve" in str(found.error.__cause__)


def test_a_plan_shows_what_it_compiles(capsys):
    sweep.plan(TASK, SETTINGS, DATA, on="cpu", progress=True, **SCHEDULE)
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "compiling the programs of 11 settings for cpu"
    assert told[-1].startswith("compiled in ")
    sweep.plan(TASK, SETTINGS, DATA, progress=True, **SCHEDULE)
    assert capsys.readouterr().err.startswith("compiling the programs of 11 settings\n")
    sweep.plan(TASK, SETTINGS, DATA, **SCHEDULE)
    assert capsys.readouterr().err == ""
