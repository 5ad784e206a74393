"""Ray as the engine of a sweep: one actor for each worker, placed by Ray."""

import importlib
import logging
import time
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from regopt._core.checks import check_switch
from regopt._core.messages import one_line
from regopt._core.numerics import check_number, check_whole
from regopt._core.types import Tree
from regopt.data import Splits
from regopt.sweep.executors import _ray_cluster as cluster
from regopt.sweep.executors._fleet import check_alike
from regopt.sweep.executors._messages import Failure, Job, Lease, Left, Prepared
from regopt.sweep.executors._modules import own_modules
from regopt.sweep.executors._pool import LostError, checked
from regopt.sweep.executors._worker import ActingWorker

_LOG = logging.getLogger(__name__)
_START_SECONDS = 60.0  # to wait for the first workers
_PLACE_SECONDS = 10.0  # of these, for processes to run; Ray counts a dead node's room for about 15 s
_STARTS = 3  # attempts to start the first worker
_LOOK_SECONDS = 2.0  # between looks for room in the cluster


@dataclass(frozen=True)
class Ray:
    """Train a sweep on a Ray cluster: one actor for each worker, which holds its lanes on its device.

    The resources of a worker are written as for any Ray actor. A worker computes on its first JAX device, so give it
    one accelerator. Workers that die or whose node is removed are replaced where the cluster has room, and workers are
    added where the cluster grows; their lanes go on from where they were last read, at most ``save_every`` seconds ago,
    bit for bit. A worker that receives SIGTERM finishes the calls that it is running and hands its lanes over.

    Args:
        address: the address of the cluster; "auto" is the one that this machine belongs to. None joins what
            ``ray.init`` has connected to, or the cluster at ``RAY_ADDRESS``, or else starts one on this machine.
        workers: the number of workers, >= 1; None takes as many as the cluster has room for.
        num_cpus: CPUs of a worker, > 0.
        num_gpus: GPUs of a worker, >= 0; None gives each one GPU, or else one TPU chip, where the cluster has any.
        resources: other resources of a worker, such as ``{"TPU": 1}``.
        shards: pieces that the lanes are divided into, >= 1; each is held by one worker, and they move to workers that
            join. A shard computes as one device does: the result is bit for bit that of one process with as many
            devices. None takes one to four for each worker that there is room for at the start, as long as each shard
            has 64 settings; a later sweep with the same object also counts workers that have been lost since.
        lost_after: seconds without an answer after which a worker counts as lost, > 0. It must be longer than one call,
            than the work that is repeated when a worker is lost, and than the compilation of the programs.
        runtime_env: the environment of the workers, as Ray takes it.
        mixed: whether workers may have different kinds of devices of one platform, with the chunk of the first one. The
            results then depend in their last bits on which worker trains what; a column ``device`` of the table names
            the kind of device on which a setting was last trained.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> from regopt import sweep
        >>> sweep.Ray(num_gpus=1, lost_after=60.0).num_gpus
        1

    References:
        Moritz, P., Nishihara, R., Wang, S., Tumanov, A., Liaw, R., Liang, E., Elibol, M., Yang, Z., Paul, W., Jordan,
        M. I., & Stoica, I. (2018). Ray: A distributed framework for emerging AI applications. OSDI. Section 4.2.
    """

    address: str | None = None
    workers: int | None = None
    num_cpus: float = 1
    num_gpus: float | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    shards: int | None = None
    lost_after: float = 600.0
    runtime_env: Mapping[str, object] = field(default_factory=dict)
    mixed: bool = False
    _sizes: list[int] = field(default_factory=list, init=False, repr=False, compare=False)  # of its sweeps

    def __post_init__(self) -> None:
        """Check the arguments."""
        for name in ("workers", "shards"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), "[1, inf)")
        check_number("num_cpus", self.num_cpus, "(0, inf)")
        if self.num_gpus is not None:
            check_number("num_gpus", self.num_gpus, "[0, inf)")
        check_number("lost_after", self.lost_after, "(0, inf)")
        check_switch("mixed", self.mixed)

    def pool(self, folder: Path | None) -> "RayPool":
        """See ``Engine``."""
        del folder
        return RayPool(self)


class RayPool:
    """Workers that are actors of Ray; see ``Pool``."""

    keeps_lanes = True

    def __init__(self, options: Ray):
        try:
            self._ray = importlib.import_module("ray")
        except ImportError as error:
            raise ValueError('executor="ray" needs Ray: pip install "regopt[ray]"') from error
        self._options, self.lost_after = options, options.lost_after
        self._actors: dict[str, cluster.Actor] = {}
        self._starting: dict[Hashable, cluster.Starting] = {}  # by the handle of ``prepare``
        self._refused: dict[str, cluster.Actor] = {}  # which keep their room, so that no other one starts there
        self._answered: dict[Hashable, None] = {}  # handles that have an answer, which nobody has asked for
        self._needs: dict[str, float] = {}  # the resources of a worker, once the cluster is known
        self._count, self._looked, self._trains = 0, 0.0, False  # the last: whether the start is over
        self._job: Job | None = None
        self._expected: Prepared | None = None
        self._examples: Splits | None = None
        self._data: object = None  # the examples in the object store

    def size(self) -> int:
        """See ``Pool``; no fewer than for earlier sweeps, so that a sweep after a loss gives the same bits."""
        self._options._sizes.append(self._room())
        return max(self._options._sizes)

    def _room(self) -> int:
        cluster.connect(self._ray, self._options.address)
        options, there = self._options, self._ray.cluster_resources()
        if not self._needs:
            one = cluster.accelerator(there) if options.num_gpus is None else {"GPU": options.num_gpus}
            self._needs = {"CPU": options.num_cpus, "GPU": 0, **one, **options.resources}
        return cluster.room_for(self._needs, there, options.workers)

    def open(self, job: Job, data: Splits) -> Prepared:
        """See ``Pool``."""
        if self._room() < 1:
            raise ValueError(cluster.no_room(self._needs, self._ray.cluster_resources()))
        self._examples, self._job = data, job
        for module in own_modules():
            self._ray.cloudpickle.register_pickle_by_value(module)
        return self._first(job, _STARTS)

    def _first(self, job: Job, attempts: int) -> Prepared:
        """The report of the first worker that is ready; a worker that is lost is replaced until no attempt is left."""
        its = self._starting[handle := self._start(job)]
        try:
            while not self._ray.wait([handle], timeout=min(_START_SECONDS, self.lost_after))[0]:
                self._give_up_late()
                if handle not in self._starting:
                    raise LostError(self._too_late)
                if not its.runs:
                    cluster.say_free(self._ray, "no worker of Ray has started yet")
            self._actors[its.name] = self._starting.pop(handle).actor
            return checked(self._get(handle))
        except LostError as error:
            attempts -= its.runs or its.name in self._actors  # one that had no room so far does not count
            self.drop(its.name)
            if attempts == 0:
                raise ValueError(f"no worker of Ray starts: {error}") from error
        return self._first(job, attempts)

    def join(self, job: Job, like: Prepared) -> None:
        """See ``Pool``."""
        self._job, self._expected = job, like
        self._look()
        began = time.monotonic()
        waited = _START_SECONDS  # so that lanes need not move right after the start
        while self._starting and time.monotonic() - began < waited:
            self._ray.wait(list(self._starting), num_returns=len(self._starting), timeout=1.0)
            self._greet()
            waited = _START_SECONDS if any(its.runs for its in self._starting.values()) else _PLACE_SECONDS
        self._greet()
        self._trains = True

    def workers(self) -> list[str]:
        """See ``Pool``."""
        self._look()
        said = time.monotonic()
        while not self._actors:
            if time.monotonic() - said > _START_SECONDS:
                said = time.monotonic()
                cluster.say_free(self._ray, "no worker of Ray is left, and the sweep waits for another one")
            if not self._starting:
                self._looked = 0.0
                self._look()
            self._ray.wait(list(self._starting), timeout=_LOOK_SECONDS) if self._starting else time.sleep(1)
            self._greet()
        return list(self._actors)

    def submit(self, worker: str, lease: Lease) -> Hashable:
        """See ``Pool``."""
        return self._actors[worker].run.remote(lease)

    def clock(self) -> float:
        """See ``Pool``."""
        return time.monotonic()

    def wait(self, handles: Collection[Hashable], seconds: float) -> Hashable | None:
        """See ``Pool``."""
        found = next((handle for handle in self._answered if handle in handles), None)
        if found is None:
            self._answered = dict.fromkeys(self._found(list(handles), seconds))
            found = next(iter(self._answered), None)
        self._answered.pop(found, None)
        return found

    def _found(self, handles: list[Hashable], seconds: float) -> list[Hashable]:
        """All handles that have an answer, since Ray looks at each handle in every call; none after some seconds."""
        ready, _ = self._ray.wait(handles, num_returns=1, timeout=seconds)
        if ready and len(handles) > 1:
            ready, _ = self._ray.wait(handles, num_returns=len(handles), timeout=0)
        return ready

    def result(self, handle: Hashable) -> list[Tree] | Failure | Left:
        """See ``Pool``."""
        return self._get(handle)

    def _get(self, handle: Hashable):
        try:
            return self._ray.get(handle)
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError as error:
            raise LostError(cluster.ends_of(str(error))) from error

    def drop(self, worker: str) -> None:
        """See ``Pool``."""
        actor = self._actors.pop(worker, None)
        if actor is not None:
            self._ray.kill(actor)
        self._looked = 0.0

    def close(self) -> None:
        """See ``Pool``."""
        for actor in [*self._actors.values(), *self._refused.values(), *(its.actor for its in self._starting.values())]:
            self._ray.kill(actor)
        self._actors, self._refused, self._starting, self._answered = {}, {}, {}, {}
        self._data, self._looked, self._trains = None, 0.0, False

    def _start(self, job: Job) -> Hashable:
        if self._data is None:
            self._data = self._ray.put(self._examples)
        needs = self._ray.remote(**cluster.remote_options(self._needs, self._options.runtime_env))
        actor = needs(ActingWorker).remote(job, self._data)
        process, handle = actor.__ray_ready__.remote(), actor.prepare.remote()
        self._count += 1
        self._starting[handle] = cluster.Starting(f"{self._count}", actor, process, time.monotonic())
        return handle

    def _look(self) -> None:
        """Start as many workers as there is room for, every ``_LOOK_SECONDS``, and add those that are ready."""
        if self._job is not None and time.monotonic() - self._looked > _LOOK_SECONDS:
            self._looked = time.monotonic()
            for _ in range(self._room() - len(self._actors) - len(self._starting) - len(self._refused)):
                self._start(self._job)
        self._greet()

    def _greet(self) -> None:
        """Add the workers that have compiled their programs."""
        if not self._starting:
            return
        ready, _ = self._ray.wait(list(self._starting), num_returns=len(self._starting), timeout=0)
        for handle in ready:
            its = self._starting.pop(handle)
            try:
                self._admit(its, self._get(handle))
            except LostError as error:
                _LOG.warning("worker %s is lost while it starts: %s", its.name, error)
                self._ray.kill(its.actor)
                self._looked = time.monotonic() + _START_SECONDS  # its node may not let any start
        self._give_up_late()

    def _admit(self, its: cluster.Starting, prepared: Prepared | Failure) -> None:
        """Add a worker, or refuse it: at the start by an error, and later by a warning while others train."""
        try:
            report = checked(prepared)
            if self._expected is not None:
                check_alike(self._expected, report, mixed=self._options.mixed)
            self._actors[its.name] = its.actor
        except LostError:
            raise
        except Exception as error:
            self._refused[its.name] = its.actor
            if not (self._trains and self._actors):
                raise
            _LOG.warning("worker %s is refused: %s; the sweep goes on without it", its.name, one_line(str(error)))

    @property
    def _too_late(self) -> str:
        return f"no answer in {self.lost_after:g} s; pass a larger lost_after if its programs take longer to compile"

    def _give_up_late(self) -> None:
        """Give up workers that hang while they start; the next look at the cluster finds the room that they leave."""
        for handle, its in list(self._starting.items()):
            if not its.runs and self._ray.wait([its.process], timeout=0)[0]:
                its.runs, its.since = True, time.monotonic()
            if time.monotonic() - its.since > self.lost_after:
                _LOG.warning("worker %s is lost while it starts: %s", its.name, self._too_late)
                self._ray.kill(self._starting.pop(handle).actor)
