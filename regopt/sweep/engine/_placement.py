"""The places of lanes and the calls that train them: bookkeeping in NumPy, without devices.

Where all lanes fit, lane i is on device ``i % devices`` and has the same seat in every call, so that its bits do not
depend on the other lanes that train. Where lanes wait for a place or a scheduler prunes, a lane takes the next seat of
each call, so that calls are full, and the last of the lanes may train in smaller calls; the seats depend only on the
table of the sweep so far.

A place is where a lane lies in the buffer of its device; ``run(slots=...)`` bounds the number of places. A call trains
some lanes at once, each in a seat of the call. A seat is one number for the size of a call, the device and the seat of
the device in it, so the table of seats says all that a lane's bits depend on. Seats of calls with ``chunk`` seats of a
device come first, device after device, then those of smaller calls.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np

from regopt.sweep.space._settings import rows_by

NONE = np.zeros(0, int)
FULL = 0.95  # share of the seats that could be busy; a call with fewer waits until other lanes come to the same step


class Call(NamedTuple):
    """Lanes that are trained together, seat by seat: all seats of the first device, then of the next."""

    places: np.ndarray  # [seats], int32: the places on the device; for padding the capacity of the device
    owners: np.ndarray  # [seats], int: the lanes, -1 for padding


class Sizes:
    """The sizes of calls: ``chunk`` seats of a device, and a quarter of that, and so on down to one.

    Args:
        chunk: the seats of a device in the largest calls.
        devices: the number of devices.
    """

    def __init__(self, chunk: int, devices: int):
        self.devices = devices
        found = [chunk]
        while found[-1] > 1:
            found.append(max(found[-1] // 4, 1))
        self.chunks = np.array(found)  # seats of a device, largest first
        self.firsts = devices * (np.cumsum(found) - found)  # the number of the first seat of each size
        self._firsts, self._chunks = self.firsts.tolist(), found  # for single seats, which Python finds faster
        self._first_of = dict(zip(found, self._firsts, strict=True))

    def device_of(self, seat: int) -> int:
        """The device of a seat."""
        size = self.of(seat)
        return int(seat - self.firsts[size]) // int(self.chunks[size])

    def of(self, seats: np.ndarray | int) -> np.ndarray:
        """The size of the call of each seat, counted from the largest."""
        return np.searchsorted(self.firsts, seats, "right") - 1

    def first_of(self, chunk: int) -> int:
        """The number of the first seat in calls with ``chunk`` seats of a device."""
        return self._first_of[chunk]

    def chunk_of(self, seats: np.ndarray) -> int:
        """The number of seats of a device in the call that has these seats."""
        return self._chunks[bisect_right(self._firsts, seats[0]) - 1]

    def divided(self, count: int, price: float, compiled: set[int]) -> list[int]:
        """The sizes of calls, counted from the largest, in which a device trains ``count`` lanes.

        Each new size costs the compilation of a program; padding costs the time of a lane.

        Args:
            count: the number of lanes.
            price: the price of all that a lane has yet to train, as a share of the price of a compilation.
            compiled: the sizes that cost no compilation.

        Returns:
            The sizes of the cheapest choice, in descending order; of equally cheap choices, that of the largest calls.
        """
        found = [self._with_smallest(count, smallest) for smallest in range(len(self.chunks))]
        return min(found, key=lambda sizes: price * self.chunks[sizes].sum() + len({*sizes} - compiled))

    def _with_smallest(self, count: int, smallest: int) -> list[int]:
        sizes: list[int] = []
        for size, chunk in enumerate(self.chunks[: smallest + 1].tolist()):
            # up to this many lanes go to smaller calls, which take less time
            elsewhere = chunk - int(self.chunks[size + 1]) if size < smallest else 0
            while count > elsewhere:
                sizes.append(size)
                count -= chunk
        return sizes


class Places:
    """The places of the lanes, and the order in which waiting lanes come.

    Args:
        lanes: the number of lanes.
        devices: the number of devices that they are divided among.
        capacity: the number of places of a device.
        chunk: the number of seats of a device in a call.
        packed: whether a lane takes the next seat of each call, even where all lanes fit.
    """

    def __init__(self, lanes: int, devices: int, capacity: int, chunk: int, *, packed: bool = False):
        self.devices, self.capacity, self.chunk = devices, capacity, chunk
        self.sizes = Sizes(chunk, devices)
        self._last: tuple[tuple[bytes, ...], list[Call]] = (), []  # the calls that were asked for last, by their lanes
        self.streams = lanes > devices * capacity
        self.packed = packed or self.streams
        self.device = np.full(lanes, -1)  # [lanes], -1 before the start
        self.place = np.full(lanes, -1)  # [lanes]: the place on the device, -1 without one
        if self.streams:
            self._arrange()

    @property
    def waves(self) -> np.ndarray:
        """[lanes], int: the wave of each lane, counted from 0; all lanes of a wave find a place at the same time."""
        return np.arange(len(self.place)) // (self.devices * self.capacity)

    @property
    def waiting(self) -> np.ndarray:
        """[lanes], bool: not started."""
        return self.device < 0

    def restore(self, device: np.ndarray, place: np.ndarray) -> None:
        """Restore the places of the lanes and which of them have started."""
        self.device, self.place = np.array(device), np.array(place)
        if self.streams:
            self._arrange()

    def alone(self, lane: int | None, device: int = 0) -> None:
        """Hold one lane and no other, as if it had just come, or no lane at all."""
        self.device[:], self.place[:] = 0, -1
        if lane is not None:
            self.device[lane], self.place[lane] = device, 0
        if self.streams:
            self._arrange()

    def leavers(self, ended: np.ndarray) -> np.ndarray:
        """The ended lanes, ``[lanes]`` bool, that give up their places: no more of them than lanes that wait."""
        if not self.streams:
            return np.zeros(0, int)
        room = sum(map(len, self._free))
        return np.flatnonzero(ended & (self.place >= 0))[: max(len(self._queue) - room, 0)]

    def admit(self, leavers: np.ndarray) -> np.ndarray:
        """Give places to waiting lanes in their order, each on the device with the most free places.

        Args:
            leavers: lanes that give up their places.

        Returns:
            The lanes that were given places.
        """
        if not self.streams:
            comers = np.flatnonzero(self.waiting)
            self.device[comers], self.place[comers] = comers % self.devices, comers // self.devices
            return comers
        for lane in leavers:
            heappush(self._free[self.device[lane]], int(self.place[lane]))
            self.place[lane] = -1
        comers = []
        while self._queue and any(self._free):
            lane, device = self._queue.popleft(), int(np.argmax([len(free) for free in self._free]))
            self.device[lane], self.place[lane] = device, heappop(self._free[device])
            comers.append(lane)
        return np.array(comers, int)

    def ready(self, segments: np.ndarray, going: np.ndarray, wait: np.ndarray) -> np.ndarray:
        """The lanes of the next round: those of calls that are full, or that no other lane can fill further.

        Args:
            segments: [lanes], int: number of segments done.
            going: [lanes], bool: not ended, whether started or not.
            wait: [lanes], bool: those of them that must not train yet.

        Returns:
            [lanes], bool.
        """
        able = going & ~wait & (self.place >= 0)
        could = self._could_fill(going)
        chosen = np.zeros_like(able)
        fullest = np.zeros(0, int)
        more_come = bool(np.any(going & self.waiting))
        for age in np.unique(segments[able]):
            for _, owners in self.calls(np.flatnonzero(able & (segments == age))):
                lanes = owners[owners >= 0]
                if len(lanes) >= FULL * could or not more_come:
                    chosen[lanes] = True
                elif len(lanes) > len(fullest):
                    fullest = lanes
            more_come = True  # the lanes of this step come to a later one
        if not chosen.any():
            chosen[fullest] = True
        return chosen

    def plan(self, lanes: np.ndarray, price: float = 0.0, before: np.ndarray = NONE) -> np.ndarray:
        """The seats in which lanes that have a place train.

        Args:
            lanes: the lanes.
            price: the price of all that each of them has yet to train, as a share of the price of a compilation; where
                it is high, the last of the lanes train in smaller calls.
            before: the seats of earlier calls, whose programs are compiled.

        Returns:
            [lanes]: the seat of each; lanes with the same seat train in their order.
        """
        if not self.packed:
            return self.device[lanes] * self.chunk + self.place[lanes] % self.chunk
        rank = _rank(self.device[lanes])
        compiled = {0, *np.unique(self.sizes.of(before)).tolist()}
        sizes = self.sizes.divided(int(rank.max(initial=-1)) + 1, price, compiled)
        chunks = self.sizes.chunks[sizes]
        ends = np.cumsum(chunks)
        call = np.searchsorted(ends, rank, "right")
        chunk = chunks[call]
        return self.sizes.firsts[sizes][call] + self.device[lanes] * chunk + rank - (ends - chunks)[call]

    def calls(self, lanes: np.ndarray, seats: np.ndarray | None = None) -> Iterator[Call]:
        """The calls that train lanes that have a place.

        Args:
            lanes: the lanes.
            seats: [lanes]: the seat of each; by default from ``plan``.

        Yields:
            Calls in which no two lanes have the same seat, the largest first.
        """
        seats = self.plan(lanes) if seats is None else seats
        name = lanes.tobytes(), seats.tobytes(), self.place[lanes].tobytes()
        if name != self._last[0]:  # the same lanes come back segment after segment
            self._last = name, list(self._calls(lanes, seats))
        yield from self._last[1]

    def count_calls(self, seats: np.ndarray) -> int:
        """The number of calls that train lanes with these seats."""
        return len(np.unique(self._numbers_of_calls(seats)))

    def _numbers_of_calls(self, seats: np.ndarray) -> np.ndarray:
        """For each seat a number of its call, the largest calls first; equal seats are in different calls."""
        return self.sizes.of(seats) * len(seats) + _rank(seats)

    def _calls(self, lanes: np.ndarray, seats: np.ndarray) -> Iterator[Call]:
        for now in rows_by(self._numbers_of_calls(seats)):
            size = int(self.sizes.of(seats[now[0]]))
            first = int(self.sizes.firsts[size])
            places = np.full(self.devices * self.sizes.chunks[size], self.capacity, np.int32)
            owners = np.full(len(places), -1)
            places[seats[now] - first], owners[seats[now] - first] = self.place[lanes[now]], lanes[now]
            yield Call(places, owners)

    def _could_fill(self, going: np.ndarray) -> int:
        """The number of seats of a call for which there is a lane that has not ended."""
        if self.packed:
            return min(self.devices * self.chunk, int(going.sum()))
        lanes = np.flatnonzero(going)
        return len(np.unique(lanes % self.devices * self.chunk + lanes // self.devices % self.chunk))

    def _arrange(self) -> None:
        """Compute the free places and the queue from the places of the lanes."""
        self._queue = deque(np.flatnonzero(self.waiting))
        self._free = []
        for device in range(self.devices):
            taken = set(self.place[self.device == device].tolist())
            self._free.append([place for place in range(self.capacity) if place not in taken])
        for free in self._free:
            heapify(free)


def _rank(values: np.ndarray) -> np.ndarray:
    """For each entry the number of equal entries before it."""
    order = np.argsort(values, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order)) - np.searchsorted(values[order], values[order])
    return rank
