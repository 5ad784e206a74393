"""Wrappers around optax's optimizers keep the carry of a scan closed; complex parameters are right or refused."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import regopt
from regopt import optimizers, penalties, projections, transforms
from regopt.testing import CATALOGUE


def box(params):
    return projections.projection_box(params, -2.5, 2.5)


PARAMS = {"kernel": np.array([[1.0, -2.0], [0.5, 3.0]]), "bias": np.array([0.5, -1.0])}
INNER = {
    "adam": lambda: optax.adam(1e-2),
    "adam with mu_dtype": lambda: optax.adam(1e-2, mu_dtype=jnp.float32),
    "momentum": lambda: optax.sgd(0.1, 0.9),
    "rmsprop": lambda: optax.rmsprop(1e-2),
    "lion": lambda: optax.lion(1e-2),
    "regopt's adam": lambda: regopt.adam(1e-2),
}
WRAPPERS = {
    "guard": lambda optimizer: regopt.guard(optimizer, 1.0),
    "accumulate": lambda optimizer: regopt.accumulate(optimizer, 2),
    "lookahead": lambda optimizer: regopt.lookahead(optimizer, 2),
    "average_params": regopt.average_params,
    "sam": regopt.sam,
    "sam, explicit": lambda optimizer: regopt.sam(optimizer, explicit_point=True),
    "gradient": lambda optimizer: regopt.regularize(optimizer, penalties.l2(0.1)),
    "decoupled": lambda optimizer: regopt.regularize(optimizer, penalties.l2(0.1), "decoupled", learning_rate=0.1),
    "proximal": lambda optimizer: regopt.regularize(optimizer, penalties.l1(0.1), "proximal"),
    "constraint": lambda optimizer: regopt.regularize(optimizer, how="constraint", constraint=box),
}
REFUSED = [("proximal", "lion"), ("constraint", "lion")]  # a sign is no metric
LINEAR = (
    optimizers.sgd,
    optimizers.heavy_ball,
    optimizers.nesterov,
    optimizers.scale_by_learning_rate,
    transforms.centralize,
    transforms.reduce_on_plateau,
)
TRANSFORMS = [row for row in CATALOGUE if row.kind == "transform"]


DTYPES = [("bfloat16", "float32"), ("float16", "float32"), ("float32", "float32"), ("float32", "bfloat16")]


@pytest.fixture(autouse=True)
def optax_mixes_dtypes():
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.parametrize(("dtype", "gradient_dtype"), DTYPES)
@pytest.mark.parametrize(
    ("wrapper", "inner"), [pair for pair in itertools.product(WRAPPERS, INNER) if pair not in REFUSED]
)
def test_the_carry_of_a_scan_stays_closed(wrapper, inner, dtype, gradient_dtype):
    optimizer = WRAPPERS[wrapper](INNER[inner]())
    params = jax.tree.map(lambda x: jnp.asarray(x, dtype), PARAMS)

    def step(carry, _):
        params, state = carry
        grads = jax.tree.map(lambda w: w.astype(gradient_dtype), params)
        updates, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    def train(params):
        return jax.lax.scan(step, (params, optimizer.init(params)), length=3)[0]

    jax.eval_shape(train, params)  # a scan refuses a carry whose dtypes change


@pytest.mark.parametrize("wrapper", [name for name in WRAPPERS if name not in ("lookahead", "sam, explicit")])
def test_wrapped_adam_descends_in_16_bits_with_32_bit_gradients(wrapper):
    optimizer = WRAPPERS[wrapper](optax.adam(1e-2))
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), PARAMS)

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.tree.map(lambda w: w.astype(jnp.float32), params), state, params)
        return (optax.apply_updates(params, updates), state), None

    after, _ = jax.lax.scan(step, (params, optimizer.init(params)), length=20)[0]
    assert optax.tree.norm(after) < optax.tree.norm(params) - 0.1


@pytest.mark.parametrize("row", TRANSFORMS, ids=lambda row: row.name)
def test_complex_parameters_are_treated_as_two_real_ones_or_refused(row):
    """A rule without squares treats the real and the imaginary part alike, as optax's does."""
    optimizer = row.make()
    z = {"w": jnp.array([3.0 + 4.0j, -1.0 + 0.5j])}
    if row.factory not in LINEAR:
        with pytest.raises(ValueError, match="complex parameters are not supported here: wrap the whole in optax"):
            optimizer.init(z)
        return
    parts = {"re": z["w"].real, "im": z["w"].imag}
    state, of_parts = optimizer.init(z), optimizer.init(parts)
    for _ in range(3):
        updates, state = optimizer.update(z, state, z)
        by_part, of_parts = optimizer.update(parts, of_parts, parts)
        np.testing.assert_allclose(updates["w"], by_part["re"] + 1j * by_part["im"], rtol=1e-6)


def test_the_named_way_out_of_complex_parameters_works():
    """On |w|^2 / 2 the gradient with respect to the two parts is w itself."""
    optimizer = optax.contrib.split_real_and_imaginary(regopt.guard(regopt.adam(0.1), 1.0))
    w = jnp.array([3.0 + 4.0j, -1.0 + 0.5j])
    state, update = optimizer.init(w), jax.jit(optimizer.update)
    for _ in range(200):
        updates, state = update(w, state, w)
        w = w + updates
    np.testing.assert_allclose(jnp.abs(w), 0, atol=0.02)
