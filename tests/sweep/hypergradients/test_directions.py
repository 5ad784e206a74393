"""The direction of a metric in hypergradients: declared or refused, and followed by ``tune``."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import regopt
from regopt import losses, sweep
from regopt.testing import MEAN_DATA, MEAN_TASK


def evaluate(w, data, h):
    del data
    return {"validation_score": -((w - 0.6) ** 2) - (h["rate"] - 0.4) ** 2}


SCORED = MEAN_TASK._replace(evaluate=evaluate)
DECLARED = SCORED._replace(modes={"validation_score": "max"})


def test_a_metric_without_a_direction_is_refused():
    line = "the metric validation_score declares no direction: declare it by losses.metric"
    with pytest.raises(ValueError, match=line):
        sweep.hypergradient(SCORED, {"rate": 0.5}, MEAN_DATA, steps=2, metric="validation_score")


@pytest.mark.parametrize("jitted", [False, True])
def test_a_metric_to_maximise_is_maximised(jitted):
    def found(h):
        return sweep.hypergradient(DECLARED, h, MEAN_DATA, steps=1, metric="validation_score")

    def tuned(h):
        return sweep.tune(found, h, regopt.sgd(0.2), rounds=30, scale="linear")

    ended = (jax.jit(tuned) if jitted else tuned)({"rate": 0.9})  # after one step w = rate: the best lies at 0.5
    assert float(ended.h["rate"]) == pytest.approx(0.5, abs=1e-3)
    assert float(ended.value) == pytest.approx(-0.02, abs=1e-5)
    assert float(ended.value) == np.max(ended.values)
    assert float(found({"rate": 0.9}).gradient["rate"]) == pytest.approx(-1.6, rel=1e-5)  # the metric's own


def test_a_validation_function_declares_its_direction():
    @losses.metric(mode="max")
    def validation(w, h):
        del h
        return -((w - 1.0) ** 2)

    def found(h):  # w(h) = 3 / (1 + h), so the best is h = 2
        return sweep.implicit_hypergradient(
            lambda w, h: (w - 3) ** 2 / 2 + h * w**2 / 2, validation, 3.0 / (1.0 + jnp.asarray(h)), h
        )

    ended = sweep.tune(found, 0.5, regopt.sgd(0.2), rounds=60)
    assert float(ended.h) == pytest.approx(2.0, abs=1e-2)
    assert float(ended.value) <= 0.0
