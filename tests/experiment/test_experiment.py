"""Experiments: what loads, what a run folder holds, and what survives an error or an interruption."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest

from regopt._core.io import write_json, write_text
from regopt._version import __version__
from regopt.experiment import (
    Claim,
    ConfigError,
    Experiment,
    discover,
    execute,
    load_experiment,
    read_config,
    run_folder,
)
from support.toy import TOY, write

COMPLETE = ["arrays.npz", "claims.json", "config.toml", "table.parquet", "toy.png", "versions.json"]


def changed(old: str, new: str) -> str:
    assert TOY.count(old) == 1
    return TOY.replace(old, new)


def prepared(root: Path, text: str = TOY, **values: Any) -> tuple[Experiment, Any]:
    experiment = load_experiment(write(root, text))
    return experiment, experiment.config_class(**{"scale": 2.0, **values})


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_run_leaves_a_complete_folder(tmp_path):
    experiment, config = prepared(tmp_path, seed=7)
    outcome = execute(experiment, config, tmp_path / "deep" / "runs")
    assert files(outcome.folder) == COMPLETE
    assert outcome.folder == run_folder(experiment, config, tmp_path / "deep" / "runs")
    assert not outcome.interrupted
    assert outcome.claims == (Claim("the label has 3 letters", "here", 3, 3),)
    assert read_config(outcome.folder / "config.toml", experiment.config_class) == config
    assert (outcome.folder / "config.toml").read_text().startswith("# Experiment: toy\n")
    assert (outcome.folder / "toy.png").read_bytes().startswith(b"\x89PNG")
    assert [record["verdict"] for record in json.loads((outcome.folder / "claims.json").read_text())] == ["holds"]


def test_arrays_are_stored_without_pickle_and_repeat_with_the_seed(tmp_path):
    experiment, config = prepared(tmp_path, seed=7)
    outcome = execute(experiment, config, tmp_path / "runs")
    with np.load(outcome.folder / "arrays.npz", allow_pickle=False) as stored:
        arrays = dict(stored)
    np.testing.assert_array_equal(arrays["numbers"], 2 * jax.random.normal(jax.random.key(7), (3, 2)))
    assert arrays["half"].dtype == np.float32
    assert arrays["half"].tolist() == [1.5, 1.5]
    assert (str(arrays["label"]), int(arrays["file"])) == ("toy", 4)
    table = pd.read_parquet(outcome.folder / "table.parquet")
    np.testing.assert_array_equal(table.to_numpy(), arrays["numbers"])


def test_versions_say_where_the_numbers_came_from(tmp_path):
    outcome = execute(*prepared(tmp_path), tmp_path / "runs")
    versions = json.loads((outcome.folder / "versions.json").read_text())
    assert versions["regopt"] == __version__
    assert versions["jax"] == jax.__version__
    assert versions["numpy"] == np.__version__
    assert versions["device"]["count"] == jax.device_count()
    assert versions["options"]["jax_enable_x64"] is (jax.dtypes.canonicalize_dtype(float) == np.float64)
    assert {"python", "jaxlib", "optax", "flax", "flags"} <= set(versions)
    assert {"platform", "kind"} <= set(versions["device"])


def test_the_folder_is_named_after_name_and_values(tmp_path):
    experiment, config = prepared(tmp_path)
    folder = run_folder(experiment, config, tmp_path)
    assert folder.parent == tmp_path
    assert folder.name.startswith("toy-")
    assert len(folder.name) == len("toy-") + 8
    assert folder == run_folder(*prepared(tmp_path), tmp_path)
    for other in ({"scale": 2.5}, {"seed": 1}, {"size": (3, 3)}):
        assert run_folder(*prepared(tmp_path, TOY, **other), tmp_path) != folder
    renamed = run_folder(replace(experiment, name="yot"), config, tmp_path).name
    assert renamed.partition("-")[0] == "yot"
    assert renamed.partition("-")[2] != folder.name.partition("-")[2]


def test_without_a_seed_the_key_is_that_of_seed_zero(tmp_path):
    text = changed("    seed: int = 0\n", "")
    outcome = execute(*prepared(tmp_path, text), tmp_path / "runs")
    with np.load(outcome.folder / "arrays.npz") as stored:
        np.testing.assert_array_equal(stored["numbers"], 2 * jax.random.normal(jax.random.key(0), (3, 2)))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_would_repeat_another_is_refused(tmp_path, seed):
    with pytest.raises(ConfigError, match="seed: must be an integer in"):
        execute(*prepared(tmp_path, seed=seed), tmp_path / "runs")


@pytest.mark.parametrize("blocked", ["runs", "runs/inner", "{folder}"])
def test_an_unwritable_folder_is_refused_before_anything_is_computed(tmp_path, blocked):
    text = changed("    numbers = config.scale", "    raise AssertionError('computed')\n    numbers = config.scale")
    experiment, config = prepared(tmp_path, text)
    folder = run_folder(experiment, config, tmp_path / "runs")
    obstacle = folder if blocked == "{folder}" else tmp_path / blocked
    obstacle.parent.mkdir(exist_ok=True)
    obstacle.write_text("a file where a folder should be")
    out = tmp_path / "runs" / "inner" if blocked == "runs/inner" else tmp_path / "runs"
    with pytest.raises(ConfigError, match="cannot be written: ") as caught:
        execute(experiment, config, out)
    assert str(out) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("old", "new", "error", "left"),
    [
        (
            "    result = Figure()",
            "    raise RuntimeError('no ink')",
            "no ink",
            ["arrays.npz", "claims.json", "config.toml", "table.parquet", "versions.json"],
        ),
        (
            "len(str(arrays[",
            "int(str(arrays[",
            "invalid literal",
            ["arrays.npz", "config.toml", "table.parquet", "versions.json"],
        ),
        (
            "[Claim(",
            "[str(",
            "argument",
            ["arrays.npz", "config.toml", "table.parquet", "versions.json"],
        ),
        (
            "return pd.DataFrame",
            "return list",
            "DataFrame, got list",
            ["arrays.npz", "config.toml", "versions.json"],
        ),
        ("    return result", "    return 3", "matplotlib Figure, got int", [*COMPLETE[:4], COMPLETE[5]]),
        ('"file": 4}', '"file": object()}', "file .object", ["arrays.npz", "config.toml", "versions.json"]),
        (
            '"file": 4}',
            '"file": [[1], [2, 3]]}',
            "file .*shape",
            ["arrays.npz", "config.toml", "versions.json"],
        ),
        ('    return {"numbers"', "    return 3, {'numbers'", "got tuple", ["config.toml", "versions.json"]),
    ],
)
def test_an_error_loses_nothing_that_was_finished_before(tmp_path, old, new, error, left):
    experiment, config = prepared(tmp_path, changed(old, new))
    with pytest.raises((RuntimeError, ValueError, TypeError), match=error):
        execute(experiment, config, tmp_path / "runs")
    folder = run_folder(experiment, config, tmp_path / "runs")
    assert files(folder) == left
    if "arrays.npz" in left:
        with np.load(folder / "arrays.npz") as stored:
            assert stored["numbers"].shape == (3, 2)


def test_an_interrupted_run_keeps_its_arrays_and_makes_no_claims(tmp_path):
    text = changed('"file": 4', '"interrupted": True')
    outcome = execute(*prepared(tmp_path, text), tmp_path / "runs")
    assert outcome.interrupted
    assert outcome.claims == ()
    assert outcome.skipped == ()
    assert files(outcome.folder) == [name for name in COMPLETE if name != "claims.json"]


def test_an_interrupted_run_may_have_nothing_to_draw(tmp_path):
    text = changed('"file": 4', '"interrupted": True').replace('arrays["numbers"][0]', "arrays['curve']")
    outcome = execute(*prepared(tmp_path, text), tmp_path / "runs")
    assert outcome.skipped == ("figure: KeyError: 'curve'",)
    assert files(outcome.folder) == ["arrays.npz", "config.toml", "table.parquet", "versions.json"]


def test_a_flag_that_says_not_interrupted_changes_nothing(tmp_path):
    text = changed('"file": 4', '"interrupted": jnp.zeros((), bool)')
    assert files(execute(*prepared(tmp_path, text), tmp_path / "runs").folder) == COMPLETE


def test_no_old_claim_outlives_its_arrays(tmp_path):
    folder = execute(*prepared(tmp_path), tmp_path / "runs").folder
    other = write(tmp_path / "experiments", changed('"file": 4', '"interrupted": True'))
    again = load_experiment(other)
    assert execute(again, again.config_class(scale=2.0), tmp_path / "runs").folder == folder
    assert "claims.json" not in files(folder)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "claims.json"
    write_text(path, "old")
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, [1, math.nan])
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new" * 100_000 + "\udcff")
    assert path.read_text() == "old"
    assert files(tmp_path) == ["claims.json"]
    write_json(path, "λ")
    assert path.read_text(encoding="utf-8") == '"λ"\n'


def test_several_figures_and_no_table(tmp_path):
    text = changed("return result", 'return {"left": result, "right": result}').replace("def table", "def other")
    outcome = execute(*prepared(tmp_path, text), tmp_path / "runs")
    assert files(outcome.folder)[3:5] == ["toy-left.png", "toy-right.png"]
    assert "table.parquet" not in files(outcome.folder)


def test_a_nan_is_measured_as_a_failed_claim_in_strict_json(tmp_path):
    text = changed('3, len(str(arrays["label"]))', 'float("inf"), float("nan")')
    outcome = execute(*prepared(tmp_path, text), tmp_path / "runs")
    assert math.isnan(outcome.claims[0].measured)
    (record,) = json.loads((outcome.folder / "claims.json").read_text(), parse_constant=pytest.fail)
    assert (record["expected"], record["measured"], record["verdict"]) == ("inf", "nan", "fails")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["lacks a docstring"]),
        ('"""Question?"""\n', ["Config", "is missing"]),
        ("this is no python", ["line 1", "is not valid Python"]),
        ("\x00", ["Python", "null bytes"]),
        (f"import sys\n{'(' * 5000}", ["is not valid Python"]),
        ("import unheard_of", ["does not import", "No module named 'unheard_of'"]),
        ("raise ValueError('two\\nlines')", ["does not import", "two lines"]),
        ("raise SystemExit(3)", ["does not import", "SystemExit: 3"]),
        (TOY.replace("def figure", "def draw"), ["figure", "is missing"]),
        (TOY.replace("def run", "RUN = 3\ndef walk"), ["run", "is missing"]),
        (TOY.replace("def table", "table = 3\ndef other"), ["table", "must be a function"]),
        (TOY.replace("(frozen=True)", ""), ["Config", "frozen"]),
        (TOY.replace("claims(config, arrays)", "claims(arrays)"), ["claims(config, arrays)", "got claims(arrays)"]),
        (TOY.replace("table(config, arrays)", "table(arrays)"), ["table(config, arrays)", "got table(arrays)"]),
        (TOY.replace("run(config, key)", "run(config)"), ["run(config, key)", "got run(config)"]),
        (TOY.replace("seed: int", "out: int"), ["Config.out", "--out"]),
        (TOY.replace("seed: int", "seed: Unheard"), ["Config", "Unheard"]),
    ],
)
def test_a_file_that_is_no_experiment_is_refused_in_one_line(tmp_path, text, words):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_experiment(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert line.splitlines() == [line]
    for word in words:
        assert word in line


def test_an_experiment_imports_what_lies_beside_it(tmp_path):
    text = TOY.replace("from matplotlib", "from beside_the_toy import SIZE\nfrom matplotlib", 1)
    path = write(tmp_path, text.replace("(3, 2)", "SIZE"))
    (path.parent / "beside_the_toy.py").write_text("SIZE = (4, 5)\n")
    before = list(sys.path)
    assert load_experiment(path).config_class(1.0).size == (4, 5)
    assert sys.path == before


def test_bytes_and_other_suffixes_are_no_python(tmp_path):
    binary = write(tmp_path)
    binary.write_bytes(b"\xff\xfe\x01")
    with pytest.raises(ConfigError, match="is not valid Python"):
        load_experiment(binary)
    with pytest.raises(ConfigError, match=r"must end in \.py"):
        load_experiment(write(tmp_path, TOY, "toy.txt"))
    with pytest.raises(ConfigError, match=r"did you mean 'toy\.py'"):
        load_experiment(tmp_path / "experiments" / "toi.py")
    with pytest.raises(ConfigError, match="is a folder"):
        load_experiment(tmp_path)


def test_a_path_may_be_a_string_and_a_missing_folder_is_answered_with_the_checkout(tmp_path, monkeypatch):
    assert load_experiment(str(write(tmp_path))).name == "toy"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"no such file; experiments are files of a checkout"):
        load_experiment("experiments/toy.py")


def test_discovery_reads_questions_without_importing(tmp_path):
    write(tmp_path, '"""First?\n\nMore."""\nraise RuntimeError("imported")\n', "b.py")
    write(tmp_path, "not python (", "a.py")
    write(tmp_path, TOY, "_private.py")
    (tmp_path / "experiments" / "benchmarks").mkdir()
    (tmp_path / "experiments" / "benchmarks" / "slow.py").write_text(TOY)
    for name in ("smoke", "default"):
        (tmp_path / "configs" / "b").mkdir(parents=True, exist_ok=True)
        (tmp_path / "configs" / "b" / f"{name}.toml").write_text("")
    first, second = discover(tmp_path)
    assert (first.name, first.question, first.configs) == ("a", "", ())
    assert (second.name, second.question) == ("b", "First?")
    assert [path.stem for path in second.configs] == ["default", "smoke"]
    assert second.path == tmp_path / "experiments" / "b.py"
    assert discover(tmp_path / "nowhere") == []
