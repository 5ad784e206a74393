"""Whether a smaller or a larger metric is better: declared by the metric or given, otherwise refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from regopt import losses, sweep, training
from regopt.data import Splits
from regopt.sweep import Task

DATA = Splits(train=jnp.ones(4), validation=jnp.ones(3))
NAMES = ("validation_auc", "validation_loss")
CURVE = jnp.array([0.2, 0.9, 0.5, 0.1])  # the score after each step: best at step 2, or at step 4 as a loss


def task_with(modes=None):
    """The score of the step count, under a name that tells nothing."""
    return Task(
        init=lambda key, h: jnp.zeros((), jnp.int32),
        step=lambda count, batch, key, h: (count + 1, {"loss": jnp.zeros(())}),
        evaluate=lambda count, data, h: dict.fromkeys(NAMES, CURVE[count - 1] + h["shift"]),
        modes=modes,
    )


def fit(task, **options):
    return training.fit(task, {"shift": 0.0}, DATA, steps=4, eval_every=1, patience=9, **options)


def run(task, **options):
    settings = sweep.from_columns({"shift": [0.0, 0.5]})
    return sweep.run(task, settings, DATA, steps=4, eval_every=1, patience=9, **options)


WAYS = [
    ({}, {}, 4),  # the loss is minimised by definition
    ({"monitor": "validation_auc", "mode": "max"}, {}, 2),
    ({"monitor": "validation_auc", "mode": "min"}, {"validation_auc": "max"}, 4),
    ({"monitor": "validation_auc"}, {"validation_auc": "max"}, 2),
    ({"monitor": "validation_auc"}, {"validation_auc": "min"}, 4),
]


@pytest.mark.parametrize(("options", "modes", "best"), WAYS)
def test_a_metric_is_kept_where_it_is_best_by_its_declaration(options, modes, best):
    assert int(fit(task_with(modes), **options).best_step) == best


@pytest.mark.parametrize(("options", "modes", "best"), [WAYS[1], WAYS[3]])
def test_a_sweep_keeps_and_chooses_by_the_declaration(options, modes, best, tmp_path):
    result = run(task_with(modes), out=tmp_path, **options)
    assert list(result.kept_step) == [best, best]
    assert result.best().index == 1
    assert sweep.load(tmp_path).modes == modes
    if modes:
        assert sweep.load(tmp_path).best("validation_auc").index == 1
    assert result.best("validation_loss").index == 0


LINE = r'"?.validation_auc.* declares no direction: give mode="min" or mode="max", or declare it, by losses.metric'


@pytest.mark.parametrize("train", [fit, run])
def test_a_metric_without_a_direction_is_refused_and_a_misspelt_one_is_named(train):
    with pytest.raises(ValueError, match=LINE) as error:
        train(task_with(), monitor="validation_auc")
    assert "\n" not in str(error.value)
    with pytest.raises(
        ValueError, match=r"monitor must be one of .*, got 'validation_auk'; did you mean 'validation_auc'\?"
    ):
        train(task_with(), monitor="validation_auk")


def test_the_best_of_another_metric_needs_its_direction():
    result = run(task_with())
    with pytest.raises(ValueError, match=LINE):
        result.best("validation_auc")
    assert result.best("validation_auc", "max").index == 1


@pytest.mark.parametrize("function", [sweep.repeats, sweep.compare, sweep.importance])
def test_the_statistics_of_a_metric_need_its_direction(function):
    table = run(task_with()).to_pandas()
    with pytest.raises(ValueError, match=LINE):
        function(table, ["shift"], "validation_auc")


def test_continued_training_descends():
    with pytest.raises(
        ValueError, match="monitor must be a loss, got 'validation_auc', whose larger values are better"
    ):
        training.continue_training(
            task_with({"validation_auc": "max"}),
            {"shift": 0.0},
            DATA,
            jnp.zeros((), jnp.int32),
            0,
            steps=1,
            eval_every=1,
            monitor="validation_auc",
        )


def area(outputs, targets):
    return jnp.mean(outputs - targets)


class Averaged:
    """A metric whose attribute of the same name means something else."""

    mode = "macro"

    def __call__(self, outputs, targets):
        return area(outputs, targets)


@pytest.mark.parametrize(
    ("measure", "mode"),
    [
        (losses.accuracy, "max"),
        (losses.cross_entropy, "min"),
        (losses.squared_error, "min"),
        (functools.partial(losses.smoothed_cross_entropy, smoothing=0.1), "min"),
        (losses.multi_task({"a": losses.squared_error}), "min"),
        (losses.metric(mode="max")(area), "max"),
        (functools.partial(losses.metric(mode="max")(area)), "max"),
        (area, None),
        (lambda outputs, targets: losses.accuracy(outputs, targets), None),
        (Averaged(), None),
    ],
)
def test_a_supervised_task_declares_what_its_metrics_declare(measure, mode):
    task = sweep.supervised(lambda h, rngs: None, losses.squared_error, lambda h: None, metrics={"m": measure})
    assert (task.modes or {}).get("validation_m") == mode
    assert (task.modes or {})["validation_loss"] == "min"


def test_a_declared_function_computes_the_same():
    declared = losses.metric(mode="max")(area)
    assert declared.mode == "max"
    assert not hasattr(area, "mode")
    outputs, targets = jnp.arange(3.0), jnp.ones(3)
    np.testing.assert_array_equal(jax.jit(declared)(outputs, targets=targets), area(outputs, targets))


@pytest.mark.parametrize("mode", ["maximum", None, 1, "MAX"])
def test_a_direction_is_min_or_max(mode):
    with pytest.raises(ValueError, match='mode must be "min" or "max", got'):
        losses.metric(mode=mode)
