"""The laws of a prox on one penalty at points that hypothesis draws; the families' tests say where to draw them."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
from hypothesis.extra import numpy as drawn

from regopt.testing import ProxPoint, ProxTraits, check_prox_at

DTYPES = (jnp.float32, jnp.float64)
settings = hypothesis.settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[hypothesis.Phase.generate],  # a failure is shown as drawn
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
SHAPE = (3, 4)
strength = st.floats(0.0, 3.0, width=32)


def turned(w: Any) -> Any:
    """Rows backwards and columns in another order: what most prox commute with."""
    return w[::-1, (2, 0, 3, 1)]


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A penalty, where to draw its numbers, and what it is; the words are those of ``ProxTraits``."""

    name: str
    make: Callable[..., Any]
    numbers: dict[str, Any]
    scaled: Callable[..., dict[str, Any]] | None = None
    convex: bool = True
    odd: bool = True
    keeps_zeros: bool = True
    finite: bool = True
    metric: bool = True
    permute: Callable[[Any], Any] | None = turned

    @functools.cached_property
    def traits(self) -> ProxTraits:
        promises = (self.convex, self.odd, self.keeps_zeros, self.finite, self.metric, self.permute, self.scaled)
        return ProxTraits(*promises)


def points():
    """Arrays with zeros, equal entries and sizes of several orders."""
    entries = st.one_of(st.floats(-4, 4, width=32), st.sampled_from([0.0, 0.5, -0.5, 1.0, 1e-3]))
    return drawn.arrays(np.float32, SHAPE, elements=entries)


def check(case: Case, dtype: Any, data: Any) -> None:
    """Draws a point and numbers, and checks the laws."""
    place = data.draw(
        st.tuples(points(), points(), st.floats(0.0625, 4, width=32), st.fixed_dictionaries(case.numbers))
    )
    check_prox_at(case.make, case.traits, dtype, ProxPoint(*place))
