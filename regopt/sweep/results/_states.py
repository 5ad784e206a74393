"""What a result needs of the trained states, wherever they are."""

from typing import Any, Protocol

import numpy as np

from regopt._core.types import Tree


class States(Protocol):
    """The source of the trained states of a result: devices, workers, or a folder."""

    def state(self, setting: int) -> Tree:
        """The task's state of one setting at its kept step, with NumPy leaves."""
        ...

    def refit(self, setting: int | None) -> Any:
        """Train one setting again, or all of them: a ``Result``."""
        ...

    def outputs(self, wanted: np.ndarray, inputs: Tree) -> np.ndarray:
        """The task's outputs at the kept states of the settings that are wanted, ``[settings, ...]``."""
        ...
