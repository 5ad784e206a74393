"""The linear autoencoder, whose critical points are known: one for each choice of eigenvectors of the covariance."""

from itertools import combinations
from typing import TypeAlias

import jax
import jax.numpy as jnp

from regopt._core.numerics import widen

Params: TypeAlias = dict[str, jax.Array]


def autoencoder_loss(params: Params, covariance: jax.Array) -> jax.Array:
    """``trace((I - A B) S (I - A B)')``: the mean squared error of ``x -> A B x`` for centred inputs with covariance S.

    Args:
        params: ``"decoder"`` A ``[n, units]`` and ``"encoder"`` B ``[units, n]``.
        covariance: S, ``[n, n]``, symmetric and positive definite.

    Returns:
        The loss, shape ().

    Raises:
        TypeError: the shapes do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.critical_points import autoencoder_loss
        >>> params = {"decoder": jnp.array([[1.0], [0.0]]), "encoder": jnp.array([[1.0, 0.0]])}
        >>> autoencoder_loss(params, jnp.diag(jnp.array([3.0, 2.0])))  # the second direction is lost
        Array(2., dtype=float32)

    References:
        Baldi, P., & Hornik, K. (1989). Neural networks and principal component analysis: Learning from examples without
        local minima. Neural Networks, 2(1), 53-58. Equation (2), with the targets equal to the inputs.
    """
    product = params["decoder"] @ params["encoder"]
    rest = jnp.eye(len(product), dtype=product.dtype) - product
    return jnp.sum((rest @ covariance) * rest)


def autoencoder_points(covariance: jax.Array, units: int) -> tuple[list[tuple[int, ...]], Params]:
    """The critical points of full rank, up to an invertible change of the hidden units: ``A = U_I``, ``B = U_I'``.

    I is any choice of ``units`` eigenvectors, in order of falling eigenvalues. Only the first choice is a minimum, and
    all others are saddles; there is no other minimum.

    Args:
        covariance: S, ``[n, n]``, with different positive eigenvalues.
        units: number of hidden units, in [1, n]; static.

    Returns:
        The choices, each a tuple of places, and their parameters with a leading axis of ``comb(n, units)`` points.

    Raises:
        ValueError: ``units`` lies outside [1, n].

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.critical_points import autoencoder_points
        >>> choices, params = autoencoder_points(jnp.diag(jnp.array([3.0, 2.0, 1.0])), units=2)
        >>> choices, params["decoder"].shape
        ([(0, 1), (0, 2), (1, 2)], (3, 3, 2))

    References:
        Baldi, P., & Hornik, K. (1989). Neural networks and principal component analysis: Learning from examples without
        local minima. Neural Networks, 2(1), 53-58. Fact 4.
    """
    if not 1 <= units <= len(covariance):
        raise ValueError(f"units must lie in [1, {len(covariance)}], got {units}")
    vectors = jnp.linalg.eigh(widen(covariance)[0])[1][:, ::-1]
    choices = list(combinations(range(len(covariance)), units))
    decoders = jnp.stack([vectors[:, jnp.array(choice)] for choice in choices])
    return choices, {"decoder": decoders, "encoder": jnp.swapaxes(decoders, 1, 2)}


def autoencoder_values(covariance: jax.Array, units: int) -> jax.Array:
    """The losses at ``autoencoder_points``: the sum of the eigenvalues that a choice leaves out.

    Args:
        covariance: S, ``[n, n]``.
        units: number of hidden units, in [1, n]; static.

    Returns:
        The losses, ``[comb(n, units)]``.

    Raises:
        ValueError: ``units`` lies outside [1, n].

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.critical_points import autoencoder_values
        >>> autoencoder_values(jnp.diag(jnp.array([3.0, 2.0, 1.0])), units=2)
        Array([1., 2., 3.], dtype=float32)

    References:
        Baldi, P., & Hornik, K. (1989). Neural networks and principal component analysis: Learning from examples without
        local minima. Neural Networks, 2(1), 53-58. Fact 4.
    """
    if not 1 <= units <= len(covariance):
        raise ValueError(f"units must lie in [1, {len(covariance)}], got {units}")
    values = jnp.linalg.eigvalsh(widen(covariance)[0])[::-1]
    every = set(range(len(covariance)))
    left = [jnp.array(sorted(every - set(choice)), int) for choice in combinations(sorted(every), units)]
    return jnp.stack([jnp.sum(values[places]) for places in left])
