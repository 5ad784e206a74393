"""The least linear function plus a penalty: it is 0 exactly at a subgradient, with one strength or with many."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regopt.penalties import box, elastic_net, group_lasso, l1, non_negative, scaled, sparse_group_lasso


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


@pytest.mark.parametrize(
    ("strength", "grad", "level", "expected"),
    [
        (0.5, [0.4, -0.2], 2.0, 0.0),
        (0.5, [0.5, -0.5], np.inf, 0.0),
        (0.5, [1.0, -0.2], 2.0, -2.0),
        (0.5, [0.2, -1.5], 3.0, -6.0),
        (0.0, [0.1, 0.0], 2.0, -np.inf),
        (0.0, [0.0, 0.0], 2.0, 0.0),
    ],
)
def test_of_the_l1_norm_by_hand(strength, grad, level, expected):
    found = l1(strength, mask=None).linear_minimum(jnp.array(grad), level)
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_without_strength_and_gradient_its_slope_in_the_strength_is_zero():
    """As where a strength that is learned has come to 0."""
    slope = jax.grad(lambda strength: l1(strength, mask=None).linear_minimum(jnp.zeros(2), 1.0))
    assert slope(0.0) == 0


@pytest.mark.parametrize("make", [lambda mask: l1(0.5, mask=mask), lambda mask: box(-1.0, 2.0, mask=mask)])
def test_a_leaf_without_penalty_has_a_minimum_only_where_its_gradient_is_zero(make):
    penalty = make({"w": True, "b": False})
    grads = {"w": jnp.array([1.0, -1.0]), "b": jnp.zeros(2)}
    assert float(penalty.linear_minimum(grads, 1.0)) == float(make(None).linear_minimum(grads["w"], 1.0)) < 0
    assert penalty.linear_minimum({**grads, "b": jnp.array([0.0, 0.1])}, 1.0) == -jnp.inf


@pytest.mark.parametrize(("l1_ratio", "same"), [(1.0, l1(0.5)), (0.0, group_lasso(0.5))])
def test_of_the_sparse_group_lasso_it_ends_at_those_of_its_two_norms(l1_ratio, same):
    grads = jnp.array([[0.3, -0.4], [1.2, 0.5]])
    found, expected = (float(each.linear_minimum(grads, 2.0)) for each in (sparse_group_lasso(0.5, l1_ratio), same))
    assert expected < -2
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("l1_ratio", [None, 0.4])
@pytest.mark.parametrize("strength", [0.5, jnp.array([0.5, 0.1])])
def test_of_groups_by_number_it_is_that_of_the_same_groups_along_an_axis(l1_ratio, strength):
    numbers = [0, 1, 1, 0]
    grad = jnp.array([0.3, 1.2, 0.5, -0.4])
    grouped = jnp.stack([grad[jnp.array([0, 3])], grad[jnp.array([1, 2])]])
    if l1_ratio is None:
        by_number = group_lasso(strength, groups={"w": (0, numbers)})
        along = group_lasso(strength if jnp.ndim(strength) == 0 else strength[:, None], axis=1, mask=None)
    else:
        by_number = sparse_group_lasso(strength, l1_ratio, groups={"w": (0, numbers)})
        along = [sparse_group_lasso(s, l1_ratio, axis=1, mask=None) for s in jnp.broadcast_to(strength, (2,))]
    found = by_number.linear_minimum({"w": grad, "b": jnp.zeros(1)}, 2.0)
    if l1_ratio is None:
        expected = along.linear_minimum(grouped, 2.0)
    else:
        expected = min(each.linear_minimum(row[None], 2.0) for each, row in zip(along, grouped, strict=True))
    assert float(expected) < -1
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    assert by_number.linear_minimum({"w": 0.01 * grad, "b": jnp.zeros(1)}, 2.0) == 0
    assert by_number.linear_minimum({"w": grad, "b": jnp.ones(1)}, 2.0) == -jnp.inf


def test_the_terms_of_a_leaf_are_its_strength_and_its_groups():
    params = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}
    none, (term,) = group_lasso(0.3, axis=1).terms(params)  # the leaves in the order of their names
    assert (float(term.strength), term.axes, none) == (pytest.approx(0.3), (1,), ())


def test_of_a_box_it_is_at_a_corner():
    assert box(-1.0, 2.0, mask=None).linear_minimum(jnp.array([1.0, -2.0, 0.0]), 1.0) == -1.0 - 4.0
    assert box(-1.0, 2.0).has_linear_minimum
    assert not non_negative().has_linear_minimum  # whose corner is at infinity


@pytest.mark.parametrize(
    ("l1_ratio", "level", "expected"),
    [
        (0.5, 10.0, -1.0),  # -excess**2 / (2 * 0.5) with an excess of 1.5 - 0.5
        (0.5, 0.1, -0.2),  # the bound of the l1 norm, -(1 / 0.5) * 0.1
        (1.0, 2.0, -1.0),
        (0.0, 2.0, -1.125),
    ],
)
def test_of_the_elastic_net_it_is_the_tighter_of_two_bounds(l1_ratio, level, expected):
    found = elastic_net(1.0, l1_ratio, mask=None).linear_minimum(jnp.array([1.5, 0.0]), level)
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_of_the_elastic_net_without_an_l1_part_the_slope_in_the_strength_is_that_of_the_ridge():
    """The minimum of ``g u + s u**2 / 2`` is ``-g**2 / (2 s)``; an entry of gradient 0 adds nothing."""
    slope = jax.grad(lambda s: elastic_net(s, 0.0, mask=None).linear_minimum(jnp.array([1.5, 0.0]), 2.0))
    assert float(slope(0.5)) == pytest.approx(1.5**2 / (2 * 0.5**2), rel=1e-6)


@pytest.mark.parametrize(("grad", "sign"), [([0.4, -0.2], 0), ([1.0, -0.2], -1), ([0.2, -1.5], -1)])
def test_of_a_multiple_it_is_that_of_the_penalty_with_so_much_more_strength(grad, sign):
    found = scaled(l1(0.2, mask=None), 2.5).linear_minimum(jnp.array(grad), 3.0)
    assert np.sign(found) == sign
    assert float(found) == pytest.approx(float(l1(0.5, mask=None).linear_minimum(jnp.array(grad), 3.0)), rel=1e-5)


def test_a_multiple_of_zero_leaves_the_linear_function_alone():
    nothing = scaled(l1(0.2, mask=None), 0.0)
    assert nothing.linear_minimum(jnp.zeros(2), 1.0) == 0
    assert nothing.linear_minimum(jnp.array([0.0, 0.1]), 1.0) == -jnp.inf
    assert not scaled(non_negative(), 2.0).has_linear_minimum
