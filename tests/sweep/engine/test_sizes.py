"""The last settings of a sweep train in smaller calls, as the table alone decides, and to the same bits again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regopt import sweep
from regopt.sweep.engine import _work
from regopt.sweep.engine._placement import NONE, Places, Sizes
from regopt.sweep.engine._rounds import Rounds
from regopt.sweep.engine._state import SweepState
from support.local_pool import LocalEngine
from support.small_sweep import DATA, same_bits

pytestmark = pytest.mark.usefixtures("one_segment_a_call")

COLUMNS = {"learning_rate": np.geomspace(1e-3, 0.3, 20)}
OPTIONS = {"steps": 9, "eval_every": 1, "batch_size": 10, "chunk": 8, "scheduler": sweep.successive_halving(3)}


def _loss(w, examples):
    x, y = examples
    return jnp.mean((x @ w - y.astype(x.dtype)) ** 2)


def _step(w, batch, key, h):
    value, slope = jax.value_and_grad(_loss)(w, batch)
    return w - h["learning_rate"] * slope, {"loss": value}


# a product of a matrix and a vector, which XLA may compute otherwise for another number of lanes
TASK = sweep.Task(
    lambda key, h: jax.random.normal(key, (6,)),
    _step,
    lambda w, data, h: {"validation_loss": _loss(w, data.validation)},
)


@pytest.fixture
def cheap(monkeypatch):
    """Compiling costs nothing beside the training of a lane."""
    monkeypatch.setitem(_work.COMPILATION, "cpu", 1.0)


def run(**options):
    return sweep.run(TASK, sweep.from_columns(COLUMNS), DATA, **(OPTIONS | options))


def chunks(result, devices=2):
    """How many seats of a device the call of each segment had, where there was one."""
    seats = result.history.seats
    sizes = Sizes(result.chunk, devices)
    return np.where(seats < 0, 0, sizes.chunks[sizes.of(seats)])


@pytest.mark.parametrize(("chunk", "expected"), [(16, [16, 4, 1]), (14, [14, 3, 1]), (3, [3, 1]), (1, [1])])
def test_calls_have_a_quarter_of_the_slots_or_a_quarter_of_that(chunk, expected):
    sizes = Sizes(chunk, 2)
    assert sizes.chunks.tolist() == expected
    for size, each in enumerate(expected):
        first = sizes.first_of(each)
        numbers = np.arange(first, first + 2 * each)
        assert set(sizes.of(numbers)) == {size}
        assert [sizes.device_of(number) for number in numbers] == [0] * each + [1] * each


@pytest.mark.parametrize("compiled", [{0}, {0, 1, 2}])
def test_smaller_calls_cost_no_more_than_large_ones_alone(compiled):
    sizes = Sizes(16, 1)

    def cost(used, price):
        return price * sizes.chunks[used].sum() + len({*used} - compiled)

    for count in range(1, 50):
        large = [0] * -(-count // 16)
        assert sizes.divided(count, 0.0, compiled) == large
        for price in (0.03, 0.1, 0.4, 1e9):
            used = sizes.divided(count, price, compiled)
            seats = sizes.chunks[used].sum()
            assert used == sorted(used)
            assert seats - sizes.chunks[used[-1]] < count <= seats
            assert cost(used, price) <= cost(large, price) + 1e-9
        assert seats - count <= count / 4  # where a compilation costs nothing


def test_the_plan_gives_every_lane_a_slot_of_its_device():
    places = Places(37, 2, 19, 8, packed=True)
    places.admit(np.zeros(0, int))
    lanes = np.array([0, 2, 4, 5, 6, 8, 10, 12, 14, 16, 18, 20, 22])  # twelve on one device, one on the other
    seats = places.plan(lanes, 1e9)
    assert [places.sizes.device_of(seat) for seat in seats] == places.device[lanes].tolist()
    calls = list(places.calls(lanes, seats))
    assert [len(call.owners) for call in calls] == [16, 4, 4]
    owners = np.concatenate([call.owners for call in calls])
    np.testing.assert_array_equal(np.sort(owners[owners >= 0]), lanes)
    for call in calls:
        np.testing.assert_array_equal(call.places[call.owners >= 0], places.place[call.owners[call.owners >= 0]])


def test_few_settings_train_in_small_calls(cheap):
    result = run()
    found = chunks(result)
    assert set(found[:, 0]) == {8, 2}  # ten settings on each device
    assert np.all(found[result.history.segments == 9, 3:] < 8)
    assert result.busy_share > 0.6


SWAP = sweep.population_based_training({"learning_rate": sweep.log_uniform(1e-3, 0.3)}, every=2)


@pytest.mark.parametrize("options", [{"slots": 6, "patience": 1}, {"scheduler": SWAP}], ids=["slots", "population"])
def test_what_follows_from_the_table_is_what_a_new_look_at_all_of_it_gives(cheap, monkeypatch, options):
    scores, before, looks = SweepState.scores, Rounds._before, []

    def all_scores(self):
        found = scores(self)
        np.testing.assert_array_equal(found, self._scores_of(self.history, np.arange(len(found))))
        return found

    def all_sizes(self, group, used=NONE):
        found = before(self, group, used)
        del self._seats_before[group]
        np.testing.assert_array_equal(found, before(self, group))
        self._seats_before[group] = found
        looks.append(len(found))
        return found

    monkeypatch.setattr(SweepState, "scores", all_scores)
    monkeypatch.setattr(Rounds, "_before", all_sizes)
    run(**options)
    assert {0, 1} <= {*looks}


def test_the_price_of_a_lane_is_that_of_the_segments_which_it_has_yet_to_train(monkeypatch):
    """Halving by 3 decides after one segment and after three; all that train until then are planned at once."""
    plan, prices = Places.plan, []

    def priced(self, lanes, price=0.0, before=NONE):
        prices.append(price)
        return plan(self, lanes, price, before)

    monkeypatch.setattr(Places, "plan", priced)
    run()
    given = np.array([price for price in prices if price])  # a call that initialises or predicts has none
    np.testing.assert_allclose(given / given[0], np.array([9, 8, 6]) / 9, rtol=1e-12)


def test_calls_stay_large_where_compiling_costs_more():
    result = run()
    assert set(chunks(result)[result.history.seats >= 0]) == {8}
    assert result.busy_share < 0.4


def test_a_size_that_was_used_costs_nothing_more():
    """So settings don't go back to large calls as their end comes nearer."""
    places = Places(6, 2, 3, 8, packed=True)
    places.admit(np.zeros(0, int))
    lanes = np.arange(2)
    small = places.plan(lanes, 0.2)
    assert set(places.sizes.of(small)) == {2}
    assert set(places.sizes.of(places.plan(lanes, 0.01))) == {0}
    np.testing.assert_array_equal(places.plan(lanes, 0.01, small), small)


def test_a_setting_is_trained_again_in_calls_of_the_same_sizes(cheap):
    result = run()
    rows = [int(np.argmax(result.history.segments)), int(np.argmin(result.history.segments))]
    for row in rows:
        alone = result.refit(row)
        same_bits(alone, result, [row])
        np.testing.assert_array_equal(alone.history.seats[row], result.history.seats[row])
        jax.tree.map(np.testing.assert_array_equal, alone.state(row), result.state(row))


@pytest.mark.parametrize("segments", [3, 22, 41])
def test_a_sweep_that_was_interrupted_goes_on_in_the_same_calls(cheap, segments, tmp_path):
    whole = run()
    seen = []

    def stop(step, settings, metrics):
        seen.extend(settings)
        if len(seen) >= segments:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        run(out=tmp_path, save_every=0.0, callbacks=[stop])
    again = run(out=tmp_path)
    same_bits(again, whole, np.arange(20))
    np.testing.assert_array_equal(again.history.seats, whole.history.seats)


def test_a_halving_sweep_trains_in_small_calls_from_the_start():
    """The chunk that the scheduler leads to is one like any other: asked for by number, it gives the same bits."""
    wide = TASK._replace(
        init=lambda key, h: (jax.random.normal(key, (6,)), jnp.zeros(2**13)),
        step=lambda state, batch, key, h: ((TASK.step(state[0], batch, key, h)[0], state[1]), {}),
        evaluate=lambda state, data, h: TASK.evaluate(state[0], data, h),
    )
    settings, few = sweep.from_columns(COLUMNS), OPTIONS | {"chunk": None}
    result = sweep.run(wide, settings, DATA, **few)
    assert result.chunk < sweep.run(wide, settings, DATA, **(few | {"scheduler": None, "steps": 1})).chunk == 10
    same_bits(sweep.run(wide, settings, DATA, **(few | {"chunk": result.chunk})), result, np.arange(20))
    workers = sweep.run(wide, settings, DATA, **few, executor=LocalEngine())
    assert workers.chunk == result.chunk
    same_bits(workers, result, np.arange(20))


def test_workers_take_the_same_calls(cheap):
    whole, found = run(), run(executor=LocalEngine(deaths=[9, 17]))
    same_bits(found, whole, np.arange(20))
    np.testing.assert_array_equal(found.history.seats, whole.history.seats)
    assert found.busy_share >= whole.busy_share  # a worker without a lane in a call is not asked
    row = int(np.argmax(whole.history.segments))
    same_bits(found.refit(row), whole, [row])
