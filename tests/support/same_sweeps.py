"""Two results of ``killed_sweep``, compared bit for bit."""

import jax
import numpy as np
import pytest

from support import killed_sweep


def same(found, whole):
    """The tables and the states that are kept, bit for bit."""
    for name, curve in whole.history.curves.items():
        np.testing.assert_array_equal(found.history.curves[name], curve, err_msg=name)
    for name in ("training", "stopped", "pruned", "first_bad_step", "best_step", "last_step", "seats"):
        np.testing.assert_array_equal(getattr(found.history, name), getattr(whole.history, name), err_msg=name)
    assert same_states(found, whole, range(killed_sweep.SETTINGS)) >= 8


def same_states(found, whole, rows):
    """The states of these rows that are kept, bit for bit; returns how many."""
    kept = 0
    for row in rows:
        try:
            expected = whole.state(row)
        except ValueError:  # it gave its place to another
            with pytest.raises(ValueError, match="not kept"):
                found.state(row)
            continue
        kept += 1
        for a, b in zip(*map(jax.tree.leaves, (found.state(row), expected)), strict=True):
            np.testing.assert_array_equal(a, b)
    return kept
