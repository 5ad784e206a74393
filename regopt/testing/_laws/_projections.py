"""Laws of projections: in the set, idempotent, nearest, and differentiable where points are on the border or at 0."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from regopt.testing._compare import all_finite, require
from regopt.testing._laws._law import Law, each
from regopt.testing._row import Row

SHAPE = (3, 4)
TOLERANCE = 1e-12


def points(seed: int) -> list[np.ndarray]:
    """Matrices far outside, near and inside sets of radius 1 or so."""
    sizes = np.array([5.0, 2.0, 1.0, 0.5, 0.1, 0.02])
    return list(np.random.default_rng(seed).normal(size=(6, *SHAPE)) * sizes[:, None, None])


def a_projection_is_feasible_idempotent_and_nearest(row: Row) -> None:
    """The nearest point P w of a convex set is the one with ``<w - P w, v - P w> <= 0`` for every v of the set."""
    numbers = row.usual()
    with jax.enable_x64(True):
        project = jax.jit(row.make())
        feasible = [np.asarray(project(jnp.asarray(v))) for v in points(1)]
        for w in points(0):
            nearest = np.asarray(project(jnp.asarray(w)))
            if row.outside is not None:
                beyond = row.outside(nearest, **numbers)
                require(beyond <= TOLERANCE, f"the projection is not feasible: outside of the set by {beyond:.3g}")
            _check_points_of_the_set(row, project, nearest, w)
            again = np.asarray(project(jnp.asarray(nearest)))
            np.testing.assert_allclose(again, nearest, rtol=0, atol=TOLERANCE, err_msg="it is not idempotent")
            for v in feasible:
                gap = np.sum((w - nearest) * (v - nearest))
                require(gap <= TOLERANCE * np.linalg.norm(w), f"another point of the set is nearer, by {gap:.3g}")


def _check_points_of_the_set(
    row: Row, project: Callable[[jax.Array], jax.Array], nearest: np.ndarray, w: np.ndarray
) -> None:
    """Points between a point and its projection that belong to the set do not move."""
    for share in (0.0, 0.1, 0.3, 0.6, 1.0):
        between = nearest + share * (w - nearest)
        if row.outside is not None and row.outside(between, **row.usual()) <= 0:
            moved = np.asarray(project(jnp.asarray(between)))
            np.testing.assert_allclose(moved, between, rtol=0, atol=TOLERANCE, err_msg="a point of the set moves")


def a_projection_has_finite_slopes_at_zero_and_on_the_border(row: Row, dtype: DTypeLike) -> None:
    """The slopes are those in the point, and in every number at its samples and ends."""
    numbers = {name: jnp.float32(value) for name, value in row.usual().items()}

    @jax.jit
    def with_slopes(w, numbers):
        after, pull = jax.vjp(lambda w, numbers: row.make(**numbers)(w), w, numbers)
        return after, pull(jnp.ones_like(after))

    border = row.make(**numbers)(jnp.asarray(points(4)[0], dtype))
    for w in (jnp.zeros(SHAPE, dtype), border, jnp.eye(*SHAPE, dtype=dtype)):
        for name, values in row.numbers.items() or {"": ()}.items():
            for value in (*values, *row.ends.get(name, ())):
                outcome = with_slopes(w, numbers | {name: jnp.float32(value)})
                require(outcome[0].dtype == dtype, f"the projection is {outcome[0].dtype}")
                require(all_finite(outcome), f"the projection or a slope is not finite at {name}={value}")


LAWS = (
    Law(a_projection_is_feasible_idempotent_and_nearest, ("projection",)),
    Law(
        a_projection_has_finite_slopes_at_zero_and_on_the_border,
        ("projection",),
        each(dtype=(jnp.float32, jnp.bfloat16)),
    ),
)
