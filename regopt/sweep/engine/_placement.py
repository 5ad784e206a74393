"""The places of lanes and the calls that train them: bookkeeping in NumPy, without devices.

Where all lanes fit, lane i is on device ``i % devices`` and has the same slot in every call, so that its bits do not
depend on the other lanes that train. Where lanes wait for a place or a scheduler prunes, a lane takes the next slot of
each call, so that calls are full; the slots depend only on the course of the sweep so far.
"""

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np

FULL = 0.95  # share of the slots that could be busy; a call with fewer waits until other lanes come to the same step


class Call(NamedTuple):
    """Lanes that are trained together, slot by slot: ``chunk`` slots of the first device, then of the next."""

    places: np.ndarray  # [devices * chunk], int32: the places on the device; its capacity for padding
    owners: np.ndarray  # [devices * chunk], int: the lanes, -1 for padding


class Places:
    """The places of the lanes, and the order in which waiting lanes come.

    Args:
        lanes: the number of lanes.
        devices: the number of devices that they are divided among.
        capacity: the number of places of a device.
        chunk: the number of slots of a device in a call.
        packed: whether a lane takes the next slot of each call, even where all lanes fit.
    """

    def __init__(self, lanes: int, devices: int, capacity: int, chunk: int, *, packed: bool = False):
        self.devices, self.capacity, self.chunk = devices, capacity, chunk
        self.streams = lanes > devices * capacity
        self.packed = packed or self.streams
        self.device = np.full(lanes, -1)  # [lanes], -1 before the start
        self.place = np.full(lanes, -1)  # [lanes]: the place on the device, -1 without one
        if self.streams:
            self._arrange()

    @property
    def waves(self) -> np.ndarray:
        """[lanes], int: lanes of one wave, counted from 0, all find a place at the same time."""
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

    def calls(self, lanes: np.ndarray, slots: np.ndarray | None = None) -> Iterator[Call]:
        """The calls that train lanes that have a place.

        Args:
            lanes: the lanes.
            slots: [lanes]: the slot of each, counted over all devices; by default as the class describes.

        Yields:
            Calls in which no two lanes have the same slot.
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
        """The number of slots of a call for which there is a lane that has not ended."""
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
