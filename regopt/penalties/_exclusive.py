"""The exclusive lasso, which keeps a few entries of each group."""

from functools import partial

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_range, safe_divide
from regopt._core.placing import penalty_on_whole_arrays
from regopt._core.types import Mask, NumberOrSchedule, Penalty
from regopt._core.units import Axis, UnitAxis, check_axis, check_unit_axis, group_axes
from regopt.penalties._leafwise import leafwise, magnitude, soft_threshold
from regopt.penalties._norms import rows
from regopt.penalties._scheduled import takes_schedules


@takes_schedules
def exclusive_lasso(
    strength: NumberOrSchedule = 1.0, *, axis: Axis = "incoming", unit_axis: UnitAxis = None, mask: Mask = "weights"
) -> Penalty:
    """``strength / 2 * sum_g |w_g|_1**2``: the entries of a group compete, and a few of each group survive.

    With groups of one entry it is ``l2``. Its prox is ``sign(w) max(|w| - step tau, 0)`` with
    ``tau = max_k strength S_k / (1 + k step strength)``, where S_k sums the k largest sizes of the group.

    Args:
        strength: >= 0, in loss units per squared parameter unit; a number or a prefix tree; may be traced or scheduled.
        axis: the axes of a leaf that run within a group, as for ``group_lasso``; static.
        unit_axis: the axis of the units, as for ``group_lasso``; static.
        mask: which leaves are penalised; by default neither biases nor normalisation scales.

    Returns:
        The penalty, with a prox.

    Raises:
        ValueError: a concrete strength is negative or NaN, or a penalised leaf lacks the axis when the penalty is used.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import exclusive_lasso
        >>> exclusive_lasso(0.5, axis=None).prox(jnp.array([3.0, -1.0, 0.5]), 2.0)
        Array([1.5, 0. , 0. ], dtype=float32)

    References:
        Zhou, Y., Jin, R., & Hoi, S. C. H. (2010). Exclusive lasso for multi-task feature selection. AISTATS.

        Kowalski, M. (2009). Sparse regression using mixed norms. Applied and Computational Harmonic Analysis, 27(3),
        303-324. For the proximal operators of mixed norms.
    """
    check_range("strength", strength, "[0, inf)")
    check_unit_axis(unit_axis)
    check_axis(axis, unit_axis)
    axes_of = partial(group_axes, axis=axis, unit_axis=unit_axis)

    def value_at(w, strength, *, axes):
        return strength / 2 * jnp.square(jnp.sum(magnitude(w), axis=axes))

    def prox_at(w, step, strength, *, axes):
        step = jnp.broadcast_to(step, w.shape)
        sizes, steps = rows(magnitude(w), axes), rows(step, axes)
        last = jnp.where(steps > 0, safe_divide(sizes, steps), jnp.inf)  # the tau that removes an entry
        order = jnp.argsort(-jax.lax.stop_gradient(last), axis=-1)
        sizes, steps = (jnp.cumsum(jnp.take_along_axis(x, order, -1), axis=-1) for x in (sizes, steps))
        tau = jnp.max(strength * sizes / (1 + strength * steps), axis=-1, initial=0)
        return soft_threshold(w, step * jnp.expand_dims(tau, axes))

    return penalty_on_whole_arrays(
        leafwise((strength,), mask, value_at, prox_at, axes_of=axes_of, by_entry=(False,)), "prox"
    )
