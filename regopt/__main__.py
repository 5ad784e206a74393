"""The command ``regopt``, which is also ``python -m regopt``: the command line as a process of its own."""

import os
import signal
import sys
from typing import NoReturn

from regopt.experiment import main


def command() -> NoReturn:
    """Run ``main`` as the process; an interrupted one ends without waiting for what XLA still computes."""
    code = main()
    if code == 128 + signal.SIGINT:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise SystemExit(code)


if __name__ == "__main__":
    command()
