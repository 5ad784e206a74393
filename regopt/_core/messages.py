"""Words for messages: values, names and annotations said on one short line.

Everything that a person reads about their own input is worded here. This file is not for deciding what is
wrong with that input, nor for printing.
"""

from __future__ import annotations

import difflib
import os
import reprlib
from collections.abc import Iterable


class _Brief(reprlib.Repr):
    """Values spelled as in Python, a few elements of each."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 60
        self.maxlevel = 3


class _Short(_Brief):
    """Values spelled as in TOML."""

    def repr_tuple(self, x: tuple[object, ...], level: int) -> str:
        return self.repr_list(list(x), level)

    def repr_bool(self, value: bool, level: int) -> str:
        del level
        return str(value).lower()


def one_line(text: str) -> str:
    r"""Join the lines of a text by spaces and escape what a terminal would act upon.

    Args:
        text: anything, such as the message of an exception.

    Returns:
        The same words on one line of printable characters.

    >>> one_line("two\n  lines \x1b[31m")
    'two lines \\x1b[31m'
    """
    words = " ".join(text.split())
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in words)


def reason(error: OSError) -> str:
    """Say why a file could not be read or written, without its path, which the message around it names.

    Args:
        error: what was raised.

    Returns:
        A few words on one line.
    """
    return os.strerror(error.errno) if error.errno else one_line(str(error))


def cut(text: str) -> str:
    """Bring a text of any length to one that fits a line.

    Args:
        text: anything.

    Returns:
        Its first 80 characters or so, on one line.
    """
    text = one_line(text[:1000])
    return text if len(text) <= 80 else text[:77] + "..."


def shown(value: object) -> str:
    """Write a value the way a person would have typed it, cut to a length that fits a line.

    Args:
        value: a value from a config or from the command line.

    Returns:
        At most about 80 characters.
    """
    return _spelled(value, _Short())


def brief(value: object) -> str:
    """Write an argument the way Python writes it, cut to a length that fits a line.

    Args:
        value: anything that a function was given.

    Returns:
        At most about 80 characters, on one line.

    >>> brief({"rate": True, "name": "x" * 100})
    "{'name': 'xxxxxxxxxxxxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxxxxxxxxxxxx', 'rate'..."
    """
    return _spelled(value, _Brief())


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """Find the valid name that a wrong one was meant to be.

    Args:
        name: what was written.
        valid: the names that would have been right.

    Returns:
        The nearest of them, None when none is near.

    >>> nearest("lerning_rate", ["learning_rate", "seed"])
    'learning_rate'
    """
    names = {candidate.casefold(): candidate for candidate in valid}
    near = difflib.get_close_matches(name.casefold()[:200], names, n=1)
    return names[near[0]] if near else None


def misspelt(given: Iterable[str], valid: Iterable[str]) -> str:
    """Point from the first unknown name of a call's arguments to the nearest valid one.

    Args:
        given: the names that a function was called with.
        valid: the names that it takes.

    Returns:
        Words to end a message with; empty where no name is unknown, or none is near.

    >>> misspelt(["evalevery"], ["steps", "eval_every"])
    "; did you mean 'eval_every'?"
    """
    known = list(valid)
    unknown = next((name for name in given if name not in known), None)
    near = None if unknown is None else nearest(unknown, known)
    return "" if near is None else f"; did you mean {near!r}?"


def suggestion(name: str, valid: Iterable[str]) -> str:
    """Point from a wrong name to the nearest valid one, or to all valid ones when none is near.

    Args:
        name: what was written.
        valid: the names that would have been right.

    Returns:
        Words to end a message with.

    >>> suggestion("lerning_rate", ["learning_rate", "seed"])
    "did you mean 'learning_rate'?"
    """
    listed = sorted(valid)
    near = nearest(name, listed)
    if near is not None:
        return f"did you mean {near!r}?"
    return f"valid: {', '.join(listed[:20])}{', ...' if len(listed) > 20 else ''}" if listed else "there is none"


def _spelled(value: object, spelling: reprlib.Repr) -> str:
    try:
        return cut(spelling.repr(value))
    except ValueError:  # an integer with more digits than Python agrees to print
        return "an integer of thousands of digits"
