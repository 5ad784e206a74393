"""The differences of two identities, where one has a digest, a value or nothing in the place of the other's names."""

import numpy as np
import pytest

from regopt.sweep.checkpoint import differences
from regopt.sweep.checkpoint._fingerprint import digested, digested_arrays

DATA = digested("1f", "float32[3]")


@pytest.mark.parametrize(
    ("stored", "present", "expected"),
    [
        ({"x": 1, "y": 2}, {"y": 2, "x": 1}, []),
        ({"x": 1, "y": 2}, {"x": 3, "y": 4}, ["x was 1, is 3", "y was 2, is 4"]),
        ({"x": {"y": 1}}, {"x": 1}, ["x was {'y': 1}, is 1"]),
        ({"x": "a"}, {"x": {"y": 1}}, ["x was 'a', is {'y': 1}"]),
        ({"x": True}, {"x": 1}, ["x was true, is 1"]),
        ({"x": 1.0}, {"x": 1}, ["x was 1.0, is 1"]),
        ({}, {"x": None}, ["x was nothing, is None"]),
        ({"x": "sha256"}, {}, ["x was 'sha256', is nothing"]),
        ({"x": DATA}, {"x": DATA | {"kind": "another word"}}, []),
        ({"x": DATA}, {"x": digested("a0", "float32[3]")}, ["x (float32[3]) has changed"]),
        ({"x": DATA}, {"x": digested("a0", "int32[2]")}, ["x was 'float32[3]', is 'int32[2]'"]),
        ({"x": DATA}, {"x": {"y": 1}}, ["x was 'float32[3]', is {'y': 1}"]),
        ({"x": {"y": 1}}, {"x": DATA}, ["x was {'y': 1}, is 'float32[3]'"]),
        ({"x": DATA}, {"x": None}, ["x was 'float32[3]', is None"]),
        ({"x": DATA}, {}, ["x was 'float32[3]', is nothing"]),
        ({"x": digested("1", "f", {"y": DATA})}, {"x": digested("2", "f", {"y": DATA})}, ["x (f) has changed"]),
        (
            {"x": digested("1", "f", {"y": DATA, "z": DATA})},
            {"x": digested("2", "g", {"y": DATA, "z": digested("a0", "float32[3]")})},
            ["x.z (float32[3]) has changed"],
        ),
    ],
)
def test_each_leaf_that_differs_has_a_line(stored, present, expected):
    assert differences(stored, present) == expected


def test_arrays_are_digested_by_their_paths():
    x = np.arange(3, dtype=np.float32)
    alone = digested_arrays(x)
    assert alone["kind"] == "float32[3]"
    assert digested_arrays({"a": [x, 2]})["a.0"] == alone
    assert digested_arrays(None) is None
