"""Penalties: values and slopes by hand, prox by brute force, masks and per-layer strengths."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.optimize import minimize_scalar

from regopt import penalties

BOTH = pytest.mark.parametrize("make", [penalties.l1, penalties.l2])
PARAMS = {"first": {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([5.0])}, "last": {"kernel": jnp.array([3.0])}}


def test_values_of_l2_and_l1():
    assert penalties.l2(0.4).value(PARAMS) == pytest.approx(0.2 * (1 + 4 + 9))
    assert penalties.l1(0.4).value(PARAMS) == pytest.approx(0.4 * (1 + 2 + 3))
    assert penalties.l1(0.4, mask=None).value(PARAMS) == pytest.approx(0.4 * (1 + 2 + 3 + 5))


def test_the_slope_of_l2_is_strength_times_w_and_of_l1_its_sign():
    slopes = jax.grad(penalties.l2(0.4).value)(PARAMS)
    np.testing.assert_allclose(slopes["first"]["kernel"], [[0.4, -0.8]], rtol=1e-6)
    np.testing.assert_array_equal(slopes["first"]["bias"], 0.0)
    at_zero = jax.grad(penalties.l1(0.4).value)(jnp.array([2.0, 0.0, -3.0]))
    np.testing.assert_allclose(at_zero, [0.4, 0.0, -0.4], rtol=1e-6)


def test_one_strength_for_each_layer():
    penalty = penalties.l2({"first": 0.5, "last": 2.0})
    assert penalty.value(PARAMS) == pytest.approx(0.25 * 5 + 1.0 * 9)
    assert penalty.has_prox
    after = penalty.prox(PARAMS, 1.0)
    np.testing.assert_allclose(after["first"]["kernel"], np.array([[1.0, -2.0]]) / 1.5, rtol=1e-6)
    np.testing.assert_allclose(after["last"]["kernel"], [1.0], rtol=1e-6)
    np.testing.assert_array_equal(after["first"]["bias"], PARAMS["first"]["bias"])
    slope = jax.grad(lambda s: penalties.l2({"first": s, "last": 2.0}).value(PARAMS))(0.5)
    assert slope == pytest.approx(2.5)


def test_a_strength_tree_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match=r"^strength has an entry 'middle', where there are no parameters"):
        penalties.l2({"middle": 0.5}).value(PARAMS)


@BOTH
@hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
@hypothesis.given(st.floats(-5, 5), st.floats(0, 3), st.floats(0.01, 4))
def test_the_prox_minimises_its_objective(make, w, strength, step):
    with jax.enable_x64(True):
        penalty = make(strength)
        found = float(penalty.prox(jnp.array([w]), step)[0])

        def objective(u):
            return (u - w) ** 2 / 2 + step * float(make(strength, mask=None).value(jnp.array([u])))

        best = minimize_scalar(objective, bounds=(-abs(w) - 1, abs(w) + 1), method="bounded", options={"xatol": 1e-9})
        assert objective(found) <= min(best.fun, objective(0.0), objective(w)) + 1e-12


@BOTH
@hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
@hypothesis.given(
    st.lists(st.floats(-9, 9, width=32), min_size=3, max_size=3),
    st.lists(st.floats(-9, 9, width=32), min_size=3, max_size=3),
    st.floats(0.125, 3, width=32),
)
def test_the_prox_is_firmly_nonexpansive_and_odd(make, a, b, strength):
    prox = make(strength).prox
    a, b = jnp.array(a, jnp.float32), jnp.array(b, jnp.float32)
    difference = np.asarray(prox(a, 0.75) - prox(b, 0.75), np.float64)
    assert difference @ difference <= difference @ np.asarray(a - b, np.float64) + 1e-5
    np.testing.assert_array_equal(prox(-a, 0.75), -prox(a, 0.75))


def test_soft_thresholding_gives_exact_zeros():
    assert penalties.l1(0.5).has_prox
    after = penalties.l1(0.5).prox(jnp.array([0.7, -0.25, 0.0, -2.0]), 1.5)
    np.testing.assert_array_equal(after, [0.0, 0.0, 0.0, -1.25])


def test_moreau_identity_of_l1():
    """prox of s|.|_1 plus projection onto the box [-s, s] is the identity."""
    w = jnp.array([0.7, -0.25, 3.0])
    np.testing.assert_allclose(penalties.l1(0.5).prox(w, 1.0) + jnp.clip(w, -0.5, 0.5), w, rtol=1e-6)


@BOTH
def test_a_negative_strength_is_named(make):
    with pytest.raises(ValueError, match=r"strength must lie in \[0, inf\), got -0.5"):
        make(-0.5)
    with pytest.raises(ValueError, match=r"strength must lie in \[0, inf\), got nan"):
        make({"first": 0.5, "last": float("nan")})


def test_the_default_mask_leaves_biases_and_scales_out():
    names = {
        "kernel": True, "w": True, "weight": True, "embedding": True, "beta": True, "b": False, "b2": False,
        "bias": False, "hidden_bias": False, "scale": False, "offset": False, "intercept": False, "bilinear": True,
    }  # fmt: skip
    params = {name: jnp.ones(1) for name in names}
    assert penalties.weights_only(params) == names
    assert penalties.weights_only([{"kernel": 0, "bias": 0}, 0]) == [{"kernel": True, "bias": False}, True]


def test_the_default_mask_reads_the_state_of_an_nnx_module():
    class Block(nnx.Module):
        def __init__(self, rngs):
            self.linear, self.norm = nnx.Linear(2, 2, rngs=rngs), nnx.LayerNorm(2, rngs=rngs)

    params = nnx.state(Block(nnx.Rngs(0)), nnx.Param)
    chosen = dict(jax.tree.leaves_with_path(penalties.weights_only(params)))
    weights = [jax.tree_util.keystr(path) for path, is_weight in chosen.items() if is_weight]
    assert len(chosen) == 4
    assert len(weights) == 1
    assert "kernel" in weights[0]


def test_a_mask_may_be_a_prefix():
    penalty = penalties.l1(1.0, mask={"first": True, "last": False})
    assert penalty.value(PARAMS) == pytest.approx(1 + 2 + 5)
    assert penalty.mask(PARAMS)["last"] == {"kernel": False}


def test_a_misspelt_argument_names_the_penalty_and_the_right_argument():
    with pytest.raises(TypeError, match=r"^elastic_net\(\): .*argument 'l1ratio'; did you mean 'l1_ratio'\?$"):
        penalties.elastic_net(0.1, l1ratio=0.5)  # type: ignore[call-arg]
