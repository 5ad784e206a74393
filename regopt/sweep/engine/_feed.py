"""The batches of a sweep whose data stream, read by a thread and put on the devices before they are needed.

The block of a segment is read while the previous one trains, a validation batch while the previous one is evaluated.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future

import jax

from regopt._core.types import Tree
from regopt.sweep.engine._iterated import Iterated
from regopt.sweep.engine._reader import Reader
from regopt.sweep.engine._streams import Evaluated, Stream


class Feed:
    """The blocks of a stream by their first step; the one in use and the one that follows are kept.

    Args:
        stream: where the batches come from.
        steps: the number of steps in a block.
        end: the number of steps of a setting; nothing is read beyond it.
        put: puts a block on the devices.
    """

    def __init__(self, stream: Stream | Iterated, steps: int, end: int, put: Callable[[Tree], Tree]):
        self._stream, self._steps, self._end, self._put = stream, steps, end, put
        self._reader = Reader("regopt-feed")
        self._blocks: dict[int, Future[Tree]] = {}
        first = stream.sample()
        self.form = jax.tree.map(lambda x: jax.ShapeDtypeStruct((steps, *x.shape[1:]), x.dtype), first)

    def block(self, first_step: int) -> Tree:
        """The batches ``[steps, batch, ...]`` from a step on, on the devices; the next block is read meanwhile."""
        wanted = [step for step in (first_step, first_step + self._steps) if step < self._end]
        self._blocks = {step: block for step, block in self._blocks.items() if step in wanted}
        for step in wanted:
            if step not in self._blocks:
                self._blocks[step] = self._reader.submit(self._read, self._stream.block(step, self._steps))
        try:
            return self._blocks[first_step].result()
        except Exception:
            self._blocks.clear()  # a sweep that goes on reads them again
            raise

    def _read(self, block: Callable[[], Tree]) -> Tree:
        return self._put(block())


class ValidationFeed:
    """The validation batches of an evaluation; the first one stays on the devices.

    Of batches that are given whole, the host keeps those for which there is room. They are read once for all calls and
    evaluations.

    Args:
        evaluated: where the batches come from.
        put: puts a batch on the devices.
        room: bytes in the memory of the host for batches.
    """

    def __init__(self, evaluated: Evaluated, put: Callable[[Tree], Tree], room: float):
        self._evaluated, self._put = evaluated, put
        self._kept: dict[int, Tree] = {}
        self._room = 0.0 if evaluated.is_mapped else room
        self._reader = Reader("regopt-validation")
        self._first = put(evaluated.read(0))
        self.form = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), self._first)

    def batches(self) -> Iterator[Tree]:
        """All batches in their order, on the devices; the next one is read meanwhile."""
        batch = self._first
        for following in range(1, self._evaluated.count):
            read = self._reader.submit(self._read, following)
            yield batch
            batch = read.result()
        yield batch

    def _read(self, number: int) -> Tree:
        if number in self._kept:
            return self._put(self._kept[number])
        batch = self._evaluated.read(number)
        size = sum(x.nbytes for x in jax.tree.leaves(batch))
        if size <= self._room:
            self._room -= size
            self._kept[number] = batch
        return self._put(batch)
