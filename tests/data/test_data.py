"""The order of the data: epochs without replacement, and a fixed, disjoint cut of the digits."""

import jax
import numpy as np
import pytest

from regopt.data import batch_indices, digits

KEY = jax.random.key(4)


def test_every_epoch_visits_each_example_at_most_once():
    indices = np.asarray(batch_indices(KEY, 0, 12, examples=22, batch_size=5))  # 4 batches an epoch, 2 left over
    assert indices.shape == (12, 5)
    for epoch in range(3):
        visited = indices[4 * epoch : 4 * epoch + 4].ravel()
        assert len(set(visited)) == 20
        assert visited.min() >= 0
        assert visited.max() < 22
    assert not np.array_equal(indices[:4], indices[4:8])


@pytest.mark.parametrize("cut", [1, 3, 4, 7])
def test_a_segment_sees_the_batches_of_the_whole_run(cut):
    whole = batch_indices(KEY, 0, 21, examples=22, batch_size=5)
    segments = jax.jit(lambda first: batch_indices(KEY, first, cut, examples=22, batch_size=5))
    for first in range(0, 21 - cut, cut):
        np.testing.assert_array_equal(segments(first), whole[first : first + cut])


def test_lanes_have_the_order_of_their_own_key():
    keys = jax.random.split(KEY, 3)
    lanes = jax.vmap(lambda key: batch_indices(key, 3, 6, examples=22, batch_size=5))(keys)
    for key, lane in zip(keys, lanes, strict=True):
        np.testing.assert_array_equal(batch_indices(key, 3, 6, examples=22, batch_size=5), lane)


def test_a_batch_must_fit():
    for size in (0, 23):
        with pytest.raises(ValueError, match=rf"batch_size must lie in \[1, 22\], .*, got {size}"):
            batch_indices(KEY, 0, 1, examples=22, batch_size=size)


def test_digits_are_cut_into_disjoint_parts_that_do_not_change():
    data = digits()
    sizes = [len(labels) for _, labels in data]
    assert sizes == [1077, 360, 360]
    assert all(images.dtype == np.float32 and images.shape[1] == 64 for images, _ in data)
    rows = np.concatenate([images for images, _ in data])
    from sklearn.datasets import load_digits

    everything = load_digits(return_X_y=True)[0].astype(np.float32) / 16
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(everything, axis=0))
    np.testing.assert_array_equal(digits().test[1], data.test[1])
    counts = np.bincount(data.validation[1], minlength=10)
    assert counts.min() >= 34  # stratified: 36 of each class, give or take the classes' own sizes
