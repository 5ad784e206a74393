"""Bootstrap and subsamples: whole rows, fair draws, and rows that do not depend on how many there are."""

import jax
import numpy as np
import pytest
from scipy import stats

from regopt.data import bootstrap, subsamples


def key(seed=0):
    return jax.random.key(seed)


def test_bootstrap_draws_each_place_equally_often_and_leaves_37_percent_out():
    rows = np.asarray(bootstrap(key(), 400, 50))
    assert rows.shape == (400, 50)
    assert rows.dtype == np.int32
    counts = np.bincount(rows.ravel(), minlength=50)
    assert len(counts) == 50
    assert stats.chisquare(counts).pvalue > 1e-4
    unique = np.array([len(np.unique(row)) / 50 for row in rows])
    expected = 1 - (1 - 1 / 50) ** 50  # 0.636
    assert abs(unique.mean() - expected) < 4 * unique.std() / 20


def test_subsamples_are_without_replacement_and_fair_in_place_and_order():
    rows = np.asarray(subsamples(key(), 300, 20, 7))
    assert rows.shape == (300, 7)
    assert rows.dtype == np.int32
    assert all(len(np.unique(row)) == 7 for row in rows)
    for column in (rows[:, 0], rows[:, 6]):
        assert stats.chisquare(np.bincount(column, minlength=20)).pvalue > 1e-4
    assert len({tuple(row) for row in rows}) == 300


def test_disjoint_subsamples_share_no_place():
    rows = np.asarray(subsamples(key(), 3, 20, 6, disjoint=True))
    assert rows.shape == (3, 6)
    assert len(np.unique(rows)) == 18
    assert (rows >= 0).all()
    assert (rows < 20).all()
    other = np.asarray(subsamples(key(1), 3, 20, 6, disjoint=True))
    assert (rows != other).any()


@pytest.mark.parametrize(
    "make",
    [
        lambda replicas: bootstrap(key(), replicas, 12),
        lambda replicas: subsamples(key(), replicas, 12, 3),
        lambda replicas: subsamples(key(), replicas, 12, 3, disjoint=True),
    ],
)
def test_more_replicas_leave_the_first_ones_as_they_were(make):
    np.testing.assert_array_equal(make(4)[:2], make(2))
    assert (np.asarray(make(2))[0] != np.asarray(make(2))[1]).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bootstrap(key(), 0, 5), r"replicas must lie in \[1, inf\), got 0"),
        (lambda: bootstrap(key(), 2, 0), r"examples must lie in \[1, inf\), got 0"),
        (lambda: subsamples(key(), 0, 5, 2), r"replicas must lie in \[1, inf\), got 0"),
        (lambda: subsamples(key(), 2, 5, 6), r"size must lie in \[1, 5\], got 6"),
        (lambda: subsamples(key(), 3, 5, 2, disjoint=True), r"disjoint rows need 3 \* 2 = 6 examples, got 5"),
    ],
)
def test_bad_sizes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
