"""What optimizers are given and cannot use: states of other optimizers, integer leaves."""

import jax
import jax.numpy as jnp
import optax
import pytest

import regopt
from regopt import penalties, transforms

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
    "newton": regopt.newton,
    "diagonal_newton": regopt.diagonal_newton,
    "newton_cg": regopt.newton_cg,
    "bfgs": regopt.bfgs,
    "lbfgs": regopt.lbfgs,
    "nonlinear_cg": regopt.nonlinear_cg,
    "gauss_newton": regopt.gauss_newton,
    "levenberg_marquardt": regopt.levenberg_marquardt,
}
LINKS = {  # which change gradients of any dtype
    "clip": lambda: transforms.clip(1.0),
    "clip_by_global_norm": lambda: transforms.clip_by_global_norm(1.0),
    "clip_by_layer_norm": lambda: transforms.clip_by_layer_norm(1.0),
    "clip_by_unit_norm": lambda: transforms.clip_by_unit_norm(1.0),
    "centralize": transforms.centralize,
}


@pytest.mark.parametrize("name", OPTIMIZERS | LINKS)
def test_the_state_of_another_optimizer_is_refused(name):
    optimizer = (OPTIMIZERS | LINKS)[name]()
    with pytest.raises(ValueError, match=r"own init or update returned, (regopt|optax)'s \w+, got"):
        optimizer.update(PARAMS, optax.adam(0.1).init(PARAMS), PARAMS)


def half_a_square(params):
    return sum(jnp.sum(w * w) for w in jax.tree.leaves(params)) / 2


def test_the_states_of_the_methods_for_full_batches_are_told_apart():
    made = {name: OPTIMIZERS[name]() for name in ("newton_cg", "bfgs", "lbfgs", "nonlinear_cg", "levenberg_marquardt")}
    states = {name: optimizer.init(PARAMS) for name, optimizer in made.items()}
    more = {"value_fn": half_a_square, "residual_fn": lambda params: jnp.stack([half_a_square(params)])}
    for name, optimizer in made.items():
        optimizer.update(PARAMS, states[name], PARAMS, **more)
        for other, state in states.items():
            if other != name:
                with pytest.raises(ValueError, match=r"own init or update returned, .*'s \w+, got (.*'s )?\w+: call"):
                    optimizer.update(PARAMS, state, PARAMS, **more)


def test_a_line_search_of_optax_keeps_its_own_state():
    optimizer = regopt.bfgs(linesearch=optax.scale_by_backtracking_linesearch(10))
    state = optimizer.init(PARAMS)
    _, state = optimizer.update(PARAMS, state, PARAMS, value_fn=half_a_square)
    optimizer.update(PARAMS, state, PARAMS, value_fn=half_a_square)


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


@pytest.mark.parametrize("name", ["adamw", "lion", "schedule_free_sgd", "schedule_free_adamw"])
def test_a_decay_by_pattern_or_mask_that_does_not_fit_is_named(name):
    def make(**given):
        return getattr(regopt, name)(0.1, **given).init(PARAMS)

    with pytest.raises(
        ValueError, match=r"^weight_decay has a pattern that matches nothing, 'zz/\*'; the nearest paths"
    ):
        make(weight_decay={"zz/*": 1e-3})
    with pytest.raises(
        ValueError, match=r"^weight_decay has an entry 'zz', where there are no parameters; valid: layer; "
    ):
        make(weight_decay={"zz": 1e-3})
    with pytest.raises(ValueError, match=r"^mask has an entry 'zz', .* or give path patterns such as {\"\*\*/kernel\""):
        make(mask={"zz": True})
    with pytest.raises(ValueError, match=r"^weight_decay must be one number for a leaf of shape \(3, 2\)"):
        make(weight_decay=jnp.ones(5))


@pytest.mark.parametrize(
    ("optimizer", "named"),
    [
        (regopt.adamw(0.1, weight_decay=0.1), "weight decay"),
        (regopt.lion(0.1, weight_decay=0.1), "weight decay"),
        (regopt.regularize(regopt.sgd(0.1), penalties.l2(0.1)), "the gradient of a penalty"),
        (regopt.sam(regopt.sgd(0.1)), "sam"),
        (regopt.lookahead(regopt.sgd(0.1)), "lookahead"),
    ],
)
def test_an_update_without_the_parameters_that_it_needs_is_refused(optimizer, named):
    with pytest.raises(ValueError, match=rf"^{named} needs the parameters: call update\(grads, state, params\)$"):
        optimizer.update(PARAMS, optimizer.init(PARAMS))


@pytest.mark.parametrize("name", ["adamw", "lion", "schedule_free_sgd", "schedule_free_adamw"])
def test_a_decay_by_layer_acts_where_the_mask_and_the_patterns_say(name):
    params = {"layer": {"kernel": jnp.full((3, 2), 2.0), "bias": jnp.full(2, 2.0)}, "out": jnp.full((2, 2), 2.0)}
    decayed = {"layer": {"kernel": 0.5, "bias": 0.0}, "out": 0.0}

    def move(**given):
        optimizer = getattr(regopt, name)(0.1, **given)
        updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), optimizer.init(params), params)
        return updates

    plain, found = move(weight_decay=0.0), move(weight_decay={"layer/*": 0.5})
    for path, (before, after, rate) in zip(
        ["bias", "kernel", "out"], zip(*map(jax.tree.leaves, (plain, found, decayed)), strict=True), strict=True
    ):
        assert jnp.allclose(before - after, 0.1 * rate * 2.0, atol=1e-6), path


FIRST_ORDER = [name for name in OPTIMIZERS if "newton" not in name and name not in ("bfgs", "lbfgs", "nonlinear_cg")]


@pytest.mark.parametrize("name", [name for name in FIRST_ORDER if name != "levenberg_marquardt"])
def test_gradients_of_other_shapes_or_structures_are_refused_with_their_path(name):
    optimizer = OPTIMIZERS[name]()
    state = optimizer.init(PARAMS)
    wrong = {"layer": PARAMS["layer"] | {"kernel": jnp.ones((1, 2))}}  # it would be broadcast
    with pytest.raises(ValueError, match=r"^the gradients must have the shapes .* for \(3, 2\) at 'layer/kernel'$"):
        optimizer.update(wrong, state, PARAMS)
    with pytest.raises(ValueError, match=r"^the gradients must have the structure .*: there is none for 'layer/bias'$"):
        optimizer.update({"layer": {"kernel": PARAMS["layer"]["kernel"]}}, state, PARAMS)
