"""The least linear function plus a norm with one strength for each entry or group: it is 0 exactly at a subgradient."""

import jax.numpy as jnp
import numpy as np
import pytest

from regopt.penalties import group_lasso, l1


@pytest.mark.parametrize(
    ("penalty", "edge"),
    [
        (l1(jnp.array([0.5, 2.0, 0.0]), mask=None), jnp.array([-0.5, 2.0, 0.0])),
        (group_lasso(jnp.array([[1.0], [5.0]]), axis=1, mask=None), jnp.array([[0.6, -0.8], [3.0, 4.0]])),
    ],
)
def test_it_is_zero_up_to_the_strength_of_each_group(penalty, edge):
    assert penalty.linear_minimum(0.999 * edge, 2.0) == 0
    beyond = penalty.linear_minimum(edge * jnp.array(1.5), 2.0)
    assert float(beyond) == pytest.approx(-0.5 * 2.0, rel=1e-5)
    # the bound is reached by a point of value 2 along the gradient of the group that is furthest beyond
    u = jnp.zeros_like(edge).at[0].set(-edge[0] if edge.ndim == 2 else jnp.sign(-edge[0]))
    u = u * (2.0 / penalty.value(u))
    np.testing.assert_allclose(jnp.vdot(1.5 * edge, u) + penalty.value(u), beyond, rtol=1e-5)


def test_a_free_entry_with_a_gradient_has_no_minimum():
    assert l1(jnp.array([1.0, 0.0]), mask=None).linear_minimum(jnp.array([0.0, 0.1]), 1.0) == -jnp.inf
