"""Random numbers that are drawn on the host, for data and starts.

XLA compiles JAX's random numbers anew for each shape, which takes half a second. Data and starts are drawn once, so
that NumPy has drawn them long before. Noise of training steps comes from JAX's keys.
"""

import jax
import numpy as np


def stream_of(key: jax.Array) -> np.random.Generator:
    """NumPy's generator, started from a key of JAX.

    Args:
        key: a key; it stays unused as far as JAX's draws go.

    Returns:
        The same generator for the same key.
    """
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))
