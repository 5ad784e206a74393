"""Snapshot ensembles: the members are the ends of the cycles of one run whose learning rate restarts."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from regopt._core.checks import check_function
from regopt._core.numerics import as_float, check_number, check_whole
from regopt._core.types import Number, Schedule, Tree


def snapshot_schedule(learning_rate: Number, cycle: int) -> Schedule:
    """``learning_rate / 2 (cos(pi (t mod cycle) / cycle) + 1)``: a cosine that starts again after each cycle.

    Args:
        learning_rate: at the start of a cycle, >= 0, in parameter units per gradient unit; may be traced.
        cycle: number of steps of a cycle, >= 1; static.

    Returns:
        The schedule.

    Raises:
        ValueError: an argument lies outside its range.

    Example:
        >>> from regopt.ensembles import snapshot_schedule
        >>> schedule = snapshot_schedule(0.2, cycle=10)
        >>> [round(float(schedule(count)), 3) for count in (0, 5, 10)]
        [0.2, 0.1, 0.2]

    References:
        Huang, G., Li, Y., Pleiss, G., Liu, Z., Hopcroft, J. E., & Weinberger, K. Q. (2017). Snapshot ensembles: Train
        1, get M for free. ICLR. Equation (2).
    """
    check_number("learning_rate", learning_rate, "[0, inf)")
    check_whole("cycle", cycle, "[1, inf)")

    def schedule(count):
        share = as_float(jnp.asarray(count) % cycle) / cycle
        return as_float(learning_rate) / 2 * (jnp.cos(jnp.pi * share) + 1)

    return schedule


def snapshots(
    step: Callable[[Tree, jax.Array], Tree], state: Tree, *, cycle: int, members: int, first_step: int = 0
) -> Tree:
    """The states at the ends of the cycles of one run, at which a schedule of the same cycle has come to rest.

    Args:
        step: a pure function ``(state, count)`` to the state after a training step; static.
        state: the state before the first step.
        cycle: number of steps of a cycle, >= 1; static.
        members: number of cycles, >= 1; static.
        first_step: the count of the first step; static.

    Returns:
        The states, each leaf with a leading axis ``[members]``.

    Raises:
        ValueError: an argument lies outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.ensembles import snapshots
        >>> snapshots(lambda total, count: total + count, jnp.array(0), cycle=2, members=3)
        Array([ 1,  6, 15], dtype=int32)

    References:
        Huang, G., Li, Y., Pleiss, G., Liu, Z., Hopcroft, J. E., & Weinberger, K. Q. (2017). Snapshot ensembles: Train
        1, get M for free. ICLR. Section 3.
    """
    check_function("step", step)
    check_whole("cycle", cycle, "[1, inf)")
    check_whole("members", members, "[1, inf)")
    check_whole("first_step", first_step, "[0, inf)")
    counts = first_step + jnp.arange(members * cycle, dtype=jnp.int32).reshape(members, cycle)

    def one_cycle(state, counts):
        state, _ = jax.lax.scan(lambda state, count: (step(state, count), None), state, counts)
        return state, state

    return jax.lax.scan(one_cycle, state, counts)[1]
