"""Data that can only be iterated over: batches in the order in which they come.

In training all settings must be at the same step, because a batch that has gone by cannot be asked for again. An
iterable that can be iterated over again starts again at its end. A sweep that resumes restores the position of an
iterator with ``get_state`` and ``set_state``, such as one of grain; for other iterators it reads and drops the batches
before its position, and compares the last of them with the one that was trained on. Not for data with random access
(``_streams.py``).
"""

import base64
import json
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

import jax

from regopt._core.io import JsonObject, digest
from regopt._core.messages import brief
from regopt._core.types import Tree
from regopt.sweep.engine._blocks import Block, as_jax, copied, stacked

_REMEMBERED = 3  # positions: the beginning and the end of the block in training, and the end of the next block


@runtime_checkable
class HasState(Protocol):
    """An iterator whose position can be saved and restored, such as ``grain.DatasetIterator``."""

    def get_state(self) -> Any:
        """The position: values for JSON, or bytes."""
        ...

    def set_state(self, state: Any) -> None:
        """Continue from a position that ``get_state`` returned."""
        ...


class Iterated:
    """Training batches by their step, which are read in order.

    Args:
        data: an iterator over batches, or an iterable that gives one. The first batch is read at once.

    Raises:
        ValueError: there is no batch, or the state of the iterator cannot be saved.
    """

    size, code = 0, None  # as of a ``Stream``

    def __init__(self, data: Iterable[Tree]):
        self._data = data
        self._iterator: Iterator[Tree] = iter(data)
        self._anew = self._iterator is not data
        self._begin: JsonObject | None = self._state()
        self._positions = {0: self._position(0, None)}
        self._first = copied(self._following(0))
        self._ahead: Tree | None = self._first  # a batch that is read, but not yet asked for
        self._asked = 0  # blocks that were asked for and are not read
        self._changed = threading.Condition()
        self._at, self._last = 0, self._first  # steps whose batches were given, and the batch of the last of them

    @property
    def can_begin_again(self) -> bool:
        """Whether the first batch can be asked for again."""
        return self._anew or self._begin is not None

    def sample(self) -> Tree:
        """The first batch, ``[1, batch, ...]``."""
        return jax.tree.map(lambda x: x[None], self._first)

    def block(self, first_step: int, steps: int) -> Block:
        """A function that reads the batches of some steps; every block must be read, in order, one at a time.

        Args:
            first_step: the first of the steps; for one that has gone by the data start again, if they can.
            steps: the number of steps.
        """

        def read() -> Tree:
            try:
                return self._read(first_step, steps)
            finally:
                with self._changed:
                    self._asked -= 1
                    self._changed.notify_all()

        with self._changed:
            self._asked += 1
        return read

    def wait(self) -> None:
        """Wait until all requested blocks are read, so that no thread reads from the data any more."""
        with self._changed:
            self._changed.wait_for(lambda: not self._asked)

    def position(self, step: int) -> JsonObject:
        """The position before a step, for ``go_on``; a block in use must begin or end at the step."""
        return self._positions[step]

    def go_on(self, position: JsonObject, *, compares: bool = True) -> None:
        """Continue from a position, in another process.

        Args:
            position: from ``position``.
            compares: whether to require the batch that was trained on last, where the iterator has no state.

        Raises:
            ValueError: the data give another batch, or only one of the two iterators has a state.
        """
        step, state = position["step"], position.get("state")
        if (state is None) != (self._begin is None):
            which = "without" if state is None else "with"
            raise ValueError(f"data.train must be an iterator {which} get_state and set_state, as in the saved sweep")
        if state is not None:
            self._set(state)
            self._at, self._ahead = step, None
        else:
            self._skip(step)
            if compares and step and position["last"] != digest(self._last):
                raise ValueError(
                    f"data.train gives another batch at step {step - 1} than the one that was trained on: it must give "
                    "the same batches in each process, or its iterator must have get_state and set_state"
                )
        self._positions = {step: position}

    def begin_again(self) -> None:
        """Go back to the first batch.

        Raises:
            ValueError: the data can be iterated over only once, or begin with another batch now.
        """
        if self._begin is not None:
            self._set(self._begin)
            self._ahead = None
        elif self._anew:
            self._iterator = iter(self._data)
            self._ahead = copied(self._following(0))
            if digest(self._ahead) != digest(self._first):
                raise ValueError("data.train must give the same batches when it is iterated over again, got others")
        else:
            raise ValueError(
                "data.train can be iterated over only once, so nothing can be trained again from its first batch: pass "
                "what can be iterated over again, or an iterator with get_state and set_state"
            )
        self._at, self._positions = 0, {0: self._position(0, self._begin)}

    def give_back(self) -> None:
        """Restore the position that an iterator with a state had when it was given."""
        self.wait()
        if self._begin is not None:
            self._set(self._begin)

    def _read(self, first_step: int, steps: int) -> Tree:
        if first_step < self._at:
            self.begin_again()
        self._skip(first_step)
        if self._at not in self._positions:
            self._positions[self._at] = self._position(self._at, self._state())
        block = stacked(self._first, first_step, steps, lambda _: self._next())
        self._positions[self._at] = self._position(self._at, self._state())
        self._positions = dict(list(self._positions.items())[-_REMEMBERED:])
        return block

    def _skip(self, step: int) -> None:
        while self._at < step:
            self._next()

    def _next(self) -> Tree:
        batch = self._following(self._at) if self._ahead is None else self._ahead
        self._ahead = None
        self._at += 1
        self._last = jax.tree.map(as_jax, batch)
        return self._last

    def _following(self, step: int) -> Tree:
        """The next batch; at the end of data that can be iterated over again, the first one."""
        for batch in self._iterator:
            return batch
        if self._anew and step:
            self._iterator = iter(self._data)
            for batch in self._iterator:
                return batch
        if step:
            raise ValueError(f"data.train has ended at step {step}: pass a longer iterator, or fewer steps")
        raise ValueError("data.train must have at least one batch, got none")

    def _position(self, step: int, state: JsonObject | None) -> JsonObject:
        if self._begin is not None:
            return {"step": step, "state": self._begin if state is None else state}
        return {"step": step, "last": digest(self._last) if step else None}

    def _state(self) -> JsonObject | None:
        """The position of the iterator, as values for JSON; None for an iterator without a state."""
        if not isinstance(self._iterator, HasState):
            return None
        state = self._iterator.get_state()
        if isinstance(state, bytes):
            return {"bytes": base64.b64encode(state).decode()}
        try:
            if _has_other_keys(state):
                raise TypeError("JSON turns the keys of a dictionary into strings")
            return {"json": json.loads(json.dumps(state, allow_nan=False))}
        except (TypeError, ValueError):
            raise ValueError(
                f"get_state of the iterator of data.train must give values for JSON or bytes, got {brief(state)}"
            ) from None

    def _set(self, state: JsonObject) -> None:
        if self._anew:
            self._iterator = iter(self._data)
        assert isinstance(self._iterator, HasState)
        self._iterator.set_state(base64.b64decode(state["bytes"]) if "bytes" in state else state["json"])


def _has_other_keys(state: object) -> bool:
    """Whether a dictionary in a state has keys that are not strings."""
    if isinstance(state, dict):
        return any(not isinstance(key, str) or _has_other_keys(value) for key, value in state.items())
    return isinstance(state, list | tuple) and any(map(_has_other_keys, state))


class InTurn:
    """Validation batches by their number, of data that are iterated over again in each evaluation.

    Args:
        data: an iterable that gives a new iterator each time.
    """

    def __init__(self, data: Iterable[Tree]):
        self._data, self._iterator, self._at = data, iter(data), 0
        self._first: str | None = None  # the digest of the first batch

    def at(self, number: int) -> Tree:
        """The batch with this number; numbers in ascending order are read in one pass.

        Raises:
            ValueError: there are fewer batches, or a new pass begins with another batch than the passes before.
        """
        if number < self._at:
            self._iterator, self._at = iter(self._data), 0
        for batch in self._iterator:
            self._at += 1
            if self._at == 1:
                self._compare(digest(jax.tree.map(as_jax, batch)))
            if self._at > number:
                return batch
        raise ValueError(f"data.validation must have {number + 1} batches at least, got {self._at}")

    def _compare(self, found: str) -> None:
        if self._first not in (None, found):
            raise ValueError("data.validation must give the same batches in each evaluation, got others")
        self._first = found


def check_iterated(*, executor: object, extend: bool, mapping: object, begins_again: bool) -> None:
    """Check that all settings train together from the first batch on, where data can only be iterated over."""
    if executor is not None:
        raise ValueError(f"executor must be None where data.train can only be iterated over, got {brief(executor)}")
    if extend:
        raise ValueError("extend must be False where data.train can only be iterated over")
    if mapping == "measured" and not begins_again:
        raise ValueError('mapping must not be "measured" where data.train can be iterated over only once')


def check_together(held: int, settings: int) -> None:
    """Check that all settings of a group are held from the first step on, where data can only be iterated over."""
    if held < settings:
        raise ValueError(
            f"slots must be at least the {settings} settings of a program where data.train can only be iterated over, "
            f"as all of them need the same batches at the same time, got room for {held}"
        )
