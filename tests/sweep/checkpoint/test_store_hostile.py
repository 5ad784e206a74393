"""A store that someone who knows its format has changed: one line, nothing allocated, nothing read elsewhere."""

import io
import os

import numpy as np
import pytest

from regopt.sweep import checkpoint
from regopt.sweep.checkpoint import StoreAccessError, StoreDamagedError, StoreMismatchError
from regopt.sweep.checkpoint._files import read_array, read_small
from support.stores import check_numbered, opened, save_numbered, vouch_for

HUGE = 10**13


@pytest.fixture
def state(tmp_path, monkeypatch):
    """The newest of two states, which are equal but for their number."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    with opened(tmp_path) as kept:
        save_numbered(kept, 1, 2)
    return tmp_path / "states/000001"


def header(shape, dtype):
    """The beginning of an array of this form, and a few bytes of its data."""
    found = io.BytesIO()
    np.lib.format.write_array_header_1_0(found, {"descr": dtype, "fortran_order": False, "shape": shape})
    return found.getvalue() + bytes(100)


def test_the_records_of_a_state_may_be_written_again(tmp_path, state):
    vouch_for(state)
    with opened(tmp_path) as kept:
        assert kept.number == 2
        check_numbered(kept)


def test_a_record_is_read_as_a_whole_up_to_its_limit_or_not_at_all(tmp_path):
    file = tmp_path / "record"
    file.write_bytes(b"x" * 64)
    assert read_small(file, 64) == b"x" * 64
    assert read_small(file, 63) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("more", 1),
        *((name, None) for name in ("number", "done", "saved", "identity", "files", "leaves", "format")),
        *(("number", value) for value in ("2", 2.0, True, [2])),
        *(("done", value) for value in (1, "true")),
        *(("saved", value) for value in (7, ["today"])),
        *(("identity", value) for value in ([], "none", 1)),
        *(("files", value) for value in ([], {}, {"small.npy": 3}, {"small.npy": [3]}, {"small.npy": ["3", "0"]})),
        *(("files", {"small.npy": [3, "0"], name: [3, "0"]}) for name in ("../../lock", "/etc/passwd", "a/b.npy", "x")),
        *(("leaves", value) for value in ({}, [1], [["a"]], [["a", "float64", 3]], [["a", "float64", ["3"]]])),
        ("leaves", [["a", 1, [3]]]),
    ],
)
def test_a_manifest_with_other_keys_or_types_is_damaged(tmp_path, state, name, value):
    vouch_for(state, **{name: value})
    said = []
    with opened(tmp_path, say=said.append) as kept:
        assert kept.number == 1
        check_numbered(kept)
    assert len(said) == 1
    assert "states/000001 (manifest.json) is damaged: going on from number 1" in said[0]
    assert checkpoint.read(tmp_path).number == 1


@pytest.mark.parametrize(
    "text", ["", "7", "[]", "{}", "[" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000, "\0", "\udc80"]
)
def test_a_manifest_that_is_none_is_damaged(tmp_path, state, text):
    (state / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    with opened(tmp_path, say=lambda line: None) as kept:
        assert kept.number == 1


def test_leaves_that_claim_more_than_there_is_are_refused_by_name(tmp_path, state):
    vouch_for(state, leaves=[["a", "float64", [HUGE]], ["b", "float32", [2, 3]]])
    with opened(tmp_path) as kept, pytest.raises(StoreMismatchError, match=rf"leaf 'a' was float64\[{HUGE}\]"):
        check_numbered(kept)


@pytest.mark.parametrize(
    "data",
    [
        header((HUGE,), "<i8"),
        header((HUGE, HUGE), "<i8"),
        header((40,), "<f8"),
        header((39,), "<i8"),
        header((-1,), "<i8"),
        header((-HUGE, HUGE), "<i8"),
        header((40,), "<i8"),  # cut short
        header((40,), "|O"),
        b"",
        b"PK\3\4 no array",
        header((40,), "<i8").replace(b"shape", b"shale"),
        header((40,), "<i8").replace(b"False", b"open("),
    ],
    ids=range(12),
)
def test_arrays_of_another_form_are_refused_before_they_are_read(tmp_path, state, data):
    (state / "small.npy").write_bytes(data)
    vouch_for(state)
    with opened(tmp_path) as kept, pytest.raises(StoreDamagedError) as raised:
        check_numbered(kept)
    assert "\n" not in str(raised.value)
    assert "states/000001" in str(raised.value)


def test_an_array_with_fewer_entries_is_not_filled_up_with_what_was_in_memory(tmp_path, state):
    with (state / "small.npy").open("wb") as file:
        np.save(file, np.full(39, 2))
        np.save(file, np.full((2, 3), -2, np.float32))
    vouch_for(state)
    with opened(tmp_path) as kept, pytest.raises(StoreDamagedError, match="holds only 312 of the 320 bytes of a leaf"):
        check_numbered(kept)


def test_a_disk_that_fails_while_an_array_is_read_is_one_line():
    class Failing(io.BytesIO):
        name = "small.npy"

        def readinto(self, buffer):
            raise OSError(5, "Input/output error")

    with pytest.raises(StoreDamagedError, match=r"small.npy cannot be read: Input/output error$"):
        read_array(Failing(header((4,), "<i8")), np.dtype(np.int64), np.zeros(32, np.uint8))


def test_a_file_of_another_size_is_not_even_hashed(tmp_path, state, monkeypatch):
    with (state / "small.npy").open("r+b") as file:
        file.truncate(HUGE)  # which takes no room on the disk
    said = []
    with opened(tmp_path, say=said.append) as kept:
        assert kept.number == 1
    assert "states/000001 (small.npy) is damaged" in said[0]


def test_files_that_vanish_while_the_store_is_open_are_one_line(tmp_path, state):
    with opened(tmp_path) as kept:
        (state / "small.npy").unlink()
        with pytest.raises(StoreDamagedError, match=r"000001 cannot be read: No such file"):
            check_numbered(kept)


@pytest.mark.parametrize("what", ["file", "pipe"])
def test_states_that_are_no_folder_are_one_line(tmp_path, what):
    (tmp_path / "states").touch() if what == "file" else os.mkfifo(tmp_path / "states")
    with pytest.raises(StoreAccessError, match=r"cannot write to .*: File exists"), opened(tmp_path):
        pass
    with pytest.raises(StoreAccessError, match=r"cannot read .*states: Not a directory"):
        checkpoint.read(tmp_path)


def test_a_manifest_that_is_a_pipe_is_not_waited_for(tmp_path, state):
    (state / "manifest.json").unlink()
    os.mkfifo(state / "manifest.json")
    with opened(tmp_path, say=lambda line: None) as kept:
        assert kept.number == 1


def test_what_is_said_of_a_store_has_no_control_characters(tmp_path, state):
    vouch_for(tmp_path / "states/000000", saved="\x1b[31m today\n")
    (state / "manifest.json").write_text("{}")
    said = []
    with opened(tmp_path, say=said.append):
        pass
    assert len(said) == 1
    assert said[0].isprintable()
