"""Ctrl-C and SIGTERM as requests to end rather than exceptions, so that the calls that run are finished first.

Python runs the handler of a signal between two of its own instructions, so none runs while the main thread waits for
XLA, and an exception that a handler raises is lost where XLA calls Python while it traces. A user who asks
twice does not want to wait: a thread hears of the second signal as it arrives, and ends the process if the main thread
does not.
"""

import atexit
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

PATIENCE = 0.5  # seconds that the second signal waits for the main thread


@contextlib.contextmanager
def interruptible(*, terminable: bool = False) -> Iterator[Callable[[], bool]]:
    """Within the block, the first SIGINT only sets a flag; the second raises KeyboardInterrupt.

    If the main thread does not react within ``PATIENCE`` seconds after the second signal, the process ends with status
    130, or 143 after SIGTERM. If the KeyboardInterrupt ends the process, it ends with status 130 at once, without
    waiting for what XLA computes.

    Outside the main thread, where Python allows no handlers, this changes nothing.

    Args:
        terminable: whether SIGTERM, which job schedulers send, also sets the flag; the second SIGTERM ends the process
            at once, and a shell sees the exit status 143.

    Yields:
        A function that tells whether an end has been asked for.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    signals = (signal.SIGINT, signal.SIGTERM) if terminable else (signal.SIGINT,)
    asked = False

    def ask(number, frame):
        nonlocal asked
        del number, frame
        asked = True
        for each in signals:
            signal.signal(each, signal.SIG_DFL if each == signal.SIGTERM else signal.default_int_handler)

    before = {each: signal.signal(each, ask) for each in signals}
    try:
        with _ending_at_the_second(signals):
            yield lambda: asked
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextlib.contextmanager
def _ending_at_the_second(signals: Sequence[signal.Signals]) -> Iterator[None]:
    """End the process if the main thread does not react soon after the second of one of these signals."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    left = threading.Event()
    others = signal.set_wakeup_fd(ours.fileno(), warn_on_full_buffer=False)

    def listen():
        counts = dict.fromkeys(signals, 0)
        while numbers := theirs.recv(64):
            if others >= 0:
                os.write(others, numbers)  # an event loop's, which goes on after the block
            for each in signals:
                counts[each] += numbers.count(each)
                if counts[each] >= 2:
                    left.wait(PATIENCE)
                    if not left.is_set():
                        _end(each)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    except KeyboardInterrupt as error:
        end_with(error)
        raise
    finally:
        left.set()
        signal.set_wakeup_fd(others)
        ours.close()
        listener.join()
        theirs.close()


def end_with(error: KeyboardInterrupt) -> None:
    """Have the process end without waiting for what XLA does in other threads, if it ends by this exception."""
    atexit.register(_end_if_last, error)


def _end_if_last(error: KeyboardInterrupt) -> None:
    """End a script whose last exception this is; an interactive session may have gone on after it."""
    if getattr(sys, "last_value", None) is error and not hasattr(sys, "ps1"):
        _end(signal.SIGINT)


def _end(number: signal.Signals) -> None:
    """End the process with the status that a shell gives to one that this signal has ended."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(128 + number)
