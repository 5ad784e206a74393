"""What a history says after each segment, and the scores that follow from it."""

import numpy as np

from regopt import sweep
from regopt.sweep.engine._state import SweepState
from regopt.sweep.results._history import History, Marks

RATES = [0.1, 0.2, 0.3, 0.4]


def history():
    """Four settings after the first of three segments: the second diverged, the third was stopped early."""
    made = History.empty(sweep.from_columns({"rate": RATES}), ["loss"], np.array([10, 20, 30]), ["rate"])
    marks = Marks(np.array([0, 7, 0, 0]), np.array([0, 0, 1, 0]), np.zeros(4, int))
    made.add(0, np.arange(4), np.array([3, 2, 1, 0]), {"loss": np.array([4.0, 3.0, 2.0, 1.0])}, marks)
    return made


def go_on(made, segment, row):
    """Record a further segment of one setting, in which nothing happens."""
    made.add(segment, np.array([row]), np.array([0]), {"loss": np.array([0.5])}, Marks(*np.zeros((3, 1), int)))


def test_a_segment_is_recorded_with_the_settings_that_it_ends():
    made = history()
    assert made.training.tolist() == [True, False, False, True]
    assert made.diverged.tolist() == [False, True, False, False]
    assert made.stopped.tolist() == [False, False, True, False]
    assert made.seats[:, 0].tolist() == [3, 2, 1, 0]
    np.testing.assert_allclose(made.used["rate"], [[rate, np.nan, np.nan] for rate in RATES], rtol=1e-7)
    made.end(np.array([False, False, False, True]))
    assert made.training.tolist() == [True, False, False, False]
    assert made.pruned.tolist() == [False, False, False, True]
    go_on(made, 1, 0)
    assert made.training.tolist() == [True, False, False, False]
    go_on(made, 2, 0)
    assert not made.training.any()  # it was the last segment
    assert made.last_step.tolist() == [30, 10, 10, 10]
    assert made.segments.tolist() == [3, 1, 1, 1]


def test_a_setting_that_takes_over_a_state_trains_on_from_it():
    made = history()
    go_on(made, 1, 3)
    made.best_step[:] = [10, 5, 10, 10]
    made.take_over(np.array([0, 3, 2, 3]), {"rate": np.array([0.1, 0.5, 0.3, 0.4])})
    assert made.training.tolist() == [True, True, False, True]
    assert made.first_bad_step.tolist() == [0, 0, 0, 0]
    assert made.best_step.tolist() == [10, 10, 10, 10]
    assert made.parents.tolist() == [[-1, 0, -1], [-1, -1, 3], [-1, 2, -1], [-1, -1, 3]]
    assert made.last_step.tolist() == [10, 20, 10, 20]
    assert made.settings.numbers["rate"][1] == 0.5


def test_a_score_is_infinite_from_the_evaluation_on_that_saw_something_bad():
    made = History.empty(sweep.from_columns({"rate": RATES}), ["loss"], np.array([10, 20]))
    made.curves["loss"][:] = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, np.inf]]
    made.last_step[:] = [20, 20, 20, 20]
    made.first_bad_step[:] = [10, 11, 0, 0]
    inf = np.inf
    assert made.scores("loss", "min", keeps_best=False).tolist() == [[inf, inf], [3, inf], [5, 6], [7, inf]]
    assert made.scores("loss", "max", keeps_best=False).tolist() == [[inf, inf], [-3, inf], [-5, -6], [-7, inf]]
    assert made.scores("loss", "min", keeps_best=True).tolist() == [[inf, inf], [3, inf], [5, 5], [7, 7]]


def test_the_score_of_a_setting_is_that_of_its_last_segment_and_infinite_before_the_first():
    made = History.empty(sweep.from_columns({"rate": RATES}), ["loss"], np.array([10, 20]))
    made.curves["loss"][:] = [[np.nan, np.nan], [3.0, np.nan], [5.0, 6.0], [7.0, np.inf]]
    made.last_step[:] = [0, 10, 20, 20]
    state = SweepState([], made, lambda history, rows: history.scores("loss", "min", keeps_best=False, rows=rows))
    assert state.kept_scores().tolist() == [np.inf, 3, 6, np.inf]
