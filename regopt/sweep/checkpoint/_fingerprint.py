"""The differences between two runs, leaf by leaf: a run resumes only from a state with the same identity.

Anything too large for a message, such as data or a program, stands in an identity as a ``digested`` leaf. Messages name
such a leaf, and never show its digest.
"""

from collections.abc import Mapping

import jax
import numpy as np

from regopt._core.io import JsonObject, digest
from regopt._core.messages import shown
from regopt._core.types import Tree

_MISSING = object()
_SHA256, _KIND, _PARTS = "sha256", "kind", "parts"


def digested(sha256: str, kind: str, parts: Mapping[str, JsonObject] | None = None) -> JsonObject:
    """Describe something by its digest, in an identity.

    Args:
        sha256: the digest of the whole.
        kind: a word for a person, such as the dtype and the shape of an array, or the name of a function.
        parts: ``digested`` leaves of its parts. They are compared only where the digests differ, and the message
            then names those that have changed instead of the whole.

    Returns:
        The leaf, as a JSON value.

    >>> differences({"data": digested("1f", "float32[12]")}, {"data": digested("a0", "float32[12]")})
    ['data (float32[12]) has changed']
    """
    return {_SHA256: sha256, _KIND: kind} | ({} if parts is None else {_PARTS: dict(parts)})


def digested_arrays(tree: Tree) -> JsonObject | None:
    """Digests of the leaves of a tree of arrays by their paths; one digest for a single array, and None for None."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        found[name] = digested(digest(leaf), f"{array.dtype}{list(array.shape)}")
    return found.get("", found or None)


def differences(stored: object, present: object, path: str = "") -> list[str]:
    """The leaves in which two nested dictionaries of JSON values differ.

    Args:
        stored: the identity of the run that was saved.
        present: the identity of the run that would go on from it.
        path: the names that lead to the two.

    Returns:
        One text for each leaf, with its path and both values.

    >>> differences({"chunk": 8, "versions": {"jax": "0.10.1"}}, {"chunk": 8, "versions": {"jax": "0.10.2"}})
    ["versions.jax was '0.10.1', is '0.10.2'"]
    """
    if isinstance(stored, Mapping) and isinstance(present, Mapping):
        if _SHA256 in stored and _SHA256 in present:
            return _differences_of_digested(stored, present, path)
        if _SHA256 not in stored and _SHA256 not in present:
            names = [*stored, *(name for name in present if name not in stored)]
            return [
                difference
                for name in names
                for difference in differences(
                    stored.get(name, _MISSING), present.get(name, _MISSING), f"{path}.{name}" if path else str(name)
                )
            ]
    same = type(stored) is type(present) and stored == present  # in JSON true, 1 and 1.0 are three values
    return [] if same else [f"{path} was {_word(stored)}, is {_word(present)}"]


def _differences_of_digested(stored: Mapping[str, object], present: Mapping[str, object], path: str) -> list[str]:
    if stored[_SHA256] == present[_SHA256]:
        return []
    if found := differences(stored.get(_PARTS, {}), present.get(_PARTS, {}), path):
        return found
    if stored.get(_KIND) != present.get(_KIND):
        return [f"{path} was {_word(stored.get(_KIND))}, is {_word(present.get(_KIND))}"]
    return [f"{path} ({present.get(_KIND)}) has changed"]


def _word(value: object) -> str:
    if isinstance(value, Mapping) and _SHA256 in value:
        value = value.get(_KIND)
    return "nothing" if value is _MISSING else shown(value)
