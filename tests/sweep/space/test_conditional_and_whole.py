"""Dimensions of whole numbers, conditional dimensions, and batch sizes as a column."""

import re

import numpy as np
import pytest

from regopt import sweep
from support.small_sweep import DATA, SCHEDULE, TASK


@pytest.mark.parametrize("make", [sweep.uniform_int, sweep.log_uniform_int])
def test_whole_numbers_reach_both_ends_and_stay_between(make):
    dimension = make(3, 9)
    drawn = dimension.at(np.linspace(0, 1, 1001, endpoint=False))
    assert drawn.dtype.kind == "i"
    assert sorted(set(drawn.tolist())) == [3, 4, 5, 6, 7, 8, 9]
    assert dimension.at(np.array([np.nextafter(1, 0)])).tolist() == [9]
    assert dimension.at(np.array([0.0])).tolist() == [3]


def test_uniform_int_gives_each_number_the_same_share():
    drawn = sweep.uniform_int(-2, 2).at((np.arange(1000) + 0.5) / 1000)
    assert np.unique(drawn, return_counts=True)[1].tolist() == [200] * 5


def test_log_uniform_int_gives_each_number_its_share_of_the_logarithm():
    drawn = sweep.log_uniform_int(1, 4).at((np.arange(100_000) + 0.5) / 100_000)
    shares = np.unique(drawn, return_counts=True)[1] / 100_000
    edges = np.log([0.5, 1.5, 2.5, 3.5, 4.5])
    np.testing.assert_allclose(shares, np.diff(edges) / (edges[-1] - edges[0]), atol=1e-4)


def test_a_static_whole_number_is_a_python_int():
    settings = sweep.sobol({"width": sweep.log_uniform_int(4, 64, static=True)}, 8)
    assert {type(width) for width in settings.static["width"]} == {int}
    assert sweep.grid({"n": sweep.uniform_int(1, 9)}, points=3).numbers["n"].tolist() == [1, 5, 9]


def test_wrong_ends_are_named():
    for make, arguments, line in [
        (sweep.uniform_int, (1.5, 3), "low must be a whole number"),
        (sweep.uniform_int, (3, 3), r"high must be a whole number in \(3, inf\), got 3"),
        (sweep.log_uniform_int, (0, 3), r"low must be a whole number in \[1, inf\), got 0"),
    ]:
        with pytest.raises(ValueError, match=line):
            make(*arguments)
    with pytest.raises(ValueError, match="a grid needs points for each logarithmic dimension"):
        sweep.grid({"n": sweep.log_uniform_int(1, 9)})


SPACE = {
    "optimizer": sweep.static(["adam", "sgd", "rmsprop"]),
    "momentum": sweep.conditional(sweep.uniform(0.5, 0.9), {"optimizer": ["sgd", "rmsprop"]}, otherwise=0.0),
    "nesterov": sweep.conditional(sweep.static([True, False]), {"optimizer": "sgd"}, otherwise=None),
    "seed": sweep.seeds(2),
}


def test_a_grid_has_one_setting_where_a_condition_does_not_hold():
    settings = sweep.grid(SPACE, points=3)
    assert len(settings) == 2 * (1 + 3 * 2 + 3)
    rows = [settings.row(at) for at in range(len(settings))]
    assert all((row["momentum"] == 0.0) == (row["optimizer"] == "adam") for row in rows)
    assert all((row["nesterov"] is None) == (row["optimizer"] != "sgd") for row in rows)


@pytest.mark.parametrize("design", [sweep.random, sweep.sobol, sweep.latin_hypercube])
def test_a_design_has_the_other_value_where_a_condition_does_not_hold(design):
    settings = design(SPACE, 16)
    assert len(settings) == 32
    for at in range(32):
        row = settings.row(at)
        assert (row["momentum"] == 0.0) == (row["optimizer"] == "adam")
        assert 0.5 <= row["momentum"] <= 0.9 or row["momentum"] == 0.0
    assert {"adam", "sgd"} < set(settings.static["optimizer"])


def test_wrong_conditions_are_named():
    with pytest.raises(
        ValueError, match="the dimension momentum depends on 'optimizer', which must come before it in the space"
    ):
        sweep.grid({"momentum": SPACE["momentum"]}, points=2)
    with pytest.raises(ValueError, match="otherwise must be a number"):
        sweep.conditional(sweep.uniform(0.0, 1.0), {"optimizer": "sgd"}, otherwise=None)
    with pytest.raises(ValueError, match="where must be a dict"):
        sweep.conditional(sweep.uniform(0.0, 1.0), {}, otherwise=0.0)
    with pytest.raises(ValueError, match="dimension must vary between settings"):
        sweep.conditional(sweep.seeds(2), {"optimizer": "sgd"}, otherwise=0)
    with pytest.raises(ValueError, match="must come before it in the space; did you mean 'optimizer'"):
        sweep.random({**SPACE, "b": sweep.conditional(sweep.uniform(0.0, 1.0), {"optimiser": "sgd"}, 0.0)}, 2)


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ({"optimizer": "SGD"}, "depends on optimizer = 'SGD', which is none of its values: ['adam', 'sgd', 'rmsprop']"),
        ({"nesterov": [True, 3]}, "depends on nesterov = 3, which is none of its values: [True, False, None]"),
        ({"size": 64.5}, "depends on size = 64.5, which is none of its values: [32, 64]"),
    ],
)
def test_a_condition_that_can_never_hold_is_refused(where, line):
    space = {**SPACE, "size": sweep.choice([32, 64])}
    with pytest.raises(ValueError, match=re.escape(f"the dimension b {line}")):
        sweep.random({**space, "b": sweep.conditional(sweep.uniform(0.0, 1.0), where, otherwise=0.0)}, 4)


def test_a_condition_may_name_the_value_that_another_condition_leaves():
    where = {"nesterov": [True, None], "size": np.array([64])}
    space = {**SPACE, "size": sweep.choice([32, 64]), "b": sweep.conditional(sweep.uniform(1.0, 2.0), where, 0.0)}
    settings = sweep.random(space, 32)
    on = [row["nesterov"] is not False and row["size"] == 64 for row in map(settings.row, range(len(settings)))]
    assert any(on)
    assert (settings.numbers["b"] > 0).tolist() == on


def test_a_column_of_batch_sizes_trains_as_the_argument_does():
    schedule = {name: value for name, value in SCHEDULE.items() if name != "batch_size"}
    settings = sweep.grid({"learning_rate": sweep.choice([0.01, 0.03]), "batch_size": sweep.choice([10, 20])})
    assert set(map(type, settings.static["batch_size"])) == {int}
    together = sweep.run(TASK, settings, DATA, **schedule, chunk=2)
    rates = sweep.from_columns({"learning_rate": [0.01, 0.03]})
    for place, size in enumerate((10, 20)):
        alone = sweep.run(TASK, rates, DATA, **schedule, chunk=2, batch_size=size)
        rows = [place, place + 2]
        curve = together.history.curves["train_loss"][rows]
        np.testing.assert_allclose(curve, alone.history.curves["train_loss"], rtol=1e-6)
    assert together.history.last_step.tolist() == [12] * 4
    with pytest.raises(ValueError, match="batch_size must be None where the settings have a column batch_size, got 10"):
        sweep.run(TASK, settings, DATA, **SCHEDULE)
    wrong = sweep.from_columns({"learning_rate": [0.01], "batch_size": [0]})
    with pytest.raises(ValueError, match=r"the column batch_size must be a whole number in \[1, inf\), got 0"):
        sweep.run(TASK, wrong, DATA, **schedule)
