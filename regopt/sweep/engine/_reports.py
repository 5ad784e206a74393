"""What calls give back, each read while the next one runs."""

import time
from collections.abc import Iterable, Iterator

import jax
import numpy as np

from regopt._core.types import Tree

Report = tuple[np.ndarray, np.ndarray, Tree]  # lanes, their slots in the call, and the results of each


def one_behind(launched: Iterable[tuple[np.ndarray, Tree]]) -> Iterator[Report]:
    """Read the results of calls for the lanes that are no padding, each while the next call runs."""
    waiting = None
    for call in launched:
        if waiting is not None:
            yield _read(*waiting)
        waiting = call
    if waiting is not None:
        yield _read(*waiting)


def _read(owners: np.ndarray, outcome: Tree) -> Report:
    pause = 5e-5
    while not all(leaf.is_ready() for leaf in jax.tree.leaves(outcome)):  # where JAX waits, Python hears no signal
        time.sleep(pause)
        pause = min(2 * pause, 5e-3)
    real = owners >= 0
    return owners[real], np.flatnonzero(real), jax.tree.map(lambda x: x[real], jax.device_get(outcome))
