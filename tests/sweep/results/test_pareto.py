"""The Pareto front of a sweep: against all pairs, with directions, repeats and the number of parameters."""

import numpy as np
import pytest

from regopt import sweep
from regopt.sweep.results._pareto import _is_numbers
from regopt.testing import MEAN_DATA, MEAN_TASK
from support.small_sweep import DATA, SCHEDULE, TASK

DRAW = np.random.default_rng(0)
SETTINGS = sweep.from_columns({"rate": DRAW.uniform(0.1, 0.9, 20), "cost": DRAW.integers(1, 6, 20)})
RESULT = sweep.run(MEAN_TASK, SETTINGS, MEAN_DATA, steps=4, eval_every=2)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_front_is_that_of_all_pairs(mode):
    found = RESULT.pareto(["validation_loss", "cost"], {"cost": mode})
    losses, costs = RESULT.kept_metrics()["validation_loss"], SETTINGS.numbers["cost"]
    sign = 1 if mode == "min" else -1
    expected = [
        not any(
            losses[b] <= losses[a]
            and sign * costs[b] <= sign * costs[a]
            and (losses[b], costs[b]) != (losses[a], costs[a])
            for b in range(20)
        )
        for a in range(20)
    ]
    assert found.table["on_front"].tolist() == expected
    assert 1 < sum(expected) < 20
    assert found.front["validation_loss"].is_monotonic_increasing


def test_parameters_are_counted_and_survive_the_folder(tmp_path):
    settings = sweep.grid({"width": sweep.static([4, 8]), "learning_rate": sweep.choice([0.01, 0.1])})
    result = sweep.run(TASK, settings, DATA, **SCHEDULE, out=tmp_path)
    found = result.pareto(["validation_accuracy", "parameters"])
    assert found.modes == {"validation_accuracy": "max", "parameters": "min"}
    assert found.table["parameters"].tolist() == [6 * 4 + 4 + 4 * 3 + 3] * 2 + [6 * 8 + 8 + 8 * 3 + 3] * 2
    again = sweep.load(tmp_path).pareto(["validation_accuracy", "parameters"])
    assert again.table["parameters"].tolist() == found.table["parameters"].tolist()


def test_the_metrics_are_means_over_the_repeats():
    settings = sweep.grid({"rate": sweep.choice([0.5, 1e30]), "cost": sweep.choice([1, 2]), "seed": sweep.seeds(2)})
    found = sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=2).pareto(
        ["validation_loss", "cost"], {"cost": "min"}
    )
    assert list(found.table.index) == [0, 2]  # diverged ones are left out
    assert "seed" not in found.table
    assert found.table["on_front"].tolist() == [True, False]


def test_the_plot_has_every_setting():
    plotly = pytest.importorskip("plotly", reason="plotly is not installed (the extra report)")
    del plotly
    found = RESULT.pareto(["validation_loss", "cost"], {"cost": "min"})
    figure = found.plot()
    assert sum(len(trace.x) for trace in figure.data) == 20
    assert len(figure.data[1].x) == found.table["on_front"].sum()


def test_wrong_names_and_missing_directions_are_named():
    with pytest.raises(ValueError, match="metrics must be the names of at least two metrics"):
        RESULT.pareto(["validation_loss"])
    with pytest.raises(ValueError, match=r"metrics must be among .*, got 'size'"):
        RESULT.pareto(["validation_loss", "size"])
    with pytest.raises(ValueError, match="'cost' declares no direction"):
        RESULT.pareto(["validation_loss", "cost"])
    with pytest.raises(ValueError, match=r'the mode of .* must be "min" or "max"'):
        RESULT.pareto(["validation_loss", "cost"], {"cost": "small"})


@pytest.mark.parametrize("column", [[1, 2.5], np.arange(3), np.ones(2, np.float32), (np.int64(3), 4)])
def test_a_column_of_numbers_may_be_a_metric(column):
    assert _is_numbers(column)


@pytest.mark.parametrize("column", [["a", "b"], [1, "b"], [True, False], [1, None], [], [(1, 2), (3, 4)]])
def test_a_column_of_other_things_may_not(column):
    assert not _is_numbers(column)
