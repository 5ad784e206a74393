"""Random numbers that are drawn on the host, for data and starts.

XLA compiles JAX's random number generation anew for each shape, which takes half a second. Data and starts are drawn
once, which NumPy does in far less time. Noise of training steps comes from JAX's keys.
"""

import jax
import numpy as np


def stream_of(key: jax.Array) -> np.random.Generator:
    """NumPy's generator, started from a key of JAX.

    Args:
        key: a key; JAX's check for reused keys does not count this as a use.

    Returns:
        The same generator for the same key.
    """
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))
