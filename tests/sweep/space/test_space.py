"""Spaces and designs: ranges, spacing, coverage, seeds, static values and their groups."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import qmc

from regopt import sweep

SPACE = {
    "learning_rate": sweep.log_uniform(1e-4, 1e-1),
    "momentum": sweep.uniform(0.5, 0.9),
    "batch": sweep.choice([16, 32, 64]),
}


def test_a_grid_has_every_combination_with_both_ends():
    settings = sweep.grid(SPACE, points={"learning_rate": 4, "momentum": 3})
    assert len(settings) == 4 * 3 * 3
    np.testing.assert_allclose(np.unique(settings.numbers["learning_rate"]), [1e-4, 1e-3, 1e-2, 1e-1])
    np.testing.assert_allclose(np.unique(settings.numbers["momentum"]), [0.5, 0.7, 0.9])
    assert settings.numbers["batch"].dtype.kind == "i"
    assert len({tuple(settings.row(i).values()) for i in range(36)}) == 36
    assert settings.row(0) == {"learning_rate": pytest.approx(1e-4), "momentum": 0.5, "batch": 16}
    assert settings.row(1)["batch"] == 32  # the last dimension varies fastest


@pytest.mark.parametrize("design", [sweep.random, sweep.sobol, sweep.latin_hypercube])
def test_designs_stay_in_range_and_repeat_with_their_seed(design):
    settings = design(SPACE, 50, seed=3)
    assert len(settings) == 50
    rate = settings.numbers["learning_rate"]
    assert np.all((rate >= 1e-4) & (rate <= 1e-1))
    assert np.all((settings.numbers["momentum"] >= 0.5) & (settings.numbers["momentum"] < 0.9))
    assert set(settings.numbers["batch"]) == {16, 32, 64}
    again, other = design(SPACE, 50, seed=3), design(SPACE, 50, seed=4)
    np.testing.assert_array_equal(rate, again.numbers["learning_rate"])
    assert not np.array_equal(rate, other.numbers["learning_rate"])


def test_half_of_a_log_uniform_lies_below_the_geometric_mean():
    rate = sweep.random(SPACE, 4000).numbers["learning_rate"]
    share = np.mean(rate < np.sqrt(1e-4 * 1e-1))
    assert abs(share - 0.5) < 4.5 * 0.5 / np.sqrt(4000)


def test_sobol_and_latin_hypercube_spread_evenly():
    def cube(settings):
        rate = np.log(settings.numbers["learning_rate"] / 1e-4) / np.log(1e3)
        return np.stack([rate, (settings.numbers["momentum"] - 0.5) / 0.4], axis=1)

    space = {name: SPACE[name] for name in ("learning_rate", "momentum")}
    at_random = qmc.discrepancy(cube(sweep.random(space, 64)))
    assert qmc.discrepancy(cube(sweep.sobol(space, 64))) < at_random / 4
    slices = np.floor(cube(sweep.latin_hypercube(space, 64)) * 64 - 1e-9)
    assert len(np.unique(slices[:, 0])) == len(np.unique(slices[:, 1])) == 64


@pytest.mark.parametrize("design", [sweep.random, sweep.sobol, sweep.latin_hypercube])
def test_every_setting_meets_every_seed(design):
    settings = design({**SPACE, "seed": sweep.seeds(3, first=10)}, 4)
    assert len(settings) == 12
    for i in range(4):
        np.testing.assert_array_equal(settings.numbers["seed"][3 * i : 3 * i + 3], [10, 11, 12])
        assert len(np.unique(settings.numbers["learning_rate"][3 * i : 3 * i + 3])) == 1
    assert len(np.unique(settings.numbers["learning_rate"])) == 4


def test_static_values_split_the_settings_into_groups():
    space = {
        "rate": sweep.uniform(0.1, 0.5),
        "width": sweep.static([8, 16]),
        "optimizer": sweep.choice(["sgd", "adam"]),
    }
    settings = sweep.grid(space, points=3)
    groups = list(settings.groups())
    assert [static for static, _ in groups] == [{"width": w, "optimizer": o} for w in (8, 16) for o in ("sgd", "adam")]
    assert sorted(np.concatenate([indices for _, indices in groups])) == list(range(12))
    assert settings.row(11) == {"rate": 0.5, "width": 16, "optimizer": "adam"}
    assert list(settings.numbers) == ["rate"]


def test_true_and_one_are_two_groups_and_arrays_are_numbers():
    settings = sweep.from_columns({"flag": [True, 1, True], "rate": np.array([0.1, 0.2, 0.3], np.float32)})
    assert [indices.tolist() for _, indices in settings.groups()] == [[0, 2], [1]]
    assert list(settings.numbers) == ["rate"]
    assert list(sweep.from_columns({"rate": jnp.geomspace(0.1, 1.0, 3)}).numbers) == ["rate"]


def test_settings_can_be_listed():
    settings = sweep.from_columns({"rate": [0.1, 0.2], "patience": [1, 2], "name": ["a", "b"]})
    assert settings.row(1) == {"rate": 0.2, "patience": 2, "name": "b"}
    assert settings.numbers["patience"].dtype.kind == "i"


def test_errors_say_what_would_be_right():
    cases = [
        (lambda: sweep.log_uniform(0.0, 1.0), r"low must lie in \(0, inf\), got 0.0"),
        (lambda: sweep.log_uniform(0.5, 0.1), r"high must lie in \(0.5, inf\), got 0.1"),
        (lambda: sweep.uniform(0.5, 0.1), r"high must lie in \(0.5, inf\), got 0.1"),
        (lambda: sweep.uniform(float("nan"), 0.1), r"low must lie in \(-inf, inf\), got nan"),
        (lambda: sweep.choice([]), "at least one value"),
        (
            lambda: sweep.grid({"rate": 0.1}),
            r"must come from .* got 0.1; values .* choice\(\[\.\.\.\]\)",
        ),
        (lambda: sweep.grid({"run": sweep.seeds(2)}), "must have the column seed, replica or fold, got 'run'"),
        (lambda: sweep.seeds(0), r"count must be a whole number in \[1, inf\), got 0"),
        (lambda: sweep.random(SPACE, 0), r"count must be a whole number in \[1, inf\), got 0"),
        (lambda: sweep.grid(SPACE), "needs points for each continuous dimension"),
        (
            lambda: sweep.grid(SPACE, points={"lr": 3}),
            r"points names 'lr', which the space does not have; valid: batch",
        ),
        (lambda: sweep.from_columns({"a": [1.0], "b": [1.0, 2.0]}), "one length, at least 1, got"),
        (lambda: sweep.from_columns({}), "at least one column"),
        (lambda: sweep.from_columns({"status": [1.0]}), r"must not be named \['status'\]"),
    ]
    for build, message in cases:
        with pytest.raises(ValueError, match=message):
            build()
