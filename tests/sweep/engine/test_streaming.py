"""Training data that stream: the batches of a step by its number, whatever they are read from."""

import jax
import numpy as np
import pytest

from regopt import sweep
from regopt.data import Splits
from regopt.sweep.checkpoint import StoreError
from regopt.training import train_steps
from support.small_sweep import DATA, SCHEDULE, TASK, X, Y, same_bits

SETTINGS = sweep.from_columns({"learning_rate": np.geomspace(0.01, 0.1, 6), "weight_decay": np.full(6, 0.01)})
BATCHES = {"steps": 12, "eval_every": 4, "chunk": 2}


class Loader:
    """A data set of batches, which counts what is read."""

    def __init__(self, size=5, fails_at=None):
        self.size, self.read, self.fails_at = size, [], fails_at

    def __len__(self):
        return self.size

    def __getitem__(self, number):
        if number == self.fails_at:
            raise OSError("the disk is gone")
        self.read.append(number)
        return X[number * 8 : number * 8 + 8].astype(float), Y[number * 8 : number * 8 + 8]


def at_step(step):
    return Loader()[step % 5]


def run(train, settings=SETTINGS, **options):
    return sweep.run(TASK, settings, Splits(train, DATA.validation), **(BATCHES | options))


def memmap(folder, array, name):
    np.save(folder / name, array)
    return np.load(folder / name, mmap_mode="r")


def test_a_data_set_of_batches_and_a_function_of_the_step_are_the_loop_over_them():
    from_set, from_function = run(Loader()), run(at_step)
    same_bits(from_set, from_function, slice(None))
    h = {"learning_rate": np.float32(0.01), "weight_decay": np.float32(0.01)}
    key = jax.random.key(0)
    state = TASK.init(jax.random.fold_in(key, 0), h)
    batches = [at_step(step) for step in range(12)]
    block = jax.tree.map(lambda *parts: np.stack(parts).astype(parts[0].dtype.kind + "4"), *batches)
    _, metrics = train_steps(
        TASK, state, DATA, h, first_step=0, steps=12, batch_size=None, order_key=key,
        noise_key=jax.random.fold_in(key, 2), block=block,
    )  # fmt: skip
    np.testing.assert_allclose(
        from_set.history.curves["train_loss"][0], metrics["loss"].reshape(3, 4).mean(axis=1), rtol=1e-5
    )


def test_memory_mapped_rows_train_as_the_same_rows_in_memory(tmp_path):
    train = memmap(tmp_path, X[:40], "x.npy"), memmap(tmp_path, Y[:40], "y.npy")
    mapped = run(train, batch_size=10)
    whole = sweep.run(TASK, SETTINGS, DATA, **(SCHEDULE | {"chunk": 2}))
    for name, curve in whole.history.curves.items():
        np.testing.assert_allclose(mapped.history.curves[name], curve, rtol=1e-5, err_msg=name)


def test_a_block_is_read_once_for_all_lanes_and_nothing_beyond_the_end():
    loader = Loader(size=1000)
    loader.__class__ = type(
        "Repeated", (Loader,), {"__getitem__": lambda self, at: (self.read.append(at), at_step(at))[1]}
    )
    run(loader, steps=8)
    assert sorted(set(loader.read)) == list(range(8))
    trained = [number for number in loader.read if number >= 4]
    assert trained == [4, 5, 6, 7]


@pytest.mark.parametrize("slots", [None, 2])
def test_lanes_that_start_late_read_their_own_batches(slots):
    early, late = run(at_step, slots=slots), run(at_step)
    for name, curve in early.history.curves.items():
        np.testing.assert_allclose(late.history.curves[name], curve, rtol=1e-5, err_msg=name)


def test_halving_over_a_stream_trains_what_it_trains_in_memory(tmp_path):
    train = memmap(tmp_path, X[:40], "x.npy"), memmap(tmp_path, Y[:40], "y.npy")
    halving = {"scheduler": sweep.successive_halving(eta=2.0)}
    mapped = run(train, batch_size=10, **halving)
    whole = sweep.run(TASK, SETTINGS, DATA, **(SCHEDULE | {"chunk": 2} | halving))
    np.testing.assert_array_equal(mapped.history.segments, whole.history.segments)


def test_a_sweep_that_was_interrupted_ends_with_the_same_bits(tmp_path):
    straight = run(Loader())
    calls = iter(range(100))

    class Failing(Loader):
        def __getitem__(self, number):
            if number == 9 and next(calls) == 0:
                raise OSError("the disk is gone")
            return at_step(number)

        def __len__(self):
            return 1000

    with pytest.raises(OSError, match="the disk is gone") as error:
        run(Failing(), out=tmp_path / "sweep")
    assert error.value.partial_result.history.segments.max() == 2
    resumed = run(Failing(), out=tmp_path / "sweep")
    same_bits(straight, resumed, slice(None))


def test_a_sweep_of_other_batches_is_refused(tmp_path):
    run(at_step, out=tmp_path)
    with pytest.raises(StoreError, match=r"data\.train \(batches\) has changed"):
        run(lambda step: at_step(step + 1), out=tmp_path)


def test_a_setting_is_trained_again_from_the_stream():
    result = run(at_step)
    again = result.refit(3)
    for name, curve in result.history.curves.items():
        np.testing.assert_array_equal(again.history.curves[name][3], curve[3], err_msg=name)


def test_a_plan_of_a_stream():
    plan = sweep.plan(TASK, SETTINGS, Splits(at_step, DATA.validation), **BATCHES)
    assert plan.groups[0].flops > 0


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        (at_step, {"batch_size": 8}, "batch_size must be None where data.train gives whole batches, got 8"),
        (Loader(0), {}, "data.train must have at least one batch, got none"),
        (
            lambda step: at_step(0) if step < 5 else (X[:3], Y[:3]),
            {},
            r"batches of one form, .* at step 0, got .* at step 5",
        ),
        (at_step, {"resamples": [[0, 1]]}, "data.train must be arrays in memory with resamples, got data that stream"),
        (3, {}, "data.train must hold arrays"),
    ],
)
def test_what_cannot_stream_is_refused_in_one_line(train, options, message):
    with pytest.raises(ValueError, match=message) as error:
        run(train, **options)
    assert "\n" not in str(error.value)


def test_a_grain_data_set_streams():
    grain = pytest.importorskip("grain")
    rows = grain.MapDataset.range(40).shuffle(seed=1).map(lambda row: (X[row], Y[row]))
    batches = rows.repeat().batch(10)
    result = run(batches)
    assert result.history.segments.tolist() == [3] * 6
    x, _ = zip(*(batches[step] for step in range(4)), strict=True)
    assert not np.array_equal(np.concatenate(x), X[:40])
    np.testing.assert_array_equal(np.sort(np.concatenate(x), axis=0), np.sort(X[:40], axis=0))
    same_bits(result, run(lambda step: batches[step]), slice(None))
