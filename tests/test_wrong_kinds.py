"""Every argument of every public factory, given wrong kinds: refused at construction, in one line with its name."""

import warnings

import pytest

from support.wrong_kinds import is_named, wrong_calls
from test_laws import public_factories

CALLS = {factory: list(wrong_calls(factory)) for factory in public_factories()}
# they take no argument, a flax model, or the arguments of the function of JAX that they replace
OTHERS = {"convolution_by_product", "estimate_statistics", "fold_batch_norm", "scale_by_exact_linesearch"}


def test_every_other_factory_is_called():
    assert {factory.__name__ for factory, calls in CALLS.items() if not calls} == OTHERS
    assert sum(map(len, CALLS.values())) > 10_000


@pytest.mark.parametrize("factory", [factory for factory, calls in CALLS.items() if calls], ids=lambda f: f.__name__)
def test_a_wrong_kind_is_refused_in_one_line_that_names_the_argument(factory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, about what it is given
        unclear = {wrong.name: why for wrong in CALLS[factory] if (why := is_named(wrong))}
    assert not unclear
