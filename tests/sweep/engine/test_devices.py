"""The number of CPU devices: asked for at the top of a program, fixed by the environment or once JAX has started."""

import os
import subprocess
import sys

import jax
import pytest

from regopt import sweep

PROGRAM = "import jax; from regopt import sweep; print(sweep.use_all_cores(3), jax.device_count('cpu'))"


def test_the_number_that_was_asked_for_is_returned():
    environment = {
        name: value for name, value in os.environ.items() if name not in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS")
    }
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"}
    assert subprocess.check_output([sys.executable, "-c", PROGRAM], env=environment, text=True).split() == ["3", "3"]


@pytest.mark.parametrize(
    ("name", "value"), [("JAX_NUM_CPU_DEVICES", "2"), ("XLA_FLAGS", "--xla_force_host_platform_device_count=2")]
)
def test_a_number_that_the_environment_fixes_stays(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    before = jax.device_count("cpu")
    assert sweep.use_all_cores(before + 1) == 0
    assert jax.device_count("cpu") == before


def test_devices_that_have_started_stay(monkeypatch):
    for name in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS"):
        monkeypatch.delenv(name, raising=False)
    before = jax.device_count("cpu")
    with pytest.raises(RuntimeError, match="JAX has already started its devices; call"):
        sweep.use_all_cores(before + 1)
    assert jax.device_count("cpu") == before
