"""The modules of the script that runs, which are pickled by value for other processes."""

import os
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from types import ModuleType


def own_modules() -> Iterator[ModuleType]:
    """The modules of the script that runs: files beside it, which a worker on another machine cannot import."""
    installed = tuple(f"{os.path.realpath(folder)}/" for folder in {sys.prefix, sys.base_prefix})
    beside = _beside(installed)
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or name == "__main__" or name.partition(".")[0] == "regopt":
            continue
        path = os.path.realpath(file)
        if os.path.dirname(path) == beside or not (path.startswith(installed) or _is_importable(name)):
            yield module


def _beside(installed: tuple[str, ...]) -> str | None:
    """The folder of the script: the first that Python searches, after installed ones that packages such as Ray add."""
    folders = (os.path.realpath(folder) for folder in sys.path)
    return next((folder for folder in folders if not f"{folder}/".startswith(installed)), None)


def _is_importable(name: str) -> bool:
    return PathFinder.find_spec(name.partition(".")[0]) is not None
