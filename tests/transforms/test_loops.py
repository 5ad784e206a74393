"""An optimizer does what its name says in the training loops of optax, flax nnx, flax TrainState and equinox.

None of them asks an optimizer where it needs its gradient: they evaluate it at the parameters. The references are the
papers' rules in float64 NumPy.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState

import regopt
from regopt import penalties, projections

RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(12, 3)), RNG.normal(size=(12, 1))
START = RNG.normal(size=(3, 1))
STEPS = 8


def loss(w):
    return jnp.mean((jnp.asarray(X) @ w - jnp.asarray(Y)) ** 2) / 2


def slope(w):
    return X.T @ (X @ w - Y) / len(X)


def plain_loop(optimizer):
    w = jnp.asarray(START)
    state = optimizer.init(w)
    for _ in range(STEPS):
        updates, state = optimizer.update(jax.grad(loss)(w), state, w)
        w = optax.apply_updates(w, updates)
        yield w, regopt.final_params(w, state)


def nnx_loop(optimizer):
    class Model(nnx.Module):
        def __init__(self):
            self.kernel = nnx.Param(jnp.asarray(START))

    model = Model()
    held = nnx.Optimizer(model, optimizer, wrt=nnx.Param)
    for _ in range(STEPS):
        held.update(model, nnx.grad(lambda model: loss(model.kernel[...]))(model))
        params, state = nnx.as_pure(nnx.state(model, nnx.Param)), nnx.as_pure(held.opt_state)
        yield params["kernel"], regopt.final_params(params, state)["kernel"]


def train_state_loop(optimizer):
    state = TrainState.create(apply_fn=None, params={"kernel": jnp.asarray(START)}, tx=optimizer)
    for _ in range(STEPS):
        state = state.apply_gradients(grads=jax.grad(lambda params: loss(params["kernel"]))(state.params))
        yield state.params["kernel"], regopt.final_params(state.params, state.opt_state)["kernel"]


def equinox_loop(optimizer):
    eqx = pytest.importorskip("equinox")
    model = eqx.nn.Linear(3, 1, use_bias=False, key=jax.random.key(0))
    model = eqx.tree_at(lambda model: model.weight, model, jnp.asarray(START.T))
    state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))
    for _ in range(STEPS):
        grads = eqx.filter_grad(lambda model: loss(model.weight.T))(model)
        updates, state = optimizer.update(grads, state, eqx.filter(model, eqx.is_inexact_array))
        model = eqx.apply_updates(model, updates)
        final = regopt.final_params(eqx.filter(model, eqx.is_inexact_array), state)
        yield model.weight.T, final.weight.T


LOOPS = {"optax": plain_loop, "nnx": nnx_loop, "TrainState": train_state_loop, "equinox": equinox_loop}


def descent(w, direction=lambda g, r: (g, r), momentum=0.0, shrink=lambda w: w):
    """Algorithms 8.3 and 8.6: the parameters of the loop, which are the interim point, and the iterate."""
    v, r = np.zeros_like(w), np.zeros_like(w)
    for _ in range(STEPS):
        g, r = direction(slope(w + momentum * v), r)
        after = shrink(w + momentum * v - 0.1 * g)
        w, v = after, after - w
        yield w + momentum * v, w


def rms(g, r):
    r = 0.8 * r + 0.2 * g * g
    return g / np.sqrt(r + 1e-6), r


def sharpness_aware(w):
    """Algorithm 1 of SAM; the ascended point and the next iterate in alternation."""
    for _ in range(STEPS // 2):
        g = slope(w)
        high = w + 0.3 * g / np.linalg.norm(g)
        yield high, w
        w = w - 0.1 * slope(high)
        yield w, w


def averaged(w):
    path = []
    for point, iterate in descent(w, momentum=0.8):
        path.append(iterate)
        yield point, np.mean(path, axis=0)


def looking_ahead(w):
    """Two steps of Nesterov momentum on the fast weights, and then the slow weights go halfway to them."""
    slow, v = w, np.zeros_like(w)
    for step in range(STEPS):
        v = 0.8 * v - 0.1 * slope(w + 0.8 * v)
        w = w + v
        if step % 2:
            slow = w = slow + 0.5 * (w - slow)
        yield w + 0.8 * v, slow


def schedule_free(w):
    z = x = y = w
    for t in range(1, STEPS + 1):
        z = z - 0.1 * slope(y)
        x = x + (z - x) / t
        y = 0.1 * z + 0.9 * x
        yield y, x


def soft(w):
    return np.sign(w) * np.maximum(np.abs(w) - 0.02, 0)


def prox(optimizer):
    return regopt.regularize(optimizer, penalties.l1(0.2, mask=None), "proximal")


RULES = {
    "sgd": (lambda: regopt.sgd(0.1), descent),
    "nesterov": (lambda: regopt.nesterov(0.1, 0.8), functools.partial(descent, momentum=0.8)),
    "rmsprop_nesterov": (
        lambda: regopt.rmsprop_nesterov(0.1, 0.8, 0.7),
        functools.partial(descent, direction=rms, momentum=0.7),
    ),
    "sam": (lambda: regopt.sam(regopt.sgd(0.1), 0.3), sharpness_aware),
    "average of nesterov": (lambda: regopt.average_params(regopt.nesterov(0.1, 0.8)), averaged),
    "lookahead of nesterov": (lambda: regopt.lookahead(regopt.nesterov(0.1, 0.8), 2, 0.5), looking_ahead),
    "schedule_free_sgd": (lambda: regopt.schedule_free_sgd(0.1, 0.9), schedule_free),
    "prox of nesterov": (
        lambda: prox(regopt.nesterov(0.1, 0.8)),
        functools.partial(descent, momentum=0.8, shrink=soft),
    ),
    "guard of nesterov in a chain": (
        lambda: optax.chain(optax.identity(), regopt.guard(regopt.nesterov(0.1, 0.8), 1e6)),
        functools.partial(descent, momentum=0.8),
    ),
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("rule", RULES)
def test_a_loop_that_asks_for_no_point_runs_the_rule_of_the_name(rule, loop):
    make, by_hand = RULES[rule]
    with jax.enable_x64(True):
        ours = [tuple(map(np.asarray, pair)) for pair in LOOPS[loop](make())]
        np.testing.assert_allclose(ours, list(by_hand(START)), rtol=1e-11, atol=1e-14)


def box(w):
    """With an edge on the way of the iterates, at which an entry is exactly 0."""
    return projections.projection_box(w, 0.0, 0.5)


@pytest.mark.parametrize("how", ["proximal", "decoupled", "constraint"])
@pytest.mark.parametrize("make", [regopt.nesterov, regopt.rmsprop_nesterov], ids=lambda make: make.__name__)
def test_what_moves_the_iterate_gives_the_iterates_of_the_explicit_form(make, how):
    """Zeros of the iterate are exact, although the parameters are a point beside it."""
    penalty = None if how == "constraint" else penalties.l1(0.3, mask=None)
    given = {"constraint": box} if how == "constraint" else {"learning_rate": 0.05} if how == "decoupled" else {}
    with jax.enable_x64(True):
        paths = []
        for explicit in (False, True):
            inner = make(0.05, momentum=0.8, explicit_point=explicit)
            optimizer = regopt.regularize(inner, penalty, how, **given)

            def step(carry, _, optimizer=optimizer):
                w, state = carry
                updates, state = optimizer.update(jax.grad(loss)(regopt.evaluation_params(w, state)), state, w)
                w = optax.apply_updates(w, updates)
                return (w, state), regopt.final_params(w, state)

            w = jnp.asarray(START)
            paths.append(np.asarray(jax.lax.scan(step, (w, optimizer.init(w)), length=60)[1]))
        np.testing.assert_allclose(*paths, rtol=1e-9, atol=1e-13)
        np.testing.assert_array_equal(paths[0] == 0, paths[1] == 0)


@pytest.mark.parametrize("inner", [regopt.guard(regopt.nesterov(0.1, 0.8)), regopt.sam(regopt.sgd(0.1))])
@pytest.mark.parametrize("how", ["proximal", "decoupled", "constraint"])
def test_what_moves_the_iterate_around_a_point_out_of_reach_is_refused(inner, how):
    given = {"radius": 0.5} if how == "constraint" else {"learning_rate": 0.1} if how == "decoupled" else {}
    optimizer = regopt.regularize(inner, penalties.l1(0.3), how, **given)
    with pytest.raises(ValueError, match="a point beside it: put wrappers and chains around the whole"):
        optimizer.init(jnp.ones(3))
