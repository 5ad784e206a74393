"""Numbers and masks by layer: prefix trees matched by name, and mappings from path patterns."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.core import FrozenDict

import regopt
from regopt import layers, penalties, projections, transforms
from regopt._core import paths, trees

PARAMS = {
    "embed": {"embedding": jnp.ones((3, 2))},
    "block": {
        "attn": {"q": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}},
        "mlp": [{"kernel": jnp.ones((2, 2))}] * 2,
    },
}
ATTENTION = {"**/attn/**": 0.5, "**/embed*": 0.0, "**": 2.0}


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Pair:
    first: object
    last: object


class Named(NamedTuple):
    first: object
    last: object


def by_path(number, tree):
    return dict(zip(paths.leaf_paths(tree), paths.broadcast(number, tree, "strength"), strict=True))


def test_a_pattern_matches_whole_paths_and_the_longest_wins_in_any_order():
    expected = {
        "block/attn/q/bias": 0.5,
        "block/attn/q/kernel": 0.5,
        "block/mlp/0/kernel": 2.0,
        "block/mlp/1/kernel": 2.0,
        "embed/embedding": 0.0,
    }
    assert by_path(ATTENTION, PARAMS) == expected
    assert by_path(dict(reversed(ATTENTION.items())), PARAMS) == expected


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("**/kernel", {"block/attn/q/kernel", "block/mlp/0/kernel", "block/mlp/1/kernel"}),
        ("*/kernel", set()),
        ("block/**", {"block/attn/q/bias", "block/attn/q/kernel", "block/mlp/0/kernel", "block/mlp/1/kernel"}),
        ("block/*", set()),
        ("**/mlp/[1-3]/*", {"block/mlp/1/kernel"}),
        ("**/mlp/[!1]/*", {"block/mlp/0/kernel"}),
        ("**/attn/?/**", {"block/attn/q/bias", "block/attn/q/kernel"}),
        ("**/ker*l", {"block/attn/q/kernel", "block/mlp/0/kernel", "block/mlp/1/kernel"}),
        ("embed/embedding", {"embed/embedding"}),
        ("**", set(paths.leaf_paths(PARAMS))),
    ],
)
def test_what_a_pattern_matches(pattern, matched):
    if not matched:
        with pytest.raises(ValueError, match=r"^strength has a pattern that matches nothing, "):
            paths.broadcast({pattern: 1.0}, PARAMS, "strength", 0.0)
        return
    found = paths.broadcast({pattern: 1.0}, PARAMS, "strength", 0.0)
    assert {path for path, one in zip(paths.leaf_paths(PARAMS), found, strict=True) if one} == matched


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ({"**/atn/**": 1.0, "**": 0.0}, "matches nothing, '**/atn/**'; the nearest paths are block/attn/q/"),
        (
            {"block/attn": 1.0, "**": 0.0},
            "matches nothing, 'block/attn'; for all that lies below it write 'block/attn/**'",
        ),
        ({"**/kernel": 1.0}, "has no pattern for 'block/attn/q/bias': add {\"**\": ...} for all others"),
        ({"**/attn/**": 1.0, "**/bias": 0.0, "**": 1.0}, "two equally long patterns for 'block/attn/q/bias', "),
        ({"**": {"kernel": 1.0}}, "must have one entry for the pattern '**', got {'kernel': 1.0}"),
        ({"block": 1.0}, "has no entry for 'embed': add it, or give patterns such as "),
        ({"block": 1.0, "embedd": 1.0}, "has an entry 'embedd', where there are no parameters; did you mean 'embed'?"),
        (
            {"block": 1.0, "embed": {"embedding": {"w": 1.0}}},
            "must have one entry for 'embed/embedding', got {'w': 1.0}",
        ),
        ({"block": {"attn": 1.0, "mlp": [1.0]}, "embed": 1.0}, "has no entry for 'block/mlp/1': add it, "),
        ([1.0, 2.0], "has an entry '0', where there are no parameters; valid: block, embed"),
        (None, "has no entry for 'block': add it, "),
    ],
)
def test_what_does_not_fit_is_said_in_one_line_with_the_argument_and_the_path(prefix, message):
    with pytest.raises(ValueError, match=r"^strength ") as error:
        paths.broadcast(prefix, PARAMS, "strength")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def model():
    return layers.MLP((3, 4, 2), rngs=nnx.Rngs(0))


def test_a_plain_tree_describes_a_flax_state_a_frozen_dict_and_dataclasses():
    state = nnx.state(model(), nnx.Param)
    expected = {"layers/0/bias": 1.0, "layers/0/kernel": 1.0, "layers/1/bias": 3.0, "layers/1/kernel": 2.0}
    assert by_path({"layers": [1.0, {"kernel": 2.0, "bias": 3.0}]}, state) == expected
    assert by_path({"layers/0/*": 1.0, "layers/1/kernel": 2.0, "layers/1/bias": 3.0}, state) == expected
    by_state = jax.tree.map(lambda w: float(w.ndim), state)
    assert set(by_path(by_state, nnx.to_pure_dict(state)).values()) == {1.0, 2.0}
    one = {"first": 1.0, "last": {"kernel": 2.0}}
    inner = {"first": {"kernel": 0, "bias": 0}, "last": {"kernel": 0}}
    for tree in (inner, FrozenDict(inner), Pair(**inner), Named(**inner)):
        for prefix in (one, FrozenDict(one), Pair(**one), Named(**one)):
            assert list(by_path(prefix, tree).values()) == [1.0, 1.0, 2.0]


def test_a_tree_with_none_where_there_is_no_parameter_fits():
    params = {"layer": {"kernel": jnp.ones((2, 2)), "activation": None}, "rest": None}
    strengths = {"layer": {"kernel": 0.5, "activation": None}, "rest": None}
    for strength in (strengths, {"layer": 0.5, "rest": None}, {"layer": 0.5}, {"layer": 0.5, "rest": 1.0}):
        np.testing.assert_allclose(penalties.l1(strength).value(params), 2.0)
    with pytest.raises(ValueError, match=r"^strength must be a number in \[0, inf\), got None"):
        penalties.l1(None)
    with pytest.raises(ValueError, match=r"^strength has no entry for 'layer/kernel'"):
        penalties.l1({"layer": {"kernel": None}, "rest": 1.0}).value(params)


def test_names_with_slashes_as_haiku_has_them_are_keys_and_paths():
    params = {"mlp/~/linear_0": {"w": 1, "b": 1}, "mlp/~/linear_1": {"w": 1, "b": 1}}
    assert list(by_path({"mlp/~/linear_0": 1.0, "mlp/~/linear_1": 2.0}, params).values()) == [1.0, 1.0, 2.0, 2.0]
    assert list(by_path({"mlp/~/linear_0/*": 1.0, "**": 2.0}, params).values()) == [1.0, 1.0, 2.0, 2.0]


def test_values_of_patterns_may_be_traced_and_keep_their_order():
    def value(strengths):
        return penalties.l2(strengths, mask=None).value(PARAMS)

    strengths = {"**/embed*": 3.0, "**": 1.0, "**/attn/**": 0.5}
    expected = (3.0 * 6 + 1.0 * 8 + 0.5 * 6) / 2
    np.testing.assert_allclose(value(strengths), expected)
    np.testing.assert_allclose(jax.jit(value)(strengths), expected)
    lanes = jax.vmap(value)(jax.tree.map(lambda s: s * jnp.array([1.0, 2.0]), strengths))
    np.testing.assert_allclose(lanes, [expected, 2 * expected])
    np.testing.assert_allclose(jax.grad(value)(strengths)["**/attn/**"], 3.0)


def test_a_leaf_that_no_pattern_of_the_strength_matches_is_not_penalised():
    penalty = penalties.elastic_net({"**/attn/**": 0.5}, {"**/attn/**": 1.0, "**": 0.5})
    chosen = penalty.mask(PARAMS)
    assert [path for path, on in zip(paths.leaf_paths(PARAMS), jax.tree.leaves(chosen), strict=True) if on] == [
        "block/attn/q/kernel"
    ]
    np.testing.assert_allclose(penalty.value(PARAMS), 2.0)
    after = penalty.prox(PARAMS, 1.0)
    np.testing.assert_allclose(after["block"]["attn"]["q"]["kernel"], 0.5)
    assert after["embed"]["embedding"] is PARAMS["embed"]["embedding"]
    np.testing.assert_allclose(penalty.strength_max(PARAMS), 1.0)  # of the attention's kernel alone


@pytest.mark.parametrize(
    "mask", [{"**/kernel": True}, lambda _: {"**/kernel": True}, {"**/bias": False, "**/kernel": True}]
)
def test_a_mask_of_patterns(mask):
    found = jax.tree.leaves(trees.resolve_mask(mask, PARAMS))
    assert found == [path.endswith("kernel") for path in paths.leaf_paths(PARAMS)]
    np.testing.assert_allclose(penalties.l1(0.5, mask=mask).value(PARAMS), 6.0)


@pytest.mark.parametrize(
    "mask", ["weight", {"embed": "weights", "block": True}, {"**": 1.0}, {"**": jnp.ones(2, bool)}]
)
def test_a_mask_of_other_things_is_refused(mask):
    with pytest.raises(ValueError, match=r'^mask must be "weights", bools by layer'):
        penalties.l1(0.5, mask=mask).value(PARAMS)


def first_update(optimizer):
    updates, _ = optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
    return dict(zip(paths.leaf_paths(PARAMS), map(jnp.max, jax.tree.leaves(updates)), strict=True))


@pytest.mark.parametrize(
    "optimizer",
    [
        regopt.sgd,
        regopt.adam,
        regopt.adamw,
        lambda rate: regopt.heavy_ball(rate, 0.9),
        regopt.rmsprop,
        regopt.rmsprop_nesterov,
        regopt.adagrad,
        regopt.lion,
        regopt.schedule_free_sgd,
        lambda rate: regopt.regularize(regopt.sgd(rate), penalties.l1(0.5), "proximal"),
        lambda rate: regopt.regularize(regopt.sgd(rate), penalties.l2(0.5), "decoupled", learning_rate=rate),
    ],
)
def test_learning_rates_by_patterns(optimizer):
    rates = {"**/attn/**": lambda count: 0.5, "**/embed*": 0.0, "**": 0.25}
    one = first_update(optimizer(0.5))
    found, other = first_update(optimizer(rates)), first_update(optimizer(0.25))
    for path in one:
        expected = 0.0 if "embed" in path else one[path] if "attn" in path else other[path]
        np.testing.assert_allclose(found[path], expected, rtol=1e-6)
    with pytest.raises(ValueError, match=r"learning_rate has a pattern that matches nothing, '\*\*/atn/\*'"):
        first_update(optimizer({"**/atn/*": 1.0, "**": 0.1}))


def test_other_numbers_by_patterns():
    params = {"first": {"kernel": jnp.full((2, 2), 3.0)}, "last": {"kernel": jnp.full((2, 2), 3.0)}}
    bounds = {"first/*": 1.0, "**": 2.0}

    def tops(tree):
        return [float(jnp.max(leaf)) for leaf in jax.tree.leaves(tree)]

    assert tops(transforms.clip(bounds).update(params, optax.EmptyState())[0]) == [1.0, 2.0]
    assert tops(projections.projection_box(params, -1.0, bounds)) == [1.0, 2.0]
    assert tops(penalties.box(-1.0, bounds).prox(params, 1.0)) == [1.0, 2.0]
    for project in (projections.projection_max_norm, projections.projection_group_balls):
        np.testing.assert_allclose(tops(project(params, bounds)), np.array([1.0, 2.0]) / np.sqrt(2), rtol=1e-6)
    np.testing.assert_allclose(tops(projections.projection_spectral_ball(params, bounds)), [0.5, 1.0], rtol=1e-6)
    clipped = transforms.clip_by_unit_norm(bounds).update(params, optax.EmptyState())[0]
    np.testing.assert_allclose(tops(clipped), np.array([1.0, 2.0]) / np.sqrt(2), rtol=1e-6)
    for use, name in [
        (lambda bad: projections.projection_box(params, bad, 1.0), "lower"),
        (lambda bad: projections.projection_max_norm(params, bad), "radius"),
        (lambda bad: transforms.clip(bad).update(params, optax.EmptyState()), "max_delta"),
        (lambda bad: transforms.clip_by_unit_norm(bad).update(params, optax.EmptyState()), "max_norm"),
        (lambda bad: penalties.elastic_net(0.1, bad).value(params), "l1_ratio"),
        (lambda bad: penalties.huber(0.1, bad).prox(params, 0.1), "delta"),
        (lambda bad: penalties.l1(0.1).prox(params, bad), "step"),
    ]:
        with pytest.raises(ValueError, match=rf"^{name} has no pattern for 'last/kernel'"):
            use({"first/*": 0.5})
