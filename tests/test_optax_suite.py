"""optax's own tests of optimizers and schedules, with regopt's in their place."""

import types

import jax
import pytest

import regopt
from regopt import optimizers
from support import optax_suite

OPTIMIZERS = (
    {"opt_name": "sgd", "opt_kwargs": {"learning_rate": 1e-3}},
    {"opt_name": "heavy_ball", "opt_kwargs": {"learning_rate": 1e-3, "momentum": 0.9}},
    {"opt_name": "ema_momentum", "opt_kwargs": {"learning_rate": 1e-3, "decay": 0.9}},
    {"opt_name": "nesterov", "opt_kwargs": {"learning_rate": 1e-3, "momentum": 0.9}},
    {"opt_name": "adagrad", "opt_kwargs": {"learning_rate": 1.0}},
    {"opt_name": "rmsprop", "opt_kwargs": {"learning_rate": 5e-3}},
    {"opt_name": "rmsprop", "opt_kwargs": {"learning_rate": 5e-3, "centered": True}},
    {"opt_name": "rmsprop_nesterov", "opt_kwargs": {"learning_rate": 5e-3, "momentum": 0.5}},
    {"opt_name": "adadelta", "opt_kwargs": {"learning_rate": 0.1, "decay": 0.9}},
    {"opt_name": "adam", "opt_kwargs": {"learning_rate": 1e-1}},
    {"opt_name": "adamw", "opt_kwargs": {"learning_rate": 1e-1}},
    {"opt_name": "adamax", "opt_kwargs": {"learning_rate": 1e-1}},
    {"opt_name": "nadam", "opt_kwargs": {"learning_rate": 1e-2}},
    {"opt_name": "amsgrad", "opt_kwargs": {"learning_rate": 1e-1}},
    {"opt_name": "lion", "opt_kwargs": {"learning_rate": 1e-2, "weight_decay": 1e-4}},
)


WRAPPED = types.SimpleNamespace(
    schedule_free_sgd=optimizers.schedule_free_sgd,
    schedule_free_adamw=optimizers.schedule_free_adamw,
    averaged_adam=lambda learning_rate, decay: regopt.average_params(regopt.adam(learning_rate), decay),
    guarded_adam=lambda learning_rate, max_norm: regopt.guard(regopt.adam(learning_rate), max_norm),
    lookahead_sgd=lambda learning_rate, sync_period: regopt.lookahead(regopt.sgd(learning_rate), sync_period),
    sam_sgd=lambda learning_rate, rho: regopt.sam(regopt.sgd(learning_rate), rho),
    accumulated_sgd=lambda learning_rate, every: regopt.accumulate(regopt.sgd(learning_rate), every),
    schedule_free_eval_params=lambda state, params: regopt.final_params(params, state),
)
WRAPPERS = [
    {"opt_name": "schedule_free_sgd", "opt_kwargs": {"learning_rate": 3e-3}},
    {"opt_name": "schedule_free_adamw", "opt_kwargs": {"learning_rate": 1e-2, "weight_decay": 0.0}},
    {"opt_name": "averaged_adam", "opt_kwargs": {"learning_rate": 1e-1, "decay": 0.9}},
    {"opt_name": "guarded_adam", "opt_kwargs": {"learning_rate": 1e-1, "max_norm": 10.0}},
    {"opt_name": "lookahead_sgd", "opt_kwargs": {"learning_rate": 1e-3, "sync_period": 5}},
    {"opt_name": "sam_sgd", "opt_kwargs": {"learning_rate": 1e-3, "rho": 1e-3}},
    {"opt_name": "accumulated_sgd", "opt_kwargs": {"learning_rate": 1e-3, "every": 2}},
]
MODULES = [
    (each["opt_name"] + str(number), getattr(optimizers, each["opt_name"]), each["opt_kwargs"])
    for number, each in enumerate(OPTIMIZERS)
]


@pytest.fixture(autouse=True)
def as_optax_tests():
    """optax's tests rely on JAX's own promotion of dtypes and ranks, and some leave the precision changed."""
    x64 = jax.config.read("jax_enable_x64")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"), jax.debug_key_reuse(False):
        yield
    jax.config.update("jax_enable_x64", x64)


_aliases = optax_suite.load("_src/alias_test.py", {"_OPTIMIZERS_UNDER_TEST": OPTIMIZERS}, {"alias": optimizers})
_schedules = optax_suite.load("schedules/_schedule_test.py", {}, {"_schedule": optax_suite.SCHEDULES})
_float64 = optax_suite.load("_src/float64_test.py", {"ALL_MODULES": MODULES}, {})
_contributed = optax_suite.load(
    "contrib/_common_test.py",
    {"_MAIN_OPTIMIZERS_UNDER_TEST": WRAPPERS, "_OTHER_OPTIMIZERS_UNDER_TEST": []},
    {"contrib": WRAPPED, "alias": optimizers},
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
