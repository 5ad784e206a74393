"""The sorted l1 norm (SLOPE, OSCAR): larger entries are penalised more, and entries of similar size become equal."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from regopt._core.checks import check_function
from regopt._core.nearest import falling
from regopt._core.numerics import check_range, safe_divide
from regopt._core.placing import penalty_on_whole_arrays
from regopt._core.types import Mask, NumberOrSchedule, Penalty
from regopt.penalties._leafwise import leafwise, magnitude
from regopt.penalties._scheduled import takes_schedules


@takes_schedules
def sorted_l1(
    strength: NumberOrSchedule = 1.0,
    l1_ratio: NumberOrSchedule = 0.5,
    *,
    weights: Callable[[int], jax.Array] | None = None,
    mask: Mask = "weights",
) -> Penalty:
    """``strength * sum_k c_k |w|_(k)``, where ``|w|_(1) >= |w|_(2) >= ...`` are the sizes of the entries of a leaf.

    The weights c fall, by default linearly from 1 to ``l1_ratio``, which is OSCAR. The proximal operator subtracts them
    from the sorted sizes, pools what is out of order, and keeps what is positive.

    Args:
        strength: factor of the penalty, >= 0, in loss units per parameter unit; a number or a prefix tree of numbers;
            may be traced or scheduled.
        l1_ratio: the last weight divided by the first one, in [0, 1], dimensionless; 1 is ``l1`` and 0 weights the
            smallest entry by 0; a number or a prefix tree of numbers; may be traced or scheduled.
        weights: a function from the size of a leaf to its weights, ``[size]``, falling and >= 0, instead of those of
            OSCAR; static.
        mask: which leaves are penalised; by default neither biases nor normalisation scales.

    Returns:
        The penalty, with a prox.

    Raises:
        ValueError: a concrete number lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import sorted_l1
        >>> sorted_l1(1.0, 0.5).prox(jnp.array([3.0, -2.75, 0.5]), 1.0)
        Array([ 2., -2.,  0.], dtype=float32)

    References:
        Bogdan, M., van den Berg, E., Sabatti, C., Su, W., & Candes, E. J. (2015). SLOPE: adaptive variable selection
        via convex optimization. Annals of Applied Statistics, 9(3), 1103-1140. Algorithm 4.

        Bondell, H. D., & Reich, B. J. (2008). Simultaneous regression shrinkage, variable selection, and supervised
        clustering of predictors with OSCAR. Biometrics, 64(1), 115-123.
    """
    check_range("strength", strength, "[0, inf)")
    check_range("l1_ratio", l1_ratio, "[0, 1]")
    if weights is not None:
        check_function("weights", weights)

    def weights_of(w, l1_ratio):
        if weights is not None:
            return jnp.asarray(weights(w.size)).astype(w.dtype)
        return 1 - (1 - l1_ratio) * jnp.linspace(0, 1, w.size, dtype=w.dtype)

    def value_at(w, strength, l1_ratio):
        return strength * (weights_of(w, l1_ratio) * jnp.sort(magnitude(w).ravel())[::-1])

    def prox_at(w, step, strength, l1_ratio):
        if step.ndim:
            raise ValueError(
                "the sorted l1 norm has no proximal operator with a step for each entry: give one step for each layer"
            )
        sizes = magnitude(w).ravel()
        order = jnp.argsort(-jax.lax.stop_gradient(sizes))
        kept = jnp.maximum(falling(sizes[order] - step * strength * weights_of(w, l1_ratio)), 0)
        return jnp.sign(w) * jnp.zeros_like(kept).at[order].set(kept, unique_indices=True).reshape(w.shape)

    def strength_max_at(g, l1_ratio):
        sums, limits = jnp.cumsum(jnp.sort(jnp.abs(g).ravel())[::-1]), jnp.cumsum(weights_of(g, l1_ratio))
        return jnp.max(safe_divide(sums, limits), initial=0)

    penalty = leafwise(
        (strength, l1_ratio),
        mask,
        value_at,
        prox_at,
        strength_max_at=strength_max_at,
        norm=True,
        by_entry=(False, False),
    )
    return penalty_on_whole_arrays(penalty)
