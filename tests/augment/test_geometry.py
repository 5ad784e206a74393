"""Where pixels go, against SciPy and dm-pix with the same draws."""

from functools import partial

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import interpolate, ndimage, stats

from regopt import augment
from regopt.augment._affine import Map, Mode, read
from support.augmented import IMAGES, drawn, key

SCIPY: dict[Mode, str] = {
    "constant": "grid-constant",
    "nearest": "nearest",
    "wrap": "grid-wrap",
    "mirror": "mirror",
    "reflect": "reflect",
}


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
    images = jnp.asarray(IMAGES, jnp.float32)
    expected = np.zeros_like(images)
    expected[:, 2:, :-1] = images[:, :-2, 1:]  # two down, one to the left
    moved = Map(((1, 0), (0, 1)), (-2, 1))
    np.testing.assert_array_equal(read(images, moved, "constant"), expected)
    np.testing.assert_array_equal(read(images, moved, "wrap"), np.roll(images, (2, -1), axis=(1, 2)))


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


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_neighbours_that_move_pixels_are_one_map(mode):
    """Against SciPy with the product of the matrices, of maps that do not commute."""
    kinds = (augment.rotation(50.0, mode=mode), augment.shear(0.6, mode=mode), augment.translation(1.7, mode=mode))
    with jax.enable_x64(True):
        together = augment.compose(*kinds)(key(), jnp.asarray(IMAGES))
        keys = [jax.random.fold_in(key(), place) for place in range(3)]
        angles, slopes, shifts = (
            np.asarray(jax.random.uniform(each, (4, *shape), jnp.float64, -1, 1))
            for each, shape in zip(keys, ((), (), (2,)), strict=True)
        )
        for i, image in enumerate(IMAGES):
            angle = np.deg2rad(50 * angles[i])
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            inverse = np.linalg.inv(np.array([[1, 0], [0.6 * slopes[i], 1]]) @ turn)
            centre = (np.array(image.shape[:2]) - 1) / 2
            offset = centre - inverse @ (centre + 1.7 * shifts[i])
            theirs = planes(
                partial(ndimage.affine_transform, matrix=inverse, offset=offset, order=1, mode=SCIPY[mode]), image
            )
            np.testing.assert_allclose(together[i], theirs, atol=1e-12)


def test_maps_in_two_modes_or_apart_are_two():
    with jax.enable_x64(True):
        images = jnp.asarray(IMAGES)
        first, last = augment.rotation(50.0), augment.translation(1.7)
        keys = [jax.random.fold_in(key(), place) for place in range(3)]
        for between in (augment.brightness(0.3), augment.rotation(20.0, mode="wrap")):
            for given in (images, images[:3]):  # an even and an odd number
                by_hand = given
                for each, own_key in zip((first, between, last), keys, strict=True):
                    by_hand = each(jax.random.clone(own_key), by_hand)
                together = augment.compose(first, between, last)(key(), given)
                np.testing.assert_allclose(together, by_hand, atol=1e-14)


def test_a_map_at_rest_leaves_its_neighbour_as_it_is():
    images = jnp.asarray(IMAGES, jnp.float32)
    turned = augment.rotation(50.0)(jax.random.fold_in(key(), 1), images)
    both = augment.compose(augment.shear(0.0), augment.rotation(50.0), augment.translation(0.0))(key(), images)
    np.testing.assert_array_equal(both, turned)
    still = augment.compose(augment.shear(0.0), augment.rotation(0.0))(key(), images)
    assert np.asarray(still).tobytes() == np.asarray(images).tobytes()
