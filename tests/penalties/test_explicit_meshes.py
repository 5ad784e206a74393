"""What needs whole arrays works on those that an explicit mesh spreads over devices, and keeps the spread."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import regopt
from regopt import penalties, projections

RNG = np.random.default_rng(0)
PARAMS = {"a": RNG.normal(size=(4, 6)), "c": RNG.normal(size=(6, 4))}


def proximal_step(penalty):
    """The updates of one step of Adam, whose metric has a number for each entry."""
    optimizer = regopt.regularize(regopt.adam(0.1), penalty, "proximal")
    return lambda w: optimizer.update(w, optimizer.init(w), w)[0]


OPERATIONS = {
    "mcp in Adam's metric": proximal_step(penalties.mcp(0.3, 1.5)),
    "scad in Adam's metric": proximal_step(penalties.scad(0.3, 3.0)),
    "l1 in Adam's metric": proximal_step(penalties.l1(0.3)),
    "groups over leaves in Adam's metric": proximal_step(penalties.group_lasso(0.9, groups={"a": 0, "c": 1})),
    "l1.project": lambda w: penalties.l1().project(w, 1.5),
    "sparse_group_lasso.strength_max": penalties.sparse_group_lasso(0.3, 0.4).strength_max,
    "exclusive_lasso.prox": lambda w: penalties.exclusive_lasso(0.3).prox(w, 0.5),
    "nuclear.value": penalties.nuclear(0.3).value,
    "nuclear.prox": lambda w: penalties.nuclear(0.3).prox(w, 0.5),
    "nuclear.project": lambda w: penalties.nuclear().project(w, 1.5),
    "spectral_norm.value": penalties.spectral_norm(0.3).value,
    "spectral_norm.value, iterated": penalties.spectral_norm(0.3, power_iterations=3).value,
    "spectral_norm.strength_max": penalties.spectral_norm(0.3).strength_max,
    "orthogonality.grad": jax.grad(penalties.orthogonality(0.3).value),
    "total_variation.value": penalties.total_variation(0.3).value,
    "total_variation.prox": lambda w: penalties.total_variation(0.3, axis=1).prox(w, 0.5),
    "total.prox": lambda w: penalties.total(penalties.group_lasso(0.3), penalties.l2(0.1)).prox(w, 0.5),
    "groups over leaves": lambda w: penalties.group_lasso(0.9, groups={"a": 0, "c": 1}).prox(w, 0.5),
    "sorted_l1.value": penalties.sorted_l1(0.3, 0.4).value,
    "sorted_l1.prox": lambda w: penalties.sorted_l1(0.3, 0.4).prox(w, 0.5),
    "affine": lambda w: projections.projection_affine(w, jnp.ones((1, 48)), jnp.ones(1)),
    "polyhedron": lambda w: projections.projection_polyhedron(w, equalities=(jnp.ones((1, 48)), jnp.ones(1))),
    "isotonic": projections.projection_isotonic,
    "box section": lambda w: projections.projection_box_section(w, 0.0, 1.0, 1.0, 3.0),
    "sparse simplex": lambda w: projections.projection_sparse_simplex(w, 5),
    "simplex": projections.projection_simplex,
    "l1 sphere": projections.projection_l1_sphere,
    "halfspace": lambda w: projections.projection_halfspace(w, w, 1.0),
    "hyperplane": lambda w: projections.projection_hyperplane(w, w, 1.0),
    "vector": lambda w: projections.projection_vector(w, w),
    "transport": lambda w: {
        "a": projections.projection_transport(w["a"], jnp.full(4, 1.5), jnp.ones(6)),
        "c": projections.kl_projection_transport(w["c"], jnp.ones(6), jnp.full(4, 1.5)),
    },
    "l12 ball": lambda w: projections.projection_l12_ball(w, 1.0),
    "spectral ball": lambda w: projections.projection_spectral_ball(w, 0.5),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_result_is_that_of_one_device(name):
    operation = OPERATIONS[name]
    params = jax.tree.map(lambda w: jnp.asarray(w, jnp.float32), PARAMS)
    alone = jax.jit(operation)(params)
    mesh = jax.make_mesh((2,), ("x",), axis_types=(AxisType.Explicit,))
    for spec in (PartitionSpec("x", None), PartitionSpec(None, "x")):
        with jax.sharding.set_mesh(mesh):
            spread = jax.tree.map(lambda w, spec=spec: jax.device_put(w, NamedSharding(mesh, spec)), params)
            found = jax.jit(operation)(spread)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6), found, alone)
        if jax.tree.structure(found) == jax.tree.structure(params):
            assert {w.sharding.spec for w in jax.tree.leaves(found)} == {spec}
