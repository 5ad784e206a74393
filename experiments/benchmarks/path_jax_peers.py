"""JAXopt and NeMoS for ``paths.py``: peers that are written in JAX, with the interface of ``path_peers.py``.

Both are proximal gradient methods with acceleration. JAXopt's path is one compiled program, in which each strength
starts from the solution for the previous one; NeMoS compiles a program for each fit, which is how its models are used.
"""

import importlib
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

MOST_STEPS = 100_000


def jaxopt_path(it, x, y, tolerance):
    """The path by ``ProximalGradient``."""
    with jax.enable_x64(True):
        start = jnp.zeros((x.shape[1], *y.shape[1:])), jnp.zeros(y.shape[1:])
        program = _jaxopt_program(it.family, it.l1_ratio, it.group_size)
        w, b = program(start, jnp.asarray(x), jnp.asarray(y), jnp.asarray(it.strengths), tolerance)
        return np.asarray(w), np.asarray(b)


@lru_cache
def _jaxopt_program(family, l1_ratio, size):
    ProximalGradient = importlib.import_module("jaxopt").ProximalGradient
    prox = importlib.import_module("jaxopt.prox")

    def loss(params, x, y):
        return jnp.mean(LOSSES[family](x @ params[0] + params[1], y))

    def prox_of_coefficients(params, strength, scaling):
        w, b = params
        if size > 1:
            of_group = jax.vmap(lambda group: prox.prox_group_lasso(group, strength, scaling))
            return of_group(w.reshape(-1, size)).ravel(), b
        # JAXopt's second number is the share of the square over that of the norm
        return prox.prox_elastic_net(w, (strength * l1_ratio, (1 - l1_ratio) / l1_ratio), scaling), b

    @jax.jit
    def path(start, x, y, strengths, tolerance):
        solver = ProximalGradient(loss, prox_of_coefficients, tol=tolerance, maxiter=MOST_STEPS, implicit_diff=False)

        def fit(params, strength):
            params = solver.run(params, strength, x=x, y=y).params
            return params, params

        return jax.lax.scan(fit, start, strengths)[1]

    return path


def _multinomial(eta, y):
    return jax.nn.logsumexp(eta, -1) - jnp.sum(y * eta, -1)


LOSSES = {
    "gaussian": lambda eta, y: (eta - y) ** 2 / 2,
    "logistic": lambda eta, y: jnp.logaddexp(0, eta) - y * eta,
    "poisson": lambda eta, y: jnp.exp(eta) - y * eta,
    "multinomial": _multinomial,
}


def nemos_path(it, x, y, tolerance):
    """The path by ``GLM``, or ``ClassifierGLM``, with warm starts."""
    nemos = importlib.import_module("nemos")
    with jax.enable_x64(True):
        options = {"solver_kwargs": {"tol": tolerance, "maxiter": MOST_STEPS}}
        labels, scale = y, 1.0
        if it.family == "multinomial":
            labels = y.argmax(1)
            model = nemos.glm.ClassifierGLM(y.shape[1], regularizer="Lasso", regularizer_strength=1.0, **options)
        elif it.group_size > 1:
            # the squared errors are not halved, and each norm counts with the root of the size of its group
            scale = 2 / np.sqrt(it.group_size)
            groups = x.shape[1] // it.group_size
            regularizer = nemos.regularizer.GroupLasso(np.kron(np.eye(groups), np.ones(it.group_size)))
            model = nemos.glm.GLM("Gaussian", regularizer=regularizer, regularizer_strength=1.0, **options)
        else:
            model = nemos.glm.GLM("Poisson", regularizer="Lasso", regularizer_strength=1.0, **options)
        fits, start = [], None
        for strength in it.strengths:
            model.set_params(regularizer_strength=scale * strength)
            model.fit(x, labels, init_params=start)
            start = model.coef_, model.intercept_
            fits.append(start)
        b = np.array([b for _, b in fits])
        return np.array([w for w, _ in fits]), b if it.family == "multinomial" else b.reshape(len(b))
