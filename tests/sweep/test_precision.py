"""The precision of matrix products, and of whole models, in a sweep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import regopt
from regopt import sweep
from regopt.data import Splits, digits
from regopt.layers import MLP, BatchNorm
from regopt.losses import accuracy, cross_entropy
from regopt.sweep.checkpoint import StoreError
from regopt.testing import MEAN_DATA, MEAN_TASK
from support.local_pool import LocalEngine
from support.small_sweep import DATA, NUMBERS, SCHEDULE, TASK, X, Y, same_bits

SETTINGS = sweep.from_columns({"learning_rate": np.geomspace(1e-3, 3e-2, 4)})
HALF = jnp.dtype(jnp.bfloat16)


def rounded(w):
    return w.astype(HALF).astype(jnp.float32)


def adamw(h):
    return regopt.adamw(h["learning_rate"])


def traced(task):
    """The state after a step and the predictions from it, as shapes: nothing compiles."""
    h = {"learning_rate": jnp.float32(0.1)}

    def run(key, x, y):
        state, _ = task.step(task.init(key, h), (x, y), jax.random.fold_in(key, 1), h)
        return state, task.predict(state, x, h)

    return jax.eval_shape(run, jax.random.key(0), jnp.asarray(X), jnp.asarray(Y))


def recording():
    """A model and the dtypes that its calls compute in."""
    dtypes = []

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.first, self.norm = nnx.Linear(6, 4, rngs=rngs), BatchNorm(4, rngs=rngs)
            self.last = nnx.Linear(4, 3, rngs=rngs)

        def __call__(self, x):
            y = self.first(x)
            dtypes.append((x.dtype, y.dtype))
            return self.last(jax.nn.relu(self.norm(y)))

    return Model, dtypes


def test_the_model_computes_in_bfloat16_and_everything_else_in_float32():
    model, dtypes = recording()
    task = sweep.supervised(lambda h, rngs: model(rngs), cross_entropy, adamw, precision="bfloat16")
    state, outputs = traced(task)
    assert set(dtypes) == {(HALF, HALF)}
    assert {leaf.dtype for leaf in jax.tree.leaves((state.params, state.rest))} == {np.dtype("float32")}
    moments = {leaf.dtype for leaf in jax.tree.leaves(state.opt_state)}
    assert moments == {np.dtype("float32"), np.dtype("int32")}
    assert outputs.dtype == np.float32


def test_a_gradient_is_that_of_the_rounded_parameters():
    h = {"learning_rate": jnp.float32(1.0)}

    def build(h, rngs):
        return nnx.Linear(6, 3, use_bias=False, rngs=rngs)

    def optimizer(h):
        return regopt.sgd(h["learning_rate"])

    task = sweep.supervised(build, cross_entropy, optimizer, precision="bfloat16")
    state = task.init(jax.random.key(0), h)
    after, metrics = task.step(state, (jnp.asarray(X), jnp.asarray(Y)), jax.random.key(1), h)
    kernel = state.params["kernel"]
    outputs = jnp.dot(jnp.asarray(X, HALF), kernel.astype(HALF)).astype(jnp.float32)
    np.testing.assert_allclose(metrics["loss"], cross_entropy(outputs, jnp.asarray(Y)), rtol=1e-6)
    inner = (jax.nn.softmax(outputs) - jax.nn.one_hot(Y, 3)) / len(Y)
    expected = rounded(jnp.asarray(X)).T @ rounded(inner)
    np.testing.assert_allclose(kernel - after.params["kernel"], expected, atol=1e-3)


def test_a_linen_module_computes_in_bfloat16_too():
    class Model(linen.Module):
        @linen.compact
        def __call__(self, x):
            y = linen.Dense(3)(x)
            assert y.dtype == (jnp.float32 if self.is_initializing() else HALF)
            return y

    task = sweep.supervised(Model(), cross_entropy, adamw, inputs=X[:1], precision="bfloat16")
    traced(task)


def test_frozen_parameters_are_rounded_as_well():
    body = nnx.Linear(6, 4, rngs=nnx.Rngs(0))

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.body, self.head = body, nnx.Linear(4, 3, rngs=rngs)

        def __call__(self, x):
            y = self.body(x)
            assert y.dtype == HALF
            return self.head(y)

    task = sweep.supervised(
        lambda h, rngs: Model(rngs), cross_entropy, adamw, trainable="head/**", precision="bfloat16"
    )
    traced(task)
    assert body.kernel[...].dtype == jnp.float32


def test_bfloat16_agrees_with_float32_on_digits():
    """Within a few per cent of the loss; the table in the docs has the values."""
    data = digits()
    data = Splits(data.train, data.validation)
    curves = {}
    for precision in ("float32", "bfloat16"):
        task = sweep.supervised(
            lambda h, rngs: MLP((64, 32, 10), rngs=rngs), cross_entropy, adamw, metrics={"accuracy": accuracy},
            precision=precision,
        )  # fmt: skip
        result = sweep.run(task, SETTINGS, data, steps=60, eval_every=60, batch_size=64, chunk=2)
        curves[precision] = result.history.curves
    loss, half = (curves[name]["validation_loss"][:, -1] for name in ("float32", "bfloat16"))
    np.testing.assert_allclose(half, loss, rtol=0.05)
    assert np.any(half != loss)
    right = [curves[name]["validation_accuracy"][:, -1] for name in ("float32", "bfloat16")]
    np.testing.assert_allclose(right[1], right[0], atol=0.015)


@pytest.mark.parametrize("precision", ["bf16", None, 16])
def test_what_is_no_precision_is_refused(precision):
    with pytest.raises(ValueError, match='precision must be "float32" or "bfloat16"'):
        sweep.supervised(lambda h, rngs: MLP((6, 3), rngs=rngs), cross_entropy, adamw, precision=precision)


def test_the_precision_of_products_is_in_the_program_and_nowhere_else():
    seen = []

    def step(w, batch, key, h):
        seen.append(jax.config.jax_default_matmul_precision)
        return MEAN_TASK.step(w, batch, key, h)

    task, settings = MEAN_TASK._replace(step=step), sweep.from_columns({"rate": [0.1, 0.5]})
    sweep.run(task, settings, MEAN_DATA, steps=2, eval_every=1, default_matmul_precision="highest")
    assert "highest" in seen  # the checks before it are traced without
    assert jax.config.jax_default_matmul_precision is None
    before = len(seen)
    sweep.run(task, settings, MEAN_DATA, steps=2, eval_every=1)
    assert set(seen[before:]) == {None}


def test_outputs_of_a_sweep_on_workers_have_its_precision_too():
    seen = []

    def predict(w, inputs, h):
        seen.append(jax.config.jax_default_matmul_precision)
        return w * inputs

    task, settings = MEAN_TASK._replace(predict=predict), sweep.from_columns({"rate": [0.1, 0.5]})
    options = {"steps": 2, "eval_every": 1, "default_matmul_precision": "highest", "executor": LocalEngine()}
    result = sweep.run(task, settings, MEAN_DATA, **options)
    before = len(seen)
    result.predict(jnp.ones(2))
    assert set(seen[before:]) == {"highest"}


def test_a_sweep_resumes_only_with_the_precision_it_has(tmp_path):
    settings, options = sweep.from_columns({"rate": [0.1, 0.5]}), {"steps": 2, "eval_every": 1}
    plain = sweep.run(MEAN_TASK, settings, MEAN_DATA, **options)
    highest = options | {"out": tmp_path, "default_matmul_precision": "highest"}
    saved = sweep.run(MEAN_TASK, settings, MEAN_DATA, **highest)
    same_bits(plain, saved, slice(None))
    same_bits(saved, sweep.run(MEAN_TASK, settings, MEAN_DATA, **highest), slice(None))
    with pytest.raises(StoreError, match="default_matmul_precision"):
        sweep.run(MEAN_TASK, settings, MEAN_DATA, out=tmp_path, **options)


@pytest.mark.parametrize("precision", ["exact", 32])
def test_what_is_no_precision_of_products_is_refused(precision):
    with pytest.raises(ValueError, match="default_matmul_precision must be"):
        sweep.run(TASK, sweep.from_columns(NUMBERS), DATA, default_matmul_precision=precision, **SCHEDULE)
