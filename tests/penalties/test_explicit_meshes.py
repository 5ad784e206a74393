"""What needs whole arrays works on those that an explicit mesh spreads over devices, and keeps the spread."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from regopt import penalties, projections

RNG = np.random.default_rng(0)
PARAMS = {"a": RNG.normal(size=(4, 6)), "c": RNG.normal(size=(6, 4))}
OPERATIONS = {
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
