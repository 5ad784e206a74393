"""What every transform keeps: the bits at rest, the dtype, an example's own draw, lanes, slopes, and messages."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regopt import augment
from support.augmented import IMAGES, STRENGTHS, TRANSFORMS, key, quick


def test_a_strength_of_zero_changes_no_bit_and_no_strength_the_dtype():
    images = jnp.asarray(IMAGES, jnp.bfloat16).at[0, 0, 0].set(jnp.array([-0.0, jnp.inf, -2.0], jnp.bfloat16))

    @jax.jit
    def outcomes(strengths):
        changed = {name: make(strengths[name])(key(), images) for name, make in TRANSFORMS.items()}
        return changed | {"mixup": augment.mixup(strengths["mixup"])(key(), images[1:], images[1:])[0]}

    given = {name: jnp.float32(strength) for name, strength in (STRENGTHS | {"mixup": 0.4}).items()}
    for name, outcome in outcomes(jax.tree.map(jnp.zeros_like, given)).items():
        expected = images[1:] if name == "mixup" else images
        assert np.asarray(outcome).tobytes() == np.asarray(expected).tobytes(), name
    for name, outcome in outcomes(given).items():
        assert outcome.dtype == jnp.bfloat16
        assert not np.array_equal(outcome[-1], images[-1]) or name in ("mixup", "flip_horizontal", "flip_vertical")


def test_every_example_has_its_own_draw_that_others_do_not_change():
    """Of a hundred copies of one image hardly two come out alike, and the first ones as they do among themselves."""
    copies = jnp.asarray(IMAGES[:1], jnp.float32).repeat(100, axis=0)

    @quick
    def outcomes(key):
        return {
            name: tuple(make(STRENGTHS[name])(jax.random.clone(key), given) for given in (copies, copies[:5]))
            for name, make in TRANSFORMS.items()
        }

    for name, (many, few) in outcomes(key()).items():
        np.testing.assert_allclose(many[:5], few, rtol=1e-6, atol=1e-6)
        different = len(np.unique(np.asarray(many).reshape(100, -1), axis=0))
        assert different == 2 if "flip" in name else different > 25 if name == "cutout" else different == 100, name


def test_lanes_are_the_loop_and_slopes_are_finite_at_both_ends():
    images = jnp.asarray(IMAGES[:2, :5], jnp.float32).at[0, 0].set(0.0)
    ends = {"flip_horizontal": 1.0, "flip_vertical": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.5}
    ends = STRENGTHS | {"crop_and_scale": 1.0, "sometimes": 1.0} | ends
    made = TRANSFORMS | {"sometimes": lambda p: augment.sometimes(augment.brightness(0.2), p)}

    def outcomes(share):
        return {name: make(ends[name] * share)(key(), images) for name, make in made.items()}

    def total(share):
        return sum(jnp.sum(outcome) for outcome in outcomes(share).values())

    shares = jnp.array([0.0, 0.3, 1.0], jnp.float32)
    lanes, slopes = quick(jax.vmap(lambda share: jax.jvp(outcomes, (share,), (jnp.float32(1.0),))))(shares)
    backward = quick(jax.value_and_grad(total))
    assert all(np.isfinite(slope).all() for slope in slopes.values())
    for i, share in enumerate(shares):
        value, slope = backward(share)
        np.testing.assert_allclose(value, sum(np.sum(x[i]) for x in lanes.values()), rtol=1e-5)
        np.testing.assert_allclose(slope, sum(np.sum(x[i]) for x in slopes.values()), rtol=1e-3)


def test_transforms_follow_one_another_with_keys_of_their_own():
    images = jnp.asarray(IMAGES, jnp.float32)
    lighter, flatter = augment.brightness(0.3), augment.multiplicative_noise(0.4)
    by_hand = flatter(jax.random.fold_in(key(), 1), lighter(jax.random.fold_in(key(), 0), images))
    np.testing.assert_array_equal(augment.compose(lighter, flatter)(key(), images), by_hand)
    assert augment.compose()(key(), images) is images
    noise = augment.compose(augment.additive_noise(0.2), augment.additive_noise(0.2))
    added = np.asarray(noise(key(), jnp.zeros((50, 6, 5, 3), jnp.float32)))
    assert abs(added.var() / 0.08 - 1) < 4 * np.sqrt(2 / added.size)  # twice that with one key for both


def test_slopes_in_the_strength_are_those_of_differences():
    """In double precision; one-sided at 0, where interpolation has a kink at every pixel and is left out."""
    smooth = ["brightness", "contrast", "saturation", "hue", "additive_noise", "multiplicative_noise"]
    kinked = ["translation", "scaling", "rotation", "shear", "crop_and_scale"]
    with jax.enable_x64(True):
        images = jnp.asarray(IMAGES)

        @quick
        def outcomes(strength):
            return {name: TRANSFORMS[name](strength)(key(), images) for name in smooth + kinked}

        for at, names in ((0.0, smooth), (0.137, smooth + kinked)):
            low, high = (outcomes(at + step) for step in (0.0, 1e-7))
            slopes = jax.jvp(outcomes, (at,), (1.0,))[1]
            for name in names:
                assert slopes[name].dtype == jnp.float64
                difference = (high[name] - low[name]) / 1e-7
                np.testing.assert_allclose(slopes[name], difference, atol=2e-5, err_msg=name)
                assert np.abs(difference).max() > 1e-3


def test_what_does_not_fit_is_named():
    image = jnp.zeros((2, 3, 3, 3), jnp.float32)
    for images, got in ((image.astype(jnp.uint8), r"uint8 \(2, 3, 3, 3\)"), (image[0], r"float32 \(3, 3, 3\)")):
        with pytest.raises(ValueError, match=rf"images must be floating point \[batch, .*\], got {got}"):
            augment.rotation(10.0)(key(), images)
    for name, make in TRANSFORMS.items():
        number = "probability" if "flip" in name else "strength"
        with pytest.raises(ValueError, match=rf"{number} must lie in \[0, .*, got -0.1"):
            make(-0.1)
    with pytest.raises(ValueError, match=r'mode must be "constant", .* or "reflect", got .zeros.'):
        augment.shear(0.1, mode="zeros")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match='along must be "width" or "height"'):
        augment.shear(0.1, along="depth")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"targets must be floating point \(jax.nn.one_hot for classes\), got int32"):
        augment.mixup(0.2)(key(), image, jnp.zeros(2, jnp.int32))
    with pytest.raises(ValueError, match="inputs and targets must have the same length, got 2 and 3"):
        augment.mixup(0.2)(key(), image, jnp.eye(3, dtype=jnp.float32))


def test_only_hue_and_saturation_need_dm_pix(monkeypatch):
    monkeypatch.setitem(sys.modules, "dm_pix", None)
    for name, make in TRANSFORMS.items():
        if name in ("hue", "saturation"):
            with pytest.raises(ImportError, match=rf"augment.{name} needs dm-pix: pip install 'regopt\[experiments\]'"):
                make(0.3)
        else:
            make(0.3)
