"""Schedules."""

from math import nan as NAN

from regopt import schedules
from regopt.testing._row import Row

ROWS = [
    Row(schedules.constant, "schedule", {"value": (0.3, 0.02)}, {"value": (0.0,)}),
    Row(
        schedules.linear,
        "schedule",
        {"init_value": (0.5, 0.2), "end_value": (0.1, 0.7), "transition_steps": (10.0, 3.0)},
        {"init_value": (0.0,), "transition_steps": (0.0, 7.0)},
    ),
    Row(
        schedules.exponential,
        "schedule",
        {
            "init_value": (0.5, 0.2),
            "decay_rate": (0.9, 0.5),
            "transition_steps": (2.0, 5.0),
            "end_value": (0.01, 0.1),
        },
        {"decay_rate": (0.0, 1.0), "init_value": (0.0,)},
    ),
    Row(
        schedules.cosine,
        "schedule",
        {"init_value": (0.5, 0.2), "decay_steps": (50.0, 9.0), "alpha": (0.1, 0.3), "exponent": (2.0, 0.5)},
        {"init_value": (0.0,), "decay_steps": (0.0, 7.0), "alpha": (0.0,)},
    ),
    Row(
        schedules.warmup_cosine,
        "schedule",
        {
            "init_value": (0.1, 0.05),
            "peak_value": (0.5, 0.9),
            "warmup_steps": (5.0, 20.0),
            "decay_steps": (60.0, 30.0),
            "end_value": (0.02, 0.2),
            "exponent": (1.5, 0.5),
        },
        {"init_value": (0.0,), "peak_value": (0.0,), "warmup_steps": (0.0, 7.0), "decay_steps": (7.0,)},
    ),
    Row(
        schedules.inverse_time,
        "schedule",
        {"init_value": (0.5, 0.2), "decay_rate": (0.3, 2.0), "transition_steps": (4.0, 10.0)},
        {"init_value": (0.0,), "decay_rate": (0.0,)},
    ),
    Row(
        schedules.power,
        "schedule",
        {"init_value": (0.5, 0.2), "exponent": (0.5, 1.0), "offset": (1.0, 10.0)},
        {"init_value": (0.0,), "exponent": (0.0,)},
    ),
    Row(
        schedules.piecewise_constant,
        "schedule",
        {"first": (0.5, 0.2), "second": (0.1, 0.3), "boundary": (5.0, 50.0)},
        {"boundary": (0.0, 7.0)},
        build=lambda first, second, boundary: schedules.piecewise_constant((first, second, 0.05), (boundary, 80.0)),
    ),
    Row(
        schedules.one_cycle,
        "schedule",
        {
            "transition_steps": (60.0, 30.0),
            "peak_value": (0.5, 0.9),
            "pct_start": (0.3, 0.6),
            "div_factor": (25.0, 5.0),
            "final_div_factor": (100.0, 7.0),
        },
        {"transition_steps": (0.0, 7.0), "pct_start": (0.0, 1.0)},
    ),
    Row(
        schedules.join,
        "schedule",
        {"rate": (0.5, 0.2), "boundary": (5.0, 50.0)},
        {"boundary": (0.0, 7.0)},
        refused={"rate": (NAN,)},
        build=lambda rate, boundary: schedules.join(
            [schedules.constant(0.3), schedules.exponential(rate, 0.9)], [boundary]
        ),
    ),
    Row(
        schedules.warmup,
        "schedule",
        {"rate": (0.5, 0.2), "warmup_steps": (5.0, 20.0), "init_value": (0.1, 0.05)},
        {"warmup_steps": (0.0, 7.0), "init_value": (0.0,)},
        refused={"rate": (NAN,)},
        build=lambda rate, warmup_steps, init_value: schedules.warmup(
            schedules.exponential(rate, 0.9), warmup_steps, init_value
        ),
    ),
]
