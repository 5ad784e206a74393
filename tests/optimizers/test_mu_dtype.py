"""The dtype in which the first moment is kept: optax's numbers, a closed carry, and what is no floating dtype."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import regopt
from regopt import optimizers, penalties

RATE = 0.1
MAKERS = {  # ours, and optax's with the same formula
    "adam": (lambda d: regopt.adam(RATE, mu_dtype=d), lambda d: optax.adam(RATE, mu_dtype=d)),
    "adamw": (
        lambda d: regopt.adamw(RATE, mu_dtype=d, weight_decay=0.1, mask=None),
        lambda d: optax.adamw(RATE, mu_dtype=d, weight_decay=0.1),
    ),
    "lion": (lambda d: regopt.lion(RATE, mu_dtype=d, mask=None), lambda d: optax.lion(RATE, mu_dtype=d)),
    "nadam": (lambda d: regopt.nadam(RATE, mu_dtype=d), lambda d: optax.nadam(RATE, mu_dtype=d)),
    "amsgrad": (lambda d: regopt.amsgrad(RATE, mu_dtype=d), None),
    "adamax": (lambda d: regopt.adamax(RATE, mu_dtype=d), None),
    "scale_by_adam": (lambda d: optimizers.scale_by_adam(mu_dtype=d), lambda d: optax.scale_by_adam(mu_dtype=d)),
}


def moments_of(state):
    return [node.mu for node in jax.tree.leaves(state, is_leaf=lambda x: hasattr(x, "mu")) if hasattr(node, "mu")]


def run(optimizer, dtype, steps=6):
    params = {"w": jnp.asarray([[1.0, -2.0], [0.3, 0.7]], dtype), "b": jnp.asarray([0.5, -0.1], dtype)}

    def step(carry, count):
        params, state = carry
        grads = jax.tree.map(lambda w: w * (1 + 0.1 * count.astype(dtype)) + jnp.asarray(0.1, dtype), params)
        updates, state = optimizer.update(grads, state, params)
        updates = jax.tree.map(lambda u, w: u.astype(w.dtype), updates, params)
        return (optax.apply_updates(params, updates), state), None

    # a scan refuses a carry whose dtypes change
    return jax.jit(lambda: jax.lax.scan(step, (params, optimizer.init(params)), jnp.arange(steps))[0])()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", MAKERS)
def test_the_first_moment_is_kept_in_its_dtype_and_the_carry_closed(name, dtype):
    for mu_dtype in (jnp.bfloat16, "float16", jnp.float32):
        _, state = run(MAKERS[name][0](mu_dtype), dtype)
        found = {leaf.dtype for mu in moments_of(state) for leaf in jax.tree.leaves(mu)}
        assert found == {jnp.dtype(mu_dtype)}


@pytest.mark.parametrize("name", [name for name, (_, theirs) in MAKERS.items() if theirs])
def test_in_double_precision_the_steps_are_optaxs(name):
    ours, theirs = MAKERS[name]
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        found, expected = (run(make(jnp.float64), jnp.float64)[0] for make in (ours, theirs))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11), found, expected)


def test_only_what_is_kept_is_rounded():
    """Adam by hand; the step has the moment before it is rounded."""
    w = np.array([1.0, -2.0, 0.3], np.float32)
    optimizer, kept, nu = regopt.adam(RATE, mu_dtype=jnp.bfloat16), np.zeros(3, np.float32), np.zeros(3, np.float32)
    params = jnp.asarray(w)
    state = optimizer.init(params)
    for t in range(1, 8):
        g = np.float32(1 + 0.1 * t) * w + np.float32(0.1)
        updates, state = optimizer.update(jnp.asarray(g), state, params)
        params = optax.apply_updates(params, updates)
        mu = np.float32(0.9) * kept + np.float32(0.1) * g
        nu = np.float32(0.999) * nu + np.float32(0.001) * g * g
        w = w - np.float32(RATE) * (mu / (1 - 0.9**t)) / (np.sqrt(nu / (1 - 0.999**t)) + 1e-8)
        w = w.astype(np.float32)
        kept = np.asarray(jnp.asarray(mu).astype(jnp.bfloat16).astype(jnp.float32))
        np.testing.assert_allclose(params, w, rtol=1e-5)
    assert np.any(kept != mu)


def test_a_proximal_step_reads_the_metric_behind_it():
    optimizer = regopt.regularize(regopt.adam(RATE, mu_dtype=jnp.bfloat16), penalties.l1(0.3), "proximal")
    params, state = run(optimizer, jnp.float32, steps=60)
    assert state.zeros > 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("wrong", ["int32", "brain", 3, jnp.int8, object()])
def test_what_is_no_floating_dtype_is_refused(wrong):
    for make, _ in MAKERS.values():
        with pytest.raises(ValueError, match="mu_dtype must be a floating dtype"):
            make(wrong)
