"""What a resumed sweep is checked for: the message names what has changed, and no digest."""

import functools
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from regopt import optimizers, sweep
from regopt._core.io import packages
from regopt.data import Splits
from regopt.layers import MLP
from regopt.losses import squared_error
from regopt.sweep.checkpoint import StoreAccessError, StoreMismatchError
from regopt.sweep.engine._code import code_digest
from regopt.sweep.results._history import History

pytestmark = pytest.mark.usefixtures("one_segment_a_call")

X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(8, 3)
DATA = Splits((X, X[:, :1]), (X, X[:, :1]))
RATES = np.geomspace(1e-3, 1e-1, 4)


def model(h, rngs):
    return MLP((3, 4, 1), rngs=rngs)


def larger(h, rngs):
    return MLP((3, 5, 1), rngs=rngs)


def optimizer(h):
    return optax.sgd(h["rate"])


def steeper(outputs, targets):
    return 2 * squared_error(outputs, targets)


def all_train(state):
    nobody = np.zeros_like(state.going)
    return sweep.Decision(nobody, nobody)


def one_waits(state):
    nobody = np.zeros_like(state.going)
    return sweep.Decision(state.going & (np.arange(4) == 0) & (state.going.sum() > 1), nobody)


def run(out, model=model, loss=squared_error, optimizer=optimizer, data=DATA, rates=RATES, scheduler=None, **options):
    task = sweep.supervised(model, loss, optimizer)
    options = {"steps": 4, "eval_every": 2, "batch_size": 4, "chunk": 2, "scheduler": scheduler} | options
    return sweep.run(task, sweep.from_columns({"rate": rates}), data, out=out, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("identity")
    run(path, scheduler=sweep.Scheduler(all_train, "mine"))
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": larger}, "task.model was 'model', is 'larger'"),
        ({"loss": steeper}, "task.loss was 'squared_error', is 'steeper'"),
        ({"loss": lambda a, b: 3 * squared_error(a, b)}, "task.loss was 'squared_error', is '<lambda>'"),
        ({"optimizer": lambda h: optimizers.adam(h["rate"])}, "task.optimizer was 'optimizer', is '<lambda>'"),
        ({"scheduler": sweep.Scheduler(one_waits, "mine")}, "scheduler was 'all_train', is 'one_waits'"),
        ({"rates": 2 * RATES}, r"settings.rate.0 was '0.001', is '0.002'"),
        (
            {"data": DATA._replace(validation=(X, 2 * X[:, :1]))},
            r"data.validation.1 \(float32\[8, 1\]\) has changed",
        ),
        (
            {"data": DATA._replace(train=(X[:7], X[:7, :1]))},
            r"data.train.0 was 'float32\[8, 3\]', is 'float32\[7, 3\]'",
        ),
        ({"batch_size": 2}, "config.batch_size was 4, is 2"),
        ({"patience": 3}, "task.patience was 'None', is '3'"),
    ],
)
def test_the_message_names_what_has_changed_and_no_digest(folder, options, message):
    with pytest.raises(StoreMismatchError, match=message) as raised:
        run(folder, **{"scheduler": sweep.Scheduler(all_train, "mine")} | options)
    assert not re.search(r"[0-9a-f]{16}", str(raised.value).replace(str(folder), ""))


@pytest.mark.parametrize(
    "options",
    [
        {"rates": np.append(RATES, 0.2)},
        {"data": DATA._replace(train=(X, 2 * X[:, :1]))},
        {"steps": 8},
        {"batch_size": 2, "extend": True},
        {"scheduler": sweep.Scheduler(one_waits, "mine")},
    ],
)
def test_what_no_program_is_needed_for_is_refused_before_one_is_compiled(folder, options, monkeypatch):
    monkeypatch.setattr("regopt.sweep._run.prepare", lambda *arguments: pytest.fail("compiled"))
    with pytest.raises(StoreMismatchError, match="holds another run"):
        run(folder, **{"scheduler": sweep.Scheduler(all_train, "mine")} | options)


def test_the_message_says_that_another_version_wrote_the_folder(folder, monkeypatch):
    monkeypatch.setattr("regopt._core.io.packages", lambda: packages() | {"regopt": "0.1.0"})
    message = r"task.loss was .*; the folder was written by another version of regopt"
    with pytest.raises(StoreMismatchError, match=message):
        run(folder, loss=steeper, scheduler=sweep.Scheduler(all_train, "mine"))


def test_a_refusal_before_anything_compiles_says_that_too(folder, monkeypatch):
    monkeypatch.setattr("regopt._core.io.packages", lambda: packages() | {"regopt": "0.1.0"})
    monkeypatch.setattr("regopt.sweep._run.prepare", lambda *arguments: pytest.fail("compiled"))
    message = r"scheduler was .*; the folder was written by another version of regopt"
    with pytest.raises(StoreMismatchError, match=message):
        run(folder, scheduler=sweep.Scheduler(one_waits, "mine"))


def test_code_that_makes_the_same_program_is_the_same_sweep(folder):
    found = run(
        folder,
        loss=lambda outputs, targets: squared_error(outputs, targets),
        scheduler=sweep.Scheduler(all_train, "mine"),
    )
    assert not found.interrupted


def compiled(source, **names):
    found = dict(names)
    exec(source, found)
    return found["f"]


SOURCE = '''
LIMIT = 3
def helper(x):
    return x + 1
def f(state, most=2):
    """Says what it does."""
    def inner(y):
        return helper(y) * LIMIT
    return inner(state) + most
'''


def test_a_digest_of_code_sees_what_a_function_does():
    digest = code_digest(compiled(SOURCE))
    assert digest == code_digest(compiled(SOURCE))
    assert digest == code_digest(compiled(SOURCE.replace("Says what", "Tells what")))
    assert digest == code_digest(compiled("# a comment\n" + SOURCE))
    for old, new in (
        ("x + 1", "x + 2"),
        ("x + 1", "x - 1"),
        ("LIMIT = 3", "LIMIT = 4"),
        ("most=2", "most=3"),
        ("*", "/"),
    ):
        assert digest != code_digest(compiled(SOURCE.replace(old, new))), (old, new)


def test_a_digest_of_code_sees_every_inner_function():
    """Also one whose code, without its docstring, lies in memory where that of the one before was."""
    inner = 'def f(x):\n    """Says what it does."""\n    return x + 1'
    same, other = compiled(inner), compiled(inner.replace("+ 1", "* 2"))

    def two(second):
        first = compiled(inner.replace("+ 1", "- 1"))
        return lambda x: first(x) + second(x)

    assert code_digest(two(same)) == code_digest(two(compiled(inner)))
    assert code_digest(two(same)) != code_digest(two(other))


@pytest.mark.parametrize("other", [2, 1.0, "1", (1, 2), np.arange(3), jnp.arange(2.0), lambda: 0, frozenset({1})])
def test_a_digest_of_code_sees_what_a_function_closes_over(other):
    def with_value(value):
        return lambda: value

    assert code_digest(with_value(1)) == code_digest(with_value(1))
    assert code_digest(with_value(other)) == code_digest(with_value(other))
    assert code_digest(with_value(1)) != code_digest(with_value(other))
    assert code_digest(functools.partial(max, 1)) != code_digest(functools.partial(max, other))


def test_a_log_that_a_scheduler_writes_does_not_make_it_another_one():
    log, counts = [], SimpleNamespace(calls=0)

    def decide(state):
        log.append(state)
        counts.calls += 1

    before = code_digest(decide)
    decide(1)
    assert code_digest(decide) == before


def test_methods_of_a_callable_object_are_part_of_its_code():
    class Two:
        def __call__(self, state):
            return self.number() * state

        def number(self):
            return 2

    class Three(Two):
        __qualname__ = Two.__qualname__

        def __call__(self, state):
            return self.number() * state * 1

    assert code_digest(Two()) == code_digest(Two())
    assert code_digest(Two()) != code_digest(Three())


@pytest.mark.parametrize("gone", ["folder", "state"])
def test_a_folder_that_was_removed_while_the_sweep_ran_is_not_called_intact(tmp_path, monkeypatch, gone):
    add, folder, removed = History.add, tmp_path / "sweep", []

    def add_and_remove(self, *report):
        add(self, *report)
        if self.segments.sum() >= 8 and not removed:
            removed.append(gone)
            shutil.rmtree(folder) if gone == "folder" else [shutil.rmtree(path) for path in folder.glob("states/*")]
            if gone == "state":
                (folder / "states").rmdir()

    monkeypatch.setattr(History, "add", add_and_remove)
    with pytest.raises(StoreAccessError, match=r"cannot save to .*; the folder of state \d was removed") as raised:
        run(folder, steps=8, save_every=0.0)
    assert "intact" not in str(raised.value)
    assert not Path(folder / "states").exists()
