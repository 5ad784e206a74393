"""Experiments side by side: the same table, and nothing is left behind by an interrupt or a death."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from regopt.experiment import main
from support.toy import MODES, add

IMPORTS = "import os\nimport sys\nimport time\nfrom pathlib import Path\n"
BEGINS = MODES.replace("import sys\n", IMPORTS)
MARK_AND_SLEEP = "    Path('begun-' + Path(__file__).stem).touch()\n    time.sleep(300)\n"
SLEEPS = BEGINS.replace("    return {\n", MARK_AND_SLEEP + "    return {\n")
DIES = BEGINS.replace("    return {\n", "    os._exit(7)\n    return {\n")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_table_is_that_of_one_after_the_other(project, capsys):
    for name, number in [("ccc", 3), ("aaa", 1), ("bbb", 4)]:
        add(project, name, MODES, default=f"number = {number}\n")
    add(project, "broken", MODES, default="number = 1\nmode = 'raise'\n")
    tables = []
    for jobs in ("1", "2"):
        assert main(["claims", "--jobs", jobs, "--out", jobs]) == 1
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1]
    assert "ZeroDivisionError: the toy broke" in tables[1]
    assert len(list(Path("2").glob("*/claims.json"))) == len(list(Path("1").glob("*/claims.json"))) == 3


def test_a_process_that_dies_is_an_experiment_that_broke(project, capsys):
    add(project, "aaa", MODES, default="number = 3\n")
    add(project, "dies", DIES, default="number = 3\n")
    assert main(["claims", "--jobs", "2"]) == 1
    rows = {name: line for line in capsys.readouterr().out.splitlines() for name in ("aaa", "dies") if name in line}
    assert "its process died" in rows["dies"]
    assert "holds" in rows["aaa"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_all_processes_and_prints_what_is_finished(project, number):
    add(project, "aaa", MODES, default="number = 3\n")
    for name in ("bbb", "ccc", "ddd", "eee"):
        add(project, name, SLEEPS, default="number = 3\n")
    command = [sys.executable, "-m", "regopt", "claims", "--jobs", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    while len(list(project.glob("begun-*"))) < 2:  # of five: the first has ended
        assert process.poll() is None
        time.sleep(0.05)
    assert list(Path("runs").glob("aaa-*/claims.json"))
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "aaa" in out
    assert "eee" not in out
    assert err == "regopt: interrupted; what was finished is in runs\n"
    assert psutil.wait_procs(children, timeout=60)[1] == []


@pytest.mark.parametrize("jobs", ["0", "-1", "2.5", "many", "100000"])
def test_the_number_of_jobs_is_checked(project, capsys, jobs):
    add(project, "aaa", MODES, default="number = 3\n")
    assert main(["claims", "--jobs", jobs]) == 2
    assert f"argument --jobs: must be an integer in [1, 1024], got '{jobs}'" in capsys.readouterr().err
