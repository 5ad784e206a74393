"""Brightness and colour against dm-pix and colorsys with the same draws."""

import colorsys

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regopt import augment
from support.augmented import IMAGES, drawn, key


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
