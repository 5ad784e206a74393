"""Real engines on this machine: the same table and the same bits, also where a node is removed.

Each runs in a process of its own, because engines fork or spawn theirs from it.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

SUPPORT = Path(__file__).parents[2] / "support"


@pytest.mark.parametrize(
    "engine",
    [
        "ray_cluster",
        pytest.param("loky", marks=pytest.mark.long),
        pytest.param("distributed", marks=pytest.mark.long),
        pytest.param("submitit", marks=pytest.mark.long),
    ],
)
def test_an_engine_gives_the_bits_of_one_process(engine, tmp_path):
    if importlib.util.find_spec(engine.removesuffix("_cluster")) is None:
        pytest.skip(f"{engine} is not installed")
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": "2",
        "JAX_ENABLE_X64": str(jax.config.read("jax_enable_x64")),
        "PYTHONPATH": os.pathsep.join([str(SUPPORT.parent), os.environ.get("PYTHONPATH", "")]),
    }
    script = ["ray_cluster.py"] if engine == "ray_cluster" else ["futures_engines.py", engine]
    words = [sys.executable, SUPPORT / script[0], tmp_path / "sweep", *script[1:]]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "the same to the bit" in done.stdout
