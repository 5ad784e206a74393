"""Settings from Optuna: what is asked is trained, and what came of it is told."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from regopt import sweep
from regopt.testing import MEAN_DATA, MEAN_TASK
from support.small_sweep import DATA, SCHEDULE, TASK

optuna = pytest.importorskip("optuna", reason="needs the extra 'optuna'")
optuna.logging.set_verbosity(optuna.logging.ERROR)
SPACE = {
    "learning_rate": sweep.log_uniform(1e-3, 1e-1),
    "weight_decay": sweep.uniform(0.0, 0.1),
    "rate": sweep.choice([0.1, 0.2]),
    "seed": sweep.seeds(2),
}


def study(**options):
    return optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=0, constant_liar=True, n_startup_trials=4), **options
    )


def train(settings, **options):
    return sweep.run(TASK, settings, DATA, **(SCHEDULE | {"chunk": 2} | options))


def test_batches_are_asked_trained_and_told():
    ours = study()
    compiled = []
    for _ in range(3):
        trials, settings = sweep.ask(ours, SPACE, 4)
        assert len(settings) == 8
        result = train(settings)
        compiled.append(result.compile_seconds)
        sweep.tell(ours, trials, result)
        losses = result.kept_metrics()["validation_loss"].reshape(4, 2).mean(axis=1)
        for place, trial in enumerate(trials):
            stored = ours.trials[trial.number]
            assert stored.value == pytest.approx(losses[place], rel=1e-6)
            row = settings.row(2 * place)
            assert row["learning_rate"] == stored.params["learning_rate"]
            assert row["rate"] == stored.params["rate"]
            assert settings.row(2 * place + 1) == row | {"seed": 1}
            assert 1e-3 <= row["learning_rate"] <= 1e-1
    assert compiled[1:] == [0, 0]
    assert ours.trials[0].distributions["learning_rate"].log
    assert not ours.trials[0].distributions["weight_decay"].log
    assert len(ours.trials) == 12
    assert ours.best_value == min(trial.value for trial in ours.trials)


def test_a_diverged_trial_is_ranked_behind_a_pruned_one():
    ours = study()
    trials, settings = sweep.ask(ours, {"learning_rate": sweep.log_uniform(1e-3, 1e-1)}, 4)
    settings.numbers["learning_rate"][1] = np.inf
    result = train(settings, scheduler=sweep.successive_halving(3))
    sweep.tell(ours, trials, result)
    states = [trial.state.name for trial in ours.trials]
    expected = {"done": "COMPLETE", "pruned": "PRUNED", "diverged": "PRUNED"}
    assert states == [expected[status] for status in result.status]
    assert set(states) == {"COMPLETE", "PRUNED"}
    assert ours.trials[1].value is None  # the TPE sampler ranks a pruned trial without values last
    cut = [trial for trial, status in zip(ours.trials, result.status, strict=True) if status == "pruned"]
    assert cut
    assert all(trial.value is not None for trial in cut)


def test_static_values_and_another_direction():
    ours = study(direction="maximize")
    trials, settings = sweep.ask(ours, {"width": sweep.static([4, 8]), "learning_rate": sweep.uniform(0.01, 0.02)}, 3)
    result = train(settings)
    sweep.tell(ours, trials, result, "validation_accuracy")
    assert set(settings.static["width"]) <= {4, 8}
    assert ours.best_value == pytest.approx(result.kept_metrics()["validation_accuracy"].max())


def test_batches_whose_groups_have_other_sizes_share_their_programs_with_slots_and_a_chunk():
    def batch(first, second):
        numbers = {name: np.full(first + second, 0.1, np.float32) for name in ("learning_rate", "weight_decay", "rate")}
        return sweep.from_columns(numbers | {"name": ["a"] * first + ["b"] * second})

    options = {"chunk": 2, "slots": 2}
    assert train(batch(3, 5), **options).compile_seconds > 0
    assert train(batch(4, 4), **options).compile_seconds == 0
    assert train(batch(6, 2), **options).compile_seconds == 0


def test_errors_are_named():
    for count in (0, 2.5):
        with pytest.raises(ValueError, match=rf"count must be a whole number in \[1, inf\), got {count}"):
            sweep.ask(study(), SPACE, count)
    with pytest.raises(ValueError, match="the dimension learning_rate must come from uniform, choice or the like"):
        sweep.ask(study(), {"learning_rate": 0.1}, 1)
    with pytest.raises(ValueError, match="space must have at least one dimension other than seeds and replicas"):
        sweep.ask(study(), {"seed": sweep.seeds(2)}, 1)
    ours = study()
    trials, settings = sweep.ask(ours, {"learning_rate": sweep.uniform(0.01, 0.02)}, 2)
    result = train(settings)
    with pytest.raises(ValueError, match="metric must be one of"):
        sweep.tell(ours, trials, result, "loss")
    with pytest.raises(
        ValueError, match="result must have equally many repeats of each of the 3 trials, got 2 settings"
    ):
        sweep.tell(ours, [*trials, trials[0]], result)
    others, _ = sweep.ask(ours, {"learning_rate": sweep.uniform(0.01, 0.02)}, 2)
    with pytest.raises(ValueError, match=r"that came with the trials: trial 2 has learning_rate = .* and its row of"):
        sweep.tell(ours, others, result)


def test_the_ends_of_a_dimension_are_those_that_were_given():
    ours = study()
    for end in (1e-4, 1e-1):
        ours.enqueue_trial({"learning_rate": end})
        (trial,), _ = sweep.ask(ours, {"learning_rate": sweep.log_uniform(1e-4, 1e-1)}, 1)
        distribution = trial.distributions["learning_rate"]
        assert (distribution.low, distribution.high) == (1e-4, 1e-1)
        assert trial.params["learning_rate"] == end


def mean(settings, **options):
    return sweep.run(MEAN_TASK, settings, MEAN_DATA, **({"steps": 100, "eval_every": 50} | options))


@pytest.mark.parametrize(("options", "batch"), [({}, 16), ({"multivariate": False, "constant_liar": False}, 48)])
def test_a_sampler_learns_where_training_diverges(options, batch):
    """Of 144 trials after the first 48; where diverged trials fail, 30 to 120 diverge."""
    task = MEAN_TASK._replace(
        evaluate=lambda w, data, h: {"validation_loss": jnp.mean((data.validation - w) ** 2) + (h["shift"] - 0.3) ** 2}
    )
    ours = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=48, **options))
    space = {"rate": sweep.log_uniform(1e-3, 1e3), "shift": sweep.uniform(0.0, 1.0)}  # overflows for rates above 2.6
    diverged = []
    for count in [48] + [batch] * (144 // batch):
        trials, settings = sweep.ask(ours, space, count)
        result = sweep.run(task, settings, MEAN_DATA, steps=100, eval_every=50)
        sweep.tell(ours, trials, result)
        diverged.append(int(np.sum(result.status == "diverged")))
    assert diverged[0] > 15
    assert sum(diverged[1:]) <= 15


@pytest.mark.parametrize("sampler", ["TPESampler", "GPSampler", "CmaEsSampler", "NSGAIISampler"])
def test_every_sampler_takes_the_worst_value(sampler):
    pytest.importorskip({"GPSampler": "torch", "CmaEsSampler": "cmaes"}.get(sampler, "optuna"))
    ours = optuna.create_study(sampler=getattr(optuna.samplers, sampler)(seed=0))
    for _ in range(2):
        trials, settings = sweep.ask(ours, {"rate": sweep.log_uniform(1e-3, 1e6)}, 12)
        sweep.tell(ours, trials, mean(settings))
    assert {trial.state.name for trial in ours.trials} == {"COMPLETE"}
    assert np.isinf([trial.value for trial in ours.trials]).any()


def test_parameters_are_values():
    def tanh(x):
        return np.tanh(x)

    space = {
        "width": sweep.static([16, 64]),
        "activation": sweep.static(["relu", tanh]),
        "flag": sweep.static([True, 1]),
        "layers": sweep.uniform_int(1, 3, static=True),
        "rate": sweep.choice(np.array([0.5, 0.25], np.float32)),
    }
    ours = study()
    trials, settings = sweep.ask(ours, space, 8)
    for trial, row in zip(trials, range(8), strict=True):
        setting = settings.row(row)
        assert trial.params["width"] == setting["width"]
        assert trial.params["layers"] == setting["layers"]
        assert type(setting["layers"]) is int
        assert trial.params["rate"] == setting["rate"]
        assert trial.params["activation"] in ("'relu'", tanh.__qualname__)
        assert (trial.params["activation"] == tanh.__qualname__) == (setting["activation"] is tanh)
        assert trial.params["flag"] == repr(setting["flag"])
    assert settings.numbers["rate"].dtype == np.float32
    ours = study()
    ours.enqueue_trial({"rate": 0.5, "width": 64})
    trials, settings = sweep.ask(ours, {"rate": sweep.choice([0.25, 0.5]), "width": sweep.static([16, 64])}, 1)
    sweep.tell(ours, trials, mean(settings))
    assert ours.best_params == {"rate": 0.5, "width": 64}


def test_a_conditional_dimension_is_no_parameter_elsewhere():
    space = {
        "optimizer": sweep.static(["adam", "sgd"]),
        "momentum": sweep.conditional(sweep.uniform(0.5, 0.9), {"optimizer": "sgd"}, otherwise=0.0),
    }
    trials, settings = sweep.ask(study(), space, 16)
    for row, trial in enumerate(trials):
        setting = settings.row(row)
        if setting["optimizer"] == "sgd":
            assert trial.params["momentum"] == setting["momentum"]
        else:
            assert "momentum" not in trial.params
            assert setting["momentum"] == 0.0
    assert {"adam", "sgd"} == set(settings.static["optimizer"])


def test_intermediate_values_are_the_means_over_the_repeats():
    ours = study()
    trials, settings = sweep.ask(ours, {"learning_rate": sweep.uniform(0.01, 0.02), "seed": sweep.seeds(2)}, 2)
    result = train(settings)
    sweep.tell(ours, trials, result)
    curves = result.history.curves["validation_loss"].reshape(2, 2, 3).mean(axis=1)
    for trial, curve in zip(ours.trials, curves, strict=True):
        assert list(trial.intermediate_values) == [4, 8, 12]
        np.testing.assert_allclose(list(trial.intermediate_values.values()), curve, rtol=1e-12)
        assert trial.value == pytest.approx(curve[-1], rel=1e-12)


def test_the_study_must_go_where_the_metric_does():
    ours = study(direction="maximize")
    trials, settings = sweep.ask(ours, {"learning_rate": sweep.uniform(0.01, 0.02)}, 2)
    result = train(settings)
    line = r"the study is to maximize validation_loss, but a smaller value of it is better: make it with .*\"minimize\""
    with pytest.raises(ValueError, match=line):
        sweep.tell(ours, trials, result)
    assert {trial.state.name for trial in ours.trials} == {"RUNNING"}
    undeclared = dataclasses.replace(result, modes={})
    with pytest.raises(ValueError, match="'validation_accuracy' declares no direction"):
        sweep.tell(ours, trials, undeclared, "validation_accuracy")
    sweep.tell(ours, trials, result, "validation_accuracy")


def test_several_objectives_and_constraints():
    ours = optuna.create_study(
        directions=["minimize", "maximize"], sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=8)
    )
    metrics = ["validation_loss", "validation_accuracy"]

    def constraints(row):
        return {"rate": row["learning_rate"] - 0.05, "accuracy": 0.3 - row["validation_accuracy"]}

    for _ in range(2):
        trials, settings = sweep.ask(ours, {"learning_rate": sweep.log_uniform(1e-3, 1e-1)}, 8)
        settings.numbers["learning_rate"][3] = np.inf
        result = train(settings)
        sweep.tell(ours, trials, result, metrics, constraints=constraints)
    assert ours.trials[3].values == [np.inf, -np.inf]
    assert ours.trials[3].constraints["rate"] == np.inf
    kept = result.kept_metrics()
    assert ours.trials[8].values == [pytest.approx(kept[name][0]) for name in metrics]
    assert ours.trials[8].constraints["rate"] == pytest.approx(settings.numbers["learning_rate"][0] - 0.05)
    assert all(trial.constraints["rate"] <= 0 for trial in ours.best_trials)
    with pytest.raises(ValueError, match="metric must name one metric for each of the study's 2 objectives"):
        sweep.tell(ours, trials, result)
    with pytest.raises(ValueError, match="metric must name one metric for each of the study's 2 objectives, got"):
        sweep.tell(ours, trials, result, ["validation_loss"])
