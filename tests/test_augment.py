"""Augmentation against SciPy, colorsys and dm-pix with the same draws, and the draws against their distributions."""

import colorsys
import sys
from functools import partial

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import interpolate, ndimage, stats

from regopt import augment
from regopt.augment.geometry import Mode, affine

RNG = np.random.default_rng(3)
IMAGES = RNG.random((4, 7, 6, 3))
SCIPY: dict[Mode, str] = {
    "constant": "grid-constant",
    "nearest": "nearest",
    "wrap": "grid-wrap",
    "mirror": "mirror",
    "reflect": "reflect",
}
STRENGTHS = {
    "flip_horizontal": 0.5,
    "flip_vertical": 0.5,
    "translation": 1.3,
    "scaling": 0.4,
    "rotation": 50.0,
    "shear": 0.4,
    "crop_and_scale": 0.6,
    "brightness": 0.3,
    "contrast": 0.4,
    "saturation": 0.5,
    "hue": 0.3,
    "cutout": 3.0,
    "additive_noise": 0.2,
    "multiplicative_noise": 0.3,
}
TRANSFORMS = {name: getattr(augment, name) for name in STRENGTHS}


# for programs that run once: without it LLVM takes seconds over their random numbers
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def key(seed=0):
    return jax.random.key(seed)


def example_keys():
    return jax.vmap(jax.random.fold_in, (None, 0))(key(), jnp.arange(len(IMAGES), dtype=jnp.uint32))


def drawn(*shape):
    """The draws from [-1, 1) of each example, in double precision."""
    return np.asarray(jax.vmap(lambda k: jax.random.uniform(k, shape, jnp.float64, -1, 1))(example_keys()))


def planes(function, image):
    return np.stack([function(image[..., channel]) for channel in range(image.shape[-1])], axis=-1)


def forward(image, matrix, mode):
    """The image under the map ``p - c -> matrix (p - c)``."""
    inverse = np.linalg.inv(matrix)
    centre = (np.array(image.shape[:2]) - 1) / 2
    offset = centre - inverse @ centre
    return planes(lambda x: ndimage.affine_transform(x, inverse, offset, order=1, mode=SCIPY[mode]), image)


def test_a_translation_is_that_of_scipy():
    with jax.enable_x64(True):
        for mode, their_mode in SCIPY.items():
            ours = augment.translation(1.7, mode=mode)(key(), jnp.asarray(IMAGES))
            for image, moved, u in zip(IMAGES, ours, drawn(2), strict=True):
                theirs = planes(partial(ndimage.shift, shift=1.7 * u, order=1, mode=their_mode), image)
                np.testing.assert_allclose(moved, theirs, atol=1e-12)


def test_a_rotation_is_that_of_scipy_and_counter_clockwise():
    with jax.enable_x64(True):
        angles = 70 * drawn()
        assert (angles > 5).any()
        assert (angles < -5).any()
        for mode, their_mode in SCIPY.items():
            ours = augment.rotation(70.0, mode=mode)(key(), jnp.asarray(IMAGES))
            for image, turned, angle in zip(IMAGES, ours, angles, strict=True):
                theirs = ndimage.rotate(image, angle, reshape=False, order=1, mode=their_mode)
                np.testing.assert_allclose(turned, theirs, atol=1e-12)
        square = IMAGES[:, :6]
        for turn in (90.0, 360.0):
            strengths = turn / angles * 70  # one for each example's own draw
            ours = jax.vmap(lambda s: augment.rotation(s, mode="nearest")(key(), jnp.asarray(square)))(strengths)
            expected = np.rot90(square, int(turn // 90), axes=(1, 2))
            np.testing.assert_allclose(ours[np.arange(4), np.arange(4)], expected, atol=1e-12)


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_scaling_and_shear_are_their_matrices(mode):
    with jax.enable_x64(True):
        images = jnp.asarray(IMAGES)
        scaled = augment.scaling(0.5, mode=mode)(key(), images)
        wide = augment.shear(0.6, mode=mode)(key(), images)
        high = augment.shear(0.6, along="height", mode=mode)(key(), images)
        for i, u in enumerate(drawn()):
            np.testing.assert_allclose(scaled[i], forward(IMAGES[i], np.exp(0.5 * u) * np.eye(2), mode), atol=1e-12)
            np.testing.assert_allclose(wide[i], forward(IMAGES[i], [[1, 0], [0.6 * u, 1]], mode), atol=1e-12)
            np.testing.assert_allclose(high[i], forward(IMAGES[i], [[1, 0.6 * u], [0, 1]], mode), atol=1e-12)


def test_a_translation_by_whole_pixels_only_moves_them():
    image = jnp.asarray(IMAGES[0], jnp.float32)
    expected = np.zeros_like(image)
    expected[2:, :-1] = image[:-2, 1:]  # two down, one to the left
    np.testing.assert_array_equal(affine(image, ((1, 0), (0, 1)), (-2, 1), "constant"), expected)
    rolled = affine(image, ((1, 0), (0, 1)), (-2, 1), "wrap")
    np.testing.assert_array_equal(rolled, np.roll(image, (2, -1), axis=(0, 1)))


def test_a_crop_is_a_window_of_the_image_stretched_to_its_size():
    with jax.enable_x64(True):
        rows, columns = np.arange(7.0)[:, None] * np.ones(6), np.arange(6.0) * np.ones((7, 1))
        images = np.stack([rows, columns], axis=-1)[None].repeat(500, axis=0)
        out = np.asarray(augment.crop_and_scale(0.6)(key(), jnp.asarray(images)))
        top, left = out[:, 0, 0].T  # a linear image shows where its pixels were read
        height, width = (out[:, -1, -1] - out[:, 0, 0]).T
        share = height / 6
        np.testing.assert_allclose(width / 5, share, rtol=1e-12)
        assert stats.kstest(share, stats.uniform(0.4, 0.6).cdf).pvalue > 1e-4
        for start, room in ((top, 6 - height), (left, 5 - width)):
            assert stats.kstest(start / room, "uniform").pvalue > 1e-4
        assert abs(np.corrcoef(top / (6 - height), left / (5 - width))[0, 1]) < 4 / np.sqrt(500)
        ours = np.asarray(augment.crop_and_scale(0.6)(key(), jnp.asarray(IMAGES)))
        for i, image in enumerate(IMAGES):
            grid = (np.linspace(top[i], top[i] + height[i], 7), np.linspace(left[i], left[i] + width[i], 6))
            places = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1).clip(0, [6, 5])
            theirs = interpolate.RegularGridInterpolator((np.arange(7), np.arange(6)), image)(places)
            np.testing.assert_allclose(ours[i], theirs, atol=1e-12)


def test_flips_are_those_of_dm_pix_and_undo_themselves():
    images = jnp.asarray(IMAGES, jnp.float32)
    for ours, theirs in (
        (augment.flip_horizontal(1.0), dm_pix.flip_left_right),
        (augment.flip_vertical(1.0), dm_pix.flip_up_down),
    ):
        np.testing.assert_array_equal(ours(key(), images), theirs(images))
        np.testing.assert_array_equal(ours(key(1), ours(key(2), images)), images)


def test_brightness_and_contrast_are_those_of_dm_pix():
    with jax.enable_x64(True):
        lighter = augment.brightness(0.4)(key(), jnp.asarray(IMAGES))
        contrasted = augment.contrast(0.4)(key(), jnp.asarray(IMAGES))
        for i, u in enumerate(drawn()):
            image = jnp.asarray(IMAGES[i])
            np.testing.assert_allclose(lighter[i], dm_pix.adjust_brightness(image, 0.4 * u), atol=1e-14)
            np.testing.assert_allclose(contrasted[i], dm_pix.adjust_contrast(image, 1 + 0.4 * u), atol=1e-14)


def test_saturation_and_hue_are_those_of_colorsys():
    with jax.enable_x64(True):
        images = IMAGES.copy()
        images[:, 0, 0], images[:, 0, 1], images[:, 0, 2] = 0.0, 1.0, 0.5  # black, white and grey
        richer = augment.saturation(0.9)(key(), jnp.asarray(images))
        turned = augment.hue(0.4)(key(), jnp.asarray(images))
        for i, u in enumerate(drawn()):
            hsv = [colorsys.rgb_to_hsv(*pixel) for pixel in images[i].reshape(-1, 3)]
            richer_pixels = [colorsys.hsv_to_rgb(h, min(1, s * (1 + 0.9 * u)), v) for h, s, v in hsv]
            turned_pixels = [colorsys.hsv_to_rgb((h + 0.4 * u) % 1, s, v) for h, s, v in hsv]
            np.testing.assert_allclose(richer[i].reshape(-1, 3), richer_pixels, atol=1e-12)
            np.testing.assert_allclose(turned[i].reshape(-1, 3), turned_pixels, atol=1e-12)


def test_an_image_with_one_channel_has_no_colour_and_one_with_two_is_refused():
    grey = jnp.asarray(IMAGES[..., :1], jnp.float32)
    for factory in (augment.saturation, augment.hue):
        np.testing.assert_array_equal(factory(0.3)(key(), grey), grey)
        with pytest.raises(ValueError, match="need images with 3 channels, or with 1, got 2"):
            factory(0.3)(key(), jnp.asarray(IMAGES[..., :2], jnp.float32))


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
            name: (make(STRENGTHS[name])(key, copies), make(STRENGTHS[name])(key, copies[:5]))
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


@quick
def shown(key, strength):
    """What small images show of the draws of 4,000 examples, for one strength."""
    number = 4000
    rows, columns = jnp.meshgrid(*[jnp.arange(5, dtype=jnp.float32)] * 2, indexing="ij")
    places = jnp.broadcast_to(jnp.stack([rows, columns], axis=-1), (number, 5, 5, 2))
    at = {name: TRANSFORMS[name](strength)(key, places) for name in ("translation", "scaling", "shear")}
    turned = augment.rotation(40 * strength)(key, places)[:, 2, 3] - 2  # the pixel to the right of the centre
    two = jnp.broadcast_to(jnp.array([0.25, 0.75]).reshape(1, 1, 2, 1), (number, 1, 2, 1)).astype(jnp.float32)
    red = jnp.broadcast_to(jnp.array([0.8, 0.2, 0.2], jnp.float32), (number, 1, 1, 3))
    return {
        "down": 2 - at["translation"][:, 2, 2, 0],
        "right": 2 - at["translation"][:, 2, 2, 1],
        "log factor": -jnp.log(at["scaling"][:, 2, 3, 1] - 2),
        "slope": 2 - at["shear"][:, 3, 2, 1],
        "angle": jnp.rad2deg(jnp.atan2(turned[:, 0], turned[:, 1])) / 40,
        "shift": augment.brightness(strength)(key, two)[:, 0, 0, 0] - 0.25,
        "contrast": (augment.contrast(strength)(key, two)[:, 0, 1, 0] - 0.5) / 0.25 - 1,
        "saturation": 1 - augment.saturation(strength)(key, red)[:, 0, 0, 1] / 0.8,
        "red turned": augment.hue(strength)(key, red)[:, 0, 0],
    }


@pytest.mark.parametrize("strength", [0.2, 0.3])
def test_draws_are_uniform_and_symmetric(strength):
    seen = {name: np.asarray(values, np.float64) for name, values in shown(key(), strength).items()}
    seen["saturation"] = seen["saturation"] / 0.75 - 1  # the colour's own is 3/4
    turns = [(h + 0.5) % 1 - 0.5 for h, _, _ in (colorsys.rgb_to_hsv(*rgb) for rgb in seen.pop("red turned"))]
    for name, values in (seen | {"hue": np.array(turns)}).items():
        assert stats.kstest(values, stats.uniform(-strength, 2 * strength).cdf).pvalue > 1e-4, name
        assert abs(values.mean()) < 4 * strength / np.sqrt(3 * 4000), name
    assert abs(np.corrcoef(seen["down"], seen["right"])[0, 1]) < 4 / np.sqrt(4000)


def test_noise_is_normal_with_its_deviation():
    images = jnp.full((50, 6, 5, 3), 0.7, jnp.float32)
    added = np.asarray(augment.additive_noise(0.2)(key(), images) - 0.7).ravel()
    factor = np.asarray(augment.multiplicative_noise(0.2)(key(), images) / 0.7).ravel()
    assert stats.kstest(added / 0.2, "norm").pvalue > 1e-4
    assert stats.kstest((factor - 1) / 0.2, "norm").pvalue > 1e-4


def test_flips_and_chances_come_as_often_as_they_should():
    image = jnp.broadcast_to(jnp.array([0.0, 1.0]).reshape(1, 1, 2, 1), (4000, 1, 2, 1)).astype(jnp.float32)
    error = 4 * np.sqrt(0.3 * 0.7 / 4000)
    flipped = np.asarray(augment.flip_horizontal(0.3)(key(), image))[:, 0, 0, 0]
    assert abs(flipped.mean() - 0.3) < error
    lifted = augment.sometimes(augment.flip_horizontal(0.5), 0.6)
    assert abs(np.asarray(lifted(key(), image))[:, 0, 0, 0].mean() - 0.3) < error  # two independent choices
    shifted = np.asarray(augment.sometimes(augment.brightness(0.5), 0.3)(key(), image))
    assert abs((shifted != np.asarray(image)).any(axis=(1, 2, 3)).mean() - 0.3) < error


def test_cutout_takes_a_square_around_a_pixel_drawn_uniformly():
    images = jnp.ones((3000, 6, 5, 2), jnp.float32)
    for side in (1, 2, 3, 4):
        gone = np.asarray(augment.cutout(side)(key(), images)) == 0
        assert np.array_equal(gone[..., 0], gone[..., 1])
        rows, columns = gone[..., 0].any(axis=2), gone[..., 0].any(axis=1)
        np.testing.assert_array_equal(gone[..., 0], rows[:, :, None] & columns[:, None, :])
        for covered, size in ((rows, 6), (columns, 5)):
            # DeVries & Taylor: from centre - side // 2, clipped; an odd side has its last row too
            possible = [[c - side // 2 <= i < c - side // 2 + side for i in range(size)] for c in range(size)]
            counts = [(covered == np.array(each)).all(axis=1).sum() for each in possible]
            assert sum(counts) == 3000
            assert stats.chisquare(counts).pvalue > 1e-4


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


@quick
def mixed_up(a, inputs, targets):
    return augment.mixup(a)(key(), inputs, targets)


@pytest.mark.parametrize("a", [0.2, 1.0, 4.0])
def test_mixup_weights_have_their_beta_distribution_and_mix_inputs_and_targets_alike(a):
    number = 600
    inputs = jnp.asarray(RNG.normal(size=(number, 2, 2, 1)), jnp.float32)
    mixed, weights = mixed_up(jnp.float32(a), inputs, jnp.eye(number, dtype=jnp.float32))
    weights = np.asarray(weights, np.float64)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(mixed.reshape(number, 4), weights @ np.asarray(inputs).reshape(number, 4), atol=2e-6)
    own = np.diag(weights)
    partner = np.argmax(weights - 2 * np.diag(own), axis=1)
    share = weights[np.arange(number), partner]
    paired = share > 0
    assert len(np.unique(partner[paired])) == paired.sum()  # each example is a partner once
    assert stats.kstest(own[own < 1], stats.beta(a, a).cdf).pvalue > 1e-4


def test_mixup_has_finite_slopes_and_halves_in_the_end():
    inputs, targets = jnp.asarray(IMAGES, jnp.float32), jnp.eye(4, dtype=jnp.float32)

    def outcome(a):
        return augment.mixup(a)(key(), inputs, targets)

    @quick
    def value_and_slope(a):
        return jax.jvp(outcome, (a,), (1.0,))

    for a in (0.0, 1e-6, 1e-3, 0.3, 1e4):
        value, slope = value_and_slope(a)
        assert all(np.isfinite(x).all() for x in (*value, *slope)), a
    np.testing.assert_allclose(
        np.sort(value_and_slope(1e8)[0][1], axis=1)[:, -1] % 0.5, 0, atol=1e-3
    )  # halves, or itself


def test_what_does_not_fit_is_named():
    image = jnp.zeros((2, 3, 3, 3), jnp.float32)
    for images, got in ((image.astype(jnp.uint8), r"uint8 \(2, 3, 3, 3\)"), (image[0], r"float32 \(3, 3, 3\)")):
        with pytest.raises(ValueError, match=rf"images must be floating point \[batch, .*\], got {got}"):
            augment.rotation(10.0)(key(), images)
    for name, make in TRANSFORMS.items():
        number = "probability" if "flip" in name else "strength"
        with pytest.raises(ValueError, match=rf"{number} must lie in \[0, .*, got -0.1"):
            make(-0.1)
    with pytest.raises(ValueError, match=r"mode must be one of \['constant', .*\], got 'zeros'"):
        augment.shear(0.1, mode="zeros")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match='along must be "width" or "height"'):
        augment.shear(0.1, along="depth")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"targets must be floating point \(jax.nn.one_hot for classes\), got int32"):
        augment.mixup(0.2)(key(), image, jnp.zeros(2, jnp.int32))
    with pytest.raises(ValueError, match="inputs and targets must be as many, got 2 and 3"):
        augment.mixup(0.2)(key(), image, jnp.eye(3, dtype=jnp.float32))


def test_only_hue_and_saturation_need_dm_pix(monkeypatch):
    monkeypatch.setitem(sys.modules, "dm_pix", None)
    for name, make in TRANSFORMS.items():
        if name in ("hue", "saturation"):
            with pytest.raises(ImportError, match=rf"augment.{name} needs dm-pix: pip install 'regopt\[experiments\]'"):
                make(0.3)
        else:
            make(0.3)
