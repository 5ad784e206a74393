"""What the tests of second-order methods share: a loop, and problems with known solutions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_breast_cancer


def run(optimizer, value_fn, start, steps, residual_fn=None):
    """The parameters before each update and after the last, ``[steps + 1, ...]``, and the states after each."""
    start = jax.tree.map(jnp.asarray, start)

    def step(carry, _):
        params, state = carry
        grads = jax.grad(value_fn)(params)
        updates, state = optimizer.update(grads, state, params, value_fn=value_fn, residual_fn=residual_fn)
        after = optax.apply_updates(params, updates), state
        return after, after

    _, (path, states) = jax.jit(lambda s: jax.lax.scan(step, (s, optimizer.init(s)), length=steps))(start)
    return jax.tree.map(lambda first, rest: np.concatenate([first[None], rest]), start, path), states


def quadratic(eigenvalues, seed=0):
    """A Hessian with these eigenvalues, a slope, the minimum, and the function."""
    generator = np.random.default_rng(seed)
    vectors, _ = np.linalg.qr(generator.normal(size=(len(eigenvalues),) * 2))
    hessian, slope = vectors * np.asarray(eigenvalues) @ vectors.T, generator.normal(size=len(eigenvalues))
    return (
        hessian,
        np.linalg.solve(hessian, slope),
        lambda w: w @ (jnp.asarray(hessian) @ w) / 2 - jnp.asarray(slope) @ w,
    )


def rosenbrock(w):
    return 100 * (w[1] - w[0] ** 2) ** 2 + (1 - w[0]) ** 2


def logistic():
    """The mean logistic loss on the standardised breast-cancer data, plus .01 / 2 on the squared weights."""
    x, y = load_breast_cancer(return_X_y=True)
    x, signs = jnp.asarray((x - x.mean(0)) / x.std(0)), jnp.asarray(2.0 * y - 1)

    def value_fn(params):
        margins = signs * (x @ params["w"] + params["b"])
        return jnp.mean(jnp.logaddexp(0.0, -margins)) + 0.01 * jnp.sum(params["w"] ** 2) / 2

    return value_fn, {"w": np.zeros(30), "b": np.zeros(())}
