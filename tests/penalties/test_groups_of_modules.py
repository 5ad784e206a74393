"""Groups over the leaves of layers of flax and equinox: heads of attention and hidden units, against plain NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from regopt import penalties
from regopt._core import paths

STRENGTH, STEP = 1.3, 0.5
HEADS, WIDTH, MODEL, HIDDEN = 3, 4, 6, 5


class NnxBlock(nnx.Module):
    def __init__(self):
        self.attention = nnx.MultiHeadAttention(HEADS, MODEL, qkv_features=HEADS * WIDTH, rngs=nnx.Rngs(0))
        self.up = nnx.Linear(MODEL, HIDDEN, rngs=nnx.Rngs(1))
        self.down = nnx.Linear(HIDDEN, MODEL, rngs=nnx.Rngs(2))


class LinenBlock(linen.Module):
    @linen.compact
    def __call__(self, x):
        attend = linen.MultiHeadDotProductAttention(HEADS, qkv_features=HEADS * WIDTH, name="attention")
        x = attend(x, deterministic=True)
        return linen.Dense(MODEL, name="down")(linen.Dense(HIDDEN, name="up")(x))


class EquinoxBlock(eqx.Module):
    attention: eqx.nn.MultiheadAttention
    up: eqx.nn.Linear
    down: eqx.nn.Linear

    def __init__(self):
        keys = jax.random.split(jax.random.key(0), 3)
        self.attention = eqx.nn.MultiheadAttention(HEADS, MODEL, qk_size=WIDTH, vo_size=WIDTH, key=keys[0])
        self.up = eqx.nn.Linear(MODEL, HIDDEN, key=keys[1])
        self.down = eqx.nn.Linear(HIDDEN, MODEL, key=keys[2])


def flax_heads():
    """The axis of the heads in each leaf, as NumPy's ``take`` has it: one index, or those of a head, for each group."""
    one = [[head] for head in range(HEADS)]
    inner = {f"attention/{name}/kernel": (1, one) for name in ("query", "key", "value")}
    inner |= {f"attention/{name}/bias": (0, one) for name in ("query", "key", "value")}
    return inner | {"attention/out/kernel": (0, one)}


UNITS = {"up/kernel": 1, "up/bias": 0, "down/kernel": 0}
ROWS = np.repeat(np.arange(HEADS), WIDTH)
RUNS = [list(range(head * WIDTH, (head + 1) * WIDTH)) for head in range(HEADS)]
SINGLE = [[unit] for unit in range(HIDDEN)]
HEADS_OF_FLAX = {f"attention/{name}/kernel": 1 for name in ("query", "key", "value")}
HEADS_OF_FLAX |= {f"attention/{name}/bias": 0 for name in ("query", "key", "value")}
HEADS_OF_FLAX |= {"attention/out/kernel": 0}  # the bias of the output belongs to no head
OF_FLAX = ([HEADS_OF_FLAX, UNITS], [flax_heads(), {path: (axis, SINGLE) for path, axis in UNITS.items()}])
CASES = {
    "nnx": (lambda: nnx.state(NnxBlock(), nnx.Param), *OF_FLAX),
    "linen": (lambda: LinenBlock().init(jax.random.key(0), jnp.ones((1, 2, MODEL)))["params"], *OF_FLAX),
    "equinox": (
        lambda: eqx.filter(EquinoxBlock(), eqx.is_inexact_array),
        [
            {f"attention/{name}_proj/weight": (0, ROWS) for name in ("query", "key", "value")}
            | {"attention/output_proj/weight": (1, ROWS)},
            {"up/weight": 0, "up/bias": 0, "down/weight": 1},
        ],
        [
            {f"attention/{name}_proj/weight": (0, RUNS) for name in ("query", "key", "value")}
            | {"attention/output_proj/weight": (1, RUNS)},
            {"up/weight": (0, SINGLE), "up/bias": (0, SINGLE), "down/weight": (1, SINGLE)},
        ],
    ),
}


def by_path(tree):
    return dict(zip(paths.leaf_paths(tree), map(np.asarray, jax.tree.leaves(tree)), strict=True))


def groups_of(arrays, members):
    """The places of each group: a list of (path, index) for each."""
    found = []
    for family in members:
        count = len(next(iter(family.values()))[1])
        for group in range(count):
            found.append([(path, (slice(None),) * axis + (runs[group],)) for path, (axis, runs) in family.items()])
    assert all(path in arrays for group in found for path, _ in group)
    return found


def expected(arrays, members):
    """The value, its slope and the prox, of norms over entries that are gathered one by one."""
    value, slope = 0.0, {path: np.zeros_like(w) for path, w in arrays.items()}
    prox = {path: w.copy() for path, w in arrays.items()}
    for group in groups_of(arrays, members):
        norm = np.sqrt(sum(float(np.sum(np.square(arrays[path][at], dtype=float))) for path, at in group))
        value += STRENGTH * norm
        for path, at in group:
            slope[path][at] = STRENGTH * arrays[path][at] / norm if norm else 0
            prox[path][at] = arrays[path][at] * max(1 - STEP * STRENGTH / norm, 0) if norm else 0
    return value, slope, prox


@pytest.mark.parametrize("name", CASES)
def test_the_value_the_slope_and_the_prox_are_those_of_the_gathered_entries(name):
    make, groups, members = CASES[name]
    rng = np.random.default_rng(0)
    tree = jax.tree.map(lambda w: jnp.asarray(rng.normal(size=w.shape), jnp.float32), make())
    scales = dict(enumerate([0.05, 1.0, 0.0, 1.0, 0.1, 0.0, 0.6, 1.0]))
    arrays = {path: w.copy() for path, w in by_path(tree).items()}
    for place, group in enumerate(groups_of(arrays, members)):  # some groups vanish, and some are zero already
        for path, at in group:
            arrays[path][at] *= scales[place]
    tree = jax.tree.unflatten(jax.tree.structure(tree), [jnp.asarray(arrays[path]) for path in paths.leaf_paths(tree)])
    penalty = penalties.group_lasso(STRENGTH, groups=groups)
    value, slope, prox = expected(arrays, members)
    np.testing.assert_allclose(penalty.value(tree), value, rtol=1e-6)
    for found, wanted in ((jax.grad(penalty.value)(tree), slope), (jax.jit(penalty.prox)(tree, STEP), prox)):
        assert jax.tree.structure(found) == jax.tree.structure(tree)
        for path, w in by_path(found).items():
            np.testing.assert_allclose(w, wanted[path], rtol=2e-5, atol=1e-6, err_msg=path)
    assert sum(np.all(w == 0) for w in (prox[p][at] for group in groups_of(arrays, members) for p, at in group)) > 0
    zeros = [
        np.all(by_path(penalty.prox(tree, STEP))[p][at] == 0) == np.all(prox[p][at] == 0)
        for group in groups_of(arrays, members)
        for p, at in group
    ]
    assert all(zeros)


def test_patterns_that_join_nothing_are_refused():
    """A wildcard stands for one text in all leaves of a group, so that q, k and v have to be named."""
    tree = CASES["linen"][0]()
    for groups in (
        {"attention/[qkv]*/kernel": 1, "attention/out/kernel": 0},
        [{"up/kernel": 1, "up/bias": 0}, {"attention/*/kernel": 1, "down/kernel": 0}],
    ):
        with pytest.raises(
            ValueError, match=r"^groups joins no leaf of 'attention/\S+' with one of another pattern, because"
        ):
            penalties.group_lasso(STRENGTH, groups=groups).value(tree)
    alone = penalties.group_lasso(STRENGTH, groups=[{"attention/*/kernel": 1}, {"down/kernel": 0}])
    assert alone.value(tree) > 0
