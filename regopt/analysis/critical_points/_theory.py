"""Critical points that can be counted: random matrices, and a sum of double wells."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_number, check_whole, safe_sqrt, widen
from regopt._core.types import Number


class WellCounts(NamedTuple):
    """The critical points of ``wells`` by kind."""

    minima: int
    saddles: int
    maxima: int


def semicircle_negative_share(shift: Number, radius: Number = 2.0**0.5) -> jax.Array:
    """The share of negative eigenvalues of ``A + shift I`` for a large random symmetric matrix A.

    The eigenvalues of A fill a semicircle of this radius, so with s = shift / radius in [-1, 1] the share is
    ``1/2 - (s sqrt(1 - s**2) + arcsin(s)) / pi``. The default radius is that of ``(B + B') / (2 sqrt(n))`` with
    standard normal entries of B. In this picture of a network the shift grows as the loss of the critical points falls.

    Args:
        shift: any number or array; may be traced.
        radius: > 0; may be traced.

    Returns:
        The share in [0, 1], in the shape of the shift.

    Raises:
        ValueError: a concrete radius lies outside (0, inf).

    Example:
        >>> from regopt.analysis.critical_points import semicircle_negative_share
        >>> [round(float(semicircle_negative_share(shift)), 4) for shift in (0.0, 0.3, 0.7, 1.2)]
        [0.5, 0.366, 0.1983, 0.0346]

    References:
        Wigner, E. P. (1958). On the distribution of the roots of certain symmetric matrices. Annals of Mathematics,
        67(2), 325-327.

        Dauphin, Y. N., Pascanu, R., Gulcehre, C., Cho, K., Ganguli, S., & Bengio, Y. (2014). Identifying and attacking
        the saddle point problem in high-dimensional non-convex optimization. NeurIPS. Section 2.
    """
    check_number("radius", radius, "(0, inf)")
    shift, wide_radius = widen(shift, radius)
    s = jnp.clip(shift / wide_radius, -1, 1)
    return 0.5 - (s * safe_sqrt(1 - jnp.square(s)) + jnp.arcsin(s)) / jnp.pi


def wells(w: jax.Array) -> jax.Array:
    """``sum_i (w_i**4 / 4 - w_i**2 / 2)``: critical where each w_i is -1, 0 or 1; the index counts the zeros.

    Args:
        w: the parameters, ``[n]``.

    Returns:
        The value, shape ().

    Raises:
        TypeError: w is no array.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.critical_points import wells
        >>> jax.grad(wells)(jnp.array([-1.0, 0.0, 1.0]))
        Array([0., 0., 0.], dtype=float32)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 8.2.3 (the ratio of
        saddles to minima grows exponentially).
    """
    return jnp.sum(w**4 / 4 - w**2 / 2)


def well_counts(parameters: int) -> WellCounts:
    """``2**n`` minima, ``3**n - 2**n - 1`` saddles and one maximum: the critical points of ``wells``.

    Args:
        parameters: n >= 1; static.

    Returns:
        The counts, as Python integers of any size.

    Raises:
        ValueError: ``parameters`` is no whole number >= 1.

    Example:
        >>> from regopt.analysis.critical_points import well_counts
        >>> counts = well_counts(10)
        >>> counts, round(counts.saddles / counts.minima, 1)
        (WellCounts(minima=1024, saddles=58024, maxima=1), 56.7)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Section 8.2.3.
    """
    check_whole("parameters", parameters, "[1, inf)")
    return WellCounts(2**parameters, 3**parameters - 2**parameters - 1, 1)
