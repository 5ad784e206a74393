"""Extending a sweep in its folder: more settings, more steps, another scheduler, and nothing trained again."""

import numpy as np
import pytest

from regopt import sweep
from regopt.sweep.checkpoint import StoreError
from support.small_sweep import DATA, TASK, same_bits

pytestmark = pytest.mark.usefixtures("one_segment_a_call")

OPTIONS = {"eval_every": 4, "batch_size": 10, "chunk": 4}


def settings(*rates, **columns):
    return sweep.from_columns({"learning_rate": list(rates), **columns})


def run(which, steps, **options):
    return sweep.run(TASK, which, DATA, steps=steps, **(OPTIONS | options))


def kernel(result, row):
    return result.params(row)["layers"][0]["kernel"]


class Trained:
    def __init__(self):
        self.rows = []

    def on_segment(self, step, settings, metrics):
        self.rows += [(row, step) for row in settings]


FOUR = (0.01, 0.02, 0.03, 1e30)


@pytest.mark.parametrize("patience", [None, 9])
def test_more_steps_end_with_the_bits_of_a_longer_sweep(tmp_path, patience):
    straight = run(settings(*FOUR), 16, patience=patience)
    first = run(settings(*FOUR), 8, out=tmp_path, patience=patience)
    seen = Trained()
    longer = run(settings(*FOUR), 16, out=tmp_path, patience=patience, extend=True, callbacks=[seen])
    assert sorted(seen.rows) == [(row, step) for row in range(3) for step in (12, 16)]
    same_bits(longer, straight, np.arange(4))
    assert longer.status.tolist() == straight.status.tolist()
    for row in range(3):
        np.testing.assert_array_equal(
            longer.params(row)["layers"][0]["kernel"], straight.params(row)["layers"][0]["kernel"]
        )
    assert first.status.tolist() == ["done"] * 3 + ["diverged"]
    loaded = sweep.load(tmp_path)
    np.testing.assert_array_equal(kernel(loaded, 1), kernel(straight, 1))


def test_more_settings_keep_what_was_trained(tmp_path):
    first = run(settings(0.01, 0.02), 8, out=tmp_path)
    seen = Trained()
    more = run(settings(0.05, 0.02, 0.03, 0.01), 8, out=tmp_path, extend=True, callbacks=[seen])
    assert sorted(seen.rows) == [(row, step) for row in (0, 2) for step in (4, 8)]
    for name, curve in first.history.curves.items():
        np.testing.assert_array_equal(more.history.curves[name][[3, 1]], curve)
    assert more.status.tolist() == ["done"] * 4
    np.testing.assert_array_equal(kernel(more, 3), kernel(first, 0))
    seen.rows.clear()
    again = run(settings(0.05, 0.02, 0.03, 0.01), 8, out=tmp_path, extend=True, callbacks=[seen])
    assert seen.rows == []
    same_bits(again, more, np.arange(4))


def test_groups_of_static_values_are_matched(tmp_path):
    first = run(settings(0.01, 0.02, kind=["a", "b"]), 8, out=tmp_path)
    more = run(settings(0.02, 0.01, 0.03, 0.04, kind=["b", "a", "a", "c"]), 8, out=tmp_path, extend=True)
    for name, curve in first.history.curves.items():
        np.testing.assert_array_equal(more.history.curves[name][[1, 0]], curve)
    np.testing.assert_array_equal(kernel(more, 0), kernel(first, 1))


def test_another_scheduler_leaves_ended_settings_ended(tmp_path):
    rates = (0.001, 0.002, 0.03, 0.05)
    halved = run(settings(*rates), 8, out=tmp_path, scheduler=sweep.successive_halving(2))
    pruned = np.flatnonzero(halved.status == "pruned")
    assert len(pruned)
    longer = run(settings(*rates), 16, out=tmp_path, extend=True)
    assert (longer.status == "pruned").tolist() == (halved.status == "pruned").tolist()
    assert set(longer.history.last_step[longer.status == "done"]) == {16}


def test_an_extension_that_is_interrupted_goes_on(tmp_path):
    straight = run(settings(*FOUR), 16)
    run(settings(*FOUR), 8, out=tmp_path)

    def fails(step, settings, metrics):
        raise OSError("now")

    with pytest.raises(OSError, match="now"):
        run(settings(*FOUR), 16, out=tmp_path, extend=True, callbacks=[fails])
    ended = run(settings(*FOUR), 16, out=tmp_path)  # the folder holds the longer sweep by now
    same_bits(ended, straight, np.arange(4))


def test_what_cannot_be_extended_is_said(tmp_path):
    run(settings(0.01, 0.02), 12, out=tmp_path)
    for which, steps, options, line in [
        (
            settings(0.01),
            12,
            {},
            "has trained {'learning_rate': 0.02}, which is missing from the settings of the sweep",
        ),
        (settings(0.01, 0.02), 4, {}, "was trained for 12 steps: a sweep that extends it must have at least as many"),
        (settings(0.01, 0.02, 0.03), 12, {"batch_size": 20}, "config.batch_size was 10, is 20"),
        (settings(0.01, 0.02, 0.03), 12, {"slots": 2}, "must have all settings on the devices: leave slots out"),
    ]:
        with pytest.raises(StoreError) as caught:
            run(which, steps, out=tmp_path, extend=True, **options)
        assert line in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="extend needs the folder of a sweep"):
        run(settings(0.01, 0.02), 8, extend=True)


def test_a_population_whose_numbers_have_changed_is_not_extended(tmp_path):
    space = {"learning_rate": sweep.log_uniform(1e-3, 1e-1)}
    scheduler = sweep.population_based_training(space)
    run(settings(*FOUR), 16, out=tmp_path, scheduler=scheduler)
    with pytest.raises(StoreError, match="its scheduler has changed learning_rate in training, so") as caught:
        run(settings(*FOUR), 32, out=tmp_path, scheduler=scheduler, extend=True)
    assert "\n" not in str(caught.value)
    numbers = sweep.load(tmp_path).history.settings.numbers["learning_rate"]
    with pytest.raises(StoreError, match="its scheduler has changed learning_rate in training"):
        run(settings(*FOUR, *numbers), 32, out=tmp_path, scheduler=scheduler, extend=True)  # the new ones have them


def test_a_refusal_names_values_and_the_way_that_works(tmp_path):
    run(settings(0.01, 0.02), 8, out=tmp_path)
    with pytest.raises(StoreError, match=r"config.steps was 8, is 16") as caught:
        run(settings(0.01, 0.02), 16, out=tmp_path)
    assert "extend=True" in str(caught.value)
    assert "allow_different" not in str(caught.value)
    with pytest.raises(StoreError, match=r"settings\.learning_rate\.1 was '0\.02', is '0\.05'") as caught:
        run(settings(0.01, 0.05), 8, out=tmp_path)
    assert "allow_different=True" in str(caught.value)
    assert run(settings(0.01, 0.05), 8, out=tmp_path, allow_different=True).status.tolist() == ["done", "done"]


def test_a_setting_is_refitted_after_an_extension_with_other_calls(tmp_path):
    rates = np.linspace(0.01, 0.1, 9).tolist()
    run(settings(*rates), 8, out=tmp_path, chunk=9)
    longer = run(settings(*rates), 12, out=tmp_path, chunk=2, extend=True)
    for row in (0, 7, 8):
        again = longer.refit(row)
        assert again.status[row] == "done"
        for name, curve in longer.history.curves.items():
            np.testing.assert_allclose(again.history.curves[name][row], curve[row], rtol=1e-5, err_msg=name)


def test_a_setting_is_refitted_after_an_extension_in_which_it_has_another_row(tmp_path):
    run(settings(0.01, 0.02), 8, out=tmp_path)
    longer = run(settings(0.03, 0.01, 0.02), 12, out=tmp_path, extend=True)
    for row in range(3):
        again = longer.refit(row)
        for name, curve in longer.history.curves.items():
            np.testing.assert_allclose(again.history.curves[name][row], curve[row], rtol=1e-5, err_msg=name)
