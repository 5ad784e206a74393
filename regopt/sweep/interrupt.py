"""Ctrl-C as a wish rather than an exception: work in hand is finished first."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Within the block, the first SIGINT only sets a flag; the second raises KeyboardInterrupt as usual.

    Outside the main thread, where Python allows no handlers, nothing changes.

    Yields:
        A function that tells whether an end has been asked for.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = False

    def ask(number, frame):
        nonlocal asked
        del number, frame
        asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
