"""What training is given, checked before anything is traced: one clear line names what is wrong."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def check_data(data: Any) -> None:
    """There is a part to train on and one to evaluate on, each of arrays of one length."""
    for part in ("train", "validation"):
        arrays = jax.tree.leaves(getattr(data, part, None))
        if not arrays:
            raise ValueError(f"data must have a {part} part, as regopt.data.Splits(train, validation) has")
        lengths = {len(array) for array in arrays}
        if len(lengths) != 1:
            raise ValueError(f"the arrays of data.{part} must have one length, got {sorted(lengths)}")


def check_key(key: Any) -> None:
    """It is one of JAX's typed keys, or None."""
    if key is not None and not (isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise ValueError(f"key must be a typed key, as jax.random.key(0) is, got {key!r}")


def check_steps(steps: int, eval_every: int, **others: int | None) -> None:
    """They are whole numbers, where given, and the steps are whole segments."""
    for name, value in {"steps": steps, "eval_every": eval_every, **others}.items():
        if value is not None and (not isinstance(value, int | np.integer) or value < 1):
            raise ValueError(f"{name} must be a whole number in [1, inf), got {value!r}")
    if steps % eval_every:
        would_do = steps - steps % eval_every + eval_every
        raise ValueError(f"steps must be a multiple of eval_every = {eval_every}, got {steps}; {would_do} would do")
