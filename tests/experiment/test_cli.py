"""The command line: exit codes, what is printed, and that every mistake is one line on stderr."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from regopt._version import __version__
from regopt.experiment import main
from regopt.experiment._claims import Claim, holding
from regopt.experiment._config import ConfigError
from support.toy import MODES, add

SMOKE = "# Claim: 2 x 3 is 6\nnumber = 3\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    jax.devices()  # so that no command changes their number for the tests that follow
    add(tmp_path, "toy", MODES, smoke=SMOKE, default="number = 4\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def complaint(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> str:
    """Run a command that must end with this code and one line on stderr, and return that line."""
    assert main(words) == code
    line = capsys.readouterr().err
    assert line.startswith("regopt: ")
    assert line.endswith("\n")
    assert len(line.splitlines()) == 1
    assert "Traceback" not in line
    return line


@pytest.mark.parametrize(
    ("experiment", "config"),
    [
        ("toy", "smoke"),
        ("experiments/toy.py", "configs/toy/smoke.toml"),
        ("toy", "configs/toy/smoke.toml"),
        ("experiments/../experiments/toy.py", "smoke"),
    ],
)
def test_a_run_prints_its_claims_and_its_folder(project, capsys, experiment, config):
    assert main(["run", experiment, config]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    assert "Does the toy double its number?" in output.out
    assert "it [is] doubled" in output.out
    assert "holds" in output.out
    (folder,) = Path("runs").iterdir()
    assert f"{folder} (" in output.out.splitlines()[-1]
    assert json.loads((folder / "claims.json").read_text())[0]["measured"] == 6


def test_a_run_from_another_folder_finds_the_configs_beside_its_file(project, tmp_path_factory, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert main(["run", str(project / "experiments" / "toy.py"), "smoke", "--out", "here"]) == 0
    assert len(list(Path("here").iterdir())) == 1
    assert str(project / "configs" / "toy") in complaint(
        capsys, 2, "run", str(project / "experiments" / "toy.py"), "smok"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["run", "toy", "smoke", "--number", "10", "--steps", "5", "-6", "--no-nesterov", "--out", "o"],
        ["run", "--out", "o", "toy", "--number=10", "smoke", "--no-nesterov", "--steps=5", "-6"],
        [
            "run",
            "toy",
            "--out=o",
            "smoke",
            "--steps",
            "5",
            "-6",
            "--debug",
            "--no_nesterov",
            "--number",
            "1e1",
        ],
    ],
)
def test_overrides_and_options_mix(project, words):
    assert main(words) == 0
    (folder,) = Path("o").iterdir()
    assert (folder / "config.toml").read_text().splitlines()[1:] == [
        "number = 10.0",
        'mode = "good"',
        "steps = [5, -6]",
        "nesterov = false",
    ]
    with np.load(folder / "arrays.npz") as arrays:
        assert arrays["doubled"] == 20


def test_a_run_outside_a_checkout_says_where_the_experiments_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "toy", "smoke"]) == 2
    assert "start regopt where experiments/ lies" in capsys.readouterr().err


def test_the_folder_of_a_run_names_that_of_its_sweep(tmp_path, capsys):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.npz").touch()
    assert main(["sweep", "show", str(tmp_path)]) == 2
    assert f"did you mean {tmp_path / 'sweep'}?" in " ".join(capsys.readouterr().err.split())


def test_a_failed_claim_is_exit_code_one(project, capsys):
    assert main(["run", "toy", "smoke", "--mode", "off"]) == 1
    output = capsys.readouterr().out
    assert "fails" in output
    assert output.splitlines()[-2] == "1 of 1 claims failed"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "toi", "smoke"], ["experiments/toi.py", "did you mean 'toy.py'?"]),
        (["run", "experiments/toi.py", "smoke"], ["experiments/toi.py", "did you mean 'toy.py'?"]),
        (["run", "nowhere/toy.py", "smoke"], ["nowhere/toy.py", "no folder nowhere"]),
        (["run", "n" * 5000, "smoke"], ["cannot be read"]),
        (["run", "experiments", "smoke"], ["experiments/experiments.py", "valid: toy.py"]),
        (["run", "configs/toy/smoke.toml", "smoke"], ["configs/toy/smoke.toml", "end in .py"]),
        (["run", "toy", "smok"], ["configs/toy/smok.toml", "did you mean 'smoke.toml'?"]),
        (["run", "toy", "configs/toy/zzz.toml"], ["zzz.toml", "valid: default.toml, smoke.toml"]),
        (["run", "toy", "configs/toy"], ["configs/toy", "is a folder"]),
        (["run", "toy", "smoke", "--nomber", "1"], ["command line", "--nomber", "did you mean '--number'?"]),
        (["run", "toy", "smoke", "--number", "0"], ["--number", "greater than 0", "got '0'"]),
        (["run", "toy", "smoke", "--number", "x"], ["--number", "a valid number", "'x'"]),
        (["run", "toy", "smoke", "stray"], ["command line", "'stray'"]),
        (["run", "toy", "smoke", "--ou", "x"], ["--ou", "no such option"]),
        (["run", "toy", "smoke", "--out", "experiments/toy.py"], ["experiments/toy.py", "cannot be written"]),
        (["run", "toy", "smoke", "--out"], ["--out", "expected one argument"]),
        (["run", "toy", "smoke", "--executor", "rays"], ["--executor", "invalid choice: 'rays'"]),
        (["run", "toy", "smoke", "--executor", "ray"], ["--executor", "toy has no sweep"]),
        (["run", "toy", "smoke", "--address", "auto"], ["--address", "needs --executor ray"]),
        (["run", "toy"], ["CONFIG"]),
        (["claims", "--config", "smok"], ["configs", "smok", "did you mean 'smoke'?"]),
        (["claims", "--number", "3"], ["unrecognized arguments: --number 3"]),
        (["list", "two\nlines"], ["unrecognized arguments: two lines"]),
        (["rum"], ["invalid choice: 'rum'", "run"]),
        ([], ["required", "COMMAND"]),
        (["run", "toy"], ["required: CONFIG", "`regopt list` names the experiments and their configs"]),
    ],
)
def test_bad_words_are_one_line_and_exit_code_two(project, capsys, words, expected):
    line = complaint(capsys, 2, *words)
    for word in expected:
        assert word in line
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nomber = 3", ["nomber", "got 3", "did you mean 'number'?"]),
        ("number = 'three'", ["number", "a valid number", "got 'three'"]),
        ("number = 101", ["number", "less than or equal to 100", "got 101"]),
        ("number = nan", ["number", "finite", "got nan"]),
        ("number = 3\nmode = 'goot'", ["mode", "'good'", "got 'goot'"]),
        ("number = 3\nnumber = 4", ["number", "line 2", "twice"]),
        ("number = ", ["line 1, column 10", "Invalid value"]),
        ("", ["number", "is missing"]),
        ("number = " + "[" * 5000, ["nested too deeply"]),
    ],
)
def test_a_bad_config_is_one_line_and_exit_code_two(project, capsys, text, expected):
    Path("configs/toy/smoke.toml").write_text(text)
    line = complaint(capsys, 2, "run", "toy", "smoke")
    assert line.startswith("regopt: configs/toy/smoke.toml: ")
    for word in expected:
        assert word in line
    assert not Path("runs").exists()


def test_debug_shows_the_traceback_instead(project, capsys):
    assert main(["run", "toy", "smoke", "--number", "0", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err
    assert main(["run", "toy", "smoke", "--mode", "raise", "--debug"]) == 3
    assert "ZeroDivisionError: the toy\nbroke" in capsys.readouterr().err


def test_an_error_inside_an_experiment_is_one_line_and_exit_code_three(project, capsys):
    line = complaint(capsys, 3, "run", "toy", "smoke", "--mode", "raise")
    place = MODES.splitlines().index('        raise ZeroDivisionError("the toy\\nbroke")') + 1
    assert line == f"regopt: experiments/toy.py: line {place}: ZeroDivisionError: the toy broke\n"
    assert "exit(5)" in complaint(capsys, 3, "run", "toy", "smoke", "--mode", "exit")


@pytest.mark.parametrize(("mode", "stored"), [("early", True), ("late", True), ("ctrl-c", False)])
def test_an_interrupted_run_says_where_its_results_are(project, capsys, mode, stored):
    line = complaint(capsys, 130, "run", "toy", "smoke", "--mode", mode)
    (folder,) = Path("runs").iterdir()
    assert f"interrupted; what was finished is in {folder}" in line
    assert (folder / "arrays.npz").exists() is stored
    assert not (folder / "claims.json").exists()


def test_the_executor_reaches_the_sweep_of_an_experiment(project, capsys):
    training = MODES.replace("run(config, key)", "run(config, key, saved)").replace(
        '"late": np.array', '"address": np.array(saved["executor"].address),\n        "late": np.array'
    )
    add(project, "training", training, smoke=SMOKE)
    assert main(["run", "training", "smoke", "--executor", "ray", "--address", "auto"]) == 0
    (arrays,) = Path("runs").glob("training-*/arrays.npz")
    assert np.load(arrays)["address"] == "auto"


def test_claims_go_on_after_an_experiment_that_breaks(project, capsys):
    add(project, "aaa", MODES, default="number = 1\nmode = 'raise'\n")
    add(project, "bbb", "import unheard_of", default="")
    add(project, "ccc", MODES, smoke=SMOKE)
    assert main(["claims"]) == 1
    output = capsys.readouterr()
    assert output.err == ""
    rows = {name: line for line in output.out.splitlines() for name in ("aaa:", "bbb:", "ccc:", "toy:") if name in line}
    assert "ZeroDivisionError: the toy broke" in rows["aaa:"]
    assert "fails" in rows["aaa:"]
    assert "fails" in rows["bbb:"]
    assert "fails" in rows["ccc:"]
    assert "it [is] doubled" in rows["toy:"]
    assert "holds" in rows["toy:"]
    assert [path.name[:3] for path in sorted(Path("runs").iterdir())] == ["aaa", "toy"]


def test_claims_that_all_hold_are_exit_code_zero(project, capsys):
    add(project, "aaa", MODES, smoke=SMOKE)
    assert main(["claims", "--config", "smoke", "--out", "elsewhere"]) == 0
    assert capsys.readouterr().out.count("holds") == 2
    assert len(list(Path("elsewhere").iterdir())) == 2


@pytest.mark.parametrize("mode", ["early", "ctrl-c"])
def test_interrupted_claims_print_the_table_so_far(project, capsys, mode):
    add(project, "zzz", MODES, default=f"number = 1\nmode = '{mode}'\n")
    add(project, "zzzz", MODES, default="number = 1\n")
    assert main(["claims"]) == 130
    output = capsys.readouterr()
    assert output.err == "regopt: interrupted; what was finished is in runs\n"
    assert "toy: it [is] doubled" in output.out
    assert "zzzz" not in output.out


def test_claims_with_debug_show_the_traceback_and_go_on(project, capsys):
    add(project, "aaa", MODES, default="number = 1\nmode = 'raise'\n")
    assert main(["claims", "--debug"]) == 1
    output = capsys.readouterr()
    assert "Traceback" in output.err
    assert "toy: it [is] doubled" in output.out


def test_list_shows_questions_and_configs(project, capsys):
    add(project, "other", "raise RuntimeError")
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (toy,) = (line for line in lines if "toy" in line)
    assert "Does the toy double its number?" in toy
    assert "default smoke" in toy
    assert any("other" in line and "(no question)" in line for line in lines)


@pytest.mark.parametrize("command", ["list", "claims"])
def test_without_experiments_the_line_says_where_to_start(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    assert "start regopt where experiments/ lies" in complaint(capsys, 2, command)


def test_help_documents_the_exit_codes(capsys):
    for words in (["--help"], ["run", "--help"], ["claims", "--help"]):
        assert main(words) == 0
        text = capsys.readouterr().out
        for code in ("0 ", "1 ", "2 ", "3 ", "130 "):
            assert any(line.startswith(f"  {code}") for line in text.splitlines())


def test_the_help_of_a_config_lists_its_fields_with_type_value_and_doc(project, capsys):
    assert main(["run", "toy", "smoke", "--mode", "off", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("usage: regopt run toy smoke")
    assert "Does the toy double its number?" in text
    for flag, value in (("--number FLOAT", "3.0"), ("--steps [INT [INT ...]]", "1 2"), ("--no-nesterov", "True")):
        assert flag in text
        assert f"(default: {value})" in text
    assert "from nothing to a hundred" in text
    assert "(default: off)" in text
    assert not Path("runs").exists()


def test_the_help_of_the_command_needs_no_config(capsys):
    assert main(["run", "--help", "toy", "smoke"]) == 0
    assert "--executor" in capsys.readouterr().out


def test_the_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"regopt {__version__}\n"


def started(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(part for part in sys.path if part)
    return subprocess.run(
        [sys.executable, *words],
        cwd=project,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_process_ends_with_one_line_and_code_two(project):
    done = started(project, "-m", "regopt", "run", "toy", "smoke", "--number", "-1")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "regopt: command line: --number: must be greater than 0, got '-1'\n"


def test_an_experiment_is_a_program_too(project):
    done = started(project, "experiments/toy.py", "smoke", "--mode", "off")
    assert done.returncode == 1
    assert done.stderr == ""
    assert "fails" in done.stdout
    assert list((project / "runs").glob("toy-*/claims.json"))


def test_one_claim_is_shown_and_judged_by_a_text_of_its_statement(project, capsys):
    assert main(["run", "toy", "smoke", "--claim", "[IS] doub"]) == 0
    assert "it [is] doubled" in capsys.readouterr().out
    line = complaint(capsys, 2, "run", "toy", "smoke", "--claim", "no such words")
    assert "'no such words'; the nearest: '" in line


def test_the_claims_that_hold_a_text_decide_and_the_others_do_not():
    claims = [Claim("the rate is 1", "here", 1, 1), Claim("the step is 2", "here", 2, 3)]
    assert holding("RATE", claims) == claims[:1]
    assert holding("step", claims) == claims[1:]
    assert holding("", claims) == claims
    with pytest.raises(ConfigError, match="no statement contains 'stop is'; the nearest: 'the step is 2'; "):
        holding("stop is", claims)
