"""Several segments in one call: the loop in the program, and how many segments the next call may train.

A call of a small model takes less time than the host needs to begin and to read it, so a call trains several segments.
A device ends early where one of its lanes ends, because such a lane trains no further. No bit depends on how many
segments a call trains, so their number follows the clock.
"""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun

from regopt._core.types import Tree
from regopt.sweep.engine._packed import Packed

MOST = 16  # segments of a call
SECONDS = 0.2  # of a call of several segments, so that a sweep soon hears of an interrupt


def repeated(
    train: Callable[[jax.Array, Tree], tuple[Tree, Tree]],
    lanes: Tree,
    first_step: jax.Array,
    steps: int,
    count: jax.Array,
    is_lane: jax.Array,
) -> tuple[Tree, Packed]:
    """Train lanes segment by segment, until one of them ends.

    Args:
        train: ``(first step, lanes) -> lanes, (metrics, marks)``, one segment.
        lanes: the lanes before.
        first_step: the first step of the first segment, shape ().
        steps: the steps of a segment.
        count: the most segments to train, up to ``MOST``, shape ().
        is_lane: which of the lanes are no padding, ``[lanes]``.

    Returns:
        The lanes after, and metrics and marks whose leaves are ``[MOST, lanes]`` when they are unpacked.
    """
    traced, shapes = jax.make_jaxpr(train, return_shape=True)(first_step, lanes)
    structure, segment = jax.tree.structure(shapes), jaxpr_as_fun(traced)  # so that JAX traces it once
    packed = jax.eval_shape(Packed.of, shapes[1])
    untrained = jax.tree.map(lambda x: jnp.full((x.shape[0], MOST, x.shape[1]), -1, x.dtype), packed)

    def goes_on(carry):
        number, ended, _, _ = carry
        return (number < count) & ~ended

    def train_one(carry):
        number, _, lanes, outcomes = carry
        after = segment(*jax.tree.leaves((first_step + number * steps, lanes)))
        lanes, (metrics, marks) = structure.unflatten(after)
        written = jax.tree.map(lambda all, x: all.at[:, number].set(x), outcomes, Packed.of((metrics, marks)))
        return number + 1, jnp.any(marks.ends & is_lane), lanes, written

    begin = jnp.zeros((), jnp.int32), ~jnp.any(is_lane), lanes, untrained
    _, _, lanes, outcomes = jax.lax.while_loop(goes_on, train_one, begin)
    return lanes, outcomes


class Pace:
    """How many segments the next call may train: as many as take ``SECONDS``, and one after a lane has ended early.

    Args:
        most: the most segments of a call.
    """

    def __init__(self, most: int = MOST):
        self.segments, self._most = 1, most
        self.begin()

    def begin(self) -> None:
        """Note that a call begins after a time without any."""
        self._seen = time.perf_counter()

    def read(self, trained: np.ndarray, count: int) -> None:
        """Note that a call has trained ``count`` segments of its lanes or fewer, ``[lanes]``."""
        now = time.perf_counter()
        seconds, self._seen = (now - self._seen) / int(trained.max()), now
        fit = int(SECONDS / seconds) if (trained == count).all() else 1
        self.segments = max(min(2 * count, fit, self._most), 1)
