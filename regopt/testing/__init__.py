"""Laws that every optimizer, penalty, schedule, projection and layer of this package obeys, to check your own.

The laws are the hyperparameter contract: every number may be traced, vmapped over and differentiated, a state keeps its
structure and dtypes in float64, float32 and 16 bit, a second value compiles nothing, what lies outside a range is
refused by its name, a proximal operator is the minimum that defines it, a projection the nearest point. One call checks
a factory of your own; a broken law is an AssertionError of one line that says which law, for which number and dtype.
pytest is not needed, and ``import regopt`` does not import this package.

A custom penalty, and the error for one whose prox ignores the step:

>>> import jax
>>> import jax.numpy as jnp
>>> import optax
>>> from regopt import penalties, testing
>>> def wide(w):
...     return w.astype(jnp.float64 if w.dtype == jnp.float64 else jnp.float32)
>>> def ridge(strength):
...     if not isinstance(strength, jax.Array) and not strength >= 0:
...         raise ValueError(f"strength must lie in [0, inf), got {strength}")
...     def value(params):
...         leaves = [wide(w) for w in jax.tree.leaves(params)]
...         return sum(jnp.asarray(strength, w.dtype) / 2 * jnp.sum(w * w) for w in leaves)
...     def prox(params, step):
...         def shrunk(w, step):
...             return (w / (1 + jnp.asarray(step, w.dtype) * jnp.asarray(strength, w.dtype))).astype(w.dtype)
...         return jax.tree.map(shrunk, params, jax.tree.broadcast(step, params))  # a step for each leaf, or one
...     return penalties.Penalty(value, prox)
>>> small = dict(numbers={"strength": (0.3, 1.7)}, ends={"strength": (0.0,)})
>>> testing.check_penalty(ridge, **small)
>>> def forgets_the_step(strength):
...     return ridge(strength)._replace(prox=lambda params, step: ridge(strength).prox(params, 1.0))
>>> testing.check_penalty(forgets_the_step, **small)  # doctest: +ELLIPSIS
Traceback (most recent call last):
AssertionError: ...forgets_the_step (dtype float32): the law 'the prox is the minimum and keeps ...

A custom optimizer, with one of the laws that apply to it:

>>> def signs(learning_rate):
...     def update(grads, state, params=None, **extra_args):
...         rate = jnp.asarray(learning_rate, jnp.float32)
...         def moved(g, p):
...             return (-rate * jnp.sign(g.astype(jnp.float32))).astype(p.dtype)
...         return jax.tree.map(moved, grads, params), state
...     return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
>>> numbers = {"learning_rate": (0.1, 0.01)}
>>> testing.check_optimizer(signs, numbers, laws=["vmap over a number is the loop"])

``CATALOGUE`` has a ``Row`` for each factory of this package, ``LAWS`` every law; ``cells`` yields the pairs of a law
and its arguments, so that a test runner may show each as a test of its own. ``MEAN_TASK`` on ``MEAN_DATA`` is a task
for short examples and tests of sweeps: the state moves to a mean of 1, the validation loss after t steps is
``(1 - rate)**(2 t)``.
"""

from regopt.testing._catalogue import CATALOGUE
from regopt.testing._check import (
    cells,
    check,
    check_noise,
    check_optimizer,
    check_penalty,
    check_projection,
    check_schedule,
    check_stopping,
)
from regopt.testing._exercise import exercise
from regopt.testing._laws import LAWS, Law
from regopt.testing._laws._prox import ProxPoint, check_prox_at
from regopt.testing._points import gradients, parameters, residuals
from regopt.testing._row import ProxTraits, Row
from regopt.testing._tables import table, tables_in, update_tables
from regopt.testing._toy import MEAN_DATA, MEAN_TASK

__all__ = [
    "CATALOGUE",
    "LAWS",
    "MEAN_DATA",
    "MEAN_TASK",
    "Law",
    "ProxPoint",
    "ProxTraits",
    "Row",
    "cells",
    "check",
    "check_noise",
    "check_optimizer",
    "check_penalty",
    "check_projection",
    "check_prox_at",
    "check_schedule",
    "check_stopping",
    "exercise",
    "gradients",
    "parameters",
    "residuals",
    "table",
    "tables_in",
    "update_tables",
]
