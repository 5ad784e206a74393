"""The links of chains beside the named optimizers: the same defaults, and what their states report."""

import inspect

import jax
import jax.numpy as jnp
import pytest

import regopt
from regopt import optimizers

NAMES = [name for name in optimizers.__all__ if hasattr(optimizers, f"scale_by_{name}")]


@pytest.mark.parametrize("name", NAMES)
def test_a_link_has_the_defaults_of_its_optimizer(name):
    link, whole = (inspect.signature(getattr(optimizers, form)).parameters for form in (f"scale_by_{name}", name))
    shared = [argument for argument in link if argument in whole]
    assert shared
    assert {a: link[a].default for a in shared} == {a: whole[a].default for a in shared}


def test_the_state_of_diagonal_newton_tells_the_smallest_curvature():
    def loss(w):
        return jnp.sum(jnp.array([3.0, -2.0, 5.0]) * w**2) / 2

    optimizer, w = regopt.diagonal_newton(0.5), jnp.ones(3)
    _, state = optimizer.update(jax.grad(loss)(w), optimizer.init(w), w, value_fn=loss)
    assert state[0][0].smallest_curvature == -2.0
