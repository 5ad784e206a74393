"""Projections of this package; optax tests its own."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from regopt import projections
from regopt._core.types import Number
from regopt.testing._row import Numbers, Row

RADIUS: Numbers = {"radius": (0.7, 2.0)}
CENTRE: Numbers = {"radius": (0.0,)}
NORMALS = np.arange(-6.0, 6.0).reshape(1, 12) / 4  # exact in float32
SUMS = np.array([1.0, 2.0, 0.5]), np.array([0.75, 1.25, 0.5, 1.0])  # of rows and columns
ANY: tuple[float, ...] = ()  # nothing is refused: an end may be an array


def ball(
    project: Callable[..., jax.Array], norm: Callable[[np.ndarray], np.floating], variant: str = "", **static
) -> Row:
    """The row of the points whose norm is at most the radius."""
    return Row(
        project,
        "projection",
        RADIUS,
        CENTRE,
        build=lambda radius: lambda w: project(w, radius, **static),
        variant=variant,
        outside=lambda w, radius: float(norm(w)) - radius,
    )


def affine(offset: Number) -> Callable[[jax.Array], jax.Array]:
    """The points of a hyperplane."""
    return lambda w: projections.projection_affine(w, jnp.asarray(NORMALS, jnp.float32), jnp.asarray(offset)[None])


def polyhedron(offset: Number, upper: Number) -> Callable[[jax.Array], jax.Array]:
    """The points of a hyperplane whose entries are at most a number."""

    def project(w):
        plane = jnp.asarray(NORMALS, jnp.float32), jnp.asarray(offset)[None]
        bounds = jnp.eye(12), jnp.broadcast_to(jnp.asarray(upper), (12,))
        return projections.projection_polyhedron(w, equalities=plane, inequalities=bounds)

    return project


ROWS = [
    ball(projections.projection_l2_ball, np.linalg.norm),
    ball(projections.projection_l1_ball, lambda w: np.abs(w).sum()),
    ball(projections.projection_group_balls, lambda w: np.linalg.norm(w, axis=0).max()),
    ball(projections.projection_max_norm, lambda w: np.linalg.norm(w, axis=0).max()),
    ball(projections.projection_max_norm, lambda w: np.linalg.norm(w, axis=1).max(), "of rows", unit_axis=0),
    ball(projections.projection_l12_ball, lambda w: np.linalg.norm(w, axis=0).sum()),
    ball(projections.projection_l12_ball, lambda w: np.linalg.norm(w, axis=1).sum(), "of rows", axis=-1),
    ball(projections.projection_spectral_ball, lambda w: np.linalg.norm(w, 2)),
    ball(projections.projection_nuclear_ball, lambda w: np.linalg.norm(w, "nuc")),
    Row(
        projections.projection_box,
        "projection",
        {"lower": (-0.3, 0.1), "upper": (0.4, 0.7)},
        build=lambda lower, upper: lambda w: projections.projection_box(w, lower, upper),
        refused={"lower": ANY, "upper": ANY},
        outside=lambda w, lower, upper: max(w.max() - upper, lower - w.min()),
    ),
    Row(
        projections.projection_isotonic,
        "projection",
        {},
        build=lambda: projections.projection_isotonic,
        outside=lambda w: -np.diff(w.ravel()).min(),
    ),
    Row(
        projections.projection_isotonic,
        "projection",
        {},
        build=lambda: lambda w: projections.projection_isotonic(w, decreasing=True),
        variant="decreasing",
        outside=lambda w: np.diff(w.ravel()).max(),
    ),
    Row(
        projections.projection_box_section,
        "projection",
        {"lower": (-0.3, 0.1), "upper": (0.4, 0.7), "weights": (0.8, 1.4), "total": (2.0, 2.5)},
        refused={"lower": ANY, "upper": ANY, "weights": ANY, "total": ANY},
        build=lambda **numbers: lambda w: projections.projection_box_section(w, **numbers),
        outside=lambda w, lower, upper, weights, total: max(
            w.max() - upper, lower - w.min(), abs(weights * w.sum() - total) - 1e-12
        ),
    ),
    Row(
        projections.projection_transport,
        "projection",
        {},
        build=lambda: lambda w: projections.projection_transport(w, *map(jnp.asarray, SUMS), cycles=3000),
        outside=lambda w: max(-w.min(), abs(w.sum(1) - SUMS[0]).max(), abs(w.sum(0) - SUMS[1]).max()) - 1e-12,
    ),
    Row(
        projections.projection_affine,
        "projection",
        {"offset": (0.5, -2.0)},
        build=affine,
        refused={"offset": ANY},
        outside=lambda w, offset: abs(NORMALS @ w.ravel() - offset).max(),
    ),
    Row(
        projections.projection_polyhedron,
        "projection",
        {"offset": (0.5, -2.0), "upper": (0.4, 0.7)},
        build=polyhedron,
        refused={"offset": ANY, "upper": ANY},
        outside=lambda w, offset, upper: max(abs(NORMALS @ w.ravel() - offset).max(), w.max() - upper),
    ),
    Row(
        projections.projection_intersection,
        "projection",
        {"radius": (0.7, 2.0), "upper": (0.4, 0.7)},
        build=lambda radius, upper: (
            lambda w: projections.projection_intersection(
                w,
                [
                    lambda w: projections.projection_l2_ball(w, radius),
                    lambda w: projections.projection_box(w, -jnp.inf, upper),
                ],
            )
        ),
        refused={"upper": ANY},
        outside=lambda w, radius, upper: max(np.linalg.norm(w) - radius, w.max() - upper),
    ),
]
