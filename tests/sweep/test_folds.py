"""Cross-validation as lanes, and decisions by the mean over seeds and folds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regopt import sweep
from regopt.data import Splits
from regopt.testing import MEAN_DATA, MEAN_TASK
from support.small_sweep import DATA, SCHEDULE, TASK

VALUES = np.arange(23, dtype=np.float32) ** 2
LISTED = Splits(VALUES, np.full(1, np.nan, np.float32))  # the validation part must not be looked at


def seen_task():
    """The state is the sum of each step's batch; the evaluation is the sum of the validation examples."""
    return sweep.Task(
        init=lambda key, h: jnp.zeros(()),
        step=lambda total, batch, key, h: (jnp.sum(batch), {"loss": jnp.sum(batch)}),
        evaluate=lambda total, data, h: {"validation_loss": jnp.sum(data.validation)},
    )


def test_every_example_is_held_out_at_most_once_and_never_trained_on_then():
    settings = sweep.grid({"rate": sweep.choice([1.0, 2.0]), "fold": sweep.folds(5)})
    result = sweep.run(seen_task(), settings, LISTED, steps=1, eval_every=1)
    held_out = result.history.curves["validation_loss"].reshape(2, 5)
    trained = result.history.curves["train_loss"].reshape(2, 5)
    np.testing.assert_allclose(held_out + trained, VALUES.sum())
    np.testing.assert_array_equal(held_out[0], held_out[1])
    left_over = VALUES.sum() - held_out[0].sum()  # 23 = 5 * 4 + 3
    assert 0 <= left_over <= VALUES[-3:].sum()
    assert len(set(held_out[0].tolist())) == 5


def test_a_cross_validation_needs_no_validation_part():
    settings = sweep.grid({"rate": sweep.choice([1.0]), "fold": sweep.folds(5)})
    with_one, without = (
        sweep.run(seen_task(), settings, data, steps=1, eval_every=1) for data in (LISTED, Splits(train=VALUES))
    )
    for name, curve in with_one.history.curves.items():
        np.testing.assert_array_equal(curve, without.history.curves[name])
    with pytest.raises(ValueError, match=r"^data must have a validation part"):
        sweep.run(seen_task(), sweep.from_columns({"rate": [1.0]}), Splits(VALUES), steps=1, eval_every=1)


def test_the_division_is_that_of_the_key():
    settings = sweep.grid({"rate": sweep.choice([1.0]), "fold": sweep.folds(5)})

    def held_out(seed):
        result = sweep.run(seen_task(), settings, LISTED, steps=1, eval_every=1, key=jax.random.key(seed))
        return result.history.curves["validation_loss"].ravel().tolist()

    assert held_out(1) == held_out(1)
    assert held_out(1) != held_out(2)


def test_a_fold_is_the_plain_sweep_on_its_rows():
    settings = sweep.grid({"learning_rate": sweep.choice([0.01, 0.03]), "fold": sweep.folds(4)})
    data = Splits(DATA.train, DATA.validation)
    folded = sweep.run(TASK, settings, data, **SCHEDULE, chunk=2)
    from regopt.sweep.engine._checks import as_folds

    trained, held_out = as_folds(settings, data, jax.random.key(0), None)
    assert sorted(np.concatenate(held_out).tolist()) == list(range(40))
    rates = sweep.from_columns({"learning_rate": [0.01, 0.03]})
    for fold in range(4):
        part = [jax.tree.map(lambda x, rows=rows[fold]: x[rows], DATA.train) for rows in (trained, held_out)]
        plain = sweep.run(TASK, rates, Splits(*part), **SCHEDULE, chunk=2)
        for name, curve in plain.history.curves.items():
            np.testing.assert_allclose(folded.history.curves[name][[fold, fold + 4]], curve, rtol=2e-5, atol=1e-6)


def test_wrong_folds_are_named():
    def run(columns, **options):
        return sweep.run(MEAN_TASK, sweep.from_columns(columns), MEAN_DATA, steps=1, eval_every=1, **options)

    with pytest.raises(
        ValueError,
        match=r"the column fold must hold every whole number from 0 to .*, with at least 2 folds, got \[0, 2\]",
    ):
        run({"rate": [0.1, 0.2], "fold": [0, 2]})
    with pytest.raises(ValueError, match="the column fold cannot be combined with resamples"):
        run({"rate": [0.1, 0.2], "fold": [0, 1]}, resamples=[[0, 1]])
    with pytest.raises(ValueError, match="must name at most 4 folds, the number of examples, got 5"):
        run({"rate": [0.1] * 5, "fold": [0, 1, 2, 3, 4]})
    with pytest.raises(ValueError, match=r"count must be a whole number in \[2, inf\), got 1"):
        sweep.folds(1)


def noisy(scores, seeds):
    """A task whose loss is a number of the setting: ``scores`` by setting and seed."""
    settings = sweep.from_columns(
        {
            "name": np.repeat(np.arange(len(scores)), seeds),
            "seed": np.tile(np.arange(seeds), len(scores)),
            "score": np.ravel(scores),
        }
    )
    task = sweep.Task(
        init=lambda key, h: jnp.zeros(()),
        step=lambda w, batch, key, h: (w, {"loss": h["score"]}),
        evaluate=lambda w, data, h: {"validation_loss": h["score"]},
    )
    return task, settings


LUCKY = [[0.1, 9.0, 9.0], [1.0, 1.0, 1.0], [0.5, 0.5, np.inf], [2.0, 2.0, 2.0]]


def without_score(settings):
    return sweep.Settings({name: settings.numbers[name] for name in ("name", "seed")}, settings.static)


def looked_up(scores):
    """The same task with its scores in a table, so that the columns that make a setting are its name alone."""
    table = jnp.asarray(scores, jnp.float32)
    return sweep.Task(
        init=lambda key, h: jnp.zeros(()),
        step=lambda w, batch, key, h: (w, {"loss": table[h["name"], h["seed"]]}),
        evaluate=lambda w, data, h: {"validation_loss": table[h["name"], h["seed"]]},
    )


def test_the_best_setting_is_that_of_the_best_mean():
    settings = without_score(noisy(LUCKY, 3)[1])
    result = sweep.run(looked_up(LUCKY), settings, MEAN_DATA, steps=1, eval_every=1)
    best = result.best()
    assert (best.index, best.rows, best.setting["name"]) == (3, (3, 4, 5), 1)
    assert best.metrics["validation_loss"] == 1.0
    assert best.setting == {"name": 1}  # its seeds differ, so none of them belongs to it
    lucky = result.best(over=())
    assert set(lucky.setting) == {"name", "seed"}
    assert (lucky.index, lucky.rows) == (0, (0,))
    assert lucky.metrics["validation_loss"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    "make", [sweep.successive_halving, sweep.hyperband, sweep.asynchronous_halving, sweep.median_rule]
)
def test_schedulers_go_by_the_mean_and_prune_repeats_together(make):
    settings = without_score(noisy(LUCKY, 3)[1])
    options = {"min_samples": 2} if make is sweep.median_rule else {"eta": 2}
    result = sweep.run(looked_up(LUCKY), settings, MEAN_DATA, steps=4, eval_every=1, scheduler=make(**options), chunk=3)
    last = result.history.last_step.reshape(4, 3)
    assert last[1].tolist() == [4, 4, 4]
    alive = last[[0, 3]]
    assert all(len(set(row)) == 1 for row in alive.tolist())  # all repeats of a setting end together
    assert result.best().setting["name"] == 1
    if make is sweep.successive_halving:
        assert last[0].tolist() == [1, 1, 1]
        alone = sweep.run(
            looked_up(LUCKY), settings, MEAN_DATA, steps=4, eval_every=1, scheduler=make(eta=2, over=()), chunk=3
        )
        assert alone.history.last_step[0] == 4  # the luckiest of all rows
        assert "over=()" in make(over=()).name


@pytest.mark.parametrize("slots", [1, 2, 4, 5])
def test_repeats_that_do_not_fit_together_do_not_wait_for_ever(slots):
    settings = without_score(noisy(LUCKY, 3)[1])
    for make in (sweep.successive_halving, sweep.asynchronous_halving, sweep.hyperband):
        result = sweep.run(
            looked_up(LUCKY), settings, MEAN_DATA, steps=4, eval_every=1, scheduler=make(eta=2), slots=slots, chunk=1
        )
        assert "unfinished" not in result.status
