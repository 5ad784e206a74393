"""Validation data that stream: batches that are read in turn give what arrays in memory give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regopt import losses, sweep
from regopt.data import Splits
from regopt.sweep.checkpoint import StoreError
from regopt.sweep.engine import _group
from regopt.sweep.engine._evaluation import Evaluation
from regopt.sweep.engine._feed import ValidationFeed
from regopt.sweep.engine._streams import as_evaluated
from support.small_sweep import DATA, NUMBERS, SCHEDULE, TASK, X, Y, network, optimizer, same_bits

SETTINGS = sweep.from_columns({name: column[:6] for name, column in NUMBERS.items()})
OPTIONS = SCHEDULE | {"chunk": 2}
RATES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
IN_BATCHES = [(X[40:48], Y[40:48]), (X[48:56], Y[48:56]), (X[56:], Y[56:])]  # of 8, 8 and 4 examples


class Loader:
    """A data set of batches, of which one may fail."""

    def __init__(self, batches=IN_BATCHES, size=None):
        self.batches, self.size, self.read, self.fails_at = batches, size or len(batches), [], None

    def __len__(self):
        return self.size

    def __getitem__(self, number):
        self.read.append(number)
        if len(self.read) == self.fails_at:
            raise OSError("the disk is gone")
        return self.batches[number % len(self.batches)]


class Again:
    """Batches that can be iterated over again, perhaps in another order each time."""

    def __init__(self, shuffles=False):
        self.shuffles, self.passes = shuffles, 0

    def __iter__(self):
        self.passes += 1
        return iter(IN_BATCHES[::-1] if self.shuffles and self.passes % 2 else IN_BATCHES)


class Sized(Again):
    """Such batches of a known number."""

    def __len__(self):
        return len(IN_BATCHES)


def iterated_only(data):
    """The data without random access."""
    return type("Again", (), {"__iter__": lambda _: iter(data)})()


class Reuses:
    """Batches in one array, whose memory JAX takes as it is on a CPU."""

    def __init__(self):
        memory = np.zeros(4 * 64 + 64, np.uint8)
        begin = -memory.ctypes.data % 64
        self.array = memory[begin : begin + 4 * 64].view(np.float32)

    def __iter__(self):
        for number in range(4):
            self.array[:] = number
            yield self.array

    def __len__(self):
        return 4

    def __getitem__(self, number):
        self.array[:] = number
        return self.array


@pytest.mark.parametrize("room", [0.0, 300.0, 1e9])
@pytest.mark.parametrize(
    "data", [Reuses(), iterated_only(Reuses()), Reuses().__getitem__], ids=["set", "again", "rule"]
)
def test_batches_stay_as_they_were_where_a_loader_uses_its_arrays_again(data, room):
    feed = ValidationFeed(as_evaluated(data, None, 4), jax.device_put, room)
    for _ in range(2):
        assert [float(batch[0]) for batch in list(feed.batches())] == [0, 1, 2, 3]


def run(validation, task=TASK, settings=SETTINGS, train=DATA.train, **options):
    return sweep.run(task, settings, Splits(train, validation), **(OPTIONS | options))


def close(found, whole):
    assert list(found.history.curves) == list(whole.history.curves)
    for name, curve in whole.history.curves.items():
        np.testing.assert_allclose(found.history.curves[name], curve, rtol=1e-5, err_msg=name)
    np.testing.assert_array_equal(found.history.segments, whole.history.segments)
    assert found.status.tolist() == whole.status.tolist()


def memmap(folder, array, name):
    np.save(folder / name, array)
    return np.load(folder / name, mmap_mode="r")


@pytest.fixture(scope="module")
def in_memory():
    return run(DATA.validation)


@pytest.mark.parametrize("mapping", ["vmap", pytest.param("map", marks=pytest.mark.long)])
def test_a_data_set_of_batches_gives_means_over_all_examples(in_memory, mapping):
    close(run(Loader(), mapping=mapping), in_memory)


def test_memory_mapped_rows_are_read_in_batches(in_memory, tmp_path):
    validation = memmap(tmp_path, X[40:], "x.npy"), memmap(tmp_path, Y[40:], "y.npy")
    found = run(validation, eval_batch_size=8)
    same_bits(found, run(Loader()), slice(None))
    close(found, in_memory)
    close(run(validation, eval_batch_size=100), in_memory)


@pytest.mark.parametrize("room", [0, 2**20])
def test_batches_that_are_iterated_over_again_in_each_evaluation(in_memory, room):
    found = run(Sized(), eval_cache_bytes=room)
    same_bits(found, run(Again(), eval_batches=3), slice(None))
    close(found, in_memory)


def test_a_function_needs_a_number_of_batches(in_memory):
    found = run(lambda number: IN_BATCHES[number], eval_batches=3)
    same_bits(found, run(Loader()), slice(None))
    two = run(lambda number: IN_BATCHES[number], eval_batches=2)
    close(two, run((X[40:56], Y[40:56])))


@pytest.mark.long
def test_a_grain_data_set(in_memory):
    grain = pytest.importorskip("grain")
    rows = grain.MapDataset.range(40, 60).map(lambda row: (X[row], Y[row]))
    close(run(rows.batch(8)), in_memory)
    endless = rows.repeat().batch(8)
    close(run(endless, eval_batches=5), run((np.tile(X[40:], (2, 1)), np.tile(Y[40:], 2))))


@pytest.mark.parametrize(("batches", "second", "third"), [(0, True, True), (1, False, True), (2, False, False)])
def test_batches_stay_in_memory_as_far_as_there_is_room(in_memory, batches, second, third):
    loader, calls = Loader(), 3 * -(-6 // (2 * len(jax.devices())))  # of 3 evaluations of 6 settings
    found = run(loader, eval_cache_bytes=batches * (X[:8].nbytes + Y[:8].nbytes))
    assert loader.read.count(1) == (calls if second else 1)
    assert loader.read.count(2) == (calls if third else 1)
    close(found, in_memory)


def test_training_data_may_stream_too(in_memory):
    train = Loader([(DATA.train[0][at : at + 10], DATA.train[1][at : at + 10]) for at in range(0, 40, 10)])
    both = run(Loader(), train=train, batch_size=None)
    close(both, run(DATA.validation, train=train, batch_size=None))


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"patience": 1}, marks=pytest.mark.long),
        {"patience": 1, "slots": 2},
        pytest.param({"scheduler": sweep.successive_halving(eta=2.0)}, marks=pytest.mark.long),
    ],
)
def test_early_stopping_and_schedulers_decide_as_in_memory(options):
    more = {"steps": 24, "eval_every": 4}
    found, whole = run(Loader(), **more, **options), run(DATA.validation, **more, **options)
    close(found, whole)
    np.testing.assert_array_equal(found.history.best_step, whole.history.best_step)
    index = found.best().index
    assert index == whole.best().index
    for a, b in zip(*(jax.tree.leaves(result.state(index)) for result in (found, whole)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_setting_diverges_where_only_its_evaluation_is_not_finite():
    def evaluate(state, data, h):
        loss = TASK.evaluate(state, data, h)["validation_loss"]
        return {"validation_loss": jnp.where(h["learning_rate"] > 0.01, jnp.nan, loss)}

    task = TASK._replace(evaluate=evaluate)
    found, whole = run(Loader(), task), run(DATA.validation, task)
    assert set(whole.status) == {"done", "diverged"}
    assert found.status.tolist() == whole.status.tolist()
    np.testing.assert_array_equal(found.history.first_bad_step, whole.history.first_bad_step)


def test_metrics_that_are_no_means_are_finished_once():
    root = losses.from_means(lambda outputs, y: jnp.mean((outputs - jax.nn.one_hot(y, 3)) ** 2), jnp.sqrt)
    task = sweep.supervised(network, losses.cross_entropy, optimizer, metrics={"root": root})
    close(run(Loader(), task), run(DATA.validation, task))


def test_a_sweep_whose_data_failed_goes_on_to_the_same_bits(tmp_path):
    straight, failing = run(Loader()), Loader()
    failing.fails_at = 14  # in the second segment
    with pytest.raises(OSError, match="the disk is gone") as error:
        run(failing, out=tmp_path, eval_cache_bytes=0)
    done = error.value.partial_result.history.segments.sum()
    assert 0 < done < 18
    assert f"all are saved in {tmp_path}" in error.value.__notes__[0]
    failing.fails_at = None
    resumed = run(failing, out=tmp_path)  # with a cache
    same_bits(resumed, straight, slice(None))
    for row in range(6):
        for a, b in zip(*(jax.tree.leaves(result.state(row)) for result in (resumed, straight)), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_call_keeps_no_more_than_its_own_lanes(monkeypatch):
    kept, before = [], _group.before_call

    def seen(*arguments):
        found = before(*arguments)
        kept.extend(len(leaf) for leaf in jax.tree.leaves(found.entries))
        return found

    monkeypatch.setattr(_group, "before_call", seen)
    assert (run(Loader(), chunk=1).status == "done").all()
    assert kept
    assert max(kept) == len(jax.devices())  # a lane of each of the devices


def test_a_sweep_of_other_validation_batches_is_refused(tmp_path):
    run(Loader(), out=tmp_path)
    with pytest.raises(StoreError, match=r"data\.validation \(batches\) has changed"):
        run(Loader(IN_BATCHES[::-1]), out=tmp_path)


def test_a_setting_is_trained_again_and_a_plan_is_made():
    result = run(Loader())
    again = result.refit(3)
    for name, curve in result.history.curves.items():
        np.testing.assert_array_equal(again.history.curves[name][3], curve[3], err_msg=name)
    assert sweep.plan(TASK, SETTINGS, Splits(DATA.train, Loader()), **OPTIONS).groups[0].flops > 0


@pytest.mark.parametrize(
    ("validation", "options", "message"),
    [
        (iter(IN_BATCHES), {}, "data.validation must be something that each evaluation can iterate over again"),
        (Again(), {"eval_batches": 4}, "data.validation must have 4 batches at least, got 3"),
        (Again(), {}, "eval_batches must say how many batches an evaluation takes"),
        (Again(shuffles=True), {"eval_batches": 3}, "data.validation must give the same batches in each evaluation"),
        (lambda number: IN_BATCHES[0], {}, "eval_batches must say how many batches an evaluation takes"),
        (Loader(size=2**40), {}, "eval_batches must say how many batches an evaluation takes"),
        (Loader(), {"eval_batches": 4}, "eval_batches must be at most 3, the batches of data.validation, got 4"),
        (Loader(), {"eval_batch_size": 4}, "eval_batch_size must be None where data.validation gives batches, got 4"),
        (DATA.validation, {"eval_batches": 2}, "eval_batches must be None where data.validation holds arrays, got 2"),
        (Loader([(X[:4], Y[:4] + 7)]), {}, r"the labels of data.validation must lie in \[0, 2\]"),
        (Loader(), {"eval_batches": 0}, r"eval_batches must be a whole number in \[1, inf\), got 0"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(validation, options, message):
    with pytest.raises(ValueError, match=message) as error:
        run(validation, **options)
    assert "\n" not in str(error.value)


def test_a_metric_that_needs_all_examples_is_refused():
    @losses.at_once
    def spread(outputs, targets):
        return jnp.std(outputs)

    task = sweep.supervised(network, losses.cross_entropy, optimizer, metrics={"spread": spread})
    with pytest.raises(ValueError, match=r"losses\.at_once needs all validation examples at once"):
        run(Loader(), task)


def decomposed(w, data, h):
    return {"validation_loss": jnp.sum(jnp.linalg.qr(data.validation[0] + w)[0] ** 2)}


def test_matrices_of_several_lanes_are_not_decomposed_at_once(monkeypatch):
    """On a CPU such calls can wait for each other for ever."""
    run_one, used = Evaluation.run, []

    def seen(self, call, batches):
        used.append(self)
        return run_one(self, call, batches)

    monkeypatch.setattr(Evaluation, "run", seen)
    task = sweep.Task(lambda key, h: jnp.ones((6, 6)), lambda w, b, k, h: (w * h["rate"], {}), decomposed)
    matrices, settings = np.random.default_rng(0).normal(size=(24, 6, 6)), sweep.from_columns({"rate": RATES})
    data = Splits(matrices, lambda number: matrices[number * 8 :][:8])
    options = {"steps": 2, "eval_every": 1, "eval_batches": 3, "chunk": 3}
    streamed = sweep.run(task, settings, data, **options)
    assert used
    assert not any(evaluation.blocks for evaluation in used)
    close(streamed, sweep.run(task, settings, data, **options, mapping="map"))


def test_folds_take_arrays():
    settings = sweep.grid({"learning_rate": sweep.choice([0.1]), "fold": sweep.folds(2)})
    with pytest.raises(ValueError, match=r"data\.validation must be arrays with a column fold"):
        run(Loader(), settings=settings)
