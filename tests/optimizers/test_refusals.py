"""What optimizers are given and cannot use: states of other optimizers, integer leaves."""

import jax.numpy as jnp
import optax
import pytest

import regopt
from regopt import penalties

PARAMS = {"layer": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}}
OPTIMIZERS = {
    "sgd": lambda: regopt.sgd(0.1),
    "adam": lambda: regopt.adam(0.1),
    "rmsprop": lambda: regopt.rmsprop(0.1),
    "heavy_ball": lambda: regopt.heavy_ball(0.1, 0.9),
    "nesterov": lambda: regopt.nesterov(0.1, 0.9),
    "guard": lambda: regopt.guard(regopt.sgd(0.1), 1.0),
    "accumulate": lambda: regopt.accumulate(regopt.sgd(0.1), 2),
    "lookahead": lambda: regopt.lookahead(regopt.sgd(0.1)),
    "sam": lambda: regopt.sam(regopt.sgd(0.1)),
    "proximal": lambda: regopt.regularize(regopt.sgd(0.1), penalties.l1(0.1), "proximal"),
    "scheduled": lambda: regopt.heavy_ball(0.1, optax.linear_schedule(0.5, 0.9, 10)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_of_another_optimizer_is_refused(name):
    optimizer = OPTIMIZERS[name]()
    with pytest.raises(ValueError, match=r"own init or update returned, regopt's \w+, got"):
        optimizer.update(PARAMS, optax.adam(0.1).init(PARAMS), PARAMS)


def test_the_message_tells_states_of_one_name_apart():
    optimizer = regopt.optimizers.scale_by_adam()
    with pytest.raises(ValueError, match="regopt's ScaleByAdamState, got optax's ScaleByAdamState"):
        optimizer.update(PARAMS, optax.scale_by_adam().init(PARAMS), PARAMS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_integer_parameters_are_refused_with_their_path(name):
    params = {"layer": PARAMS["layer"] | {"kernel": jnp.ones((3, 2), jnp.int32)}}
    with pytest.raises(ValueError, match="floating arrays, got 'int32' at 'layer/kernel'"):
        OPTIMIZERS[name]().init(params)


def test_integers_that_are_not_trained_pass():
    params = {"weights": jnp.ones(2), "count": jnp.zeros((), jnp.int32)}
    labels = {"weights": "train", "count": "freeze"}
    optimizer = optax.partition({"train": regopt.adam(0.1), "freeze": optax.set_to_zero()}, labels)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert updates["count"] == 0
