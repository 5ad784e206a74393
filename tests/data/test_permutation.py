"""Permutations at a position: exact for every size, and without structure that a statistical test detects."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from regopt.data import batch_indices, permutation_at

KEY = jax.random.key(7)
# Every test below draws from fixed keys, and fails where a right permutation fails one time in 10^4.
LEVEL = 1e-4
SIZES = [257, 300, 1000]  # two digits of one base, with a remainder, and of two bases


def whole(key, examples):
    return permutation_at(key, jnp.arange(examples, dtype=jnp.int32), examples)


def draws(examples, count):
    """The permutations of so many epochs, ``[epochs, examples]``."""
    keys = jax.vmap(lambda epoch: jax.random.fold_in(KEY, epoch))(jnp.arange(count))
    return np.asarray(jax.jit(jax.vmap(lambda key: whole(key, examples)))(keys))


def fits(counts, expected):
    """The chi-square statistic of counts is no more extreme than LEVEL allows."""
    counts, expected = np.ravel(counts), np.ravel(expected)
    used = expected > 0
    assert not counts[~used].any()
    statistic = np.sum((counts[used] - expected[used]) ** 2 / expected[used])
    return stats.chi2.sf(statistic, used.sum() - 1) > LEVEL


@pytest.mark.parametrize("examples", [1, 2, 3, 7, 64, 256, 257, 1000, 2**16 + 1])
def test_all_positions_give_each_entry_once(examples):
    for seed in range(3):
        found = whole(jax.random.fold_in(KEY, seed), examples)
        assert found.dtype == jnp.int32
        np.testing.assert_array_equal(np.sort(found), np.arange(examples))


def test_a_million_positions_give_each_entry_once():
    np.testing.assert_array_equal(np.sort(jax.jit(lambda key: whole(key, 10**6))(KEY)), np.arange(10**6))


@pytest.mark.parametrize("examples", [5, 1000])
def test_the_entries_are_those_of_the_whole_permutation_in_any_shape_jit_or_vmap(examples):
    keys, positions = jax.random.split(jax.random.clone(KEY), 3), jnp.array([[0, 4, 2], [3, 3, 1]], jnp.int32)
    lanes = jax.jit(jax.vmap(lambda key: permutation_at(key, positions, examples)))(keys)
    for key, lane in zip(keys, lanes, strict=True):
        np.testing.assert_array_equal(lane, whole(key, examples)[positions])
    assert int(permutation_at(KEY, np.int64(4), examples)) == int(whole(KEY, examples)[4])


def test_the_largest_domain_needs_no_64_bits():
    some = np.asarray(permutation_at(KEY, jnp.array([0, 1, 2**31 - 2], jnp.int32), 2**31 - 1))
    assert len(set(some.tolist())) == 3
    assert some.min() >= 0


@pytest.mark.parametrize("examples", [0, 2**31])
def test_the_size_must_fit(examples):
    with pytest.raises(ValueError, match=f"examples must lie in .*, got {examples}"):
        permutation_at(KEY, 0, examples)


@pytest.mark.parametrize("examples", SIZES)
def test_each_entry_is_at_each_position_equally_often(examples):
    epochs = 8 * examples
    found = draws(examples, epochs)
    counts = np.array([np.bincount(column, minlength=examples) for column in found.T])
    # the rows and the columns of the table are fixed, so (n - 1)^2 cells are free; the statistic is near normal
    statistic = np.sum((counts - 8) ** 2 / 8)
    freedom = (examples - 1) ** 2
    assert LEVEL / 2 < stats.norm.cdf((statistic - freedom) / np.sqrt(2 * freedom)) < 1 - LEVEL / 2


@pytest.mark.parametrize("examples", SIZES)
@pytest.mark.parametrize("lag", ["1", "2", "base - 1", "base", "base + 1"])
def test_entries_of_near_positions_are_independent(examples, lag):
    base = -(-examples // int(np.ceil(np.sqrt(examples))))
    distance = eval(lag, {"base": base})
    found = draws(examples, 3000)
    before, after = found[:, :-distance].ravel(), found[:, distance:].ravel()
    steps = np.bincount((after - before) % examples, minlength=examples)
    assert fits(steps, np.append(0, np.full(examples - 1, len(before) / (examples - 1))))
    # the pair in boxes: neighbours never hold one entry, all other pairs are equally likely
    boxes = 12
    of = np.arange(examples) * boxes // examples
    sizes = np.bincount(of)
    pairs = np.outer(sizes, sizes) - np.diag(sizes)
    counts = np.bincount(of[before] * boxes + of[after], minlength=boxes**2)
    assert fits(counts, pairs / pairs.sum() * len(before))


@pytest.mark.parametrize("examples", SIZES)
def test_consecutive_epochs_are_independent(examples):
    found = draws(examples, 3000)
    before, after = found[:-1], found[1:]
    moves = np.bincount(((after - before) % examples).ravel(), minlength=examples)
    assert fits(moves, np.full(examples, before.size / examples))
    # what stays in place is Poisson with mean 1
    stays = np.minimum(np.sum(before == after, axis=1), 5)
    expected = stats.poisson.pmf(np.arange(6), 1)
    expected[5] = stats.poisson.sf(4, 1)
    assert fits(np.bincount(stays, minlength=6), expected * len(before))


def test_the_tests_detect_a_network_of_four_rounds(monkeypatch):
    monkeypatch.setattr("regopt.data._permutation._ROUNDS", 4)
    with pytest.raises(AssertionError):
        test_entries_of_near_positions_are_independent(300, "base")


def test_up_to_a_small_size_all_permutations_are_equally_likely():
    orders, counts = np.unique(draws(4, 24 * 100), axis=0, return_counts=True)
    assert len(orders) == 24
    assert fits(counts, np.full(24, 100))


@pytest.mark.parametrize("examples", [1000, 12345])
def test_batches_of_an_epoch_are_the_permutation_of_its_key(examples):
    per_epoch = examples // 64
    batches = batch_indices(KEY, per_epoch, per_epoch, examples=examples, batch_size=64)
    order = whole(jax.random.fold_in(KEY, 1), examples)
    np.testing.assert_array_equal(batches.ravel(), order[: per_epoch * 64])


def test_the_program_of_a_batch_holds_nothing_of_the_size_of_the_data():
    def elements(examples):
        batches = jax.jit(lambda first: batch_indices(KEY, first, 5, examples=examples, batch_size=8))
        return batches.lower(0).compile().memory_analysis().temp_size_in_bytes

    assert elements(10**7) == elements(10**3)
