"""The modules of the script that runs, which travel to other processes by value."""

import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType


def own_modules() -> Iterator[ModuleType]:
    """The modules of the script that runs: files beside it, which a worker on another machine cannot import."""
    beside = {Path(folder or ".").resolve() for folder in sys.path[:1]}
    installed = tuple(str(Path(folder).resolve()) for folder in {sys.prefix, sys.base_prefix})
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or name == "__main__" or name.partition(".")[0] == "regopt":
            continue
        path = Path(file).resolve()
        if path.parent in beside or not (str(path).startswith(installed) or _is_importable(name)):
            yield module


def _is_importable(name: str) -> bool:
    return PathFinder.find_spec(name.partition(".")[0]) is not None
