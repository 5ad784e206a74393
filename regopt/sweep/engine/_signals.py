"""Ctrl-C and SIGTERM as requests to end rather than exceptions, so that the calls that run are finished first."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def interruptible(*, terminable: bool = False) -> Iterator[Callable[[], bool]]:
    """Within the block, the first SIGINT only sets a flag; the second raises KeyboardInterrupt as usual.

    Outside the main thread, where Python allows no handlers, nothing changes.

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
        yield lambda: asked
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
