"""A task whose learning curves are known in closed form, for short examples and for tests of schedulers.

The state is one number w, the guess of a mean. It starts at 0 and each step moves it towards the mean m of the batch:
``w <- w + rate * (m - w)``. On ``MEAN_DATA`` without a batch size m is 1, so after t steps ``w = 1 - (1 - rate)**t``,
and the validation loss is ``(w - 1)**2 = (1 - rate)**(2 t)``: it falls for a rate in (0, 2) and grows above.
"""

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.types import Key, Task, Tree
from regopt.data import Splits

MEAN_DATA = Splits(train=np.array([0.0, 1.0, 2.0, 1.0], np.float32), validation=np.ones(1, np.float32))


def _init(key: Key, h: Tree) -> jax.Array:
    del key, h
    return jnp.zeros((), jnp.float32)


def _step(w: jax.Array, batch: jax.Array, key: Key, h: Tree) -> tuple[jax.Array, dict[str, jax.Array]]:
    del key
    return w + h["rate"] * (jnp.mean(batch) - w), {"loss": jnp.mean((batch - w) ** 2)}


def _evaluate(w: jax.Array, data: Splits, h: Tree) -> dict[str, jax.Array]:
    del h
    return {"validation_loss": jnp.mean((data.validation - w) ** 2)}


def _predict(w: jax.Array, inputs: jax.Array, h: Tree) -> jax.Array:
    """The same guess for each of the inputs, ``[points]``."""
    del h
    return jnp.broadcast_to(w, jnp.shape(inputs)[:1])


MEAN_TASK = Task(_init, _step, _evaluate, _predict)
