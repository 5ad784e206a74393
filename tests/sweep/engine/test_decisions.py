"""What a scheduler of one's own may decide: it is done as the table tells it, or refused in one line."""

import numpy as np
import pytest

from regopt import sweep
from regopt.testing import MEAN_DATA, MEAN_TASK

RATES = [0.5, 0.25, 0.125, 0.75]
OWN = np.arange(4)


def run(decide, changes=("rate",), **options):
    settings = options.pop("settings", sweep.from_columns({"rate": RATES}))
    scheduler = sweep.Scheduler(decide, "own", changes)
    return sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=1, scheduler=scheduler, **options)


def nothing(state, **changes):
    nobody = np.zeros_like(state.going)
    return sweep.Decision(nobody, nobody)._replace(**changes)


def after_two(change):
    """A scheduler that decides once, after two segments."""

    def decide(state):
        now = state.segments[0] == 2 and state.parents[0, 2] < 0
        return change(state) if now else nothing(state)

    return decide


@pytest.mark.parametrize("parents", [None, OWN])
def test_numbers_change_in_settings_that_keep_their_states(parents):
    changed = np.array([0.5, 1.0, 0.125, 1.0])
    found = run(after_two(lambda state: nothing(state, parents=parents, numbers={"rate": changed})))
    losses = [np.cumprod([(1 - a) ** 2] * 2 + [(1 - b) ** 2] * 2) for a, b in zip(RATES, changed, strict=True)]
    np.testing.assert_allclose(found.history.curves["validation_loss"], losses, rtol=1e-5)
    assert found.history.settings.numbers["rate"].tolist() == changed.tolist()
    assert found.lineage()["rate"].tolist() == [x for a, b in zip(RATES, changed, strict=True) for x in (a, a, b, b)]
    assert found.lineage()["parent"].tolist() == np.repeat(OWN, 4).tolist()


def test_settings_that_have_ended_keep_their_numbers_and_their_status():
    def decide(state):
        last = state.scores[OWN, np.maximum(state.segments - 1, 0)]
        bad = (last > 0.7) & (state.segments > 0)  # of those that train, and of those that have ended
        return sweep.Decision(np.zeros_like(state.going), bad, None, {"rate": np.full(4, 0.5)} if bad.any() else {})

    found = run(decide)
    assert found.status.tolist() == ["done", "done", "pruned", "done"]
    assert found.history.settings.numbers["rate"].tolist() == [0.5, 0.5, 0.125, 0.5]
    late = run(lambda state: sweep.Decision(np.zeros_like(state.going), state.segments == 4))
    assert late.status.tolist() == ["done"] * 4


def test_a_setting_that_was_pruned_goes_on_from_the_state_of_another():
    def decide(state):
        if state.segments.tolist() == [1] * 4 and state.going.all():
            return nothing(state, prune=OWN == 2)
        if state.segments.tolist() == [2, 2, 1, 2]:
            return nothing(state, parents=np.array([0, 1, 0, 3]))
        return nothing(state)

    found = run(decide, ())
    assert found.status.tolist() == ["done"] * 4
    with pytest.raises(ValueError, match="cannot be trained alone"):
        found.refit(2)
    assert found.refit(1).status[1] == "done"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: nothing(state, wait=np.zeros(4, int)), "the scheduler's wait must be an array of booleans"),
        (lambda state: nothing(state, prune=[False] * 4), "the scheduler's prune must be an array of booleans"),
        (lambda state: nothing(state, numbers={"speed": OWN}), r"among its changes, \['rate', 'whole'\], got"),
        (lambda state: nothing(state, numbers={"rate": np.array(list("abcd"))}), "the scheduler's rate must hold num"),
        (lambda state: nothing(state, numbers={"whole": OWN / 2}), "the scheduler's whole must hold whole numbers"),
        (
            lambda state: nothing(state, parents=OWN[::-1]),
            "parents must have the same static values .* 3 for setting 0",
        ),
        (lambda state: state.numbers["rate"].fill(1.0), "read-only"),
        (lambda state: state.parents.fill(1), "read-only"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_done_is_refused(change, message):
    columns = {"rate": RATES, "whole": [1, 2, 3, 4], "kind": ["a", "a", "b", "b"]}
    with pytest.raises(ValueError, match=message):
        run(after_two(change), ("rate", "whole"), settings=sweep.from_columns(columns))
    if "static" in message:
        run(
            after_two(lambda state: nothing(state, parents=np.array([1, 0, 3, 2]))),
            settings=sweep.from_columns(columns),
        )


def test_states_are_not_taken_over_where_settings_wait_for_a_place():
    parents = np.array([1, 1, 2, 3])
    with pytest.raises(ValueError, match="slots must be at least 4"):
        run(lambda state: nothing(state, parents=parents), (), slots=2)
