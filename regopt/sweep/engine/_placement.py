"""Which lane lies where, and which lanes are trained together: bookkeeping in NumPy, of no device.

Where all lanes find room, lane i lies on device ``i % devices`` for good and has one slot in every call, so that its
bits don't depend on who trains beside it. Where lanes are cut or wait for room, a lane takes the next slot of each
call, so that calls are full; who gets which slot depends on the course so far and nothing else.
"""

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np

FULL = 0.95  # of the slots that could be busy: a call with fewer waits for others to come to the same step


class Call(NamedTuple):
    """Lanes that are trained together, slot by slot: ``chunk`` slots of the first device, then of the next."""

    places: np.ndarray  # [devices * chunk], int32: on their device; its capacity for padding
    owners: np.ndarray  # [devices * chunk], int: the lanes, -1 for padding


class Places:
    """Where the lanes lie, and who comes next.

    Args:
        lanes: how many there are.
        devices: among how many devices they are divided.
        capacity: places of a device.
        chunk: slots of a device in a call.
        packed: whether a lane takes the next slot of each call, also where all find room.
    """

    def __init__(self, lanes: int, devices: int, capacity: int, chunk: int, *, packed: bool = False):
        self.devices, self.capacity, self.chunk = devices, capacity, chunk
        self.streams = lanes > devices * capacity
        self.packed = packed or self.streams
        self.device = np.full(lanes, -1)  # [lanes], -1 before it has begun
        self.place = np.full(lanes, -1)  # [lanes]: on its device, -1 where it holds none
        if self.streams:
            self._arrange()

    @property
    def waves(self) -> np.ndarray:
        """[lanes], int: lanes of one wave, counted from 0, all find a place at the same time."""
        return np.arange(len(self.place)) // (self.devices * self.capacity)

    @property
    def waiting(self) -> np.ndarray:
        """[lanes], bool: not begun."""
        return self.device < 0

    def restore(self, device: np.ndarray, place: np.ndarray) -> None:
        """Take over where the lanes lay and who had begun."""
        self.device, self.place = np.array(device), np.array(place)
        if self.streams:
            self._arrange()

    def alone(self, lane: int | None, device: int = 0) -> None:
        """Hold one lane and nothing else, as if it had just come, or none at all."""
        self.device[:], self.place[:] = 0, -1
        if lane is not None:
            self.device[lane], self.place[lane] = device, 0
        if self.streams:
            self._arrange()

    def leavers(self, ended: np.ndarray) -> np.ndarray:
        """Ended lanes, ``[lanes]`` bool, for whose places others wait: no more of them than wait."""
        if not self.streams:
            return np.zeros(0, int)
        room = sum(map(len, self._free))
        return np.flatnonzero(ended & (self.place >= 0))[: max(len(self._queue) - room, 0)]

    def admit(self, leavers: np.ndarray) -> np.ndarray:
        """Let lanes in as far as there is room: in their order, each to the device with the most.

        Args:
            leavers: lanes that give their places back.

        Returns:
            The lanes that have come.
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
        """The lanes of the next round: those of calls that are full, or that none can fill further.

        Args:
            segments: [lanes], int: segments done.
            going: [lanes], bool: not ended, be they begun or not.
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
            more_come = True  # to a later step: the lanes of this one
        if not chosen.any():
            chosen[fullest] = True
        return chosen

    def calls(self, lanes: np.ndarray, slots: np.ndarray | None = None) -> Iterator[Call]:
        """Calls for lanes that have a place.

        Args:
            lanes: which.
            slots: [lanes]: of each its slot, counted over all devices; by default as this class says.

        Yields:
            Calls in which no two lanes have one slot.
        """
        if slots is None and self.packed:
            rank = _rank(self.device[lanes])
            turns, slots = rank // self.chunk, self.device[lanes] * self.chunk + rank % self.chunk
        else:
            if slots is None:
                slots = self.device[lanes] * self.chunk + self.place[lanes] % self.chunk
            turns = _rank(slots)
        for turn in range(turns.max(initial=-1) + 1):
            now = turns == turn
            places = np.full(self.devices * self.chunk, self.capacity, np.int32)
            owners = np.full(self.devices * self.chunk, -1)
            places[slots[now]], owners[slots[now]] = self.place[lanes[now]], lanes[now]
            yield Call(places, owners)

    def _could_fill(self, going: np.ndarray) -> int:
        """Slots of a call for which a lane that has not ended is left."""
        if self.packed:
            return min(self.devices * self.chunk, int(going.sum()))
        lanes = np.flatnonzero(going)
        return len(np.unique(lanes % self.devices * self.chunk + lanes // self.devices % self.chunk))

    def _arrange(self) -> None:
        """Free places and queue, from where the lanes lie and who has begun."""
        self._queue = deque(np.flatnonzero(self.waiting))
        self._free = []
        for device in range(self.devices):
            taken = set(self.place[self.device == device].tolist())
            self._free.append([place for place in range(self.capacity) if place not in taken])
        for free in self._free:
            heapify(free)


def _rank(values: np.ndarray) -> np.ndarray:
    """For each entry how many equal ones come before it."""
    order = np.argsort(values, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order)) - np.searchsorted(values[order], values[order])
    return rank
