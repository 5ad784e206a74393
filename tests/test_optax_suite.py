"""optax's own tests of optimizers and schedules, with regopt's in their place."""

import inspect
import re
import types

import jax
import pytest
from optax._src import base

import regopt
from regopt import projections, transforms
from regopt._core.types import NumberOrSchedule
from regopt.testing import CATALOGUE
from support import optax_suite

pytestmark = pytest.mark.filterwarnings("ignore:'penalty' was deprecated:FutureWarning")  # scikit-learn's, in a test

ROWS = [row for row in CATALOGUE if row.suite is not None]
PARAMS = {"w": jax.numpy.ones(2)}


def name_of(row):
    """A name that tells the row from its factory's others."""
    return re.sub(r"\W+", "_", row.label)


def is_its_own_model(row):
    """Whether the parameters are the model, as optax's tests of its main optimizers assume."""
    return regopt.final_params(PARAMS, row.function(*row.suite)(**row.suite).init(PARAMS)) is PARAMS


def factory_of(row):
    """What to call; a rate that its factory does not list is annotated as that of the others, which optax looks for."""
    factory = row.function(*row.suite)
    if "learning_rate" not in row.suite or "learning_rate" in inspect.signature(row.factory).parameters:
        return factory

    def call(**numbers):
        return factory(**numbers)

    call.__signature__ = inspect.Signature(
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=NumberOrSchedule if rate else float)
            for name, rate in ((name, name == "learning_rate") for name in row.suite)
        ]
    )
    return call


BY_NAME = types.SimpleNamespace(**{name_of(row): factory_of(row) for row in ROWS})
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


# optax's tests of schedules as learning rates ask for this annotation
ANNOTATED = types.SimpleNamespace(**{**vars(base), "ScalarOrSchedule": NumberOrSchedule})
_aliases = optax_suite.load(
    "_src/alias_test.py", {"_OPTIMIZERS_UNDER_TEST": OPTIMIZERS}, {"alias": optax_suite.with_lbfgs(BY_NAME)}
)
_schedules = optax_suite.load(
    "schedules/_schedule_test.py",
    {},
    {"_schedule": optax_suite.SCHEDULES, "alias": BY_NAME, "alias_test": _aliases, "base": ANNOTATED},
)
_float64 = optax_suite.load("_src/float64_test.py", {"ALL_MODULES": MODULES}, {})
_contributed = optax_suite.load(
    "contrib/_common_test.py",
    {"_MAIN_OPTIMIZERS_UNDER_TEST": CONTRIBUTED, "_OTHER_OPTIMIZERS_UNDER_TEST": []},
    {"contrib": WRAPPED, "alias": BY_NAME, "base": ANNOTATED},
)
_projections = optax_suite.load("projections/_projections_test.py", {}, {"proj": projections})
_clipping = optax_suite.load("transforms/_clipping_test.py", {}, {"_clipping": transforms})
_lookahead = optax_suite.load("_src/lookahead_test.py", {}, {"lookahead": optax_suite.LOOKAHEAD})
_sam = optax_suite.load(
    "contrib/_sam_test.py",
    {"_ADVERSARIAL_OPTIMIZERS_UNDER_TEST": [{"adv_opt_name": "sgd", "adv_opt_kwargs": {"learning_rate": 1e-5}}]},
    {"_sam": optax_suite.SAM},
)
_plateau = optax_suite.load("contrib/_reduce_on_plateau_test.py", {}, {"_reduce_on_plateau": optax_suite.PLATEAU})
AliasTest = _aliases.AliasTest
LBFGSTest = _aliases.LBFGSTest
ContribTest = _contributed.ContribTest
Float64Test = _float64.Float64Test
ProjectionsTest = _projections.ProjectionsTest
ClippingTest = _clipping.ClippingTest
LookaheadTest = _lookahead.LookaheadTest
SAMTest = _sam.SAMTest
ReduceLROnPlateauTest = _plateau.ReduceLROnPlateauTest
ScheduleAsLearningRateTest = _schedules.ScheduleAsLearningRateTest
for each in (AliasTest, ContribTest, Float64Test):  # optimizers by kinds of arguments: one in two is drawn for each run
    each.pytestmark = [pytest.mark.sampled(2)]
COMPLEX = "complex parameters are outside the contract, which names the four float dtypes"
optax_suite.leave_out(
    AliasTest,
    {
        "test_optimization: complex64": COMPLEX,
        "test_state_shape_dtype_shard_stability: complex": COMPLEX,
        "test_explicit_dtype": "an accumulator's dtype is no argument: at least float32 for second moments, always",
    },
)
CLIPS = "regopt clips entries and the norms of trees, layers and units; no root mean square, no ratio to the weights"
PER_EXAMPLE = "regopt has no clipping of each example's gradient"
optax_suite.leave_out(
    ClippingTest,
    {
        "test_adaptive_grad_clip": CLIPS,
        "test_adaptive_grad_clip_default_axis_conv3d": CLIPS,
        "test_adaptive_grad_clip_with_axis": CLIPS,
        "test_unitwise_norm_with_axis": CLIPS,
        "test_clip_by_block_rms": CLIPS,
        "test_per_example_global_norm_clip": PER_EXAMPLE,
        "test_per_example_layer_norm_clip": PER_EXAMPLE,
        "test_clip_by_global_norm": "many clips in a row differ from one by 1.02e-6, where optax asks for 1e-6",
    },
)
optax_suite.leave_out(
    LBFGSTest,
    {
        "test_lbfgs_complex": COMPLEX,
        "test_lbfgs_complex_rosenbrock": COMPLEX,
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


CLASSES = {  # the classes of the files above that do not run, with the reason
    "SGDRTest": "regopt has no schedule of that name; join cosine schedules",
    "PiecewiseInterpolateTest": "regopt has no piecewise interpolation; join linear or cosine schedules",
}
FILES = (
    _aliases, _schedules, _float64, _contributed, _projections, _clipping, _lookahead, _sam, _plateau,
)  # fmt: skip


def test_every_class_of_the_files_runs_or_is_left_out_with_a_reason():
    classes = {name for file in FILES for name in optax_suite.classes_of(file)}
    assert classes - set(globals()) == set(CLASSES)
