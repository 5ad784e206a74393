"""A result saved and read back: the same bits, and one clear line for whatever is not as it was."""

import io
import json
import re
import zipfile

import numpy as np
import pytest

from regopt import sweep
from regopt.experiment import main
from support.saved_sweeps import result


@pytest.mark.parametrize("segments", [None, 0, 2])
def test_what_is_read_back_is_what_was_saved(tmp_path, segments):
    saved = result(segments=segments)
    saved.save(tmp_path / "sweep", config={"steps": 40, "space": {"learning_rate": [1e-4, 3.0]}})
    loaded = sweep.load(tmp_path / "sweep")
    assert set(loaded.to_pandas().columns) == set(saved.to_pandas().columns)
    for name, column in saved.to_pandas().items():
        np.testing.assert_array_equal(loaded.to_pandas()[name].to_numpy(), column.to_numpy())
    for name, curve in saved.history.curves.items():
        assert loaded.history.curves[name].tobytes() == curve.tobytes()
    assert loaded.history.settings.row(3) == saved.history.settings.row(3)
    assert (loaded.monitor, loaded.mode, loaded.interrupted) == (saved.monitor, saved.mode, segments is not None)
    assert loaded.config == {"steps": 40, "space": {"learning_rate": [1e-4, 3.0]}}
    assert {"jax", "python", "regopt"} <= set(loaded.versions)
    if segments != 0:
        assert loaded.best() == saved.best()
    with pytest.raises(ValueError, match="no trained states"):
        loaded.state(0)


def test_a_result_that_was_there_is_replaced(tmp_path):
    result(settings=20).save(tmp_path)
    result(settings=40).save(tmp_path)
    assert len(sweep.load(tmp_path).history.settings) == 40
    assert json.loads((tmp_path / "config.json").read_text())["settings"] == 40


def test_two_writes_of_a_result_have_the_same_bytes(tmp_path, monkeypatch):
    for name, year in (("first", 2020), ("second", 2030)):
        monkeypatch.setattr("time.localtime", lambda *_, year=year: (year, 1, 2, 3, 4, 5, 0, 2, 0))  # for the archive
        result().save(tmp_path / name)
    names = {path.name for path in (tmp_path / "first").iterdir()}
    assert names == {"sweep.npz", "table.parquet", "config.json", "versions.json"}
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


def test_static_values_that_are_no_text_are_saved_by_their_names(tmp_path):
    result(texts=(sorted, True, (8, 8))).save(tmp_path)
    assert set(sweep.load(tmp_path).history.settings.static["activation"]) == {"sorted", True, "(8, 8)"}
    result(texts=(np.int64(8), np.float32(0.5), np.True_)).save(tmp_path)
    assert set(sweep.load(tmp_path).history.settings.static["activation"]) == {8, 0.5, True}


def test_damage_is_one_line_and_never_other_numbers(tmp_path):
    result().save(tmp_path)
    path = tmp_path / "sweep.npz"
    whole, expected = path.read_bytes(), result().to_pandas()
    random = np.random.default_rng(0)
    lines = []
    for place in random.integers(len(whole), size=100):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        try:
            loaded = sweep.load(tmp_path)
        except ValueError as error:
            lines.append(str(error))
        else:
            assert loaded.to_pandas().equals(expected)  # a byte that nothing is read from
    assert len(lines) > 50
    assert all(re.fullmatch(r"\S+: the saved sweep cannot be read: .+", line) for line in lines)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cannot be read"):
        sweep.load(tmp_path)


def test_nothing_there_is_said(tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match=r"sweep\.npz is missing"):
        sweep.load(tmp_path)
    assert main(["sweep", "show", str(tmp_path / "no")]) == 2
    assert "no sweep was saved here" in capsys.readouterr().err


def test_numbers_that_were_changed_are_refused(tmp_path):
    result().save(tmp_path)
    with np.load(tmp_path / "sweep.npz") as stored:
        arrays = dict(stored)
    arrays["curves.0"][0, 0] += 1e-9
    np.savez(tmp_path / "sweep.npz", **arrays)
    with pytest.raises(ValueError, match="not those that were saved"):
        sweep.load(tmp_path)


@pytest.mark.parametrize("shape", [(10**13,), (10**7, 10**7), (-1, 10**13), (10**30,)])
def test_arrays_that_claim_more_than_there_is_are_not_allocated(tmp_path, monkeypatch, shape):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(tmp_path / "sweep.npz", "w") as archive:
        archive.writestr("about.npy", header.getvalue() + bytes(100))
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(ValueError, match=r"sweep.npz: .* about.npy declares .* more bytes than the file can hold"):
        sweep.load(tmp_path)


def test_pickles_are_not_read(tmp_path):
    np.savez(tmp_path / "sweep.npz", about=np.array([{}], object))
    with pytest.raises(ValueError, match="allow_pickle"):
        sweep.load(tmp_path)


def test_a_save_that_is_cut_short_leaves_the_one_before(tmp_path, monkeypatch):
    result(settings=20).save(tmp_path)

    def fail(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("numpy.lib.format.write_array", fail)
    with pytest.raises(KeyboardInterrupt):
        result(settings=40).save(tmp_path)
    assert len(sweep.load(tmp_path).history.settings) == 20


def test_the_terminal_shows_the_best_first_and_counts_all(tmp_path, capsys):
    result(names=("[red]a[/red]",), texts=("[b]relu[/b]", "tanh")).save(tmp_path / "digits")
    assert main(["sweep", "show", str(tmp_path / "digits"), "--rows", "3"]) == 0
    printed = capsys.readouterr().out
    best = result().best(over=())
    assert "digits: 40 settings" in printed
    assert "diverged" in printed.splitlines()[0]
    assert "[red]a[/red]" in printed.split("┡")[0]
    assert f"{best.metrics['validation_loss']:.4g}" in printed
    assert repr(result().best().setting["learning_rate"]) in printed.replace("\n", "").replace(" ", "")
    lines = [line for line in printed.splitlines() if "│" in line]
    assert len(lines) == 3
    assert f" {best.index} " in lines[0]


def test_the_terminal_gets_no_control_characters(tmp_path, capsys):
    folder = tmp_path / "a\x1b]0;title\x07b"
    result(names=("\x1b[31mname",), texts=("\x1b[2Jone", "two\r\x9b3J")).save(folder)
    assert main(["sweep", "show", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert all(line.isprintable() for line in printed.splitlines())
    assert r"\x1b" in printed


def test_a_sweep_that_still_runs_is_shown_as_such(tmp_path, capsys):
    result(segments=2).save(tmp_path)
    assert main(["sweep", "show", str(tmp_path)]) == 0
    assert "unfinished" in capsys.readouterr().out
    result(segments=0).save(tmp_path)
    assert main(["sweep", "show", str(tmp_path)]) == 0
    assert "none has a finite validation_loss yet" in capsys.readouterr().out
    assert main(["sweep", "show", str(tmp_path), "--rows", "0"]) == 2
    assert "--rows" in capsys.readouterr().err
