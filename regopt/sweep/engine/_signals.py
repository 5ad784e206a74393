"""Ctrl-C and the end of a job as wishes rather than exceptions: work in hand is finished first."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def interruptible(*, terminable: bool = False) -> Iterator[Callable[[], bool]]:
    """Within the block, the first SIGINT only sets a flag; the second raises KeyboardInterrupt as usual.

    Outside the main thread, where Python allows no handlers, nothing changes.

    Args:
        terminable: the same for SIGTERM, as job schedulers send it; the second one ends the process at once, whatever
            it waits for, and a shell sees 143.

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
        yield lambda: asked
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
