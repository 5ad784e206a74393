"""What a person reads off a sweep: the table, the curves, the best."""

import copy
import pickle
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from regopt import sweep
from regopt.sweep.results import Result
from regopt.sweep.results._history import History, Marks

SETTINGS = sweep.from_columns({"rate": [0.1, 0.2, 0.3, 0.4], "name": ["a", "b", "c", "d"]})
LOSS = np.array([[3.0, 1.0, 2.0], [3.0, 2.0, 1.5], [0.1, np.nan, np.nan], [2.0, 3.0, np.nan]])


def result(keeps_best, every=10):
    """Four settings: two done, one diverged in its second segment, one stopped early after its second."""
    record = History.empty(SETTINGS, ["validation_loss", "validation_accuracy"], every * np.arange(1, 4))
    for segment in range(3):
        rows = np.flatnonzero(record.training)
        values = LOSS[rows, segment]
        bad = (rows == 2) & (segment == 1)
        stops = (rows == 3) & (segment == 1)
        best = every * (1 + np.nanargmin(LOSS[rows, : segment + 1], axis=1))
        metrics = {"validation_loss": values, "validation_accuracy": 1 / (1 + values)}
        record.add(segment, rows, rows, metrics, Marks(17 * bad, stops.astype(int), best * keeps_best))
    return Result(
        record,
        monitor="validation_loss",
        mode="min",
        keeps_best=keeps_best,
        interrupted=False,
        trace_seconds=0.0,
        compile_seconds=0.0,
        run_seconds=1.0,
        chunk=4,
        temporary_bytes=0,
        busy_share=1.0,
        modes={"validation_accuracy": "max"},
        states=SimpleNamespace(
            state=lambda index: index,
            refit=lambda index: result(keeps_best),
            outputs=lambda wanted, inputs: np.where(wanted, inputs, np.nan),
        ),
    )


def test_the_table_without_early_stopping_is_at_the_last_step():
    table = result(keeps_best=False).to_pandas()
    assert table.index.name == "setting"
    assert list(table.columns) == [
        "rate", "name", "status", "last_step", "kept_step", "first_bad_step", "validation_loss", "validation_accuracy",
    ]  # fmt: skip
    assert list(table["status"]) == ["done", "done", "diverged", "stopped"]
    assert list(table["last_step"]) == list(table["kept_step"]) == [30, 30, 20, 20]
    assert table["validation_loss"].tolist()[:2] == [2.0, 1.5]
    assert table["first_bad_step"].tolist()[2] == 17
    assert table["first_bad_step"].isna().tolist() == [True, True, False, True]


def test_a_result_says_in_a_line_what_became_of_its_settings():
    said = "4 settings: 1 diverged, 2 done, 1 stopped; monitor validation_loss (min)"
    assert repr(result(keeps_best=False)) == f"<Result of {said}>"


def test_the_table_with_early_stopping_is_at_the_best_step():
    table = result(keeps_best=True).to_pandas()
    assert list(table["kept_step"]) == [20, 30, 10, 10]
    assert table["validation_loss"].tolist() == [1.0, 1.5, 0.1, 2.0]


def test_a_first_step_that_was_evaluated_has_metrics_as_any_other():
    each_step, each_tenth = result(keeps_best=True, every=1), result(keeps_best=True)
    assert each_step.kept_step.tolist() == [2, 3, 1, 1]
    for name, values in each_tenth.kept_metrics().items():
        np.testing.assert_array_equal(each_step.kept_metrics()[name], values, err_msg=name)


def test_a_diverged_setting_never_wins():
    """The third setting has the lowest loss of all before it diverges."""
    best = result(keeps_best=True).best()
    assert (best.index, best.setting, best.step) == (0, {"rate": 0.1, "name": "a"}, 20)
    assert best.metrics["validation_loss"] == 1.0
    assert result(keeps_best=False).best().index == 1


def test_the_best_of_another_metric_or_direction():
    outcome = result(keeps_best=False)
    assert outcome.best("validation_accuracy").index == 1
    assert outcome.best("validation_loss", mode="max").index == 3
    assert outcome.state(outcome.best()) == 1


def test_the_best_keeps_a_column_to_repeat_over_in_which_its_repeats_agree():
    best = result(keeps_best=False).best(over=["name"])  # of settings that have no repeats
    assert (best.rows, best.setting) == ((1,), {"rate": 0.2, "name": "b"})


def test_curves_are_labelled():
    curves = result(keeps_best=False).curves()
    assert dict(curves.sizes) == {"setting": 4, "step": 3}
    assert float(curves.validation_loss.sel(step=20)[1]) == 2.0
    assert float(curves.validation_loss.where(curves.rate == 0.3, drop=True)[0, 0]) == 0.1
    assert list(curves.name.values) == ["a", "b", "c", "d"]


def test_errors_say_what_would_be_right():
    outcome = result(keeps_best=False)
    with pytest.raises(ValueError, match=r"metric must be one of \['validation_loss', .*\], got 'loss'"):
        outcome.best("loss")
    with pytest.raises(ValueError, match='mode must be "min" or "max", got \'least\''):
        outcome.best(mode="least")  # pyright: ignore
    with pytest.raises(IndexError, match=r"setting must lie in \[0, 3\], got 4"):
        outcome.state(4)
    outcome.history.first_bad_step[:] = 1
    with pytest.raises(ValueError, match="no setting has a finite validation_loss: all 4 diverged"):
        outcome.best()


def test_a_pickle_of_an_earlier_version_has_its_seats():
    history = result(keeps_best=False).history
    earlier = copy.copy(history)
    names = vars(earlier)
    names["slots"] = names.pop("seats")
    del names["places"]
    read = pickle.loads(pickle.dumps(earlier))
    for name, array in history.to_tree().items():
        jax.tree.map(np.testing.assert_array_equal, read.to_tree()[name], array)
