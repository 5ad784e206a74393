"""The laws of a prox on one penalty at points that hypothesis draws; the families' tests say where to draw them."""

from collections.abc import Callable
from typing import Any, NamedTuple

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


class Case(NamedTuple):
    """A penalty, where to draw its numbers, and what its prox promises."""

    name: str
    make: Callable[..., Any]
    numbers: dict[str, Any]
    traits: ProxTraits


def penalty_case(
    name: str,
    make: Callable[..., Any],
    numbers: dict[str, Any],
    scaled: Callable[..., Any] | None = None,
    **promises: Any,
) -> Case:
    """A case whose prox commutes with ``turned``; the other promises are those of ``ProxTraits``."""
    return Case(name, make, numbers, ProxTraits(permute=turned, scaled=scaled)._replace(**promises))


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
