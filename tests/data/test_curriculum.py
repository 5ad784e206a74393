"""A curriculum: its pacing, its easy examples first, and the usual batches once all examples are in play."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from regopt.data import batch_indices, curriculum_indices, pacing

KEY = jax.random.key(4)
DIFFICULTY = np.random.default_rng(2).permutation(50).astype(np.float32) / 7 - 3


@partial(jax.jit, static_argnames="steps", compiler_options={"xla_backend_optimization_level": 0})
def indices(start, length, first=0, steps=60):
    return curriculum_indices(KEY, first, steps, DIFFICULTY, batch_size=6, start=start, length=length)


def test_the_pace_is_that_of_its_paper():
    t = np.arange(0, 60, 7)
    with jax.enable_x64(True):
        line = jax.vmap(lambda t: pacing(t, 0.2, 40))(jnp.asarray(t))
        root = jax.vmap(lambda t: pacing(t, 0.2, 40, 2.0))(jnp.asarray(t))
        np.testing.assert_allclose(line, np.minimum(1, t * (1 - 0.2) / 40 + 0.2), rtol=1e-12)
        np.testing.assert_allclose(root, np.minimum(1, np.sqrt(t * (1 - 0.2**2) / 40 + 0.2**2)), rtol=1e-12)
    assert pacing(0, 0.3, 0) == 1.0


def test_the_slopes_of_the_pace_are_finite():
    slopes = jax.jit(jax.jacfwd(pacing, argnums=(0, 1, 2, 3)))
    for numbers in ((0.0, 0.0, 0.0, 2.0), (0.0, 0.0, 5.0, 2.0), (5.0, 1.0, 5.0, 0.5), (3.0, 0.0, 5.0, 0.5)):
        assert all(np.isfinite(slope) for slope in slopes(*numbers)), numbers
    expected = [(1 - 0.2) / 40, 1 - 10 / 40, -10 * (1 - 0.2) / 40**2]
    np.testing.assert_allclose(slopes(10.0, 0.2, 40.0, 1.0)[:3], expected, rtol=1e-5)


def test_only_the_easiest_are_in_play_and_no_example_twice_in_a_batch():
    rank = np.argsort(np.argsort(DIFFICULTY))
    batches = np.asarray(indices(0.2, 50.0))
    assert batches.shape == (60, 6)
    assert batches.dtype == np.int32
    hardest = []
    for step, batch in enumerate(batches):
        in_play = round(50 * min(1, 0.2 + 0.8 * step / 50))
        assert len(set(batch)) == 6
        assert rank[batch].max() < in_play
        hardest.append(rank[batch].max() / in_play)
    assert np.mean(hardest) > 0.75  # of six draws the largest is near the end: 6/7 on average


def test_with_all_examples_in_play_the_batches_are_the_usual_ones():
    usual = batch_indices(KEY, 0, 60, examples=50, batch_size=6)
    always = indices(1.0, 30.0)
    np.testing.assert_array_equal(always, usual)
    later = indices(0.1, 20.0)
    np.testing.assert_array_equal(later[20:], usual[20:])
    assert not np.array_equal(later[:20], usual[:20])


def test_an_epoch_of_what_is_in_play_meets_each_once():
    """30 of 50 examples for ever, in batches of 6: five steps at the beginning of an epoch are all of them."""
    batches = indices(0.6, 1e9)
    easiest = np.sort(np.argsort(DIFFICULTY)[:30])
    for first in (0, 8, 16):  # an epoch has 50 // 6 = 8 steps
        np.testing.assert_array_equal(np.sort(np.ravel(batches[first : first + 5])), easiest)
    np.testing.assert_array_equal(batches[5], batches[0])  # from the beginning again
    assert not np.array_equal(batches[8], batches[0])


def test_those_in_play_are_equally_likely():
    keys = jax.random.split(KEY, 900)
    draw = jax.vmap(lambda key: curriculum_indices(key, 2, 1, DIFFICULTY, batch_size=6, start=0.2, length=20))
    counts = np.bincount(np.asarray(draw(keys)).ravel(), minlength=50)
    in_play = np.argsort(DIFFICULTY)[:14]  # 0.2 + 0.8 * 2 / 20 = 0.28
    assert counts.sum() == counts[in_play].sum()
    assert stats.chisquare(counts[in_play]).pvalue > 1e-4


def test_lanes_and_segments_see_what_one_run_sees():
    starts, lengths = jnp.array([0.1, 0.4, 1.0]), jnp.array([30.0, 12.0, 5.0])
    lanes = jax.vmap(indices)(starts, lengths)
    for lane, start, length in zip(lanes, starts, lengths, strict=True):
        np.testing.assert_array_equal(lane, indices(start, length))
    for first in (0, 7, 14):
        np.testing.assert_array_equal(indices(0.4, 12.0, first, steps=7), lanes[1, first : first + 7])


def test_what_does_not_fit_is_named():
    def run(difficulty=DIFFICULTY, batch_size=6, start=0.2, length=5.0):
        return curriculum_indices(KEY, 0, 3, difficulty, batch_size=batch_size, start=start, length=length)

    with pytest.raises(ValueError, match=r"difficulty must have shape \[examples\], got \(5, 10\)"):
        run(DIFFICULTY.reshape(5, 10))
    with pytest.raises(ValueError, match="difficulty must be finite, got NaN or inf"):
        run(np.where(DIFFICULTY > 2, np.nan, DIFFICULTY))
    with pytest.raises(ValueError, match=r"batch_size must lie in \[1, 50\]"):
        run(batch_size=51)
    with pytest.raises(ValueError, match=r"start must lie in \[0, 1\], got 1.2"):
        run(start=1.2)
    with pytest.raises(ValueError, match=r"length must lie in \[0, inf\), got -1.0"):
        run(length=-1.0)
