"""Real engines on this machine: the same table and the same bits, also where a node is removed.

Each runs in a process of its own, because engines fork or spawn theirs from it.
"""

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from regopt import sweep
from regopt.experiment._cli import _parse
from regopt.testing import MEAN_DATA, MEAN_TASK

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
    script = ["ray_cluster.py"] if engine == "ray_cluster" else ["futures_engines.py", engine]
    assert "the same to the bit" in ran(script[0], tmp_path / "sweep", *script[1:])


@pytest.mark.long
def test_jobs_of_submitit_that_are_requeued_change_no_bit(tmp_path):
    pytest.importorskip("submitit")
    assert "the same to the bit" in ran("submitit_requeue.py", tmp_path)


@pytest.mark.long
def test_twenty_kills_at_random_moments_change_no_bit(tmp_path):
    pytest.importorskip("ray")
    assert "the same to the bit" in ran("ray_kills.py", tmp_path, "20", "0", seconds=1800)


@pytest.mark.long
@pytest.mark.parametrize("engine", ["loky", "distributed"])
def test_twenty_kills_of_workers_that_keep_nothing_change_no_bit(engine, tmp_path):
    pytest.importorskip(engine)
    assert "the same to the bit" in ran("futures_kills.py", tmp_path, engine, "20", "0", seconds=1800)


@pytest.mark.long
@pytest.mark.parametrize(
    ("engine", "fault"),  # a process of loky that stops may hold the queue from which all of them read
    [("ray", "device"), ("ray", "stops"), ("ray", "disk"), ("loky", "device"), ("loky", "disk")],
)
def test_a_fault_of_one_worker_changes_no_bit(engine, fault, tmp_path):
    pytest.importorskip(engine)
    assert "the same to the bit" in ran("worker_faults.py", tmp_path, engine, fault, seconds=600)


@pytest.mark.long
@pytest.mark.parametrize("difference", ["flags", "kind"])
@pytest.mark.parametrize("engine", ["ray", "loky"])
def test_workers_that_differ_are_refused_or_said_in_the_table(engine, difference, tmp_path):
    pytest.importorskip(engine)
    if difference == "kind" and os.getuid() != 0:
        pytest.skip("only root may have its own mounts")
    assert "as it should be" in ran("mixed_fleet.py", tmp_path, engine, difference, seconds=600)


@pytest.mark.long
def test_the_sweep_of_the_readme_outlives_a_node(tmp_path):
    pytest.importorskip("ray")
    assert "the same to the bit" in ran("ray_readme.py", tmp_path, "smoke", seconds=900)


@pytest.mark.long
def test_two_thousand_settings_on_two_workers(tmp_path):
    pytest.importorskip("ray")
    assert "the same to the bit" in ran("ray_many.py", tmp_path / "sweep", seconds=900)


def test_the_files_for_clusters_in_the_docs_parse(tmp_path):
    yaml = pytest.importorskip("yaml")
    text = (SUPPORT.parents[1] / "docs" / "scaling.md").read_text()
    job = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    for nodes in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        spec = nodes["template"]["spec"]
        mounted = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in spec["volumes"]}
    script = tmp_path / "sweep.sbatch"
    script.write_text("#!/bin/bash\n" + text.split("```sh\n#!/bin/bash\n")[1].split("```")[0])
    assert "#SBATCH --requeue" in script.read_text()
    subprocess.run(["bash", "-n", script], check=True)
    words = (line.split() for line in (*script.read_text().splitlines(), job["spec"]["entrypoint"]))
    commands = [line[1:] for line in words if line[:1] == ["regopt"]]
    assert len(commands) == 2
    for command in commands:
        arguments = _parse(command)
        assert (arguments.executor, arguments.overrides) == ("ray", [])


GROUP = """
import sys
import jax

jax.config.update("jax_num_cpu_devices", 1)
jax.distributed.initialize(f"localhost:{sys.argv[1]}", 2, int(sys.argv[2]))
from regopt import sweep
from regopt.testing import MEAN_DATA, MEAN_TASK

settings = sweep.from_columns({"rate": [0.1, 0.5]})
try:
    sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=2, eval_every=1)
except ValueError as error:
    print(error)
jax.distributed.shutdown()
"""


@pytest.mark.long
def test_a_group_of_processes_of_jax_distributed_is_refused():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    words = [[sys.executable, "-c", GROUP, port, number] for number in ("0", "1")]
    started = [subprocess.Popen(word, stdout=subprocess.PIPE, text=True) for word in words]
    try:
        said = [process.communicate(timeout=120)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert all('executor="ray"' in one for one in said), said


def test_one_process_of_several_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match='executor="ray"'):
        sweep.run(MEAN_TASK, sweep.from_columns({"rate": [0.1]}), MEAN_DATA, steps=2, eval_every=1)


def ran(script, folder, *words, seconds=300):
    """What a script prints that trains in a folder; it must succeed."""
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": "2",
        "JAX_ENABLE_X64": str(jax.config.read("jax_enable_x64")),
        "PYTHONPATH": os.pathsep.join([str(SUPPORT.parent), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, SUPPORT / script, folder, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
