"""Clipping against the formula in float64 NumPy and against optax, at sizes where squares overflow, and in training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import regopt
from regopt import transforms

RNG = np.random.default_rng(5)
GRADS = {
    "first": {"kernel": RNG.normal(size=(4, 3)), "bias": RNG.normal(size=3)},
    "last": {"kernel": 5 * RNG.normal(size=(3, 2)), "bias": 0.01 * RNG.normal(size=2)},
}
LARGEST = 3.3e38 / max(np.abs(g).max() for layer in GRADS.values() for g in layer.values())
NORM_CLIPS = [transforms.clip_by_global_norm, transforms.clip_by_layer_norm, transforms.clip_by_unit_norm]
CLIPS = [transforms.clip, *NORM_CLIPS]
each_clip = pytest.mark.parametrize("factory", CLIPS, ids=lambda f: f.__name__)
each_norm_clip = pytest.mark.parametrize("factory", NORM_CLIPS, ids=lambda f: f.__name__)


def float32(tree, size=1.0):
    return jax.tree.map(lambda g: jnp.asarray(g * size, jnp.float32), tree)


def clipped(transform, grads):
    return transform.update(grads, transform.init(grads))[0]


def clipped64(transform, grads):
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        return jax.tree.map(np.asarray, clipped(transform, jax.tree.map(jnp.asarray, grads)))


def shorten(g, norm, bound):
    """Goodfellow et al. (2016), equations 10.48 and 10.49."""
    return np.where(norm > bound, g * bound / norm, g)


def flat(tree):
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)])


def assert_close(a, b, rtol=1e-12):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol), a, b)


def test_by_value_cuts_each_entry():
    assert_close(clipped64(transforms.clip(0.7), GRADS), jax.tree.map(lambda g: np.clip(g, -0.7, 0.7), GRADS))
    bounds = {"first": 0.5, "last": 2.0}  # one for a layer
    ours = clipped64(transforms.clip(bounds), GRADS)
    assert_close(ours["last"], jax.tree.map(lambda g: np.clip(g, -2, 2), GRADS["last"]))


@pytest.mark.parametrize("bound", [0.8, 3.0, 100.0])
def test_by_global_norm_is_the_books_and_optax(bound):
    norm = np.linalg.norm(flat(GRADS))
    ours = clipped64(transforms.clip_by_global_norm(bound), GRADS)
    assert_close(ours, jax.tree.map(lambda g: shorten(g, norm, bound), GRADS))
    assert_close(ours, clipped64(optax.clip_by_global_norm(bound), GRADS))
    assert np.linalg.norm(flat(ours)) == pytest.approx(min(norm, bound), rel=1e-12)


def test_by_layer_norm_takes_kernel_and_bias_together():
    norms = {name: np.linalg.norm(flat(layer)) for name, layer in GRADS.items()}
    bound = 3.0
    assert norms["first"] != pytest.approx(norms["last"])
    ours = clipped64(transforms.clip_by_layer_norm(bound), GRADS)
    expected = {name: jax.tree.map(lambda g, n=norms[name]: shorten(g, n, bound), GRADS[name]) for name in GRADS}
    assert_close(ours, expected)


def test_a_layer_is_the_leaves_with_one_parent():
    module = nnx.Sequential(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), nnx.Linear(3, 2, rngs=nnx.Rngs(1)))
    state = nnx.state(module)
    by_variable = clipped(transforms.clip_by_layer_norm(0.5), state)
    by_array = clipped(transforms.clip_by_layer_norm(0.5), nnx.to_pure_dict(state))
    np.testing.assert_array_equal(flat(by_variable), flat(by_array))
    for layer in by_array["layers"].values():
        assert np.linalg.norm(flat(layer)) == pytest.approx(0.5, rel=1e-6)
    whole = [jnp.array([3.0, 0.0]), jnp.array([4.0])]  # one parent: the list
    assert_close(clipped(transforms.clip_by_layer_norm(1.0), whole), [[0.6, 0.0], [0.8]], rtol=1e-6)
    assert_close(clipped(transforms.clip_by_layer_norm(1.0), jnp.array([3.0, 4.0])), jnp.array([0.6, 0.8]), rtol=1e-6)
    assert clipped(transforms.clip_by_layer_norm(1.0), {}) == {}


def test_a_leaf_of_one_dimension_or_none_is_one_unit():
    grads = {"bias": jnp.array([3.0, -4.0]), "scale": jnp.array(-5.0), "kernel": jnp.array([[3.0], [-4.0]])}
    clipped, _ = transforms.clip_by_unit_norm(1.0).update(grads, optax.EmptyState())
    np.testing.assert_allclose(clipped["bias"], [0.6, -0.8], rtol=1e-6)
    np.testing.assert_allclose(clipped["kernel"], [[0.6], [-0.8]], rtol=1e-6)
    assert float(clipped["scale"]) == pytest.approx(-1.0)


def test_by_unit_norm_bounds_the_incoming_weights_of_each_unit():
    kernel = np.asarray(GRADS["first"]["kernel"])
    bound = float(np.median(np.linalg.norm(kernel, axis=0)))  # some units are longer, some shorter
    ours = clipped64(transforms.clip_by_unit_norm(bound), GRADS)
    assert_close(ours["first"]["kernel"], shorten(kernel, np.linalg.norm(kernel, axis=0), bound))
    bias = GRADS["first"]["bias"]
    assert_close(ours["first"]["bias"], shorten(bias, np.linalg.norm(bias), bound))
    transposed = clipped64(transforms.clip_by_unit_norm(bound, unit_axis=0), jax.tree.map(np.transpose, GRADS))
    assert_close(jax.tree.map(np.transpose, transposed), ours)


def test_units_of_convolutions_are_those_of_adaptive_gradient_clipping():
    """optax's clips to ``clipping * max(|w_u|, eps)``, which is a fixed bound at parameters of zero."""
    grads = {"kernel": RNG.normal(size=(3, 2, 4, 5)), "bias": RNG.normal(size=5), "gain": RNG.normal()}
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        agc = optax.adaptive_grad_clip(2.0, eps=0.35)
        zeros = jax.tree.map(lambda g: jnp.zeros_like(jnp.asarray(g)), grads)
        theirs, _ = agc.update(jax.tree.map(jnp.asarray, grads), agc.init(zeros), zeros)
    assert_close(clipped64(transforms.clip_by_unit_norm(0.7), grads), jax.tree.map(np.asarray, theirs))


@each_clip
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16], ids=lambda d: d.__name__)
def test_a_short_gradient_is_left_alone_bit_for_bit(factory, dtype):
    grads = {"w": jnp.asarray([[0.1, -0.0], [1e-5, 3.0]], dtype), "b": jnp.asarray([0.7, 5e-8], dtype)}
    for transform in (factory(10.0), factory(np.float32(3.3))):
        ours = jax.jit(transform.update)(grads, transform.init(grads))[0]
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(grads), strict=True):
            assert a.dtype == b.dtype
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@each_norm_clip
@pytest.mark.parametrize("size", [1e-30, 1e-4, 1.0, 1e19, 1e30, LARGEST])
def test_norms_neither_overflow_nor_underflow(factory, size):
    """At the last size the norm of the whole tree is beyond float32, at the first its square below."""
    ours = clipped(factory(0.3 * size), float32(GRADS, size))
    ratio = jax.tree.map(lambda g: np.asarray(g, np.float64) / np.float32(size), ours)
    assert_close(ratio, clipped64(factory(0.3), jax.tree.map(np.float32, GRADS)), rtol=2e-6)
    tiny = clipped(factory(1e-3), float32(GRADS, size))
    assert np.isfinite(flat(tiny)).all()


def test_the_largest_floats_are_shortened_to_the_bound():
    grads = jnp.full(1000, np.finfo(np.float32).max)
    ours = clipped(transforms.clip_by_global_norm(2.0), grads)
    assert np.linalg.norm(np.asarray(ours, np.float64)) == pytest.approx(2.0, rel=1e-5)
    half = clipped(transforms.clip_by_global_norm(2.0), jnp.full(1000, np.finfo(np.float16).max, jnp.float16))
    assert np.linalg.norm(np.asarray(half, np.float64)) == pytest.approx(2.0, rel=1e-3)


@each_norm_clip
def test_slopes_are_finite_at_a_norm_of_zero_and_right_elsewhere(factory):
    @jax.jit
    def length(grads, bound):
        return sum(jnp.sum(jnp.sin(g)) for g in jax.tree.leaves(clipped(factory(bound), grads)))

    slopes_of = jax.jit(jax.grad(length, argnums=(0, 1)))
    zeros = jax.tree.map(jnp.zeros_like, float32(GRADS))
    for grads, bound in ((zeros, 0.5), (zeros, 0.0), (float32(GRADS), 0.0), (float32(GRADS, 1e30), 0.5)):
        assert np.isfinite(flat(slopes_of(grads, bound))).all()
    with jax.enable_x64(True):
        grads = jax.tree.map(jnp.asarray, GRADS)
        slopes = slopes_of(grads, jnp.asarray(0.9))
        ahead, behind = (length(grads, 0.9 + h) for h in (1e-6, -1e-6))
        assert float(slopes[1]) == pytest.approx(float(ahead - behind) / 2e-6, rel=1e-7)
        moved = [jax.tree.map(lambda g: g, grads) for _ in range(2)]
        for each, h in zip(moved, (1e-6, -1e-6), strict=True):
            each["last"]["kernel"] = each["last"]["kernel"].at[1, 1].add(h)
        by_hand = (length(moved[0], 0.9) - length(moved[1], 0.9)) / 2e-6
        assert float(slopes[0]["last"]["kernel"][1, 1]) == pytest.approx(float(by_hand), rel=1e-7)


def test_descent_with_clipping_settles_where_normalised_descent_does_not():
    """On x**2 / 2 at step .1: clipped, x shrinks by .9 a step once |x| < 1; normalised, it hops over 0 for ever."""

    def train(clipping):
        optimizer = optax.chain(clipping, regopt.sgd(0.1))
        x = jnp.float32(1.95)
        state = optimizer.init(x)
        for _ in range(200):
            updates, state = optimizer.update(x, state)
            x = x + updates
        return abs(float(x))

    assert train(transforms.clip_by_global_norm(1.0)) < 1e-7
    normalised = optax.stateless(lambda g, _: g / jnp.abs(g))
    assert train(normalised) == pytest.approx(0.05, rel=1e-3)


@each_clip
def test_errors_name_the_bound(factory):
    name = "max_delta" if factory is transforms.clip else "max_norm"
    for bad, shown in ((-0.5, "-0.5"), (float("nan"), "nan"), (float("inf"), "inf")):
        with pytest.raises(ValueError, match=rf"{name} must lie in \[0, inf\), got {shown}"):
            factory(bad)
