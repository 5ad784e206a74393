"""Gaussian noise on the gradient, with a variance that decays."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from regopt._core import trees
from regopt._core.checks import check_key
from regopt._core.numerics import as_float, check_number, like, safe_sqrt, widen
from regopt._core.scheduled import takes_schedules
from regopt._core.transformation import transformation
from regopt._core.types import Key, Number, ScheduledNumber


class AddGradientNoiseState(NamedTuple):
    """State of ``add_gradient_noise``."""

    count: Number  # shape (), int32: updates so far
    key: Key  # shape (), a typed key; it never changes


@takes_schedules()
def add_gradient_noise(
    key: Key, eta: ScheduledNumber, gamma: ScheduledNumber = 0.55
) -> optax.GradientTransformationExtraArgs:
    """``g <- g + n`` with normal entries of n, of mean 0 and variance ``eta / (1 + t)**gamma``, t = 0, 1, ...

    The noise of a step depends only on the key, the step count and the position of the leaf. In a sweep a fixed key
    gives all settings the same noise; ``jax.random.fold_in(key, h["seed"])`` gives each seed its own.

    Args:
        key: a typed key, as ``jax.random.key(0)``; may be traced.
        eta: variance at the first step, >= 0, in squared gradient units; may be traced or scheduled. The paper takes
            .01, .3 or 1.
        gamma: exponent of the decay, >= 0, dimensionless; may be traced or scheduled.

    Returns:
        The transformation; it keeps the dtypes of the gradients.

    Raises:
        ValueError: a concrete argument lies outside its range, or ``key`` is not a typed key.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.transforms import add_gradient_noise
        >>> grads = jnp.zeros(10000)
        >>> transform = add_gradient_noise(jax.random.key(0), eta=0.25)
        >>> noise, state = transform.update(grads, transform.init(grads))
        >>> round(float(jnp.std(noise)), 2)
        0.5

    References:
        Neelakantan, A., Vilnis, L., Le, Q. V., Sutskever, I., Kaiser, L., Kurach, K., & Martens, J. (2015). Adding
        gradient noise improves learning for very deep networks. arXiv:1511.06807. Equation 1.

        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 7.5.
    """
    check_number("eta", eta, "[0, inf)")
    check_number("gamma", gamma, "[0, inf)")
    check_key("key", key)

    def init(params):
        trees.refuse_complex(params)
        return AddGradientNoiseState(jnp.zeros((), jnp.int32), jnp.copy(key))

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        t = as_float(state.count)
        scale = safe_sqrt(as_float(eta)) * (1 + t) ** (-as_float(gamma) / 2)
        leaves, structure = jax.tree.flatten(updates)
        at_step = jax.random.fold_in(state.key, state.count)
        keys = structure.unflatten([jax.random.fold_in(at_step, place) for place in range(len(leaves))])

        def noisy(g, key):
            (wide,) = widen(g)
            return (wide + like(scale, wide) * jax.random.normal(key, wide.shape, wide.dtype)).astype(g.dtype)

        after = AddGradientNoiseState(optax.safe_increment(state.count), state.key)
        return jax.tree.map(noisy, updates, keys), after

    return transformation(init, update, AddGradientNoiseState)
