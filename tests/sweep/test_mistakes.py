"""Mistakes in a task, its data or its settings are said in one line that names the fix."""

import logging
import re
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import regopt
from regopt import losses, schedules, sweep
from regopt.data import Splits, digits
from regopt.layers import MLP
from regopt.sweep.checkpoint import StoreAccessError
from regopt.sweep.engine._config import SweepConfig
from regopt.sweep.engine._prepare import check_task
from support.small_sweep import DATA, SCHEDULE, network, optimizer

SETTINGS = sweep.from_columns({"learning_rate": [0.01, 0.1], "rate": [0.1, 0.2]})
RATES = sweep.from_columns({"learning_rate": [0.01, 0.1]})
HAND = sweep.Task(
    init=lambda key, h: jnp.zeros((), jnp.float32),
    step=lambda w, batch, key, h: (w + h["learning_rate"], {"loss": w}),
    evaluate=lambda w, data, h: {"validation_loss": w},
)


def refused(task, data=DATA, settings=SETTINGS):
    with pytest.raises(ValueError, match=r"\S") as caught:
        sweep.run(task, settings, data, **SCHEDULE)
    line = str(caught.value)
    assert "\n" not in line
    return line


def task(model=network, loss=losses.cross_entropy, rule=optimizer, **options):
    return sweep.supervised(model, loss, rule, **options)


def changed(part, place, value):
    x, y = (np.array(leaf) for leaf in getattr(DATA, part))
    (x, y)[place][3] = value
    return DATA._replace(**{part: (x, y)})


@pytest.mark.parametrize("part", ["train", "validation"])
def test_labels_out_of_range(part):
    for wrong in (3, -1):
        line = refused(task(), changed(part, 1, wrong))
        assert line == f"the labels of data.{part} must lie in [0, 2], as the model has 3 outputs, got {wrong}"


def test_labels_that_are_floats():
    data = DATA._replace(train=(DATA.train[0], DATA.train[1].astype(np.float32)))
    assert refused(task(), data) == "labels must be integers in [0, 3), got float32"


@pytest.mark.parametrize(
    ("change", "fix"),
    [
        (lambda y: np.eye(3)[y], "one-hot labels become these by argmax(-1)"),
        (lambda y: y[:, None], "take labels[..., 0]"),
    ],
)
def test_labels_with_a_second_axis(change, fix):
    line = refused(task(), DATA._replace(train=(DATA.train[0], change(DATA.train[1]))))
    assert line.startswith("logits [batch, ..., classes] need labels [batch, ...], got ")
    assert line.endswith(f"; {fix}")


def test_a_folder_that_is_read_only_is_refused_before_anything_is_traced(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)
    untraceable = HAND._replace(init=lambda key, h: pytest.fail("traced"))
    line = f"cannot write to {tmp_path}/a/b: {tmp_path} is not writable; choose another folder"
    with pytest.raises(StoreAccessError, match=re.escape(line)):
        sweep.run(untraceable, SETTINGS, DATA, out=tmp_path / "a" / "b", **SCHEDULE)
    assert not list(tmp_path.iterdir())


def test_a_scheduler_that_was_not_called():
    with pytest.raises(ValueError, match=r"scheduler must come from a call such as successive_halving\(\), got <func"):
        sweep.run(HAND, SETTINGS, DATA, scheduler=sweep.successive_halving, **SCHEDULE)


def test_a_table_of_pandas_is_named_by_its_kind():
    table = pytest.importorskip("pandas").DataFrame(DATA.train[0])
    line = refused(task(), DATA._replace(train=(table, DATA.train[1])))
    assert line == "data.train must hold arrays [examples, ...], as numpy.asarray makes, got a DataFrame"


@pytest.mark.parametrize("part", ["train", "validation"])
def test_nan_in_the_data_is_their_fault(part):
    line = refused(task(), changed(part, 0, np.nan))
    assert line == f"data.{part}[0] holds NaN, first at example 3: the data are at fault, not the settings"


def test_an_infinity_in_the_data_is_their_fault():
    line = refused(task(), changed("train", 0, np.inf))
    assert line == "data.train[0] holds an infinity, first at example 3: the data are at fault, not the settings"


def test_labels_out_of_range_for_a_loss_of_ones_own(caplog):
    def own(outputs, targets):
        return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()

    line = refused(task(loss=own), changed("train", 1, 5))
    assert line == "the labels of data.train must lie in [0, 2], as the model has 3 outputs, got 5"

    def silent(outputs, targets):
        return -jnp.mean(jnp.sum(jax.nn.one_hot(targets, 3) * jax.nn.log_softmax(outputs), axis=1))

    with caplog.at_level(logging.WARNING, logger="regopt"):
        sweep.run(task(loss=silent), SETTINGS, changed("train", 1, 5), **SCHEDULE)
    assert [record.getMessage() for record in caplog.records] == [
        f"{line}; the loss of such examples is finite: does it mask them?"
    ]


def test_a_loss_over_all_pairs_of_examples_is_said(caplog):
    def model(h, rngs):
        return nnx.Linear(6, 1, rngs=rngs)

    data = Splits(*((x, x[:, 0]) for x in (DATA.train[0], DATA.validation[0])))
    with caplog.at_level(logging.WARNING, logger="regopt"), jax.numpy_rank_promotion("allow"):
        sweep.run(task(model, lambda outputs, y: jnp.mean((outputs - y) ** 2)), SETTINGS, data, **SCHEDULE)
        sweep.run(task(model, lambda outputs, y: jnp.mean((outputs[:, 0] - y) ** 2)), SETTINGS, data, **SCHEDULE)
    assert [record.getMessage() for record in caplog.records if "pairs" in record.getMessage()] == [
        "the loss compares all pairs of examples, as outputs are [examples, 1] and targets [examples]: "
        "give both one shape"
    ]


def test_nan_that_the_loss_masks_is_welcome():
    def masked(outputs, targets):
        return jnp.mean(jnp.where(jnp.isnan(targets), 0.0, (outputs - jnp.nan_to_num(targets)) ** 2))

    def model(h, rngs):
        return nnx.Linear(6, 1, rngs=rngs)

    x = DATA.train[0]
    targets = np.where(np.arange(40) % 7 == 0, np.nan, x[:, 0])[:, None].astype(np.float32)
    data = Splits((x, targets), (x, targets))
    result = sweep.run(task(model, masked), SETTINGS, data, **SCHEDULE)
    assert result.status.tolist() == ["done", "done"]


def test_wrong_features():
    def model(h, rngs):
        return nnx.Linear(5, 3, rngs=rngs)

    line = refused(task(model))
    assert line.startswith("the model does not take inputs [examples, 6] of data.validation:")


def test_a_name_that_the_inputs_do_not_have():
    class Named(nnx.Module):
        def __init__(self, rngs):
            self.last = nnx.Linear(6, 3, rngs=rngs)

        def __call__(self, x):
            return self.last(x["pixels"])

    data = Splits(*(({"pixel": x}, y) for x, y in (DATA.train, DATA.validation)))
    line = refused(task(lambda h, rngs: Named(rngs)), data)
    assert line.startswith("the model asks for 'pixels', which the inputs of data.validation do not have; ")
    assert "pixel" in line.split(";")[1]


def test_a_loss_that_is_no_scalar():
    line = refused(task(loss=lambda outputs, targets: outputs[:, 0]))
    assert line == "the loss must be one number, such as the mean over the batch, got shape (10,)"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"rule": lambda h: optax.adam}, "what optimizer returns must be an optax transformation"),
        ({"rule": lambda h: optax.sgd(h.learning_rate)}, 'h is a dict: write h["learning_rate"]'),
        ({"rule": lambda h: {"0.1": optax.sgd(0.1)}[f"{h['rate']}"]}, "a traced number is used as a name"),
        ({"rule": lambda h: {0.1: optax.sgd(0.1)}[h["rate"]]}, "a traced number is used as a key of a dict or a set"),
        ({"model": lambda h, rngs: nnx.Linear(6, h["rate"], rngs=rngs)}, "a traced number is used as a size"),
        ({"loss": lambda outputs, y: (jnp.sum(outputs), 1.0)}, "the loss must be one number, got PyTreeDef((*, *))"),
        ({"loss": lambda outputs, y: jnp.sum(outputs.argmax(1) == y)}, "the loss must be a floating number, which"),
        ({"loss": lambda outputs, y: {"loss": jnp.sum(outputs)}}, "the loss must be one number, got PyTreeDef({'loss"),
    ],
)  # fmt: skip
def test_other_values_than_those_that_are_asked_for(options, line):
    assert line in refused(task(**options))


@pytest.mark.parametrize(
    ("functions", "line"),
    [
        ({"init": lambda key: 0.0}, "task.init must be called as init(key, h), got init(key)"),
        ({"step": lambda w, batch, key, h: w}, "task.step must return a state and a dict of metrics, such as"),
        ({"step": lambda w, batch, key, h: (w, jnp.sum(w))}, "task.step must return a state and a dict of metrics"),
        ({"step": lambda w, batch, key, h: ({"w": w}, {})}, "task.step must return a state of the form that it was"),
        (
            {"step": lambda w, batch, key, h: (w.astype(jnp.int32), {})},
            "task.step must keep shapes and dtypes: the state was float32[], and is int32[] after a step",
        ),
        ({"evaluate": lambda w, data, h: w}, "task.evaluate must return a dict of metrics, such as"),
    ],
)  # fmt: skip
def test_a_task_by_hand_whose_functions_have_another_form(functions, line):
    assert refused(HAND._replace(**functions)).startswith(line)


def test_a_task_that_needs_no_data_goes_without():
    result = sweep.run(HAND, SETTINGS, steps=2, eval_every=1)
    np.testing.assert_allclose(result.history.curves["validation_loss"], [[0.01, 0.02], [0.1, 0.2]], rtol=1e-6)
    with pytest.raises(ValueError, match=r"data\.train must be a pair of inputs and targets"):
        sweep.run(task(), SETTINGS, steps=2, eval_every=1)
    with pytest.raises(ValueError, match="data must have a train part"):
        sweep.run(HAND, SETTINGS, None, steps=2, eval_every=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "given"),
    [
        (np.zeros((4, 2)), r"an array of shape \(4, 2\)"),
        ((np.zeros((4, 2)), np.zeros(4)), "tuple"),
        ({"x": np.zeros(4)}, "dict"),
        (digits, "the function digits, which was not called"),
    ],
)
def test_data_that_are_no_splits_are_answered_with_the_form(data, given):
    with pytest.raises(ValueError, match=rf"Splits\(train=\(x, y\), validation=.* has, got {given}"):
        sweep.run(task(), SETTINGS, data, steps=2, eval_every=1)


def test_a_python_decision_on_a_traced_number():
    def rule(h):
        return regopt.sgd(h["learning_rate"] if h["learning_rate"] > 0.05 else 0.05)

    line = refused(task(rule=rule))
    assert "test_mistakes.py:" in line
    assert "decides on a traced number: use jnp.where or jax.lax.cond, or make the column static" in line


def test_a_traced_width():
    def model(h, rngs):
        return nnx.Linear(6, h["width"], rngs=rngs)

    settings = sweep.from_columns({"learning_rate": [0.1, 0.2], "width": [4, 8]})
    line = refused(task(model), settings=settings)
    assert "test_mistakes.py:" in line
    assert "a traced number is used as a size" in line
    assert "sweep.static" in line
    line = refused(task(network), settings=settings)
    assert "out_features must be a whole number in [1, inf), got a traced number: make it static" in line
    assert "sweep.static([...])" in line


def test_numpy_inside_the_loss():
    line = refused(task(loss=lambda outputs, targets: np.mean(np.exp(outputs))))
    assert "test_mistakes.py:" in line
    assert "NumPy is called on a traced array: use jax.numpy" in line


def test_dropout_of_flax_with_a_traced_rate():
    class Dropped(nnx.Module):
        def __init__(self, h, rngs):
            self.linear, self.dropout = nnx.Linear(6, 3, rngs=rngs), nnx.Dropout(h["rate"], rngs=rngs)

        def __call__(self, x):
            return self.dropout(self.linear(x))

    assert "use regopt.layers.Dropout" in refused(task(lambda h, rngs: Dropped(h, rngs)))

    class Linen(linen.Module):
        rate: float

        @linen.compact
        def __call__(self, x, train: bool):
            return linen.Dropout(self.rate, deterministic=not train)(linen.Dense(3)(x))

    line = refused(task(lambda h: Linen(h["rate"]), inputs=DATA.train[0][:1]))
    assert "use regopt.noise.dropout(key, x, rate)" in line


class Unaware(linen.Module):
    layer: linen.Module

    @linen.compact
    def __call__(self, x):
        return linen.Dense(3)(self.layer(x))


class Noisy(nnx.Module):
    def __init__(self, rngs):
        self.dropout, self.last = nnx.Dropout(0.5), nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(x))


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (Unaware(linen.Dropout(0.5)), "a layer of flax.linen has to know whether it trains"),
        (Unaware(linen.Dropout(0.5, deterministic=False)), "a flax.linen module draws noise where it is off"),
        (Unaware(linen.BatchNorm()), "a layer of flax.linen has to know whether it trains"),
        (Unaware(linen.BatchNorm(False)), "a flax.linen module changes its variables in an evaluation"),
        (lambda h, rngs: Noisy(rngs), "a layer of flax.nnx that draws noise needs random numbers"),
    ],
)
def test_a_layer_of_flax_that_does_not_know_whether_it_trains(model, line):
    said = refused(task(model, inputs=DATA.train[0][:1]))
    assert line in said
    assert said.startswith("test_mistakes.py:")


def test_schedules_of_optax_with_a_traced_number():
    def rule(h):
        return optax.sgd(optax.cosine_decay_schedule(h["learning_rate"], h["steps"]))

    settings = sweep.from_columns({"learning_rate": [0.01, 0.1], "steps": [10, 12]})
    line = refused(task(rule=rule), settings=settings)
    assert "use those of regopt.schedules" in line

    def ours(h):
        return regopt.sgd(schedules.cosine(h["learning_rate"], h["steps"]))

    assert sweep.run(task(rule=ours), settings, DATA, **SCHEDULE).status.tolist() == ["done", "done"]


def test_a_column_that_nothing_asks_for(caplog):
    settings = sweep.from_columns({"learning_rate": [0.01, 0.1], "weight_deacy": [0.1, 0.2], "seed": [0, 1]})
    with caplog.at_level(logging.WARNING, logger="regopt"):
        sweep.run(task(), settings, DATA, **SCHEDULE)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["the task never asks for the column 'weight_deacy', so it changes nothing"]


def test_more_than_the_memory_that_is_free_is_said_before_it_is_taken(caplog, monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=10))
    with caplog.at_level(logging.WARNING, logger="regopt"):
        sweep.run(HAND, RATES, DATA, steps=2, eval_every=1, batch_size=10)
    (line,) = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(
        r"the sweep needs about \S+ GB of memory, .* and 1e-08 GB are free: pass a smaller slots.*", line
    )


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        (sweep.successive_halving(eta=3, min_resource=100), True),
        (sweep.asynchronous_halving(eta=3, min_resource=100), True),
        (sweep.median_rule(grace_period=100), True),
        (sweep.successive_halving(eta=3), False),
    ],
)
def test_a_scheduler_whose_first_rung_is_never_reached(scheduler, said, caplog):
    with caplog.at_level(logging.WARNING, logger="regopt"):
        sweep.run(HAND, RATES, DATA, steps=4, eval_every=1, batch_size=10, scheduler=scheduler)
    line = f"{scheduler.name} decides nothing: it counts segments of eval_every = 1 steps, and the sweep has 4"
    assert [record.getMessage() for record in caplog.records] == [line] * said


def test_a_program_for_almost_each_setting_is_said(caplog):
    for sizes, said in [(range(3, 19), True), ([3, 4] * 8, False), (range(3, 11), True), (range(3, 10), False)]:
        caplog.clear()
        n = len(sizes)
        rates = {"learning_rate": np.full(n, 0.1), "rate": np.full(n, 0.1)}
        settings = sweep.from_columns(rates | {"batch_size": list(sizes)})
        with caplog.at_level(logging.WARNING, logger="regopt"):
            check_task(SweepConfig(task(), settings, DATA, **(SCHEDULE | {"batch_size": None})))
        line = (
            f"{n} settings need {n} programs, and each is compiled: the static column 'batch_size' has {n} values; "
            "take fewer, as with sweep.choice or sweep.static"
        )
        assert [record.getMessage() for record in caplog.records] == [line] * said


def test_a_column_that_the_evaluation_alone_asks_for_is_not_named(caplog):
    def evaluate(state, data, h):
        metrics = task().evaluate(state, data, h)
        return metrics | {"weighted": h["weight"] * metrics["validation_loss"]}

    settings = sweep.from_columns({"learning_rate": [0.01, 0.1], "weight": [1.0, 2.0]})
    with caplog.at_level(logging.WARNING, logger="regopt"):
        sweep.run(task()._replace(evaluate=evaluate), settings, DATA, **SCHEDULE)
    assert not caplog.records


def test_columns_that_are_asked_for_are_not_named(caplog):
    def rule(h):
        return regopt.adam(h["learning_rate"]) if h["optimizer"] == "adam" else regopt.heavy_ball(**dict(rest(h)))

    def rest(h):
        return {name: value for name, value in h.items() if name in ("learning_rate", "momentum")}

    space = {
        "optimizer": sweep.static(["adam", "sgd"]),
        "learning_rate": sweep.choice([0.01]),
        "momentum": sweep.conditional(sweep.choice([0.5, 0.9]), {"optimizer": "sgd"}, otherwise=0.0),
        "patience": sweep.choice([5]),
    }
    with caplog.at_level(logging.WARNING, logger="regopt"):
        sweep.run(task(rule=rule), sweep.grid(space), DATA, **SCHEDULE, patience=lambda h: h["patience"])
    assert not caplog.records


def test_other_errors_of_a_task_stay_as_they_are():
    class Own(Exception):
        pass

    def rule(h):
        raise Own("mine")

    with pytest.raises(Own, match="mine"):
        sweep.run(task(rule=rule), SETTINGS, DATA, **SCHEDULE)

    def index(h):
        return regopt.sgd([h["learning_rate"]][3])

    with pytest.raises(IndexError):
        sweep.run(task(rule=index), SETTINGS, DATA, **SCHEDULE)


def test_a_task_that_is_wrapped_is_not_checked_with_the_settings_of_the_one_inside():
    one = task(lambda h, rngs: MLP((6, 4, 3), rngs=rngs), rule=lambda h: regopt.sgd(h["inner"]))

    def inside(h):
        return {**h, "inner": h["outer"]}

    wrapped = one._replace(
        init=lambda key, h: one.init(key, inside(h)),
        step=lambda state, batch, key, h: one.step(state, batch, key, inside(h)),
        evaluate=lambda state, data, h: one.evaluate(state, data, inside(h)),
    )
    settings = sweep.from_columns({"outer": [0.1, 0.2]})
    assert sweep.run(wrapped, settings, DATA, steps=2, eval_every=1).status.tolist() == ["done", "done"]


def test_a_model_that_is_not_a_function_of_h_and_rngs():
    form = (
        "model must be called as model(h, rngs), as lambda h, rngs: Net(rngs=rngs) is, or be a flax.linen module; got "
    )
    wrong = {
        "the nnx module Linear": nnx.Linear(2, 3, rngs=nnx.Rngs(0)),
        "(h, rngs, width)": lambda h, rngs, width: network(h, rngs),
        "(rngs, h)": lambda rngs, h: network(h, rngs),
        "the class Linear": nnx.Linear,
    }
    for got, model in wrong.items():
        with pytest.raises(ValueError, match="model must be") as caught:
            task(model)
        assert str(caught.value) == form + got
    with pytest.raises(ValueError, match=r"a flax.linen module such as Dense\(...\).*; got the class Dense$"):
        task(linen.Dense)
    with pytest.raises(ValueError, match="for an nnx module, model must be a function of h and rngs"):
        task(lambda h: nnx.Linear(2, 3, rngs=nnx.Rngs(0)))


def test_a_loss_or_a_metric_with_other_arguments():
    with pytest.raises(ValueError, match=r"^loss must be called as loss\(outputs, targets\), got loss\(model, x, y\)$"):
        task(loss=lambda model, x, y: losses.cross_entropy(model(x), y))
    with pytest.raises(ValueError, match=r"^error must be called as error\(outputs, targets\), got error\(outputs\)$"):
        task(metrics={"error": lambda outputs: outputs.sum()})
    task(metrics={"error": lambda outputs, targets, h: outputs.sum(), "other": lambda o, t, scale=1.0: o.sum()})


def test_a_missing_argument_is_one_of_the_function_that_was_called():
    with pytest.raises(TypeError, match=r"^run\(\): missing a required .*'eval_every'$"):
        sweep.run(task(), SETTINGS, DATA, steps=2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^plan\(\): got an unexpected keyword argument 'epochs'$"):
        sweep.plan(task(), SETTINGS, DATA, epochs=2, **SCHEDULE)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^run\(\): .*argument 'evalevery'; did you mean 'eval_every'\?$"):
        sweep.run(task(), SETTINGS, DATA, steps=2, evalevery=1)  # type: ignore[call-arg]


def test_an_optimizer_is_a_function_of_the_setting():
    with pytest.raises(ValueError, match=r"^optimizer must be a function of the setting, as in lambda h: regopt\.adam"):
        sweep.supervised(lambda h, rngs: None, lambda o, y: 0.0, regopt.adam(0.1))  # type: ignore[arg-type]


class OwnKey(nnx.Module):
    """A class that makes the source of its keys itself."""

    def __init__(self, last=None):
        self.first = nnx.Linear(6, 8, rngs=nnx.Rngs(0))
        self.last = last or nnx.Linear(8, 3, rngs=nnx.Rngs(1))

    def __call__(self, x):
        return self.last(nnx.relu(self.first(x)))


class Zeros(nnx.Module):
    def __init__(self):
        self.weights = nnx.Param(jnp.zeros((6, 3)))

    def __call__(self, x):
        return x @ self.weights[...]


SEEDS = sweep.from_columns({"learning_rate": [0.1, 0.1], "seed": [0, 1]})
TRAINED = nnx.Linear(6, 3, rngs=nnx.Rngs(0))
ALIKE = (
    "all seeds begin with the same parameters, which are drawn from a key of the model's own, such as nnx.Rngs(0): let "
    "it draw from the rngs or the key that it is given, as lambda h, rngs: Net(rngs=rngs) does"
)


def by_hand(start):
    return HAND._replace(init=start, step=lambda w, batch, key, h: (h["learning_rate"] * w, {}))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (task(lambda h, rngs: OwnKey()), True),
        (by_hand(lambda key, h: jax.random.normal(jax.random.key(1))), True),
        (by_hand(jax.jit(lambda key, h: jax.random.normal(jax.random.PRNGKey(1)) * h["learning_rate"])), True),
        (task(lambda h, rngs: OwnKey(nnx.Linear(8, 3, rngs=rngs))), False),  # some of the parameters differ
        (task(lambda h, rngs: nnx.Linear(6, 3, rngs=rngs)), False),
        (task(lambda h, rngs: Zeros()), False),
        (task(lambda h, rngs: nnx.clone(TRAINED)), False),
        (task(linen.Dense(3), inputs=DATA.train[0][:1]), False),
        (by_hand(lambda key, h: jax.random.normal(jax.random.key(h["seed"]))), False),
        (by_hand(lambda key, h: jnp.ones(())), False),
    ],
)  # fmt: skip
def test_seeds_that_begin_alike_because_the_model_draws_from_a_key_of_its_own(made, said, caplog):
    with caplog.at_level(logging.WARNING, logger="regopt"):
        result = sweep.run(made, SEEDS, DATA, **SCHEDULE)
    assert [record.getMessage() for record in caplog.records] == [ALIKE] * said
    if said and made.predict is not None:
        first, second = (result.refit(row).state(row).params for row in (0, 1))
        assert jax.tree.structure(first) == jax.tree.structure(second)


def test_one_seed_may_begin_where_the_model_says(caplog):
    settings = sweep.from_columns({"learning_rate": [0.1, 0.2], "seed": [3, 3]})
    with caplog.at_level(logging.WARNING, logger="regopt"):
        sweep.run(task(lambda h, rngs: OwnKey()), settings, DATA, **SCHEDULE)
        sweep.run(task(lambda h, rngs: OwnKey()), RATES, DATA, **SCHEDULE)
    assert not caplog.records


@pytest.mark.parametrize("name", ["inputs", "learning_rat"])
def test_a_name_that_the_data_do_not_have_is_not_said_of_the_settings(name):
    def evaluate(w, data, h):
        return {"validation_loss": w + jnp.mean(data.validation[name])}

    data = Splits(DATA.train, {"x": DATA.validation[0], "y": DATA.validation[1]})
    line = refused(HAND._replace(evaluate=evaluate), data, RATES)
    assert re.fullmatch(
        rf"test_mistakes\.py:\d+: a dict has no '{name}', and it is not the setting; names in the data: x, y", line
    )
    for ask in (lambda h: h["learning_rat"], lambda h: {**h}["learning_rat"]):
        line = refused(HAND._replace(init=lambda key, h, ask=ask: jnp.zeros(()) + ask(h)), data, RATES)
        assert line == "the task asks for 'learning_rat', which the settings do not have; did you mean 'learning_rate'?"


def test_a_list_of_batches_for_a_task_by_hand():
    """Of one length it could be a tree of arrays, which some tasks take, so that the task decides."""

    def step(w, batch, key, h):
        return w + h["learning_rate"] * jnp.mean(batch["x"]), {}

    batches = [{"x": x} for x in np.split(DATA.train[0], 4)]
    taken = HAND._replace(step=step)
    fix = "for a list of batches give a function of the step: train=lambda step: batches[step % len(batches)]"
    line = refused(taken, Splits(batches, DATA.validation), RATES)
    assert line.startswith(
        "the task does not take a batch of data.train, which is a list of 4, all of which are in each"
    )
    assert "TypeError: list indices must be integers or slices, not str" in line
    assert line.endswith(fix)
    batches[-1] = {"x": batches[-1]["x"][:5]}
    line = refused(taken, Splits(batches, DATA.validation), RATES)
    assert line == (
        "the arrays of data.train must have the same length, got [5, 10]; for a list of batches give a function of the "
        "step: train=lambda step: batches[step % len(batches)]"
    )
    data = Splits(lambda step: batches[step % 3], DATA.validation)
    sweep.run(taken, RATES, data, steps=4, eval_every=2)
    both = taken._replace(step=lambda w, batch, key, h: (w + jnp.mean(batch[0] - batch[1]), {}))
    sweep.run(both, RATES, Splits([DATA.train[0], DATA.train[0]], DATA.validation), steps=4, eval_every=2)


def test_a_state_that_is_no_tree_of_arrays():
    equinox = pytest.importorskip("equinox")

    def init(key, h):
        return equinox.nn.MLP(6, 3, 8, 1, key=key), 0

    def step(state, batch, key, h):
        model, count = state
        return (jax.tree.map(lambda x: x - h["learning_rate"], model), count + 1), {}

    line = refused(HAND._replace(init=init, step=step), settings=RATES)
    assert line.startswith("task.init must return a tree of arrays, but the state[0].activation is <")
    assert line.endswith("by equinox.partition(model, equinox.is_array), and put it together by equinox.combine")
    line = refused(HAND._replace(init=lambda key, h: {"w": jnp.zeros(3), "name": "net"}), settings=RATES)
    assert line.startswith("task.init must return a tree of arrays, but the state['name'] is 'net': ")
