"""The draws against their distributions."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from regopt import augment
from support.augmented import TRANSFORMS, key, quick


@quick
def shown(key, strength):
    """What small images show of the draws of 4,000 examples, for one strength."""
    number = 4000
    rows, columns = jnp.meshgrid(*[jnp.arange(5, dtype=jnp.float32)] * 2, indexing="ij")
    places = jnp.broadcast_to(jnp.stack([rows, columns], axis=-1), (number, 5, 5, 2))
    own = jax.random.clone
    at = {name: TRANSFORMS[name](strength)(own(key), places) for name in ("translation", "scaling", "shear")}
    turned = augment.rotation(40 * strength)(own(key), places)[:, 2, 3] - 2  # the pixel to the right of the centre
    two = jnp.broadcast_to(jnp.array([0.25, 0.75]).reshape(1, 1, 2, 1), (number, 1, 2, 1)).astype(jnp.float32)
    red = jnp.broadcast_to(jnp.array([0.8, 0.2, 0.2], jnp.float32), (number, 1, 1, 3))
    return {
        "down": 2 - at["translation"][:, 2, 2, 0],
        "right": 2 - at["translation"][:, 2, 2, 1],
        "log factor": -jnp.log(at["scaling"][:, 2, 3, 1] - 2),
        "slope": 2 - at["shear"][:, 3, 2, 1],
        "angle": jnp.rad2deg(jnp.atan2(turned[:, 0], turned[:, 1])) / 40,
        "shift": augment.brightness(strength)(own(key), two)[:, 0, 0, 0] - 0.25,
        "contrast": (augment.contrast(strength)(own(key), two)[:, 0, 1, 0] - 0.5) / 0.25 - 1,
        "saturation": 1 - augment.saturation(strength)(own(key), red)[:, 0, 0, 1] / 0.8,
        "red turned": augment.hue(strength)(own(key), red)[:, 0, 0],
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


def test_noise_has_the_moments_of_a_normal_and_independent_pixels():
    """Also where the pixels of an image are odd in number, with one draw to spare."""
    with jax.enable_x64(True):
        for shape in ((40_000, 2, 3, 1), (40_000, 1, 5, 1)):
            z = np.asarray(augment.additive_noise(1.0)(key(), jnp.zeros(shape))).reshape(shape[0], -1)
            for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
                assert abs((z**power).mean() - moment) < 4 * np.sqrt(spread / z.size)  # variances of a normal's powers
            assert np.abs(z).max() > 4
            gaps = np.corrcoef(z.T) - np.eye(z.shape[1])
            assert np.abs(gaps).max() < 4 / np.sqrt(len(z))


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
