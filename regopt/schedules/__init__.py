"""Learning-rate schedules ``count -> value`` in which every number, also a horizon, may be traced.

They are optax schedules with the argument names of optax, made for sweeps: one compiled program serves every horizon.
The derivative with respect to every number is finite. At a kink it is a one-sided derivative or the mean of both, and
it is 0 where it would be infinite. A schedule takes the step count, an integer >= 0 or an array of integers, and
returns values of the default float dtype in the shape of the count. For schedules that react to a metric see
``regopt.reduce_on_plateau``.
"""

from regopt.schedules._conditions import RobbinsMonro, robbins_monro
from regopt.schedules._counts import steps_from_epochs
from regopt.schedules._decays import constant, cosine, exponential, inverse_time, linear, power
from regopt.schedules._pieces import join, one_cycle, piecewise_constant, warmup, warmup_cosine

__all__ = [
    "RobbinsMonro",
    "constant",
    "cosine",
    "exponential",
    "inverse_time",
    "join",
    "linear",
    "one_cycle",
    "piecewise_constant",
    "power",
    "robbins_monro",
    "steps_from_epochs",
    "warmup",
    "warmup_cosine",
]
