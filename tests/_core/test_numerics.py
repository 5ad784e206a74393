"""The helpers that the contract rests on, against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regopt._core import numerics, trees


@pytest.mark.parametrize("b", [0.0, 0.3, 0.9, 0.999, 0.99999, 0.9999999])
@pytest.mark.parametrize("t", [1, 2, 10, 1000, 100000])
@pytest.mark.parametrize("traced", [False, True], ids=["static", "traced"])
def test_one_minus_power_is_accurate_in_float32(b, t, traced):
    if traced:
        ours = jax.jit(numerics.one_minus_power)(jnp.float32(b), t)
        b = float(np.float32(b))  # the number as the tracer holds it
    else:
        ours = numerics.one_minus_power(b, t)
    assert float(ours) == pytest.approx(1 - b**t, rel=4e-7)


@pytest.mark.parametrize("b", [0.0, 0.4, 0.999])
@pytest.mark.parametrize("t", [0, 1, 2, 50])
def test_the_slopes_of_one_minus_power(b, t):
    with jax.enable_x64(True):
        in_b = jax.grad(numerics.one_minus_power)(b, t)
        in_t = jax.grad(numerics.one_minus_power, argnums=1)(b, float(t))
    assert in_b == pytest.approx(-t * b ** (t - 1) if t else 0.0, rel=1e-12)
    assert in_t == pytest.approx(-(b**t) * np.log(b) if b else 0.0, rel=1e-10)


def test_one_minus_is_double_for_numbers_and_exact_for_tracers():
    assert numerics.one_minus(0.999) == 1 - 0.999
    assert numerics.one_minus(np.float32(0.9)) == 1 - float(np.float32(0.9))
    traced = jax.jit(numerics.one_minus)(jnp.float32(0.9))
    assert float(traced) == 1 - float(np.float32(0.9))


def test_like_takes_the_dtype_of_the_leaf_and_full_precision():
    with jax.enable_x64(True):
        assert numerics.like(0.1, jnp.ones(1, jnp.float64)) == 0.1
        assert jax.jit(numerics.like)(jnp.float32(0.1), jnp.ones(1, jnp.float64)).dtype == jnp.float64
    assert jax.jit(numerics.like)(0.1, jnp.ones(1, jnp.bfloat16)).dtype == jnp.bfloat16


def test_safe_roots_norms_and_quotients_have_finite_slopes_at_zero():
    assert jax.grad(numerics.safe_sqrt)(jnp.float32(0.0)) == 0
    assert jax.grad(numerics.safe_sqrt)(jnp.float32(4.0)) == 0.25
    assert np.isnan(numerics.safe_sqrt(jnp.float32(-1.0)))
    np.testing.assert_array_equal(jax.grad(numerics.safe_norm)(jnp.zeros(3)), 0.0)
    np.testing.assert_allclose(jax.grad(numerics.safe_norm)(jnp.array([3.0, -4.0])), [0.6, -0.8], rtol=1e-6)
    quotient = jax.grad(lambda a, b: numerics.safe_divide(a, b), argnums=(0, 1))
    assert quotient(jnp.float32(0.0), jnp.float32(0.0)) == (0.0, 0.0)
    assert quotient(jnp.float32(3.0), jnp.float32(2.0)) == (0.5, -0.75)


@pytest.mark.parametrize("size", [1e-38, 1e-20, 1.0, 1e20, 1e38])
def test_the_norm_neither_overflows_nor_underflows(size):
    x = np.array([0.3, -0.4, 1.2], np.float32) * np.float32(size)
    assert float(numerics.safe_norm(jnp.asarray(x))) == pytest.approx(1.3 * size, rel=1e-5)


@pytest.mark.parametrize("axis", [None, (0,)])
def test_the_norm_of_zeros_that_are_constants_of_a_program_is_zero(axis):
    x = jax.random.normal(jax.random.key(0), (6, 4))

    def norms(scale):  # the compiler knows every entry, and multiplies constants in an order of its own
        return scale * numerics.direction_and_norm((x * 0.0,), axis)[1]

    np.testing.assert_array_equal(jax.jit(norms)(2.0), 0.0)


def test_the_norm_of_what_is_not_finite_is_not_finite():
    assert np.isinf(numerics.safe_norm(jnp.array([1.0, jnp.inf])))
    assert np.isnan(numerics.safe_norm(jnp.array([1.0, jnp.nan])))
    assert numerics.safe_norm(jnp.zeros((0,))) == 0


def test_the_range_check_reads_intervals():
    numerics.check_range("b1", 0.0, "[0, 1)")
    numerics.check_range("b1", {"layer": 0.5, "rest": [0.1, np.float32(0.2)]}, "[0, 1)")
    numerics.check_range("learning_rate", lambda count: -1.0, "[0, inf)")
    jax.jit(lambda x: numerics.check_range("b1", x, "[0, 1)"))(5.0)
    for value, shown in ((1.0, "1.0"), (np.nan, "nan"), (-1e-9, "-1e-09"), ({"layer": 7.0}, "7.0")):
        with pytest.raises(ValueError, match=rf"b1 must lie in \[0, 1\), got {shown}"):
            numerics.check_range("b1", value, "[0, 1)")
    for value in ("0.1", None, True):
        with pytest.raises(ValueError, match=rf"b1 must be a number in \[0, 1\), got {value!r}"):
            numerics.check_range("b1", value, "[0, 1)")
    numerics.check_range("b1", jnp.bfloat16(0.5), "[0, 1)")
    with pytest.raises(ValueError, match=r"low must lie in \(0, inf\), got 0"):
        numerics.check_range("low", 0, "(0, inf)")


def test_totals_accumulate_in_float32():
    many = jnp.full(4096, 0.5, jnp.bfloat16)
    assert float(trees.total([many, many])) == 4096.0  # bfloat16 would stick at 256
    assert trees.total([]).dtype == jnp.float32


def test_lift_computes_wide_and_casts_last():
    small = jnp.full(2, 1e-3, jnp.float16)
    squared = trees.lift(lambda x: jnp.sqrt(x * x * x * x), small)  # 1e-12 is 0 in float16
    np.testing.assert_allclose(squared, 1e-6, rtol=0.05)
    assert squared.dtype == jnp.float16
    assert trees.lift_wide(lambda x, y: x + y, small, jnp.ones(2, jnp.float32))[0].dtype == jnp.float32


def test_what_is_not_finite_is_counted_in_every_inexact_leaf():
    good = {"w": jnp.ones(2), "count": jnp.array(3)}
    assert trees.count_not_finite(good) == 0
    assert trees.count_not_finite({**good, "b": jnp.array([1.0, jnp.nan, -jnp.inf])}) == 2
    assert trees.count_not_finite({}) == 0


def test_a_large_integer_is_a_float():
    assert numerics.as_float(10**10) == 1e10
