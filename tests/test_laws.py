"""Every law over the whole catalogue of this package's factories, a test for each law, row and cell."""

import inspect

import pytest

from regopt import (
    augment,
    initializers,
    layers,
    noise,
    optimizers,
    penalties,
    projections,
    regularization,
    schedules,
    transforms,
)
from regopt.testing import CATALOGUE, LAWS, cells
from regopt.training import _early_stopping as stopping
from support import sampling

# public names that are no factories with numbers: functions of values
NO_FACTORY = {"evaluation_params", "final_params", "robbins_monro", "share", "steps_from_epochs", "weights_only"}
NO_FACTORY |= {"CONVENTIONS", "Library", "explain", "metric_of"}
NO_FACTORY |= {"decay_strength", "elastic_net_numbers", "l1_strength", "l2_number", "l2_strength", "prune", "Transform"}
# their sets are not convex, not of this shape, or not nearest in the Euclidean norm; they have tests of their own
NO_FACTORY |= {"kl_projection_birkhoff", "kl_projection_transport", "projection_birkhoff", "projection_sparse_simplex"}
PACKAGES = [optimizers, transforms, regularization, penalties, projections, schedules, noise, augment, initializers]
PACKAGES += [layers, stopping]
SAMPLED = {  # one in so many cells is drawn for each run, by the seed that it prints; the rest is long
    "the_carry_stays_closed_with_traced_numbers": 20,
    "a_traced_number_gives_what_the_python_number_gives": 20,
    "vmap_over_a_number_is_the_loop": 30,
    "the_slope_in_every_number_is_finite": 40,
    "a_number_changes_the_result": 20,
    "jit_is_eager": 30,
    "a_second_value_needs_no_second_compile": 4,
    "a_poisoned_lane_changes_no_bit_of_the_others": 20,
    "a_scan_over_lanes_is_the_loop_and_a_nan_stays_in_its_lane": 5,
    "the_prox_is_the_minimum_and_keeps_its_promises": 12,
    "numbers_by_layer_are_right_or_refused": 20,
    "numbers_by_entry_are_right_or_refused": 20,
    "a_projection_has_finite_slopes_at_zero_and_on_the_border": 4,
}


def case(law, row, cell):
    """The parameters of one test."""
    words = [f"{name} {getattr(value, '__name__', value)}" for name, value in cell.items()]
    share = SAMPLED.get(law.holds.__name__)
    marks = [pytest.mark.sampled(share)] if share else []
    return pytest.param(law, row, cell, id=", ".join([law.name, row.name, *words]), marks=marks)


@pytest.mark.parametrize(
    ("law", "row", "cell"), [case(law, row, cell) for row in CATALOGUE for law, cell in cells(row)]
)
def test_the_law_holds(law, row, cell):
    law.check(row, **cell)


def test_every_law_applies_to_a_row_and_the_sampled_ones_exist():
    used = {law.name for row in CATALOGUE for law, _ in cells(row)}
    assert used == {law.name for law in LAWS}
    assert set(SAMPLED) <= {law.holds.__name__ for law in LAWS}


def test_the_sample_is_another_one_for_each_seed_and_reaches_every_cell():
    cells = [f"cell {number}" for number in range(1000)]
    samples = [{cell for cell in cells if sampling.drawn(cell, 14, str(seed))} for seed in range(150)]
    assert all(40 < len(sample) < 110 for sample in samples)  # 71 expected, five standard deviations
    assert len(samples[0] & samples[1]) < 20
    assert set.union(*samples) == set(cells)


def test_every_row_has_a_name_of_its_own():
    names = [row.name for row in CATALOGUE]
    assert len(set(names)) == len(names)


def is_factory(value):
    """Whether a public value is a function of this package with a result to check."""
    is_state = inspect.isclass(value) and issubclass(value, tuple)
    return callable(value) and not is_state and value.__module__.startswith("regopt.")


def public_factories():
    """Every public callable of the packages that hold factories."""
    for package in PACKAGES:
        names = getattr(package, "__all__", None) or [
            name
            for name, value in vars(package).items()
            if not name.startswith("_") and getattr(value, "__module__", None) == package.__name__
        ]
        for name in names:
            if name not in NO_FACTORY and is_factory(getattr(package, name)):
                yield getattr(package, name)


def test_every_public_factory_is_in_the_catalogue():
    listed = {row.factory for row in CATALOGUE}
    missing = [factory.__name__ for factory in public_factories() if factory not in listed]
    assert not missing, f"add rows to regopt/testing/_catalogue for {missing}"
