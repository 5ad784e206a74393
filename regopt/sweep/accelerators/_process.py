"""The compilation for a device that this machine lacks, in a process of its own.

The plugin of a platform reads its settings when it is loaded, looks for devices, and stays loaded. In a process of its
own it does not affect that of the user.
"""

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from regopt._core.io import environment
from regopt.sweep.accelerators._request import Answer, Request, answer
from regopt.sweep.accelerators._targets import ENVIRONMENT, Target, devices_of_target, missing_extra
from regopt.sweep.executors._messages import Failure, failure
from regopt.sweep.executors._modules import own_modules

_PROGRAM = "from regopt.sweep.accelerators._process import serve; serve()"


def answers(requests: list[Request], target: Target) -> list[Answer]:
    """Compile groups of settings for a target, in another process where it needs a plugin.

    Args:
        requests: the groups.
        target: the devices to compile for.

    Returns:
        An answer for each group.

    Raises:
        ValueError: the extra of the platform is not installed. Any error of the task is raised as well.
        RuntimeError: the process has ended without an answer.
    """
    if target.platform == "cpu":
        devices = devices_of_target(target)
        return [answer(request, target, devices) for request in requests]
    missing = missing_extra(target.platform)
    if missing is not None:
        raise ValueError(missing)
    import cloudpickle

    known = cloudpickle.list_registry_pickle_by_value()
    modules = [module for module in own_modules() if module.__name__ not in known]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        asked = cloudpickle.dumps((requests, target, environment()["options"]))
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)
    found = _asked_elsewhere(asked, ENVIRONMENT[target.platform])
    if isinstance(found, Failure):
        raise found.raised()
    return found


def _asked_elsewhere(asked: bytes, settings: dict[str, str]) -> Any:
    """The answers of another process, which has these variables in its environment."""
    with tempfile.TemporaryDirectory(prefix="regopt-plan-") as folder:
        request, reply = Path(folder, "request"), Path(folder, "reply")
        request.write_bytes(asked)
        variables = os.environ | settings
        variables["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {settings.get('XLA_FLAGS', '')}".strip()
        variables["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(request), str(reply)],
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if not reply.exists():
            raise RuntimeError(f"the process that compiles ended with code {done.returncode}: {_reason(done.stderr)}")
        return pickle.loads(reply.read_bytes())


def _reason(said: str) -> str:
    """The line of a process's output that tells why it ended: that of a failed check, else the last one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it said nothing"]
    return next((line for line in lines if "Check failed" in line or line.startswith("Fatal")), lines[-1])


def serve() -> None:
    """Answer the request in the file that the first argument names, in the file that the second names."""
    import cloudpickle
    import jax

    asked, reply = map(Path, sys.argv[1:])
    try:
        requests, target, options = pickle.loads(asked.read_bytes())
        for name, value in options.items():
            jax.config.update(name, value)
        devices = devices_of_target(target)
        found: Any = [answer(request, target, devices) for request in requests]
    except Exception as error:
        found = failure(error)
    unfinished = reply.with_suffix(".unfinished")
    unfinished.write_bytes(cloudpickle.dumps(found))
    unfinished.rename(reply)
