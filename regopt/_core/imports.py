"""The import of libraries that only some functions need."""

import importlib
from types import ModuleType


def optional(module: str, extra: str = "") -> ModuleType:
    """Import a module that may not be installed.

    Args:
        module: its name.
        extra: the extra of regopt that installs it; empty where none does.

    Returns:
        The module.

    Raises:
        ImportError: it is not installed; the message says what to install.

    >>> optional("json").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        wanted = f"'regopt[{extra}]'" if extra else package
        raise ImportError(f"this needs {package}: pip install {wanted}") from error
