"""A group: settings that share a program, their lanes in one buffer on the devices, and the calls that train them."""

from collections.abc import Callable, Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.types import Tree
from regopt.sweep.engine._checks import check_leaves
from regopt.sweep.engine._devices import bytes_of
from regopt.sweep.engine._entries import entry
from regopt.sweep.engine._evaluation import Call
from regopt.sweep.engine._executables import Executables
from regopt.sweep.engine._feed import Feed, ValidationFeed
from regopt.sweep.engine._form import Mapped, Rest, form_of
from regopt.sweep.engine._layout import Layout
from regopt.sweep.engine._placement import Places
from regopt.sweep.engine._program import build_empty, build_take_over, entry_of, lane_shapes
from regopt.sweep.engine._programs import HasPrograms
from regopt.sweep.engine._recipe import Constants, Held, Lane, Recipe, Report, Shared, as_number, one_behind
from regopt.sweep.engine._turns import Turns
from regopt.sweep.engine._undo import Before, before_call, undone


class Group(HasPrograms):
    """The lanes of one group of settings on their devices; it trains once ``compile`` has made its programs.

    Args:
        recipe: the recipe by which they train.
        numbers: the traced columns, each ``[lanes]``.
        indices: which settings of the sweep the lanes are, ``[lanes]``.
        shared: what all lanes read, on the devices but for what is frozen.
        executables: the programs of all groups.
        layout: of the lanes on the devices.
        chunk: lanes of a device in one call; None measures what fits.
        slots: lanes that lie on the devices at the same time; None holds all, or as many as fit.
        packed: whether calls are filled with whoever trains; else each lane has a seat of its own.
        share: of the sweep's settings, those of this group: so much of the memory is for it.
        mapping: whether the lanes of a call run at once ("vmap") or one after the other ("map"); None chooses by the
            program.
        feed: the batches of data that stream; None where they are in ``shared``.
        validation: the validation batches that stream; None where they are in ``shared``.
        going: of the lanes, the share that trains each segment, where a scheduler tells.
    """

    hears_signals = True  # see ``one_behind``
    rest: Rest = "device"
    in_flight = False

    def __init__(
        self,
        recipe: Recipe,
        numbers: Mapping[str, np.ndarray],
        indices: np.ndarray,
        shared: Shared,
        executables: Executables,
        layout: Layout,
        chunk: int | None,
        slots: int | None = None,
        packed: bool = False,
        share: float = 1.0,
        mapping: Mapped | None = None,
        feed: Feed | None = None,
        validation: ValidationFeed | None = None,
        going: tuple[float, ...] = (),
    ):
        self._packed, self.indices = packed, indices
        self._layout, self.used, self.devices = layout, layout.devices, layout.rows
        self._numbers = {name: column[indices] for name, column in numbers.items()}
        self.numbers = dict(self._numbers)  # the current values
        self.recipe, self._executables = recipe, executables
        self._feed, self._validation = feed, validation
        self.held: Held
        self._placed: dict[bytes, jax.Array] = {}
        given = self._given(np.zeros(1, int))
        self._shapes = lane_shapes(recipe, shared.keys, given), entry_of(given)
        check_leaves(self._shapes[0].state, len(layout.devices))
        self.lane_bytes = bytes_of(self._shapes)
        arrays = shared, None if feed is None else feed.form, self._shapes, len(indices)
        batch = None if validation is None else validation.form
        self.form = form_of(recipe, layout, *arrays, slots, chunk, mapping, share, self.rest, batch, going)
        self.capacity, self.device_bytes = self.form.capacity, self.form.lane_bytes
        at_rest = self.form.shared.shardings(layout.mesh).frozen
        self._shared = shared._replace(frozen=jax.device_put(shared.frozen, at_rest))
        self._spread = self.form.lane.shardings(layout.mesh, self.size)  # of the buffer and the constants
        self._take_over = build_take_over(*self._spread)

    @property
    def frozen(self) -> Tree:
        """The parameters that are not trained, on the devices; None where all are."""
        return self._shared.frozen

    @property
    def lane_form(self) -> Lane:
        """A lane with shapes in place of its arrays."""
        return self._shapes[0]

    @property
    def size(self) -> int:
        """The number of entries of the buffer."""
        return self.devices * self.capacity

    def clear(self) -> None:
        """Hold no lane, so that all wait for a place; arrays that were held before stay as they are."""
        places = Places(len(self.indices), self.devices, self.capacity, self.chunk, packed=self._packed)
        buffer, constants = build_empty(self._shapes, self.size, self._spread)
        self.numbers, self.in_flight = dict(self._numbers), False
        self.held = Held(buffer, constants, places)

    def collect(self) -> tuple[Tree, Tree]:
        """The buffer and the constants of all lanes, to be saved."""
        return self.held.buffer, self.held.constants

    def hold(self, buffer: Tree, constants: Tree, places: Places) -> None:
        """Go on from what ``collect`` gave."""
        self.held = Held(buffer, constants, places)

    def settle(self) -> None:
        """Bring the lanes to where results read them; here they are."""

    def release(self) -> None:
        """Free the arrays on the devices; the places stay."""
        self.held = Held(None, None, self.held.places)

    def start(self, lanes: np.ndarray) -> None:
        """Initialise lanes that have a place, before their first step; ``in_flight`` is true until it is done."""
        self.in_flight = True
        for ids, owners in self.held.places.calls(lanes):
            given = jax.device_put(self._given(np.maximum(owners, 0)), self._layout.spread)
            buffer, constants, places = self.held
            buffer, constants = self._start(buffer, constants, self._on_devices(ids), given, self._shared.keys)
            self.held = Held(buffer, constants, places)
        self.in_flight = False

    def train(
        self, lanes: np.ndarray, first_step: int, halt: Callable[[], bool], seats: np.ndarray | None = None
    ) -> Iterator[Report]:
        """Train one segment of each of the lanes, chunk by chunk; the next chunk runs while one is read.

        Args:
            lanes: the lanes, as positions in ``indices``.
            first_step: number of steps that they have done.
            halt: asked before each chunk; after it returns True none is started, and those that run are still read.
            seats: the seat in which to train each of the lanes; by default as ``Places`` says.

        Yields:
            For each chunk its lanes, their seats, and the pair of their metrics and marks, as NumPy arrays ``[lanes]``.

        While this runs, ``in_flight`` is true: the lanes on the devices may be ahead of what was reported. If a program
        that calls Python fails, or a validation batch cannot be read, they are put back to where they were after the
        last report.
        """
        segment = first_step // self.recipe.eval_every
        done, seats = np.full(len(lanes), segment), self.held.places.plan(lanes) if seats is None else seats
        for _, report in self._train(Turns(self.held.places, lanes, done, segment + 1, seats), halt):
            yield report

    def advance(
        self, lanes: np.ndarray, segments: np.ndarray, until: int, halt: Callable[[], bool], seats: np.ndarray
    ) -> Iterator[tuple[int, str, int, Report]]:
        """Train lanes that have done so many segments towards ``until``, or one segment of those that are behind.

        One where data stream, because a reader keeps few blocks, or a call may fail.

        Yields:
            Of each call the segment, the kind of its device where the fleet is mixed, the number of its seats, busy or
            not, and its report; see ``train``.
        """
        first = int(segments.min())
        end = until if self._feed is None and self._fails is None else first + 1
        for segment, report in self._train(Turns(self.held.places, lanes, segments, end, seats), halt):
            yield segment, "", self.seats_of(report), report

    def seats_of(self, report: Report) -> int:
        """The number of seats of the call that gave a report, busy or not."""
        return self.devices * self.held.places.sizes.chunk_of(report[1])

    def _train(self, turns: Turns, halt: Callable[[], bool]) -> Iterator[tuple[int, Report]]:
        """Train in these turns; the segment of each call, and its report."""
        # of calls that are not reported: the segment, the first seat, and what they change
        before: list[tuple[int, int, Before | None]] = []

        def launched() -> Iterator[tuple[np.ndarray, Tree] | None]:
            given: dict[int, tuple[jax.Array, Tree]] = {}  # of the segment: its first step and its batches
            for turn in turns:
                if turn is None:
                    yield None
                    continue
                segment, (ids, owners) = turn
                if halt():
                    return
                if segment not in given:
                    first_step = segment * self.recipe.eval_every
                    block = None if self._feed is None else self._feed.block(first_step)
                    given = {segment: (jax.device_put(np.int32(first_step), self._layout.same), block)}
                its, seat = self._on_devices(ids), self.held.places.sizes.first_of(len(ids) // self.devices)
                before.append((segment, seat, before_call(self._layout.mesh, self.held.buffer, its, self._fails)))
                yield owners, self._call(its, *given[segment])

        self.in_flight = True
        try:
            for trained, at, outcome in one_behind(launched(), hears_signals=self.hears_signals):
                segment, seat, _ = before.pop(0)
                metrics, marks = outcome.unpacked()
                turns.read(trained, marks)
                yield segment, (trained, seat + at, (metrics, marks))
        except Exception:
            calls = [kept for _, _, kept in before if kept is not None]
            if not before:  # such as where a batch to train on could not be read
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
        buffer, constants = self._take_over(buffer, constants, to, origin, changed)
        self.held = Held(buffer, constants, places)

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
            (owners, self._predict(held.buffer, held.constants, self._on_devices(ids), inputs, self._shared.frozen))
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

    def _call(self, ids: jax.Array, step: jax.Array, block: Tree):
        buffer, constants, places = self.held
        buffer, outcome = self._trained(buffer, constants, ids, step, block)
        self.held = Held(buffer, constants, places)  # the evaluation may raise
        buffer, outcome = self._evaluated(buffer, constants, ids, step, outcome)
        self.held = Held(buffer, constants, places)
        return outcome

    def _trained(self, buffer: Tree, constants: Tree, ids: jax.Array, step: jax.Array, block: Tree):
        """The buffer after a segment of some of its lanes, which is donated, and their metrics and marks."""
        return self._segments.of(len(ids) // self.devices)(buffer, constants, ids, step, self._shared, block)

    def _evaluated(self, buffer: Tree, constants: Tree, ids: jax.Array, step: jax.Array, outcome: Tree):
        """The same after the evaluation, where validation data stream."""
        if self._evaluation is None or self._validation is None:
            return buffer, outcome
        return self._evaluation.run(
            Call(buffer, constants, ids, step, self._shared, outcome), self._validation.batches()
        )

    def _on_devices(self, ids: np.ndarray) -> jax.Array:
        name = ids.tobytes()
        if name not in self._placed:  # the same lanes come back segment after segment
            if len(self._placed) == 1024:
                self._placed.clear()
            self._placed[name] = jax.device_put(ids, self._layout.spread)
        return self._placed[name]
