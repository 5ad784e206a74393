"""The executables of a sweep: compiled several at a time, equal ones once, and remembered."""

import atexit
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent import futures
from concurrent.futures import Future
from queue import SimpleQueue
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self, TypeAlias, TypeVar

import jax

from regopt._core.types import Tree
from regopt.sweep.engine._devices import available_cores
from regopt.sweep.engine._program import Each
from regopt.sweep.engine._signals import end_with

RECENT = 64  # programs that are remembered in the process

_Work: TypeAlias = tuple[Future[tuple[jax.stages.Compiled, float]], jax.stages.Lowered]


class Compilation(NamedTuple):
    """A program that XLA compiles, or has compiled."""

    done: Future[tuple[jax.stages.Compiled, float]]
    is_first: bool  # no equal program was asked for before

    def result(self) -> tuple[jax.stages.Compiled, float]:
        """The program, and the seconds that XLA took for it alone: 0 where another group has an equal one."""
        program, seconds = self.done.result()
        return program, seconds if self.is_first else 0.0


class Compiled(NamedTuple):
    """A program compiled ahead of time."""

    program: jax.stages.Compiled
    digest: str  # SHA-256 of what was compiled
    each: Each  # how its lanes run
    trace_seconds: float
    compile_seconds: float
    calls_back: bool
    flops: float  # see ``arithmetic``


class Begun(NamedTuple):
    """A program that is traced and lowered, and that XLA compiles."""

    compilation: Compilation
    digest: str  # SHA-256 of its text
    each: Each  # how its lanes run
    trace_seconds: float
    calls_back: bool
    flops: float  # see ``arithmetic``
    out_info: Tree  # shapes of what it gives

    def wait(self) -> Compiled:
        """The program, once it is compiled."""
        program, seconds = self.compilation.result()
        return Compiled(program, self.digest, self.each, self.trace_seconds, seconds, self.calls_back, self.flops)


class Executables:
    """The programs of one sweep. Inside ``with`` those that are begun compile in threads, as many as there are cores.

    Only XLA works in these threads: what JAX traces depends on options of the calling thread. They are daemons, so that
    a process which is interrupted does not wait for XLA at its end.
    """

    def __init__(self) -> None:
        self.begun: dict[Hashable, Begun] = {}  # what compiles before it is asked for, by its form
        self._all: dict[Hashable, Future[tuple[jax.stages.Compiled, float]]] = {}
        self._lock = threading.Lock()
        self._waiting: SimpleQueue[_Work | None] | None = None
        self._threads = 0
        self._submitted: list[Future[tuple[jax.stages.Compiled, float]]] = []

    def __enter__(self) -> Self:
        self._waiting, self._threads = SimpleQueue(), 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        compiling = [done for done in self._submitted if not done.cancel() and not done.done()]
        self.begun.clear()
        self._all = {name: done for name, done in self._all.items() if not done.cancelled()}
        if self._waiting is not None:
            for _ in range(self._threads):
                self._waiting.put(None)
        self._waiting, self._submitted = None, []
        if compiling:  # Python aborts at its end where XLA returns to it in a daemon
            atexit.register(futures.wait, compiling)
        if isinstance(error, KeyboardInterrupt):
            end_with(error)  # registered last and so called first: a second Ctrl-C does not wait

    def compile(self, lowered: jax.stages.Lowered, digest: str, *, calls_back: bool) -> Compilation:
        """Compile a program, or wait for an equal one; in a thread inside ``with``, else in this thread.

        Args:
            lowered: the program.
            digest: the digest of its text.
            calls_back: whether it calls Python; two such programs are never taken for equal.
        """
        name = None if calls_back else _name_of(lowered, digest)
        with self._lock:
            if name is not None and name in self._all:
                return Compilation(self._all[name], False)
            done: Future[tuple[jax.stages.Compiled, float]] = Future()
            if name is not None:
                self._all[name] = done
        if self._waiting is None:
            _fulfil(done, lowered)
            done.result()
        else:
            self._submitted.append(done)
            self._waiting.put((done, lowered))
            if self._threads < available_cores():
                self._threads += 1
                threading.Thread(target=_in_turn, args=(self._waiting,), name="compile", daemon=True).start()
        return Compilation(done, True)


def _in_turn(waiting: SimpleQueue[_Work | None]) -> None:
    """Compile programs as they come, except those that are cancelled, until None comes."""
    while (work := waiting.get()) is not None:
        done, lowered = work
        if done.set_running_or_notify_cancel():
            _fulfil(done, lowered)


def _fulfil(done: Future[tuple[jax.stages.Compiled, float]], lowered: jax.stages.Lowered) -> None:
    try:
        done.set_result(_timed(lowered))
    except BaseException as error:
        done.set_exception(error)


def _timed(lowered: jax.stages.Lowered) -> tuple[jax.stages.Compiled, float]:
    began = time.perf_counter()
    return lowered.compile(), time.perf_counter() - began


def _name_of(lowered: jax.stages.Lowered, digest: str) -> Hashable | None:
    """The name that equal programs of a sweep have in common; None where it is not known.

    It holds the digest of the text, the arguments that JAX passes to the program, and the structures of arguments and
    results. It is also None where the text lacks the values of closed-over arrays and so does not identify a program.
    """
    if getattr(jax.config, "jax_use_simplified_jaxpr_constants", False):
        return None
    try:
        arguments = lowered._lowering.compile_args  # type: ignore[attr-defined]
        name = digest, frozenset(arguments["kept_var_idx"]), lowered.in_tree, lowered.out_tree
        hash(name)
    except (AttributeError, KeyError, TypeError):
        return None
    return name


class HasSeconds(Protocol):
    """A record of something compiled, with the seconds that it took."""

    def _replace(self, **changes: float) -> Any: ...


Made = TypeVar("Made", bound=HasSeconds)


class Recent:
    """A cache of the results that were used last, by key.

    Args:
        size: the largest number of results.
    """

    def __init__(self, size: int = RECENT):
        self._size = size
        self._made: OrderedDict[Hashable, object] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            return key in self._made

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """The remembered executable, with seconds of 0, or the one that ``make`` gives."""
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                known: Any = self._made[key]
                return known._replace(trace_seconds=0.0, compile_seconds=0.0)
        made = make()
        with self._lock:
            self._made[key] = made
            if len(self._made) > self._size:
                self._made.popitem(last=False)
        return made
