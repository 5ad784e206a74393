"""A group: settings that share a program, their lanes in one buffer on the devices, and the calls that train them."""

from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from functools import cache
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.types import Tree
from regopt.sweep.engine._compile import Segments, begin, programs_for
from regopt.sweep.engine._devices import bytes_of
from regopt.sweep.engine._entries import entry
from regopt.sweep.engine._evaluation import Call
from regopt.sweep.engine._executables import Executables
from regopt.sweep.engine._feed import Feed, ValidationFeed
from regopt.sweep.engine._placement import Places
from regopt.sweep.engine._program import build_empty, build_take_over
from regopt.sweep.engine._recipe import Constants, Form, Held, Lane, Mapped, Shared, as_number
from regopt.sweep.engine._repeat import MOST, Pace
from regopt.sweep.engine._turns import Report, Turn, Turns, one_behind
from regopt.sweep.engine._undo import Before, Fails, before_call, undone
from regopt.sweep.engine._work import price_of


class Group:
    """The lanes of one group of settings on their devices; it can train once ``compile`` has made its programs.

    Args:
        form: everything that its programs are compiled from.
        numbers: the traced columns, each ``[settings]``.
        indices: which settings of the sweep the lanes are, ``[lanes]``.
        shared: the arrays that all lanes read; all but the frozen parameters are on the devices.
        executables: the programs of all groups.
        feed: the batches of data that stream; None where they are in ``shared``.
        validation: the validation batches that stream; None where they are in ``shared``.
        packed: whether a lane takes the next seat of each call; otherwise each lane keeps a seat of its own.
    """

    hears_signals = True  # see ``one_behind``
    is_ready = False  # whether its programs are compiled
    in_flight = False  # whether the lanes may be ahead of what was reported
    trace_seconds, compile_seconds, temporary_bytes = 0.0, 0.0, 0

    def __init__(
        self,
        form: Form,
        numbers: Mapping[str, np.ndarray],
        indices: np.ndarray,
        shared: Shared,
        executables: Executables,
        feed: Feed | None = None,
        validation: ValidationFeed | None = None,
        *,
        packed: bool = False,
    ):
        self.form, self.recipe, self._layout = form, form.recipe, form.layout
        self.used, self.devices, self.capacity = form.layout.devices, form.layout.rows, form.capacity
        self.indices, self._packed, self._executables = indices, packed, executables
        self._numbers = {name: column[indices] for name, column in numbers.items()}
        self.numbers = dict(self._numbers)  # the current values
        self._feed, self._validation, self._pace = feed, validation, Pace(MOST if form.parts is None else 1)
        self.held: Held
        self._placed: dict[bytes, jax.Array] = {}
        self._shapes = form.lane.shapes
        self.lane_form: Lane = self._shapes[0]  # with shapes in place of arrays
        self.lane_bytes, self.device_bytes = bytes_of(self._shapes), form.lane_bytes
        at_rest = form.shared.shardings(form.layout.mesh).frozen
        self._shared = shared._replace(frozen=jax.device_put(shared.frozen, at_rest))
        self._spread = form.lane.shardings(form.layout.mesh, self.size)  # of the buffer and the constants
        self._take_over = build_take_over(*self._spread)

    def begin(self) -> None:
        """Begin to compile the programs in threads if possible, else compile them; ``chunk`` is a guess until then."""
        if (begun := begin(self.form, self._executables)) is None:
            self.compile()
        else:
            self.chunk, self.metrics, self._compiling = begun

    def compiled_within(self, seconds: float) -> bool:
        """Whether threads have compiled the programs that were begun; waits this many seconds at most."""
        return self.is_ready or not futures.wait(self._compiling, seconds).not_done

    def compile(self) -> Self:
        """Make the programs, unless they exist."""
        if self.is_ready:
            return self
        made = programs_for(self.form, self._executables, len(self.indices))
        self.chunk, self.digests, self.metrics = made.chunk, made.digests, made.metrics
        self.mapping: Mapped = made.mapping
        self.price = price_of(made.flops, self.used[0].platform)  # of a segment of a lane
        self.trace_seconds, self.compile_seconds = made.trace_seconds, made.compile_seconds
        self.segment_seconds, self.temporary_bytes = made.segment_seconds, made.temporary_bytes
        self._segments = Segments(self.form, made, self._executables)
        self.segment, self._start, self._predict = made.segment, made.start, made.predict
        self._evaluation = made.evaluation
        self._fails: Fails = "program" if made.calls_back else None if self._validation is None else "data"
        self.is_ready = True
        return self

    def late_seconds(self) -> tuple[float, float]:
        """Seconds of tracing and of compiling smaller calls, since this was last asked."""
        return self._segments.new_seconds()

    @property
    def frozen(self) -> Tree:
        """The parameters that are not trained, on the devices; None where all are."""
        return self._shared.frozen

    @property
    def size(self) -> int:
        """The number of entries of the buffer."""
        return self.devices * self.capacity

    def clear(self) -> None:
        """Hold no lane, so that all wait for a place; arrays that were held before stay as they are."""
        places = Places(len(self.indices), self.devices, self.capacity, self.chunk, packed=self._packed)
        self.numbers, self.in_flight = dict(self._numbers), False
        self.held = Held(*self._empty(), places)

    def collect(self) -> tuple[Tree, Tree]:
        """The buffer and the constants of all lanes, to be saved."""
        return self.held.buffer, self.held.constants

    def hold(self, buffer: Tree, constants: Tree, places: Places) -> None:
        """Go on from what ``collect`` gave."""
        self.held = Held(buffer, constants, places)

    def settle(self) -> None:
        """Bring the lanes to where results read them; in this class they are already there."""

    def release(self) -> None:
        """Free the arrays on the devices; the places stay."""
        self.held = Held(None, None, self.held.places)

    def start(self, lanes: np.ndarray) -> None:
        """Initialise lanes that have a place, before their first step; ``in_flight`` is true until it is done."""
        self.in_flight = True
        for ids, owners in self.held.places.calls(lanes):
            self._initialise(ids, owners, jax.device_put(self._given(np.maximum(owners, 0)), self._layout.spread))
        self.in_flight = False

    def advance(
        self, lanes: np.ndarray, segments: np.ndarray, until: int, halt: Callable[[], bool], seats: np.ndarray
    ) -> Iterator[tuple[int, str, int, Report]]:
        """Train lanes segment by segment, call by call; the next call runs while one is read.

        Where data stream or a call may fail, it trains only the lanes furthest behind, and by one segment.

        Args:
            lanes: the lanes, as positions in ``indices``.
            segments: the number of segments that each of them has done, ``[lanes]``.
            until: the number of segments that they will have done.
            halt: asked before each call; after it returns True none is started, and those that run are still read.
            seats: the seat in which to train each of the lanes.

        Yields:
            For each segment of each call what ``Turn.reports`` gives, once the next call runs.

        ``in_flight`` is true meanwhile. If a program that calls Python fails, or a validation batch cannot be read, the
        lanes are put back to where they were after the last report.
        """
        end = until if self._feed is None and self._fails is None else int(segments.min()) + 1
        turns = Turns(self.held.places, lanes, segments, end, seats, self._pace)
        running: list[tuple[Turn, Before | None]] = []  # with the state before it

        def launched() -> Iterator[tuple[np.ndarray, Tree, int] | None]:
            inputs_of, count_of = cache(self._inputs_of), cache(lambda count: self.on_each(np.int32(count)))
            for turn in turns:
                if turn is None:
                    yield None
                    continue
                if halt():
                    return
                (step, block), (ids, owners) = inputs_of(turn.segment), turn.call
                its = self._on_devices(ids)
                running.append((turn, before_call(self._layout.mesh, self.held.buffer, its, self._fails)))
                yield owners, self._call(its, step, count_of(turn.count), block), turn.count

        def learned(report: Report):
            (trained, at, outcome), turn = report, running.pop(0)[0]
            metrics, marks = jax.tree.map(np.atleast_2d, outcome.unpacked())  # [segments, lanes]
            turns.read(turn, trained, marks)
            first_seat = self.held.places.sizes.first_of(len(turn.call.places) // self.devices)
            return turn.reports(trained, first_seat + at, metrics, marks)

        self.in_flight = True
        try:
            for reports in one_behind(launched(), learned, hears_signals=self.hears_signals):
                yield from reports
        except Exception:
            calls = [before for _, before in running if before is not None]
            if not running:  # such as where a batch to train on could not be read
                self.in_flight = False
            elif calls and (buffer := undone(self._layout.mesh, self.held.buffer, calls)) is not None:
                self.held, self.in_flight = self.held._replace(buffer=buffer), False
            raise
        self.in_flight = False

    def take_over(self, lanes: np.ndarray, parents: np.ndarray, numbers: Mapping[str, np.ndarray]) -> None:
        """Let lanes continue from the states of others.

        Args:
            lanes: the lanes, as positions in ``indices``.
            parents: for each of them the lane whose state it takes.
            numbers: columns that change, each ``[all lanes]``.
        """
        self.numbers.update({name: np.array(column) for name, column in numbers.items()})
        changed = {name: as_number(self.numbers[name][lanes]) for name in numbers}
        buffer, constants, places = self.held
        to, origin = (jnp.asarray(self._at(places, which), jnp.int32) for which in (lanes, parents))
        self.held = Held(*self._take_over(buffer, constants, to, origin, changed), places)

    def output(self, held: Held, inputs: Tree) -> jax.ShapeDtypeStruct:
        """The shape and dtype of what ``predict`` gives for one lane."""
        lanes = jax.ShapeDtypeStruct((self.devices * self.chunk,), jnp.int32, sharding=self._layout.spread)
        outputs = jax.eval_shape(self._predict, held.buffer, held.constants, lanes, inputs, self._shared.frozen)
        if not hasattr(outputs, "shape"):
            one = "choose one by task._replace(predict=lambda state, x, h: task.predict(state, x, h)[0])"
            raise ValueError(f"task.predict must return one array, got {jax.tree.structure(outputs)}; {one}")
        return jax.ShapeDtypeStruct(outputs.shape[1:], outputs.dtype)

    def predict(self, held: Held, lanes: np.ndarray, inputs: Tree) -> Iterator[Report]:
        """The outputs of the task for ``inputs`` at the kept states of lanes that are held, chunk by chunk.

        Args:
            held: what this group holds, after some training.
            lanes: the lanes, as positions in ``indices``.
            inputs: what the task predicts on, as ``on_each`` puts it on the devices.

        Yields:
            For each chunk its lanes, their seats, and their outputs, ``[lanes, ...]``, as NumPy arrays.
        """
        yield from one_behind(
            (owners, self._predict(held.buffer, held.constants, self._on_devices(ids), inputs, self._shared.frozen), 1)
            for ids, owners in held.places.calls(lanes)
        )

    def on_each(self, tree: Tree) -> Tree:
        """The tree, once on each of the devices."""
        return self._layout.on_each(tree)

    def lane(self, held: Held, lane: int) -> Lane:
        """The entry of a lane that is held, with NumPy leaves."""
        at = int(self._at(held.places, np.array([lane]))[0])
        return jax.tree.map(lambda x: entry(x, at), held.buffer)

    def _at(self, places: Places, lanes: np.ndarray) -> np.ndarray:
        """The entries of lanes in the whole buffer, device after device."""
        return places.device[lanes] * self.capacity + places.place[lanes]

    def _given(self, lanes: np.ndarray) -> Constants:
        numbers = {name: as_number(column[lanes]) for name, column in self.numbers.items()}
        return Constants(numbers, jnp.asarray(self.indices[lanes], jnp.int32))

    def _empty(self) -> tuple[Tree, Tree]:
        """A buffer and constants without lanes."""
        return build_empty(self._shapes, self.size, self._spread)

    def _initialise(self, ids: np.ndarray, owners: np.ndarray, given: Constants) -> None:
        """Initialise the lanes of a call."""
        del owners
        buffer, constants, places = self.held
        buffer, constants = self._start(buffer, constants, self._on_devices(ids), given, self._shared.keys)
        self.held = Held(buffer, constants, places)

    def _inputs_of(self, segment: int) -> tuple[jax.Array, Tree]:
        """The first step of a segment, and its batches where they stream, on the devices."""
        first_step = segment * self.recipe.eval_every
        return self.on_each(np.int32(first_step)), None if self._feed is None else self._feed.block(first_step)

    def _call(self, ids: jax.Array, step: jax.Array, count: jax.Array, block: Tree):
        buffer, constants, places = self.held
        buffer, outcome = self._trained(buffer, constants, ids, step, count, block)
        self.held = Held(buffer, constants, places)  # the evaluation may raise
        buffer, outcome = self._evaluated(buffer, constants, ids, step, outcome)
        self.held = Held(buffer, constants, places)
        return outcome

    def _trained(self, buffer: Tree, constants: Tree, ids: jax.Array, step: jax.Array, count: jax.Array, block: Tree):
        """The buffer after segments of some of its lanes, which is donated, and their metrics and marks."""
        return self._segments.of(len(ids) // self.devices)(buffer, constants, ids, step, count, self._shared, block)

    def _evaluated(self, buffer: Tree, constants: Tree, ids: jax.Array, step: jax.Array, outcome: Tree):
        """The same after the evaluation, where validation data stream."""
        if self._evaluation is None or self._validation is None:
            return buffer, outcome
        call = Call(buffer, constants, ids, step, self._shared, outcome)
        return self._evaluation.run(call, self._validation.batches())

    def _on_devices(self, ids: np.ndarray) -> jax.Array:
        name = ids.tobytes()
        if name not in self._placed:  # the same lanes come back segment after segment
            if len(self._placed) == 1024:
                self._placed.clear()
            self._placed[name] = jax.device_put(ids, self._layout.spread)
        return self._placed[name]
