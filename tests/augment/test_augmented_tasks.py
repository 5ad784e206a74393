"""A sweep's steps on changed batches, several tasks on one trunk, and losses that know the setting."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import regopt
from regopt import augment, layers, losses, sweep
from regopt.data import Splits, batch_indices, digits
from regopt.sweep import _task as task

TRAIN, VALIDATION, _ = digits()
DATA = Splits((TRAIN[0][:60], TRAIN[1][:60]), (VALIDATION[0][:40], VALIDATION[1][:40]))


GRAPH = nnx.graphdef(layers.MLP((64, 12, 10), rngs=nnx.Rngs(0)))


def changed(key, x, y, h):
    """Digits as images turned by the setting's strength, then mixed with their targets."""
    image_key, mix_key = jax.random.split(key)
    change = augment.rotation(30 * h["strength"])
    return augment.mixup(h["strength"])(mix_key, change(image_key, x.reshape(-1, 8, 8, 1)).reshape(x.shape), y)


def soft(logits, targets):
    return optax.losses.softmax_cross_entropy(logits, targets).mean()


def one_hot(part):
    return part[0], np.eye(10, dtype=np.float32)[part[1]]


SOFT = Splits(one_hot(DATA.train), one_hot(DATA.validation))


def train(change, columns):
    learner = sweep.supervised(
        lambda h, rngs: layers.MLP((64, 12, 10), rngs=rngs),
        soft,
        lambda h: regopt.sgd(h["learning_rate"]),
        augment=change,
    )
    return sweep.run(learner, sweep.from_columns(columns), SOFT, steps=6, eval_every=2, batch_size=20)


def curves(result, name):
    return np.asarray(result.curves()[name].transpose("setting", "step"))


def test_the_strength_of_an_augmentation_is_a_lane_that_only_training_sees():
    result = train(changed, {"strength": [0.0, 0.5, 1.0, 1.0], "learning_rate": [0.5, 0.5, 0.5, 0.0]})
    assert set(result.status) == {"done"}
    validation, training = curves(result, "validation_loss"), curves(result, "train_loss")
    assert len(set(validation[:, -1].round(4))) == 4
    np.testing.assert_allclose(validation[:3, -1], [by_hand(strength) for strength in (0.0, 0.5, 1.0)], rtol=5e-5)
    # without learning the validation loss stays, and the training loss does not
    np.testing.assert_allclose(validation[3], validation[3, 0], rtol=1e-6)
    assert len(set(training[3].round(5))) == 3


def by_hand(strength):
    """Validation loss after six steps in plain JAX, without any augmentation at 0."""
    init_key, data_key = (jax.random.fold_in(jax.random.key(0), purpose) for purpose in (0, 1))
    params = nnx.state(layers.MLP((64, 12, 10), rngs=nnx.Rngs(init_key)))
    for number, rows in enumerate(batch_indices(data_key, 0, 6, examples=60, batch_size=20)):
        x, y = SOFT.train[0][rows], SOFT.train[1][rows]
        if strength:
            x, y = at_step(number, x, y, strength)
        params = one_step(params, x, y)
    return loss_of(params, *SOFT.validation)


@jax.jit
def at_step(number, x, y, strength):
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 2), number)
    return changed(jax.random.fold_in(key, task.AUGMENT), x, y, {"strength": strength})


@jax.jit
def one_step(params, x, y):
    return jax.tree.map(lambda w, g: w - 0.5 * g, params, jax.grad(loss_of)(params, x, y))


def loss_of(params, x, y):
    return soft(nnx.merge(GRAPH, params)(x), y)


def test_an_augmentation_that_forgets_the_targets_is_told():
    with pytest.raises(ValueError, match="what augment returns must be a pair of inputs and targets"):
        train(lambda key, x, y, h: x, {"strength": [0.1], "learning_rate": [0.1]})


def two_heads(rngs):
    heads = {"digit": layers.Dense(8, 10, rngs=rngs), "odd": layers.Dense(8, 2, rngs=rngs)}
    return layers.MultiTask(layers.MLP((64, 12, 8), rngs=rngs), heads)


MODEL = two_heads(nnx.Rngs(0))
MEASURES = {"digit": losses.cross_entropy, "odd": losses.cross_entropy}


def test_the_trunk_gets_the_weighted_sum_of_gradients_and_a_head_its_own():
    graph, params = nnx.split(MODEL)
    with jax.enable_x64(True):
        params = jax.tree.map(lambda w: jnp.asarray(w, jnp.float64), params)
        x, digit = jnp.asarray(DATA.train[0], jnp.float64), jnp.asarray(DATA.train[1])
        targets = {"digit": digit, "odd": digit % 2}

        @jax.jit
        def gradients(params, weights):
            def alone(name):
                return lambda p: MEASURES[name](nnx.merge(graph, p)(x)[name], targets[name])

            def both(p):
                return losses.multi_task(MEASURES, weights)(nnx.merge(graph, p)(x), targets)

            return [jax.grad(loss)(params) for loss in (both, alone("digit"), alone("odd"))]

        found = gradients(params, {"digit": 0.7, "odd": 2.5})
        both, digit_alone, odd_alone = (jax.tree.map(np.asarray, nnx.to_pure_dict(each)) for each in found)

    def assert_close(a, b):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-14), a, b)

    assert_close(both["trunk"], jax.tree.map(lambda a, b: 0.7 * a + 2.5 * b, digit_alone["trunk"], odd_alone["trunk"]))
    assert_close(both["heads"]["digit"], jax.tree.map(lambda g: 0.7 * g, digit_alone["heads"]["digit"]))
    assert_close(both["heads"]["odd"], jax.tree.map(lambda g: 2.5 * g, odd_alone["heads"]["odd"]))


def test_the_outputs_are_those_of_the_parts():
    model = MODEL
    x = jnp.asarray(DATA.train[0][:5])
    shared = jax.nn.relu(model.trunk(x))
    outputs = model(x)
    assert list(outputs) == ["digit", "odd"]
    for name, output in outputs.items():
        np.testing.assert_array_equal(output, model.heads[name](shared))
    with pytest.raises(ValueError, match="heads must name at least one task, got none"):
        layers.MultiTask(model.trunk, {})


def test_the_weight_of_a_task_is_a_lane():
    def targets(part):
        return part[0], {"digit": part[1], "odd": part[1] % 2}

    learner = sweep.supervised(
        lambda h, rngs: two_heads(rngs),
        lambda outputs, y, h: losses.multi_task(MEASURES, {"digit": 1.0, "odd": h["weight"]})(outputs, y),
        lambda h: regopt.sgd(0.5),
        metrics={name: lambda outputs, y, name=name: MEASURES[name](outputs[name], y[name]) for name in MEASURES},
    )
    data = Splits(targets(DATA.train), targets(DATA.validation))
    settings = sweep.from_columns({"weight": [0.0, 1.0, 3.0]})
    result = sweep.run(learner, settings, data, steps=12, eval_every=6, batch_size=20)
    assert set(result.status) == {"done"}
    first, second = result.state(0).params, result.state(1).params
    init_key = jax.random.fold_in(jax.random.key(0), 0)
    start = nnx.to_pure_dict(nnx.state(two_heads(nnx.Rngs(init_key))))["heads"]["odd"]["kernel"]
    np.testing.assert_array_equal(first["heads"]["odd"]["kernel"], start)  # at weight 0 nothing teaches it
    assert not np.allclose(second["heads"]["odd"]["kernel"], start)
    assert not np.allclose(first["trunk"]["layers"][0]["kernel"], second["trunk"]["layers"][0]["kernel"])
    total, digit, odd = (curves(result, f"validation_{name}") for name in ("loss", "digit", "odd"))
    np.testing.assert_allclose(total, digit + np.array([[0.0], [1.0], [3.0]]) * odd, rtol=1e-5)


def test_weights_and_tasks_must_fit():
    with pytest.raises(ValueError, match=r"weights must be those of the measures \['digit', 'odd'\], got \['odd'\]"):
        losses.multi_task(MEASURES, {"odd": 1.0})
    with pytest.raises(ValueError, match=r"the weight of odd must lie in \[0, inf\), got -1"):
        losses.multi_task(MEASURES, {"odd": -1, "digit": 1.0})
    with pytest.raises(ValueError, match=r"targets must have \['digit', 'odd'\], got no \['odd'\]"):
        losses.multi_task(MEASURES)({"digit": jnp.ones((2, 10)), "odd": jnp.ones((2, 2))}, {"digit": jnp.zeros(2)})
    with pytest.raises(ValueError, match="measures must name at least one task"):
        losses.multi_task({})
