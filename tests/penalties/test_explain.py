"""The default mask on the layers of every library, and the table that explains a penalty."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from regopt import penalties
from regopt._core.paths import leaf_paths


def spared(params):
    chosen = jax.tree.leaves(penalties.weights_only(params))
    return {path for path, on in zip(leaf_paths(params), chosen, strict=True) if not on}


def test_norms_of_equinox_are_left_out_and_its_biases_too():
    eqx = pytest.importorskip("equinox")
    keys = jax.random.split(jax.random.key(0), 4)
    model = {
        "linear": eqx.nn.Linear(3, 2, key=keys[0]),
        "conv": eqx.nn.Conv2d(3, 2, 2, key=keys[1]),
        "gru": eqx.nn.GRUCell(3, 2, key=keys[2]),
        "embed": eqx.nn.Embedding(3, 2, key=keys[3]),
        "norms": [eqx.nn.LayerNorm((2, 3)), eqx.nn.GroupNorm(1, 2), eqx.nn.RMSNorm(2)],
        "prelu": eqx.nn.PReLU(),
    }
    params = eqx.filter(model, eqx.is_inexact_array)
    left = {path for path in leaf_paths(params) if "norm" in path or "bias" in path or "prelu" in path}
    assert "gru/bias_n" in left
    assert spared(params) == left


def test_flax_and_haiku():
    hk = pytest.importorskip("haiku")
    x = jnp.ones((2, 3))
    theirs = hk.transform(lambda x: hk.LayerNorm(-1, True, True)(hk.Linear(4)(x))).init(jax.random.key(0), x)
    assert spared(theirs) == {"linear/b", "layer_norm/scale", "layer_norm/offset"}
    ours = linen.Sequential([linen.Dense(4), linen.LayerNorm()]).init(jax.random.key(0), x)["params"]
    assert {path.split("/")[-1] for path in leaf_paths(ours)} - {path.split("/")[-1] for path in spared(ours)} == {
        "kernel"
    }
    state = nnx.state(nnx.Sequential(nnx.Linear(3, 4, rngs=nnx.Rngs(0)), nnx.BatchNorm(4, rngs=nnx.Rngs(0))), nnx.Param)
    assert len(spared(state)) == 3


def test_by_shape_first_and_by_name_after_it():
    square, vector = jnp.ones((2, 2)), jnp.ones(2)
    network = {"b": square, "bias": square, "weight": square, "gamma": vector, "beta": vector, "biases": vector}
    assert spared(network) == {"bias", "gamma", "beta", "biases"}
    assert spared({**network, "w": vector, "kernel": vector}) == {"bias", "gamma", "beta", "biases"}
    assert spared({"block": {**network, "log_scales": vector}, "out": vector}) == {
        "block/bias", "block/gamma", "block/beta", "block/biases", "block/log_scales"
    }  # fmt: skip
    linear = {"w": vector, "beta": vector, "b": jnp.ones(()), "intercept": jnp.ones(())}
    assert spared(linear) == {"b", "intercept"}
    assert spared(vector) == spared([vector, square]) - {"0"} == set()


def test_the_table_tells_strengths_groups_and_reasons():
    params = {"a": {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}, "b": {"kernel": jnp.ones((3, 2))}}
    both = penalties.total(penalties.l2({"a/**": 0.5}), penalties.scaled(penalties.group_lasso(0.25), 2.0))
    table = penalties.explain(params, both)
    assert [(row.path, row.shape, row.penalised, row.reason) for row in table] == [
        ("a/bias", (3,), False, "called bias"),
        ("a/kernel", (4, 3), True, ""),
        ("b/kernel", (3, 2), True, ""),
    ]
    np.testing.assert_allclose(table[1].strengths, [0.5, 0.5])
    assert (table[1].axes, table[2].axes) == ((None, (0,)), ((0,),))
    lines = str(table).splitlines()
    assert lines[0].split("  ")[0] == "path"
    assert lines[2].split() == ["a/kernel", "(4,", "3)", "yes", "0.5", "+", "0.5", "-", "+", "(0,)"]
    shapes = jax.eval_shape(lambda: params)
    assert penalties.explain(shapes, both) == table
    left_out = penalties.explain(params, penalties.l1({"b/*": jnp.array([[0.1, 0.2]] * 3)}))
    assert left_out[1].reason == "left out by the mask or the strength"
    assert str(left_out).splitlines()[-1].split()[3:] == ["yes", "0.1", "to", "0.2"]
    traced = []
    jax.jit(lambda s: traced.append(str(penalties.explain(params, penalties.l1(s)))))(0.5)
    assert "traced" in traced[0]
    assert penalties.explain(params, penalties.non_negative())[1].penalised


def test_a_scheduled_strength_is_said_to_be_that_of_the_first_step():
    params = {"moves": jnp.ones((2, 2)), "stays": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    penalty = penalties.l1({"moves": lambda count: 0.5 + count.astype(jnp.float32), "stays": 0.25, "bias": 0.1})
    table = penalties.explain(params, penalty)
    assert [row.scheduled for row in table] == [False, True, False]
    assert str(table).splitlines()[2].split("  ")[-1] == "0.5 at step 0"
    assert str(table).splitlines()[3].split()[-1] == "0.25"
    later = penalties.explain(params, penalty.at(jnp.int32(3)))
    assert [row.scheduled for row in later] == [False] * 3
    assert str(later).splitlines()[2].split()[-1] == "3.5"
