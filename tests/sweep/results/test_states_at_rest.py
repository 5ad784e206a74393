"""Trained states from a folder or a pickle, without the program that trained them."""

import pickle
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from regopt import sweep
from regopt.experiment import main
from regopt.testing import MEAN_DATA, MEAN_TASK
from support.local_pool import LocalEngine
from support.small_sweep import DATA, SCHEDULE, TASK

SPACE = {"width": sweep.static([4, 8]), "learning_rate": sweep.choice([0.01, 0.1, 1e30])}


def train(**options):
    return sweep.run(TASK, sweep.grid(SPACE), DATA, **(SCHEDULE | options))


def same(mine, theirs):
    mine, theirs = (jax.tree_util.tree_leaves(tree) for tree in (mine, theirs))
    assert len(mine) == len(theirs) > 0
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_folder_of_a_population_whose_numbers_have_changed_is_read(tmp_path):
    space = {"learning_rate": sweep.log_uniform(1e-3, 1e-1)}
    settings = sweep.from_columns({"learning_rate": [0.01, 0.02, 0.03, 0.05]})
    result = sweep.run(TASK, settings, DATA, out=tmp_path, scheduler=sweep.population_based_training(space), **SCHEDULE)
    numbers = result.history.settings.numbers["learning_rate"]
    assert numbers.tolist() != settings.numbers["learning_rate"].tolist()
    loaded = sweep.load(tmp_path)
    np.testing.assert_array_equal(loaded.history.settings.numbers["learning_rate"], numbers)
    for row in range(4):
        same(loaded.state(row), result.state(row))


@pytest.mark.parametrize("options", [{}, {"patience": 1}, {"slots": 2, "chunk": 1}])
def test_a_folder_has_the_states_that_were_trained(tmp_path, options):
    result = train(out=tmp_path, **options)
    loaded = sweep.load(tmp_path)
    compared = 0
    for row in range(6):
        try:
            state = result.state(row)
        except ValueError:
            with pytest.raises(ValueError, match=f"the state of setting {row} is not kept"):
                loaded.state(row)
            continue
        compared += 1
        same(loaded.state(row).params, state.params)
        same(loaded.state(row).opt_state, state.opt_state)
        assert jax.tree.structure(loaded.params(row)) == jax.tree.structure(result.params(row))
    assert compared >= 3
    same(loaded.params(loaded.best()), result.params(result.best()))
    with pytest.raises(ValueError, match=r"has no program: run the sweep again .* trains nothing in its own folder"):
        loaded.predict(DATA.validation[0])


def test_a_folder_of_workers(tmp_path):
    found, whole = train(out=tmp_path, executor=LocalEngine()), train(devices=jax.local_devices()[:2])
    loaded = sweep.load(tmp_path)
    for row in (0, 1, 3, 4):
        same(loaded.params(row), whole.params(row))
        same(pickle.loads(pickle.dumps(found)).params(row), whole.params(row))


def test_a_result_travels_in_a_pickle(tmp_path):
    result = train()
    sent = pickle.dumps(result)
    assert b"Device" not in sent
    back = pickle.loads(sent)
    assert back.best() == result.best()
    same(back.params(back.best()), result.params(result.best()))
    same(back.state(2), result.state(2))
    train(out=tmp_path / "there")
    loaded = pickle.dumps(sweep.load(tmp_path / "there"))
    (tmp_path / "there").rename(tmp_path / "gone")
    same(pickle.loads(loaded).params(1), sweep.load(tmp_path / "gone").params(1))


def test_another_process_needs_no_script(tmp_path):
    result = train(out=tmp_path)
    script = (
        "import sys, numpy as np\nfrom regopt import sweep\n"
        "r = sweep.load(sys.argv[1])\nb = r.best()\n"
        "print(float(sum(np.abs(x).sum() for x in __import__('jax').tree.leaves(r.params(b)))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True, timeout=120
    )
    expected = sum(np.abs(x).sum() for x in jax.tree.leaves(result.params(result.best())))
    assert float(done.stdout) == pytest.approx(float(expected), rel=1e-5)


def test_a_state_that_is_one_array_and_one_with_keys_and_lists(tmp_path):
    settings = sweep.from_columns({"rate": [0.1, 0.5]})
    result = sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=2, out=tmp_path / "one")
    assert sweep.load(tmp_path / "one").state(1) == result.state(1)
    with pytest.raises(ValueError, match="the task's state has no field params"):
        result.params(1)

    def init(key, h):
        return {"key": key, "list": [np.float32(0), (), np.zeros(3, np.int32)]}

    def step(state, batch, key, h):
        first, second, third = state["list"]
        return {"key": jax.random.split(state["key"])[0], "list": [first + h["rate"], second, third]}, {"loss": first}

    task = sweep.Task(init, step, lambda state, data, h: {"validation_loss": h["rate"]})
    result = sweep.run(task, settings, MEAN_DATA, steps=4, eval_every=2, out=tmp_path / "keys")
    loaded, trained = sweep.load(tmp_path / "keys").state(1), result.state(1)
    assert loaded["list"][0] == trained["list"][0] == 2.0
    assert loaded["list"][1] == ()
    np.testing.assert_array_equal(loaded["key"], jax.random.key_data(trained["key"]))


def test_a_table_that_is_ahead_of_its_states_is_refused(tmp_path):
    settings = sweep.from_columns({"rate": [0.1, 0.5]})
    sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=2, eval_every=2, out=tmp_path)
    longer = sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=2, out=tmp_path / "longer")
    longer.save(tmp_path)
    with pytest.raises(ValueError, match="has the state of setting 1 at step 2, but its table is of step 4"):
        sweep.load(tmp_path).state(1)


def test_the_table_of_another_sweep_is_refused(tmp_path):
    train(out=tmp_path / "one")
    train(out=tmp_path / "other", key=jax.random.key(7))
    shutil.copy(tmp_path / "other" / "sweep.npz", tmp_path / "one" / "sweep.npz")
    with pytest.raises(
        ValueError, match=r"the table in .*one is of another sweep than its states: run that sweep again"
    ):
        sweep.load(tmp_path / "one").state(0)


def test_the_table_of_other_settings_is_not_even_read(tmp_path, capsys):
    for name, rates in (("one", [0.1, 0.5]), ("other", [0.1, 0.4])):
        settings = sweep.from_columns({"rate": rates})
        sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=2, eval_every=2, out=tmp_path / name)
    assert sweep.load(tmp_path / "one").best().setting == {"rate": 0.5}
    shutil.copy(tmp_path / "other" / "sweep.npz", tmp_path / "one" / "sweep.npz")
    with pytest.raises(ValueError, match=r"the table in .*one is of another sweep than its states"):
        sweep.load(tmp_path / "one")
    assert main(["sweep", "show", str(tmp_path / "one")]) == 2
    assert "is of another sweep than its states" in capsys.readouterr().err


def test_a_damaged_state_is_said_in_one_line(tmp_path):
    train(out=tmp_path)
    (newest, *_) = sorted((tmp_path / "states").iterdir(), reverse=True)
    path = newest / "small.npy"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))
    loaded = sweep.load(tmp_path)
    with pytest.raises(ValueError, match="is damaged"):
        loaded.state(0)
