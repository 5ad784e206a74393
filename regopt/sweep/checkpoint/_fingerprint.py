"""What two runs differ in, leaf by leaf: a run goes on only from a state that depends on the same things."""

from collections.abc import Mapping

from regopt._core.messages import shown

_MISSING = object()


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


def _word(value: object) -> str:
    return "nothing" if value is _MISSING else shown(value)
