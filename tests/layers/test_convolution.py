"""The convolution by a matrix product: against XLA's own, in every option, with its slopes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from regopt.layers import convolution_by_product
from regopt.layers._lane_convolution import lane_convolution

CASES = {
    "plain": {"padding": "VALID"},
    "same": {"padding": "SAME"},
    "same, strides": {"padding": "SAME", "window_strides": (2, 3)},
    "same lower": {"padding": "SAME_LOWER", "window_strides": (2, 1)},
    "margins": {"padding": [(2, 0), (1, 3)], "window_strides": (3, 2)},
    "cut": {"padding": [(-1, 0), (0, -2)]},
    "kernel spread": {"padding": "SAME", "rhs_dilation": (2, 1)},
    "input spread": {"padding": [(1, 1), (2, 2)], "lhs_dilation": (2, 3)},
    "groups": {"padding": "SAME", "feature_group_count": 2},
    "depthwise": {"padding": "VALID", "feature_group_count": 4, "window_strides": (2, 2)},
    "channels last": {"padding": "SAME", "dimension_numbers": ("NHWC", "HWIO", "NHWC")},
    "mixed": {"padding": "SAME", "dimension_numbers": ("HNWC", "OHWI", "CHNW"), "window_strides": (1, 2)},
}

CONVOLUTIONS = (convolution_by_product, jax.lax.conv_general_dilated)


def arrays(case, dtype):
    rng = np.random.default_rng(0)
    groups = case.get("feature_group_count", 1)
    lhs, rhs, _ = case.get("dimension_numbers", ("NCHW", "OIHW", "NCHW"))
    x = rng.normal(size=[{"N": 3, "C": 4, "H": 7, "W": 8}[axis] for axis in lhs])
    kernel = rng.normal(size=[{"O": 8, "I": 4 // groups, "H": 3, "W": 2}[axis] for axis in rhs])
    return jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_is_the_convolution_of_xla_with_its_slopes(case):
    with jax.enable_x64(True):
        x, kernel = arrays(case, jnp.float64)
        options = {"window_strides": (1, 1)} | case

        def value_and_slopes(convolution):
            value, backward = jax.vjp(lambda *given: convolution(*given, **options), x, kernel)
            return value, *backward(jnp.asarray(np.random.default_rng(1).normal(size=value.shape)))

        ours, theirs = (jax.jit(value_and_slopes, static_argnums=0)(f) for f in CONVOLUTIONS)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def on_a_tpu(lhs, rhs, window_strides, padding, lhs_dilation=(1, 1), rhs_dilation=(1, 1), dimension_numbers=None):
    """What the product becomes on a TPU; it runs on a CPU too, only slowly."""
    numbers = jax.lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    if isinstance(padding, str):
        spreads = (lhs, numbers.lhs_spec, lhs_dilation), (rhs, numbers.rhs_spec, rhs_dilation)
        sizes = [
            [(x.shape[axis] - 1) * by + 1 for axis, by in zip(spec[2:], spread, strict=True)]
            for x, spec, spread in spreads
        ]
        padding = jax.lax.padtype_to_pads(*sizes, window_strides, padding)
    return lane_convolution(lhs, rhs, window_strides, padding, lhs_dilation, rhs_dilation, numbers, None, None)


def slopes(convolution, options):
    """``x, kernel -> the convolution, and the slopes of a loss``."""

    def loss(x, kernel):
        y = convolution(x, kernel, **options)
        return jnp.sum(jnp.sin(y)), y

    return jax.grad(loss, (0, 1), has_aux=True)


def same_in_lanes(options, given, lift):
    ours, theirs = (jax.jit(lift(slopes(f, options)))(*given) for f in (on_a_tpu, jax.lax.conv_general_dilated))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), ours, theirs)


@pytest.mark.parametrize("case", [case for case in CASES.values() if "feature_group_count" not in case])
def test_its_form_for_a_tpu_is_the_convolution_of_xla_in_lanes(case):
    with jax.enable_x64(True):
        given = [jnp.stack([each, each[::-1], each + 1]) for each in arrays(case, jnp.float64)]
        same_in_lanes({"window_strides": (1, 1)} | case, given, jax.vmap)


@pytest.mark.parametrize(
    "lift",
    [
        lambda f: jax.vmap(lambda x, kernel: f(x, kernel[0]), (1, None)),
        lambda f: jax.vmap(lambda x, kernel: f(x[:, 0], kernel), (None, 0)),
        lambda f: jax.vmap(lambda x, kernel: jax.vmap(f)(x[None], kernel[None]), (1, 0)),
        lambda f: jax.vmap(lambda *given: jax.jvp(f, given, given), (1, 0)),
        lambda f: lambda x, kernel: f(x[:, 0], kernel[0]),
    ],
    ids=["inputs", "kernels", "lanes of lanes", "second slopes", "no lanes"],
)
def test_its_form_for_a_tpu_takes_lanes_of_any_kind(lift):
    case = CASES["same, strides"]
    with jax.enable_x64(True):
        x, kernel = arrays(case, jnp.float64)
        same_in_lanes(case, (jnp.stack([x, x + 1], 1), jnp.stack([kernel, kernel[::-1]])), lift)


def test_its_form_for_a_tpu_has_the_precision_of_the_trace():
    with jax.default_matmul_precision("highest"):
        traced = jax.jit(on_a_tpu, static_argnums=(2, 3)).trace(
            jnp.ones((2, 3, 6, 6)), jnp.ones((4, 3, 3, 3)), (1, 1), "SAME"
        )
    assert "HIGHEST" in traced.lower().as_text()


def test_its_form_for_a_tpu_takes_lanes_of_lanes_without_examples():
    def convolution(x, kernel):
        return on_a_tpu(x, kernel, (1, 1), "VALID")

    x, kernel = jax.ShapeDtypeStruct((2, 3, 0, 3, 6, 6), "float32"), jax.ShapeDtypeStruct((2, 3, 4, 3, 3, 3), "float32")
    assert jax.eval_shape(jax.vmap(jax.vmap(convolution)), x, kernel).shape == (2, 3, 0, 4, 4, 4)


@pytest.mark.parametrize("space", [(9,), (4, 5, 6)])
def test_any_number_of_dimensions(space):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 3, *space)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(5, 3, *(2,) * len(space))), jnp.float32)
    given = (x, kernel, (1,) * len(space), "SAME")
    np.testing.assert_allclose(
        convolution_by_product(*given), jax.lax.conv_general_dilated(*given), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_in_a_module_of_flax_under_jit_and_in_lanes(dtype):
    """Each lane has its own kernel, as in a sweep."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 8, 2)), dtype)

    keys = jax.random.split(jax.random.key(0), 3)

    def outputs(key, convolution):
        layer = nnx.Conv(
            2, 4, (3, 3), strides=2, conv_general_dilated=convolution, param_dtype=dtype, rngs=nnx.Rngs(key)
        )
        return layer(x)

    ours = jax.jit(jax.vmap(lambda key: outputs(key, convolution_by_product)))(keys)
    assert ours.dtype == dtype
    for lane, key in enumerate(keys):
        theirs = outputs(jax.random.clone(key), jax.lax.conv_general_dilated)
        tolerance = 8 * float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(ours[lane].astype(float), theirs.astype(float), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_group_count": 2}, "batch_group_count must be 1, got 2"),
        ({"feature_group_count": 3}, "lhs must have 4 x 3 features"),
        ({"rhs_dilation": (4, 1)}, r"lhs must be at least as large as the window, \[9, 2\], got \(7, 8\)"),
        ({"out_sharding": "spread"}, "out_sharding must be None, got spread"),
    ],
)
def test_what_does_not_fit_is_named(options, words):
    x, kernel = arrays({}, jnp.float32)
    with pytest.raises(ValueError, match=words):
        convolution_by_product(x, kernel, (1, 1), "VALID", **options)
