"""What the table of a sweep says, against SciPy, closed forms and tables in which there is nothing to find."""

import numpy as np
import pandas
import pytest
from scipy import stats

from regopt import sweep
from regopt.sweep.results import holm
from regopt.sweep.results._importance import _ranks, _resampled_interval

RANDOM = np.random.default_rng(0)
RATES, SEEDS = np.array([0.1, 0.2, 0.3]), np.arange(5)


def repeated():
    """Three settings with five seeds each; rate 0.1 is the best by its mean, and one repeat of 0.3 diverged."""
    rates, seeds = np.repeat(RATES, len(SEEDS)), np.tile(SEEDS, len(RATES))
    loss = 10 * rates + 0.3 * seeds + RANDOM.normal(size=len(rates))
    table = pandas.DataFrame({"rate": rates, "seed": seeds, "loss": loss, "status": "done"})
    table.loc[14, "status"] = "diverged"
    return table


TABLE = repeated()
LOSSES = TABLE["loss"].to_numpy().reshape(3, 5)


def test_means_and_intervals_are_students():
    found = sweep.repeats(TABLE, ["rate", "seed"], "loss", level=0.9)
    assert list(found["rate"]) == [0.1, 0.2, 0.3]
    assert list(found["count"]) == [5, 5, 4]
    assert list(found["diverged"]) == [0, 0, 1]
    assert list(found["first"]) == [0, 5, 10]
    for row, losses in enumerate((LOSSES[0], LOSSES[1], LOSSES[2, :4])):
        ends = stats.t.interval(0.9, len(losses) - 1, losses.mean(), stats.sem(losses))
        np.testing.assert_allclose(found.loc[row, ["low", "high"]].astype(float), ends, rtol=1e-12)
        assert found.loc[row, "std"] == pytest.approx(losses.std(ddof=1), rel=1e-12)


def test_a_setting_with_a_repeat_that_diverged_is_never_the_best():
    lucky = TABLE.assign(loss=TABLE["loss"] - 100 * (TABLE["rate"] == 0.3))
    found = sweep.repeats(lucky, ["rate", "seed"], "loss")
    assert found["mean"].argmin() == 2
    assert list(found["rate"]) == [0.1, 0.2, 0.3]
    assert list(sweep.repeats(TABLE, ["rate", "seed"], "loss", "max")["rate"]) == [0.2, 0.1, 0.3]


def test_the_order_of_the_rows_does_not_matter_and_one_repeat_has_no_interval():
    shuffled = TABLE.sample(frac=1, random_state=1).reset_index(drop=True)
    kept = ["rate", "count", "mean", "low"]
    pandas.testing.assert_frame_equal(
        sweep.repeats(shuffled, ["rate", "seed"], "loss")[kept], sweep.repeats(TABLE, ["rate", "seed"], "loss")[kept]
    )
    single = sweep.repeats(TABLE[TABLE["seed"] == 0].reset_index(drop=True), ["rate", "seed"], "loss")
    assert single["low"].isna().all()
    assert not single["mean"].isna().any()


def test_a_setting_that_is_listed_twice_repeats_itself():
    twice = pandas.concat([TABLE, TABLE.assign(loss=TABLE["loss"] + 1)], ignore_index=True)
    once, found = (sweep.repeats(table, ["rate", "seed"], "loss") for table in (TABLE, twice))
    assert list(found["count"]) == [10, 10, 8]
    assert list(found["diverged"]) == [0, 0, 2]
    np.testing.assert_allclose(found["mean"], once["mean"] + 0.5, rtol=1e-12)


def test_one_comparison_is_not_adjusted_and_a_pair_that_is_equal_is_not_better():
    table = pandas.DataFrame({"rate": [0.1, 0.1, 0.5, 0.5], "seed": [0, 1, 0, 1], "loss": [1.0, 3.0, 1.0, 4.0]})
    found = sweep.compare(table.assign(status="done"), ["rate", "seed"], "loss")
    assert list(found["better"]) == [0.0]
    assert found["low"][0] == pytest.approx(0.5 - stats.t.ppf(0.975, 1) * 0.5, rel=1e-9)  # the differences are 0 and 1


def test_paired_comparisons_are_scipys():
    found = sweep.compare(TABLE, ["rate", "seed"], "loss", level=0.9)
    assert list(found["rate"]) == [0.2, 0.3]
    assert list(found["pairs"]) == [5, 4]
    expected = [stats.ttest_rel(LOSSES[row, :n], LOSSES[0, :n]) for row, n in ((1, 5), (2, 4))]
    for row, test in enumerate(expected):
        ends = test.confidence_interval(0.95)  # 1 - 0.1 / 2: both intervals together hold with 0.9
        np.testing.assert_allclose(found.loc[row, ["low", "high"]].astype(float), ends, rtol=1e-10)
    np.testing.assert_allclose(found["p"], holm(np.array([test.pvalue for test in expected])), rtol=1e-10)
    assert list(found["better"]) == [np.mean(LOSSES[1] < LOSSES[0]), np.mean(LOSSES[2, :4] < LOSSES[0, :4])]
    with pytest.raises(ValueError, match=r"reference must lie in \[0, 2\], got 3"):
        sweep.compare(TABLE, ["rate", "seed"], "loss", reference=3)


def test_holms_adjustment_by_hand():
    """The ordered p values times 4, 3, 2, 1, and never falling."""
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, np.nan, 0.03, 0.005])), [0.03, 0.06, np.nan, 0.06, 0.02])


def drawn(size=400):
    """Two numbers that matter alike, one that does not, and a seed."""
    columns = RANDOM.random((size, 3))
    table = pandas.DataFrame(columns, columns=["a", "b", "idle"]).assign(name="same", status="done")
    return table.assign(loss=np.exp(8 * (table["a"] + table["b"])))


def test_shares_are_the_total_sobol_indices_of_the_ranks():
    """The rank of exp(8 (a + b)) is the distribution function of a + b, whatever the scale of the metric."""
    found = sweep.importance(drawn(), ["a", "b", "idle", "name"], "loss")
    a, b = np.meshgrid(*2 * [(np.arange(400) + 0.5) / 400])
    rank = np.where(a + b < 1, (a + b) ** 2 / 2, 1 - (2 - a - b) ** 2 / 2)
    index = rank.var(axis=1).mean() / rank.var()
    assert set(found.numbers.index) == {"a", "b", "idle"}  # a column with one value explains nothing
    np.testing.assert_allclose(found.numbers["share"][["a", "b"]], index, atol=0.1)  # a forest of 320 is not exact
    assert abs(found.numbers["share"]["idle"]) < 0.02
    assert found.explained["low"] > 0.8
    assert found.settings == 400


def test_a_forest_explains_nothing_where_there_is_nothing():
    table = drawn(200).assign(loss=RANDOM.normal(size=200))
    found = sweep.importance(table, ["a", "b", "idle"], "loss", rounds=1)
    assert found.explained["r2"] < 0.1  # about 0.85 on the settings that it has seen


def test_repeats_of_a_setting_are_never_on_both_sides():
    """Noise that all seeds of a setting share looks explained as soon as one of them is shown to the forest."""
    table = drawn(60).assign(loss=RANDOM.normal(size=60))
    again = pandas.concat([table.assign(seed=seed) for seed in range(4)], ignore_index=True)
    found = sweep.importance(again, ["a", "b", "idle", "seed"], "loss", rounds=1)
    assert found.explained["r2"] < 0.1


def test_the_forest_does_not_depend_on_the_order_of_the_columns():
    names, table = ["a", "b", "idle"], drawn(200)
    found = sweep.importance(table, names, "loss", rounds=1)
    for order in (names[::-1], [*names[1:], names[0]]):  # of these two every order is made
        again = sweep.importance(table[[*table.columns[::-1]]], order, "loss", rounds=1)
        assert again.numbers.equals(found.numbers)
        assert again.explained.equals(found.explained)


def test_ranks_go_from_0_for_the_best_to_1_for_all_that_diverged():
    table = pandas.DataFrame({"loss": [3.0, 1.0, 2.0, 2.0, np.nan], "status": ["done"] * 4 + ["lost"]})
    np.testing.assert_allclose(_ranks(table, "loss", None), [1, 0, 0.5, 0.5, np.nan])
    np.testing.assert_allclose(_ranks(table, "loss", "max"), [0, 1, 0.5, 0.5, np.nan])
    table.loc[[1, 2], "status"] = "diverged"
    for mode in ("min", "max"):
        ranks = _ranks(table, "loss", mode)
        assert ranks[1] == ranks[2] > max(ranks[0], ranks[3])


def test_the_interval_over_splits_is_students_wider_by_what_they_share():
    """By ``sqrt(1 + n / (k - 1))`` for n splits into k parts, which train on mostly the same settings."""
    values = np.random.default_rng(7).normal(size=(10, 2))
    mean, low, high = _resampled_interval(values, 5, 0.9)
    usual = stats.ttest_1samp(values, 0.0).confidence_interval(0.9)
    np.testing.assert_allclose(mean, (usual.low + usual.high) / 2, rtol=1e-12)
    np.testing.assert_allclose([mean - low, high - mean], [(usual.high - usual.low) / 2 * np.sqrt(3.5)] * 2, rtol=1e-12)


def test_at_most_so_many_settings_are_drawn_each_once():
    table = drawn(60)
    found = sweep.importance(
        table, ["a", "b"], "loss", rounds=1, most=20
    )  # 20 distinct ones are the least that it takes
    assert found.settings == 20
    assert sweep.importance(table, ["a", "b"], "loss", rounds=1, most=60).settings == 60


def test_a_number_with_two_values_varies():
    table = drawn(60).assign(flag=lambda t: t["a"] < 0.5, idle=1.0, loss=lambda t: t["flag"] + 0.01 * t["b"])
    found = sweep.importance(table, ["flag", "b", "idle"], "loss", rounds=1)
    assert list(found.numbers.index) == ["flag", "b"]
    assert found.numbers["share"]["flag"] > 0.3
    table["status"] = np.where(table["flag"], "diverged", "done")
    separated = sweep.separations(table, ["flag", "idle", "name"])
    assert separated[["number", "where", "gain"]].to_numpy().tolist() == [["flag", ">= 1", 1.0]]


def test_what_diverged_counts_as_worst_in_both_directions():
    table = drawn(200)
    table.loc[table["idle"] > 0.5, "status"] = "diverged"
    for mode in ("min", "max"):
        assert sweep.importance(table, ["a", "b", "idle"], "loss", mode, rounds=1).numbers.index[0] == "idle"


def test_too_little_to_learn_from_is_said():
    with pytest.raises(ValueError, match="at least 20 settings, got 19"):
        sweep.importance(drawn(19), ["a"], "loss")
    with pytest.raises(ValueError, match="at least one column of the settings whose values vary"):
        sweep.importance(drawn(), ["name"], "loss")
    with pytest.raises(ValueError, match="the table has no column 'losss'"):
        sweep.importance(drawn(), ["a"], "losss")


@pytest.mark.parametrize("above", [True, False])
def test_where_settings_diverge_is_found_exactly(above):
    table = drawn()
    edge = np.sort(table["b"])[300]
    bad = (table["b"] >= edge) == above
    table["status"] = np.where(bad, "diverged", "done")
    first = sweep.separations(table, ["a", "b", "name"]).iloc[0]
    assert first["number"] == "b"
    assert first["where"] == f"{'>=' if above else '<'} {edge:.4g}"
    assert (first["inside"], first["diverged_inside"], first["diverged_outside"]) == (bad.sum(), bad.sum(), 0)
    assert first["gain"] == pytest.approx(1)


def test_text_is_parted_by_its_values_and_nothing_by_nothing():
    table = drawn().assign(name=lambda t: np.where(t["a"] < 0.3, "x", np.where(t["a"] < 0.6, "y", "z")))
    assert sweep.separations(table, ["a", "name"]).empty
    table["status"] = np.where(table["name"] == "y", "diverged", "done")
    found = sweep.separations(table, ["a", "name"])
    assert list(found["number"]) == ["name", "a"]
    assert found.loc[0, "where"] == "= y"
