"""How many workers can one coordinator of a sweep keep busy?

The coordinator is the real one: table, scheduler, places, shards. The workers are simulated: the time of a call is
drawn at random, and workers die at random and come back. The simulation has a clock of its own, which also advances by
the processor time of the coordinator, but not by that of the simulation itself. The messages of an engine are not
simulated. So one machine shows the work that a thousand workers cause for the coordinator.

    python experiments/benchmarks/coordinator.py configs/coordinator/default.toml
"""

import functools
import heapq
import itertools
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

from _style import BLUE
from regopt import sweep
from regopt._core.io import environment
from regopt.experiment import Claim
from regopt.sweep.engine._recipe import Constants, Lane
from regopt.sweep.executors._messages import Facts, Prepared, Read, Train, Trained
from regopt.sweep.executors._pool import LostError
from regopt.sweep.results._history import Marks
from regopt.testing import MEAN_DATA, MEAN_TASK


@dataclass(frozen=True)
class Config:
    """The sweep and its simulated workers.

    Attributes:
        workers: number of workers.
        shards_of_a_worker: number of shards that the lanes of a worker are divided into.
        settings: number of settings.
        chunk: settings in a call.
        evaluations: segments of a setting.
        eta: reduction factor of asynchronous halving.
        seconds: median time of a call.
        spread: standard deviation of the logarithm of that time.
        failure_hours: mean time until a worker dies.
        restart_seconds: seconds until another worker takes its place.
        seed: random seed of the times.
    """

    workers: Annotated[int, Field(ge=1)] = 1000
    shards_of_a_worker: Annotated[int, Field(ge=1)] = 1
    settings: Annotated[int, Field(ge=1)] = 100_000
    chunk: Annotated[int, Field(ge=1)] = 100
    evaluations: Annotated[int, Field(ge=1)] = 30
    eta: Annotated[float, Field(gt=1)] = 3.0
    seconds: Annotated[float, Field(gt=0)] = 10.0
    spread: Annotated[float, Field(ge=0)] = 0.1
    failure_hours: Annotated[float, Field(gt=0)] = 50.0
    restart_seconds: Annotated[float, Field(ge=0)] = 60.0
    seed: int = 0


def simulated(method):
    """Stop the clock of the coordinator while a method of the simulation computes."""

    @functools.wraps(method)
    def stopped(self, *arguments):
        self.tick()
        try:
            return method(self, *arguments)
        finally:
            self.used = time.process_time()

    return stopped


class SimulatedWorkers:
    """An engine and its pool: leases end at drawn times of a clock that is never waited for."""

    keeps_lanes = True
    mixed = False
    lost_after = 1e9

    def __init__(self, config):
        self.shards = config.workers * config.shards_of_a_worker
        self._config, self._random = config, np.random.default_rng(config.seed)
        self._quality = self._random.uniform(size=config.settings)
        self._numbers = itertools.count()
        self._now, self.used, self.own = 0.0, time.process_time(), 0.0
        self._free = defaultdict(float)  # by worker: when it has done what it was given
        self._dies = {str(worker): self._lifetime() for worker in range(config.workers)}
        self._starts = defaultdict(float)  # by worker: when it is ready
        self._ends, self._leases = [], {}
        self.calls = self.repeated = self.deaths = 0
        self.busy = self.late = self.waited = 0.0

    def pool(self, folder):
        """The workers themselves."""
        del folder
        return self

    def size(self):
        """The number of workers."""
        return self._config.workers

    def open(self, job, data):
        """Return facts without compiling anything."""
        del data
        capacity = -(-self._config.settings // job.shards)
        self._chunk = min(self._config.chunk, capacity)
        facts = Facts(capacity, self._chunk, 0.0, "vmap", ["train_loss", "validation_loss"], {}, 0, 0.0, 0.0)
        return Prepared(environment(jax.local_devices()[:1]), [facts])

    def join(self, job, like):
        """Do nothing, because all workers are there from the start."""

    @simulated
    def workers(self):
        """The workers that live at the moment."""
        return [worker for worker in self._dies if self._starts[worker] <= self._now]

    @simulated
    def submit(self, worker, lease):
        """Draw the end of the lease, which begins after the earlier leases of the worker."""
        handle = next(self._numbers)
        calls = sum(its.end - its.begin for its in lease.operations if isinstance(its, Train))
        draws = np.exp(self._config.spread * self._random.standard_normal(calls))
        begins = max(self._now, self._free[worker])
        self._free[worker] = begins + self._config.seconds * float(draws.sum())
        end = min(self._free[worker], self._dies[worker])
        self.repeated += calls if len(lease.operations) > 1 else 0
        self._leases[handle] = worker, lease, self._free[worker] - begins, self._free[worker] <= self._dies[worker]
        heapq.heappush(self._ends, (end, handle))
        return handle

    def clock(self):
        """Seconds of the simulated clock."""
        return self._now

    @simulated
    def wait(self, handles, seconds):
        """The lease that ends first; the clock advances to its end."""
        del seconds
        while True:
            end, handle = heapq.heappop(self._ends)
            if handle in handles:
                break
        self.waited += max(end - self._now, 0.0)
        self.late += max(self._now - end, 0.0)
        self._now = max(self._now, end)
        return handle

    @simulated
    def result(self, handle):
        """The answers that the worker would have sent."""
        _, lease, seconds, lived = self._leases.pop(handle)
        if not lived:
            raise LostError("it died")
        self.busy += seconds
        return [self._answer(operation) for operation in lease.operations]

    @simulated
    def drop(self, worker):
        """Replace a dead worker by another one after a while."""
        del self._dies[worker]
        self.deaths += 1
        name = f"{worker}'"
        self._starts[name] = self._now + self._config.restart_seconds
        self._dies[name] = self._starts[name] + self._lifetime()

    def close(self):
        """Nothing to end."""

    def _lifetime(self):
        return float(self._random.exponential(3600 * self._config.failure_hours))

    def tick(self):
        """Advance the clock by the processor time that the coordinator has used."""
        used = time.process_time() - self.used
        self._now += used
        self.own += used
        self.used += used

    def _trained(self, course: Train):
        for number in range(course.begin, course.end):
            ahead, call = divmod(number, course.calls)
            segment = int(course.segments.min()) + ahead
            lanes = course.lanes[course.segments <= segment][call * self._chunk : (call + 1) * self._chunk]
            self.calls += 1
            loss = self._quality[lanes] + 1 / (1 + segment)
            nothing: Any = np.zeros(len(lanes), np.int32)
            outcome = {"train_loss": loss, "validation_loss": loss}, Marks(nothing, nothing, nothing)
            yield Trained(segment, lanes, np.arange(len(lanes)), self._chunk, outcome, "")

    def _answer(self, operation: Any) -> Any:
        match operation:
            case Train():
                return list(self._trained(operation))
            case Read(lanes):
                zeros: Any = np.zeros(len(lanes), np.float32)
                whole: Any = np.zeros(len(lanes), np.int32)
                return Lane(zeros, (), whole), Constants({"rate": zeros}, whole)
        return None


def run(config, key):
    """One sweep on the simulated workers."""
    workers = SimulatedWorkers(config)
    result = sweep.run(
        MEAN_TASK,
        sweep.random({"rate": sweep.uniform(0.0, 1.0)}, config.settings, seed=config.seed),
        MEAN_DATA,
        steps=config.evaluations,
        eval_every=1,
        scheduler=sweep.asynchronous_halving(config.eta),
        executor=workers,
    )
    workers.tick()
    return {
        "own_seconds": np.array(workers.own),
        "simulated_seconds": np.array(workers.clock()),
        "calls": np.array(workers.calls),
        "repeated": np.array(workers.repeated),
        "deaths": np.array(workers.deaths),
        "busy": np.array(workers.busy / (workers.clock() * config.workers)),
        "late": np.array(workers.late / max(workers.calls, 1)),
        "waited": np.array(workers.waited / workers.clock()),
        "segments": np.sort(result.history.segments)[::-1],
    }


def figure(config, arrays):
    """How far the settings came."""
    drawing = Figure(figsize=(6, 3.5), layout="constrained")
    axes = drawing.subplots()
    axes.plot(np.arange(1, config.settings + 1), arrays["segments"], color=BLUE, drawstyle="steps-post")
    axes.set(xscale="log", xlabel="settings", ylabel="segments at least", ylim=(0, None))
    return drawing


def claims(config, arrays):
    """The coordinator is no bottleneck."""
    own, simulated = float(arrays["own_seconds"]), float(arrays["simulated_seconds"])
    measured = {
        "the coordinator's own share of the time": (0.02, own / simulated),
        "share of the calls that were done twice": (0.01, float(arrays["repeated"] / arrays["calls"])),
        "seconds from an answer to its place in the table, mean": (1.0, float(arrays["late"])),
    }
    claims = [Claim(name, "measured", bar, value, relation="at most") for name, (bar, value) in measured.items()]
    busy = float(arrays["busy"])
    return [*claims, Claim("share of their time in which workers compute", "measured", 0.9, busy, relation="at least")]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
