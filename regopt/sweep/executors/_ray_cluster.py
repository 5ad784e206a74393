"""The connection to a Ray cluster, its resources, the workers that start, and its messages on one line."""

import logging
import math
import os
import signal
import warnings
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from regopt._core.messages import one_line

_LOG = logging.getLogger(__name__)
Actor: TypeAlias = Any  # the handle of a ``Worker`` in another process, with ``remote`` on each method


@dataclass
class Starting:
    """A worker that starts."""

    name: str
    actor: Actor
    process: Hashable  # has an answer once its process runs, which may have to wait for room in the cluster
    since: float  # when it was asked for, or when its process was first seen to run
    runs: bool = False


def connect(ray: Any, address: str | None) -> None:
    """Connect to a cluster by the module of Ray, unless the process is connected.

    Without an address Ray would try the cluster that last ran on this machine, for minutes where that was killed.
    """
    if not ray.is_initialized():
        address = address or (None if os.environ.get("RAY_ADDRESS") else "local")
        with _same_handlers(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # Ray starts its own processes by it
            ray.init(address=address, log_to_driver=False, include_dashboard=False, logging_level="warning")


def accelerator(there: Mapping[str, float]) -> dict[str, float]:
    """One accelerator of a kind that a cluster has, as resources; none where it has none."""
    return next(({name: 1.0} for name in ("GPU", "TPU") if there.get(name, 0) >= 1), {})


def room_for(needs: Mapping[str, float], there: Mapping[str, float], most: int | None) -> int:
    """The number of workers with these needs that the resources of a cluster suffice for, at most as many as given."""
    room = min(math.floor(there.get(name, 0) / need) for name, need in needs.items() if need)
    return room if most is None else min(room, most)


def no_room(needs: Mapping[str, float], there: Mapping[str, float]) -> str:
    """The line for a cluster in which no worker with these needs fits."""
    return (
        f"the Ray cluster has no room for a worker with {counted(needs)}; it has {counted(there)}: lower num_cpus, "
        "num_gpus or resources of sweep.Ray"
    )


def remote_options(needs: Mapping[str, float], environment: Mapping[str, object]) -> dict[str, object]:
    """The options of an actor with these needs and this runtime environment, which Ray does not restart."""
    return {
        "num_cpus": needs["CPU"],
        "num_gpus": needs["GPU"],
        "resources": {name: need for name, need in needs.items() if name not in ("CPU", "GPU")} or None,
        "runtime_env": dict(environment) or None,
        "max_restarts": 0,
    }


def say_free(ray: Any, text: str) -> None:
    """Log a line with the resources of a cluster that are free."""
    _LOG.warning("%s; the cluster has free: %s", text, counted(ray.available_resources()))


def counted(resources: Mapping[str, float]) -> str:
    """The resources of a cluster in words."""
    return ", ".join(f"{name} {count:g}" for name, count in sorted(resources.items()) if "node:" not in name) or "none"


def ends_of(text: str) -> str:
    """The first and the last words of a long message; Ray writes the reason at the end, before some advice."""
    text = one_line(text).partition(" Some common causes include")[0]
    return text if len(text) <= 240 else f"{text[:100]} ... {text[-130:]}"


@contextmanager
def _same_handlers() -> Iterator[None]:
    """Keep the handlers of signals, which ``ray.init`` replaces."""
    try:
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:
        before = {}
    yield
    for number, handler in before.items():
        try:
            signal.signal(number, handler)
        except (ValueError, TypeError):  # not in the main thread, or not set from Python
            continue
