"""optax's own tests of optimizers and schedules, with regopt's in their place."""

import re
import types

import jax
import pytest

import regopt
from regopt.testing import CATALOGUE
from support import optax_suite

ROWS = [row for row in CATALOGUE if row.suite is not None]
PARAMS = {"w": jax.numpy.ones(2)}


def name_of(row):
    """A name that tells the row from its factory's others."""
    return re.sub(r"\W+", "_", row.label)


def is_its_own_model(row):
    """Whether the parameters are the model, as optax's tests of its main optimizers assume."""
    return regopt.final_params(PARAMS, row.function(*row.suite)(**row.suite).init(PARAMS)) is PARAMS


BY_NAME = types.SimpleNamespace(**{name_of(row): row.function(*row.suite) for row in ROWS})
WRAPPED = types.SimpleNamespace(
    **vars(BY_NAME), schedule_free_eval_params=lambda state, params: regopt.final_params(params, state)
)
UNDER_TEST = [{"opt_name": name_of(row), "opt_kwargs": dict(row.suite)} for row in ROWS]
OPTIMIZERS = tuple(
    entry for entry, row in zip(UNDER_TEST, ROWS, strict=True) if row.group == "first order" and is_its_own_model(row)
)
CONTRIBUTED = [entry for entry in UNDER_TEST if entry not in OPTIMIZERS]  # wrappers, and those with an average
MODULES = [
    (each["opt_name"] + str(number), getattr(BY_NAME, each["opt_name"]), each["opt_kwargs"])
    for number, each in enumerate(OPTIMIZERS)
]


@pytest.fixture(autouse=True)
def as_optax_tests():
    """optax's tests rely on JAX's own promotion of dtypes and ranks, and some leave the precision changed."""
    x64 = jax.config.read("jax_enable_x64")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"), jax.debug_key_reuse(False):
        yield
    jax.config.update("jax_enable_x64", x64)


_aliases = optax_suite.load("_src/alias_test.py", {"_OPTIMIZERS_UNDER_TEST": OPTIMIZERS}, {"alias": BY_NAME})
_schedules = optax_suite.load("schedules/_schedule_test.py", {}, {"_schedule": optax_suite.SCHEDULES})
_float64 = optax_suite.load("_src/float64_test.py", {"ALL_MODULES": MODULES}, {})
_contributed = optax_suite.load(
    "contrib/_common_test.py",
    {"_MAIN_OPTIMIZERS_UNDER_TEST": CONTRIBUTED, "_OTHER_OPTIMIZERS_UNDER_TEST": []},
    {"contrib": WRAPPED, "alias": BY_NAME},
)
AliasTest = _aliases.AliasTest
ContribTest = _contributed.ContribTest
Float64Test = _float64.Float64Test
COMPLEX = "complex parameters are outside the contract, which names the four float dtypes"
optax_suite.leave_out(
    AliasTest,
    {
        "test_optimization: complex64": COMPLEX,
        "test_state_shape_dtype_shard_stability: complex": COMPLEX,
        "test_explicit_dtype": "an accumulator's dtype is no argument: at least float32 for second moments, always",
    },
)
ConstantTest = _schedules.ConstantTest
PolynomialTest = _schedules.PolynomialTest
PiecewiseConstantTest = _schedules.PiecewiseConstantTest
ExponentialTest = _schedules.ExponentialTest
CosineDecayTest = _schedules.CosineDecayTest
WarmupCosineDecayTest = _schedules.WarmupCosineDecayTest
OneCycleTest = _schedules.OneCycleTest

REFUSED = "a wrong number is refused at construction, where optax logs and returns a constant"
NO_STEPS = "no steps are allowed, as their number may be traced: the schedule is then at its end at once"
optax_suite.leave_out(
    ExponentialTest,
    {
        "test_end_value_with_staircase: 1.0, 0.1": "a rate of 1 stays at the first value; optax jumps to the last",
        "test_nonvalid_decay_rate": REFUSED,
        "test_nonvalid_transition_steps": REFUSED,
    },
)
optax_suite.leave_out(PolynomialTest, {"test_zero_steps_schedule": REFUSED})
optax_suite.leave_out(
    WarmupCosineDecayTest,
    {
        "test_raises_when_decay_equals_warmup": NO_STEPS,
        "test_zero_peak_value": "the end value is reached from a peak of zero too, where optax stays at zero",
    },
)
optax_suite.leave_out(OneCycleTest, {"test_nonpositive_transition_steps": NO_STEPS})
