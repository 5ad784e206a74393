"""The results of calls, each read while the next call runs."""

import time
from collections.abc import Iterable, Iterator

import jax
import numpy as np

from regopt._core.types import Tree

Report = tuple[np.ndarray, np.ndarray, Tree]  # lanes, their seats in the call, and the results of each


def one_behind(launched: Iterable[tuple[np.ndarray, Tree]], *, hears_signals: bool = True) -> Iterator[Report]:
    """Read the results of calls for the lanes that are no padding, each while the next call runs.

    Args:
        launched: the owners of the seats of each call, and its results.
        hears_signals: whether handlers of signals run while this waits, at the price of a little time.

    Yields:
        The report of each call.
    """
    waiting = None
    for call in launched:
        if waiting is not None:
            yield _read(*waiting, hears_signals)
        waiting = call
    if waiting is not None:
        yield _read(*waiting, hears_signals)


def _read(owners: np.ndarray, outcome: Tree, hears_signals: bool) -> Report:
    pause = 5e-5
    while hears_signals and not all(
        leaf.is_ready() for leaf in jax.tree.leaves(outcome)
    ):  # where JAX waits, Python hears no signal
        time.sleep(pause)
        pause = min(2 * pause, 5e-3)
    real = owners >= 0
    return owners[real], np.flatnonzero(real), jax.tree.map(lambda x: x[real], jax.device_get(outcome))
