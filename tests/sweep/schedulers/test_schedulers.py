"""Who goes on: decisions from tables alone, and sweeps in which they are carried out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regopt import sweep
from regopt._core.types import Task
from regopt.sweep.engine._placement import Places
from regopt.sweep.schedulers import SchedulerState
from regopt.testing import MEAN_DATA, MEAN_TASK
from support.small_sweep import DATA, NUMBERS, SCHEDULE, TASK, same_bits

TOTAL = 9


def standing(scores, segments, going=None, **others):
    scores = np.array(scores, float)
    segments = np.broadcast_to(segments, len(scores))
    scores = np.where(np.arange(scores.shape[1]) < segments[:, None], scores, np.nan)
    size = len(scores)
    nothing = np.zeros(size, int)
    table = SchedulerState(
        scores,
        segments,
        np.ones(size, bool) if going is None else np.array(going),
        nothing,
        nothing,
        {},
        np.full(scores.shape, -1),
    )
    return table._replace(**others)


def level(*values):
    return np.repeat(np.array(values, float)[:, None], TOTAL, 1)


def course(scheduler, scores, **others):
    """Segments that each setting trains, all in step, when the scheduler decides after each round."""
    scores = np.array(scores, float)
    going, segments = np.ones(len(scores), bool), np.zeros(len(scores), int)
    while going.any():
        decision = scheduler.decide(standing(scores, segments, going, **others))
        assert not np.any(decision.prune & ~going)
        going = going & ~decision.prune
        able = going & ~decision.wait
        assert able.any() or not going.any()
        segments = segments + able
        bad = np.isinf(scores[np.arange(len(scores)), np.maximum(segments - 1, 0)])
        going &= (segments < scores.shape[1]) & ~bad
    return segments


def test_halving_keeps_the_best_third_at_each_rung():
    """27 settings, rungs after 1 and 3 of 9 segments: 27, 9 and 3 settings."""
    scores = level(*np.random.default_rng(0).permutation(27))
    expected = np.select([scores[:, 0] < 3, scores[:, 0] < 9], [9, 3], 1)
    np.testing.assert_array_equal(course(sweep.successive_halving(3), scores), expected)


DECLARED = {
    "halving": sweep.successive_halving(2, 2),
    "hyperband": sweep.hyperband(3),
    "asynchronous": sweep.asynchronous_halving(3),
    "median": sweep.median_rule(3, 2),
    "population": sweep.population_based_training({"rate": sweep.uniform(0.0, 1.0)}, every=4),
}


@pytest.mark.parametrize("rule", DECLARED)
def test_a_scheduler_decides_nothing_between_its_rungs(rule):
    scheduler, scores = DECLARED[rule], np.random.default_rng(1).uniform(size=(12, TOTAL))
    columns = {"rate": np.linspace(0.0, 1.0, 12)}
    decided, going, done = [], np.ones(12, bool), np.zeros(12, int)
    for segments in range(1, TOTAL):
        done[going] = segments
        decision = scheduler.decide(standing(scores, done, going, numbers=columns))
        assert not decision.wait.any()
        if (decision.prune & going).any() or decision.parents is not None:
            decided.append(segments)
        going &= ~decision.prune
    assert decided
    rungs = scheduler.rungs(TOTAL)
    assert set(decided) <= set(rungs)
    assert [scheduler.next_rung(rung - 1, TOTAL) for rung in sorted(rungs)] == sorted(rungs)
    assert scheduler.next_rung(max(rungs), TOTAL) == TOTAL


def test_a_rung_waits_for_the_last_and_the_others_wait_there():
    scores = level(1, 2, 3, 4)
    decision = sweep.successive_halving(2, min_resource=2).decide(standing(scores, [2, 2, 1, 2]))
    np.testing.assert_array_equal(decision.wait, [True, True, False, True])
    assert not decision.prune.any()


def test_a_setting_that_diverged_or_stopped_takes_part_with_its_score():
    scores = level(np.inf, 5, 1, 2)
    decision = sweep.successive_halving(2, min_resource=2).decide(
        standing(scores, [1, 2, 1, 2], [False, True, False, True])
    )
    np.testing.assert_array_equal(decision.prune, [False, True, False, False])  # the third stopped early, and leads


def test_halving_goes_wave_by_wave():
    scores = level(1, 2, 30, 40)
    assert list(course(sweep.successive_halving(2, min_resource=4), scores, wave=np.array([0, 0, 1, 1]))) == [
        9,
        4,
        9,
        4,
    ]


def test_hyperband_has_the_brackets_of_the_paper():
    """R = 9 and eta = 3: brackets of 9, 3 (of 5: n_s = ceil((s_max+1)/(s+1) eta**s)) and 3 settings in proportion."""
    scores = level(*np.random.default_rng(1).permutation(170))
    segments = course(sweep.hyperband(3), scores)
    counts = dict(zip(*map(list, np.unique(segments, return_counts=True)), strict=True))
    shares = np.array([9 / 3, 3 / 2, 1 / 1])
    members = 170 * shares / shares.sum()
    first_cut = members[0] * 2 / 3  # of the first bracket at its first rung, after 1 segment
    assert counts[1] == pytest.approx(first_cut, abs=1)
    assert counts[3] == pytest.approx(members[0] * 2 / 9 + members[1] * 2 / 3, abs=2)
    assert set(counts) == {1, 3, 9}
    assert segments[np.argmin(scores[:, 0])] == 9


@pytest.mark.parametrize(
    ("scheduler", "settings", "tolerance"),  # of brackets with whole numbers of settings
    [
        (sweep.successive_halving(3), 27, 1e-12),
        (sweep.successive_halving(2, 2), 32, 1e-12),
        (sweep.hyperband(3), 60, 0.04),
    ],
)
def test_halving_tells_how_many_settings_train_each_segment(scheduler, settings, tolerance):
    rates = sweep.from_columns({"rate": np.linspace(0.1, 0.9, settings)})
    result = sweep.run(MEAN_TASK, rates, MEAN_DATA, steps=TOTAL, eval_every=1, scheduler=scheduler)
    found = [np.mean(result.history.segments > segment) for segment in range(TOTAL)]
    np.testing.assert_allclose(scheduler.going(TOTAL), found, atol=tolerance)


def test_the_median_rule_compares_the_best_with_the_mean_so_far():
    scores = np.array([[9, 1.0], [4, 4], [5, 5], [6, 6], [7, 7.5]])
    table = standing(scores, 2)  # the means are 5, 4, 5, 6, 7.25: the median 5
    np.testing.assert_array_equal(
        sweep.median_rule(grace_period=2).decide(table).prune, [False, False, False, True, True]
    )
    assert not sweep.median_rule(grace_period=2, min_samples=6).decide(table).prune.any()
    assert not sweep.median_rule(grace_period=3).decide(table).prune.any()


def test_asynchronous_halving_waits_for_nobody():
    scores = level(1, 2, 3, 4, 5, 6)
    decision = sweep.asynchronous_halving(2, min_resource=1).decide(standing(scores, [0, 0, 1, 1, 1, 0]))
    assert not decision.wait.any()
    np.testing.assert_array_equal(decision.prune, [False, False, False, True, True, False])
    alone = sweep.asynchronous_halving(2).decide(standing(scores, [0, 0, 0, 0, 0, 1]))
    assert not alone.prune.any()


def drift():
    """A task without a network: each step moves x by the number ``speed``; less distance from 10 is better."""

    def init(key, h):
        del key, h
        return {"x": jnp.zeros(()), "ids": jnp.full(2, -1, jnp.int32)}

    def step(state, batch, key, h):
        del batch, key
        x = state["x"] + jnp.where(h["speed"] > 50, jnp.nan, h["speed"])
        return {"x": x, "ids": state["ids"].at[0].set(h["own"])}, {"loss": jnp.abs(x)}

    def evaluate(state, data, h):
        del data, h
        return {"validation_loss": (state["x"] - 10.0) ** 2}

    return Task(init, step, evaluate)


def drifting(speeds, **options):
    columns = {"speed": np.array(speeds, float), "own": np.arange(len(speeds))}
    options = {"steps": 6, "eval_every": 1, "chunk": 2, "batch_size": 10} | options
    return sweep.run(drift(), sweep.from_columns(columns), DATA, **options)


def test_a_population_takes_over_the_best_and_explores():
    scheduler = sweep.population_based_training({"speed": sweep.uniform(0.0, 4.0)}, every=2, fraction=0.25, seed=3)
    speeds = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1.0]
    outcome = drifting(speeds, scheduler=scheduler)
    record, used = outcome.history, outcome.history.used["speed"]
    np.testing.assert_array_equal(record.last_step, 6)
    np.testing.assert_array_equal(record.parents[:, [0, 1, 3, 5]], -1)
    own = np.arange(8)
    np.testing.assert_array_equal(record.parents[2:, 2], own[2:])
    assert set(record.parents[:2, 2]) <= {6, 7}
    x = np.zeros(8)  # the whole course again, from the numbers and parents that the record tells
    for segment in range(6):
        if segment in (2, 4):
            parents = record.parents[:, segment]
            changed = parents != own
            assert changed.sum() == 2
            factor = used[changed, segment] / used[parents[changed], segment - 1]
            drawn = ~np.isclose(factor, 0.8) & ~np.isclose(factor, 1.2)
            assert np.all((used[:, segment] >= 0) & (used[:, segment] <= 4))
            assert drawn.sum() < 2
            x = x[parents]
        np.testing.assert_array_equal(used[record.parents[:, segment] == own, segment] >= 0, True)
        x = x + used[:, segment]
        np.testing.assert_allclose(record.curves["validation_loss"][:, segment], (x - 10) ** 2, rtol=1e-5)
    assert [int(outcome.state(row)["ids"][0]) for row in range(8)] == list(own)  # the other numbers stay one's own
    again = drifting(speeds, scheduler=scheduler)
    np.testing.assert_array_equal(again.history.used["speed"], used)
    with pytest.raises(ValueError, match="cannot be trained alone"):
        outcome.refit(0)
    refitted = outcome.refit()  # all of them, from the numbers that they began with
    np.testing.assert_array_equal(refitted.history.used["speed"], used)
    np.testing.assert_array_equal(refitted.history.curves["validation_loss"], record.curves["validation_loss"])


def test_a_diverged_member_of_a_population_is_replaced_and_never_a_parent():
    scheduler = sweep.population_based_training({"speed": sweep.uniform(0.0, 4.0)}, every=2, fraction=0.25)
    outcome = drifting([99.0, 0.2, 0.3, 0.4], scheduler=scheduler)
    assert set(outcome.status) == {"done"}
    assert outcome.history.parents[0, 2] == 3
    assert np.isfinite(outcome.history.curves["validation_loss"][0, 2:]).all()
    everybody = drifting([99.0, 99.0], scheduler=scheduler)
    assert set(everybody.status) == {"diverged"}


def test_whole_numbers_are_not_explored_as_fractions():
    columns = {"speed": np.array([1, 2, 3, 4]), "own": np.arange(4)}
    options = {"steps": 6, "eval_every": 1, "batch_size": 10}

    def step(state, batch, key, h):
        return task.step(state, batch, key, {**h, "speed": jnp.float32(h["speed"])})

    task = drift()

    def explored(dimension):
        scheduler = sweep.population_based_training({"speed": dimension}, every=2, resample=1.0)
        return sweep.run(task._replace(step=step), sweep.from_columns(columns), DATA, scheduler=scheduler, **options)

    with pytest.raises(ValueError, match="the column speed must hold floats, because the scheduler draws fractions"):
        explored(sweep.uniform(0.0, 4.0))
    assert set(explored(sweep.choice([7, 9])).history.used["speed"][:, -1]) <= {1, 2, 3, 4, 7, 9}


def test_the_lineage_is_a_table():
    scheduler = sweep.population_based_training({"speed": sweep.uniform(0.0, 4.0)}, every=2, fraction=0.25, seed=3)
    outcome = drifting([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1.0], scheduler=scheduler)
    table = outcome.lineage()
    assert list(table) == ["setting", "step", "parent", "speed"]
    assert len(table) == 8 * 6
    others = table[table.parent != table.setting]
    assert set(others.step) == {2, 4}
    for row in others.itertuples():
        assert outcome.history.parents[row.setting, row.step] == row.parent
        assert outcome.history.used["speed"][row.setting, row.step] == row.speed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patience": 2}, "patience must be None with a scheduler that copies states between settings, got 2"),
        ({"slots": 2, "devices": jax.devices()[:1]}, "slots must be at least 4, .*, got room for 2"),
    ],
)
def test_a_population_has_no_early_stopping_and_needs_all_its_states(options, message):
    scheduler = sweep.population_based_training({"speed": sweep.uniform(0.0, 4.0)}, every=2)
    with pytest.raises(ValueError, match=message):
        drifting([0.1, 0.2, 0.3, 0.4], scheduler=scheduler, **options)


MISSPELT = {"weight_decai": sweep.uniform(0.0, 1.0), "lerning_rate": sweep.uniform(0.0, 1.0)}


def engine_run(columns=NUMBERS, **options):
    return sweep.run(TASK, sweep.from_columns(columns), DATA, **(SCHEDULE | {"chunk": 3} | options))


@pytest.fixture(scope="module")
def whole():
    return engine_run()


def test_survivors_of_halving_are_those_of_the_whole_sweep(whole):
    halved = engine_run(scheduler=sweep.successive_halving(2, min_resource=1))
    survivors = np.flatnonzero(halved.status == "done")
    assert set(halved.status) == {"done", "pruned"}
    assert sorted(np.unique(halved.history.last_step)) == [4, 8, 12]
    best_first = np.argsort(whole.history.curves["validation_loss"][:, 0])
    assert set(survivors) <= set(best_first[:5])
    for name, curve in whole.history.curves.items():
        np.testing.assert_allclose(halved.history.curves[name][survivors], curve[survivors], rtol=1e-5, err_msg=name)
    for row in survivors:
        same_bits(halved.refit(int(row)), halved, [row])


def poisoned(worst):
    """A task that is at ``size`` after each step, but for the ``worst`` smallest sizes, which diverge in step 3."""

    def step(state, batch, key, h):
        del batch, key
        count = state["count"] + 1
        value = jnp.where((h["size"] < worst) & (count == 3), jnp.nan, h["size"] / jnp.float32(count))
        return {"value": value, "count": count}, {"loss": value}

    def init(key, h):
        del key
        return {"value": jnp.float32(h["size"]), "count": 0}  # a number of Python's is as good as an array

    return Task(init, step, lambda state, data, h: {"validation_loss": state["value"]})


@pytest.mark.parametrize("scheduler", [sweep.successive_halving(3, min_resource=3), sweep.asynchronous_halving(3, 3)])
@pytest.mark.parametrize("patience", [None, 100])
def test_a_diverged_setting_outlives_no_other_with_early_stopping_either(scheduler, patience):
    columns = {"size": np.arange(9.0)}
    options = {"steps": 9, "eval_every": 1, "batch_size": 10, "patience": patience, "scheduler": scheduler}
    outcome = sweep.run(poisoned(3), sweep.from_columns(columns), DATA, **options)
    assert (outcome.status[:3] == "diverged").all()
    assert outcome.status[3] == "done"
    assert outcome.best().index == 3


def test_the_state_of_the_best_is_kept_among_equals():
    columns = {"size": np.ones(6)}
    options = {"steps": 4, "eval_every": 1, "batch_size": 10, "patience": 1, "slots": 2, "devices": jax.devices()[:1]}
    task = poisoned(0)._replace(evaluate=lambda state, data, h: {"validation_loss": 0 * state["value"] + 1})
    outcome = sweep.run(task, sweep.from_columns(columns), DATA, **options)
    assert outcome.best().index == 0
    assert outcome.state(outcome.best())["value"] == 1


def test_a_setting_that_was_cut_is_trained_again_as_far():
    outcome = engine_run(scheduler=sweep.successive_halving(2, min_resource=1))
    for row in np.flatnonzero(outcome.status == "pruned")[:2]:
        alone = outcome.refit(int(row))
        assert alone.status[row] == "pruned"
        assert alone.history.last_step[row] == outcome.history.last_step[row]
        same_bits(outcome, alone, [row])


def streaming(**options):
    """Ends at different times: by patience, and one by an infinity."""
    rates = np.geomspace(1e-3, 3.0, 11)
    rates[4] = np.inf
    columns = {"learning_rate": rates, "weight_decay": np.zeros(11), "patience": np.arange(11) % 3 + 1}
    return engine_run(columns, steps=40, patience=lambda h: h["patience"], **options)


def test_settings_stream_through_few_slots():
    """A setting may come to another slot than where all are held, which may cost a rounding, but no more."""
    held, streamed = streaming(), streaming(slots=6)
    assert len(set(held.history.last_step)) > 3
    np.testing.assert_array_equal(held.status, streamed.status)
    np.testing.assert_array_equal(held.history.last_step, streamed.history.last_step)
    for name, curve in held.history.curves.items():
        np.testing.assert_allclose(streamed.history.curves[name], curve, rtol=1e-5, err_msg=name)
    same_bits(streamed, streaming(slots=6), np.arange(11))


def test_the_best_state_is_kept_and_the_others_are_trained_again_to_the_same_bits():
    streamed = streaming(slots=6)
    best = streamed.best()
    jax.tree.map(np.testing.assert_array_equal, streamed.refit(best).state(best), streamed.state(best))
    seats = streamed.history.seats
    row = next(row for row in range(11) if len(set(seats[row][seats[row] >= 0])) > 1 and row != 4)  # it has moved
    same_bits(streamed.refit(row), streamed, [row])
    with pytest.raises(ValueError, match=r"the state of setting 0 is not kept: refit\(0\)"):
        streamed.state(0)
    assert streamed.refit(0).state(0).params
    with pytest.raises(ValueError, match="predict needs the states of all settings on the devices"):
        streamed.predict(DATA.validation[0])


def simulate(places, lengths):
    """The calls that train lanes of these lengths, each in seats of its own; returns the share of busy seats."""
    size, width = len(lengths), places.devices * places.chunk
    segments, going, nobody = np.zeros(size, int), np.ones(size, bool), np.zeros(size, bool)
    trained = []
    calls = 0
    while going.any():
        places.admit(places.leavers(~going))
        ready = places.ready(segments, going, nobody)
        for age in np.unique(segments[ready]):
            for ids, owners in places.calls(np.flatnonzero(ready & (segments == age))):
                lanes = owners[owners >= 0]
                np.testing.assert_array_equal(places.device[lanes], np.flatnonzero(owners >= 0) // places.chunk)
                np.testing.assert_array_equal(places.place[lanes], ids[owners >= 0])
                trained += list(lanes)
                calls += 1
        segments += ready
        going &= segments < lengths
    np.testing.assert_array_equal(np.bincount(trained, minlength=size), lengths)
    return len(trained) / (width * calls)


def test_slots_are_full_when_many_settings_stream():
    lengths = np.random.default_rng(0).integers(1, 11, 1000)
    assert simulate(Places(1000, 2, 160, 8), lengths) >= 0.95
    assert simulate(Places(100, 2, 50, 8, packed=True), lengths[:100]) > 0.8
    held = Places(100, 2, 50, 8)
    simulate(held, lengths[:100])
    seats = held.device * 8 + held.place % 8
    np.testing.assert_array_equal(seats, np.arange(100) % 2 * 8 + np.arange(100) // 2 % 8)


def test_waves_fit_on_the_devices():
    assert list(Places(7, 1, 3, 2).waves) == [0, 0, 0, 1, 1, 1, 2]
    assert set(Places(10, 2, 5, 2).waves) == {0}


def test_halving_of_more_settings_than_slots_ends():
    outcome = engine_run(slots=6, scheduler=sweep.successive_halving(2, min_resource=1))
    assert set(outcome.status) == {"done", "pruned"}
    assert np.sum(outcome.status == "done") >= 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sweep.successive_halving(1.0), r"eta must lie in \(1, inf\), got 1.0"),
        (lambda: sweep.hyperband(np.nan), "eta must lie in"),
        (lambda: sweep.asynchronous_halving(3, 0), r"min_resource must be a whole number in \[1, inf\), got 0"),
        (lambda: sweep.median_rule(0), "grace_period must be a whole number in"),
        (lambda: sweep.population_based_training({}), "explore must name at least one number"),
        (
            lambda: sweep.population_based_training({"seed": sweep.seeds(3)}),
            "explore must name numbers that may change",
        ),
        (lambda: sweep.population_based_training({"a": sweep.uniform(0, 1)}, fraction=0.6), "fraction must lie in"),
        (
            lambda: engine_run(scheduler=sweep.population_based_training({"lr": sweep.uniform(0, 1)})),
            "the scheduler changes lr, which is not a column of numbers of the settings",
        ),
        (
            lambda: engine_run(scheduler=sweep.population_based_training(MISSPELT)),
            r"changes lerning_rate, which is not a column of numbers of the settings; did you mean 'learning_rate'\?",
        ),
        (lambda: engine_run(slots=0), "slots must be a whole number"),
        (lambda: engine_run(scheduler="halving"), "scheduler must come from"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
