"""Settings from Optuna: what is asked is trained, and what came of it is told."""

import numpy as np
import pytest

from regopt import sweep
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
            assert row["rate"] == [0.1, 0.2][stored.params["rate"]]
            assert settings.row(2 * place + 1) == row | {"seed": 1}
            assert 1e-3 <= row["learning_rate"] <= 1e-1
    assert compiled[1:] == [0, 0]
    assert ours.trials[0].distributions["learning_rate"].log
    assert not ours.trials[0].distributions["weight_decay"].log
    assert len(ours.trials) == 12
    assert ours.best_value == min(trial.value for trial in ours.trials)


def test_a_diverged_trial_fails_and_a_cut_one_is_pruned():
    ours = study()
    trials, settings = sweep.ask(ours, {"learning_rate": sweep.log_uniform(1e-3, 1e-1)}, 4)
    settings.numbers["learning_rate"][1] = np.inf
    result = train(settings, scheduler=sweep.successive_halving(3))
    sweep.tell(ours, trials, result)
    states = [trial.state.name for trial in ours.trials]
    assert states[1] == "FAIL"
    expected = {"done": "COMPLETE", "pruned": "PRUNED", "diverged": "FAIL"}
    assert states == [expected[status] for status in result.status]
    assert {"COMPLETE", "PRUNED"} < set(states)


def test_static_values_and_another_direction():
    ours = study(direction="maximize")
    trials, settings = sweep.ask(ours, {"width": sweep.static([4, 8]), "learning_rate": sweep.uniform(0.01, 0.02)}, 3)
    result = train(settings)
    sweep.tell(ours, trials, result, "validation_accuracy")
    assert set(settings.static["width"]) <= {4, 8}
    assert ours.best_value == pytest.approx(result.kept_metrics()["validation_accuracy"].max())


def test_errors_are_named():
    for count in (0, 2.5):
        with pytest.raises(ValueError, match=rf"count must be a whole number in \[1, inf\), got {count}"):
            sweep.ask(study(), SPACE, count)
    with pytest.raises(ValueError, match="the dimension learning_rate must come from uniform, choice or the like"):
        sweep.ask(study(), {"learning_rate": 0.1}, 1)
    with pytest.raises(ValueError, match="space must have a dimension to suggest"):
        sweep.ask(study(), {"seed": sweep.seeds(2)}, 1)
    ours = study()
    trials, settings = sweep.ask(ours, {"learning_rate": sweep.uniform(0.01, 0.02)}, 2)
    result = train(settings)
    with pytest.raises(ValueError, match="metric must be one of"):
        sweep.tell(ours, trials, result, "loss")
    with pytest.raises(ValueError, match="result must have the same repeats of 3 trials, got 2 settings"):
        sweep.tell(ours, [*trials, trials[0]], result)


def test_the_ends_of_a_dimension_are_those_that_were_given():
    ours = study()
    for end in (1e-4, 1e-1):
        ours.enqueue_trial({"learning_rate": end})
        (trial,), _ = sweep.ask(ours, {"learning_rate": sweep.log_uniform(1e-4, 1e-1)}, 1)
        distribution = trial.distributions["learning_rate"]
        assert (distribution.low, distribution.high) == (1e-4, 1e-1)
        assert trial.params["learning_rate"] == end
