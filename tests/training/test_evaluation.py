"""An evaluation in batches: the metrics of the whole, in memory that does not grow with the validation set."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import regopt
from regopt import losses, sweep, training
from regopt.data import Splits
from regopt.layers import MLP

KEY = jax.random.key(3)
COUNT = 41  # a prime: every batch size leaves a smaller last batch


def task_of(**metrics):
    return sweep.supervised(
        lambda _, rngs: MLP((5, 16, 3), rngs=rngs),
        losses.cross_entropy,
        lambda h: regopt.sgd(h["rate"]),
        metrics=metrics,
    )


def data_of(count=COUNT):
    x_key, y_key = jax.random.split(jax.random.clone(KEY))
    x = np.asarray(jax.random.normal(x_key, (count, 5)))
    y = np.asarray(jax.random.randint(y_key, (count,), 0, 3))
    return Splits((x[:20], y[:20]), (x, y))


def largest(outputs, targets):
    return jnp.max(outputs) - jnp.min(targets).astype(outputs.dtype)


METRICS = {
    "accuracy": losses.accuracy,
    "perplexity": losses.from_means(losses.cross_entropy, jnp.exp),
    "weighted": losses.from_means(
        lambda outputs, targets, h: {"a": h["rate"] * jnp.mean(outputs), "b": jnp.mean(outputs**2)},
        lambda means: means["b"] - means["a"] ** 2,
    ),
    "largest": losses.at_once(largest),
}


def fitted(eval_batch_size, task=None):
    options = {"steps": 6, "eval_every": 3, "batch_size": 4, "eval_batch_size": eval_batch_size}
    return training.fit(task or task_of(**METRICS), {"rate": 0.3}, data_of(), **options)


@pytest.mark.parametrize("eval_batch_size", [1, 7, 20, 40])
def test_metrics_in_batches_are_those_of_the_whole(eval_batch_size):
    whole, batched = fitted(None), fitted(eval_batch_size)
    assert list(whole.metrics) == list(batched.metrics)
    for name, values in whole.metrics.items():
        # sums of 41 terms in another order
        np.testing.assert_allclose(batched.metrics[name], values, rtol=COUNT * 2**-24, atol=1e-7, err_msg=name)
    for one, other in zip(jax.tree.leaves(whole.state), jax.tree.leaves(batched.state), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("eval_batch_size", [41, 100])
def test_a_batch_that_holds_all_is_the_whole(eval_batch_size):
    for one, other in zip(jax.tree.leaves(fitted(None)), jax.tree.leaves(fitted(eval_batch_size)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_last_smaller_batch_counts_by_its_size():
    task = sweep.Task(
        lambda key, h: jnp.zeros(()),
        lambda state, batch, key, h: (state, {"loss": state}),
        lambda state, data, h: {"validation_loss": jnp.mean(data.validation), "count": jnp.int32(2)},
    )
    data = Splits(np.zeros(4, np.float32), np.arange(7, dtype=np.float32) ** 2)
    result = training.fit(task, {}, data, steps=1, eval_every=1, eval_batch_size=3)
    assert result.metrics["validation_loss"].tolist() == [
        pytest.approx(13, rel=1e-6)
    ]  # 91 / 7, not the mean of 5/3, 50/3 and 36
    assert result.metrics["count"].tolist() == [2.0]


def test_metrics_of_16_bits_are_summed_in_32():
    task = sweep.Task(
        lambda key, h: jnp.zeros((), jnp.bfloat16),
        lambda state, batch, key, h: (state, {"loss": state}),
        lambda state, data, h: {"validation_loss": jnp.mean(data.validation)},
    )
    data = Splits(np.zeros(4, np.float32), jnp.ones(1000, jnp.bfloat16))
    loss = training.fit(task, {}, data, steps=1, eval_every=1, eval_batch_size=1).metrics["validation_loss"]
    assert loss.dtype == jnp.bfloat16
    assert loss.tolist() == [1.0]  # in bfloat16 the sum would stop at 256


def test_a_metric_declared_wrongly_as_a_mean_is_not_the_whole():
    undeclared = task_of(largest=lambda outputs, targets: largest(outputs, targets))
    whole, batched = (fitted(size, undeclared).metrics["validation_largest"] for size in (None, 7))
    assert not np.allclose(whole, batched)


def test_the_sweep_and_the_fit_agree():
    settings = sweep.from_columns({"rate": np.array([0.3, 0.1], np.float32)})
    options = {"steps": 6, "eval_every": 3, "batch_size": 4}
    swept = sweep.run(task_of(**METRICS), settings, data_of(), eval_batch_size=7, **options)
    curves = fitted(7).metrics
    for name, values in swept.history.curves.items():
        np.testing.assert_allclose(values[0], curves[name], rtol=1e-5, err_msg=name)


def test_continued_training_measures_its_threshold_in_batches():
    task, data = task_of(), data_of()
    data = Splits(data.validation, data.train)
    state = training.fit(task, {"rate": 0.3}, data, steps=2, eval_every=1).state
    whole, batched = (
        training.continue_training(
            task, {"rate": 0.3}, data, state, best_step=2, steps=2, eval_every=1, eval_batch_size=size
        )
        for size in (None, 7)
    )
    np.testing.assert_allclose(whole.threshold, batched.threshold, rtol=COUNT * 2**-24)
    assert not np.array_equal(
        whole.threshold, training.fit(task, {"rate": 0.3}, data, steps=2, eval_every=1).best_metric
    )


def test_memory_does_not_grow_with_the_validation_set():
    def bytes_of(count, size):
        task, data = task_of(), data_of(count)

        def run(rate):
            return training.fit(task, {"rate": rate}, data, steps=2, eval_every=1, batch_size=4, eval_batch_size=size)

        lanes = jax.jit(jax.vmap(run)).lower(jnp.ones(8)).compile()
        return lanes.memory_analysis().temp_size_in_bytes

    assert bytes_of(20_000, 100) < 1.1 * bytes_of(2_000, 100)
    assert bytes_of(20_000, None) > 4 * bytes_of(2_000, None)


@pytest.mark.parametrize("size", [0, -3, 1.5, True])
def test_the_size_must_be_a_whole_number(size):
    with pytest.raises(ValueError, match="eval_batch_size must"):
        fitted(size)


def test_declarations_need_functions():
    with pytest.raises(ValueError, match="statistics must be a function, got 3"):
        losses.from_means(3, jnp.sqrt)
    with pytest.raises(ValueError, match="finish must be a function, got None"):
        losses.from_means(losses.cross_entropy, None)
    with pytest.raises(ValueError, match="metric must be a function, got 'auc'"):
        losses.at_once("auc")
