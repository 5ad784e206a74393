"""Numbers, masks and axes by layer that do not fit: refused in one line with the name of the argument and the path."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

from regopt import penalties
from regopt._core.types import BoolTree, Mask, NumberOrSchedule, NumberTree
from regopt._core.units import Axis, UnitAxis
from regopt.testing import CATALOGUE
from support.wrong_kinds import OWN, VALID, parameters_of, strip_none
from test_laws import public_factories

PARAMS = {"layer": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}, "out": {"kernel": jnp.ones((2, 2))}}
GIVEN = {"regularize": {"how": "decoupled", "penalty": penalties.l2(0.1)}}
OF_LISTS = {"lsuv"}  # its mask is that of each layer in a list
BY_LAYER = [(each, 0.5) for each in map(strip_none, (NumberOrSchedule, NumberTree))]
BY_LAYER += [(strip_none(each), True) for each in (Mask, BoolTree)]
BY_LAYER += [(strip_none(each), 0) for each in (Axis, UnitAxis)]


def arguments():
    """Each argument that may be given by layer, with a value for one leaf."""
    for factory in public_factories():
        if factory.__name__ in OF_LISTS:
            continue
        for name, parameter in parameters_of(factory):
            for hint, value in BY_LAYER:
                if strip_none(parameter.annotation) == hint:
                    yield pytest.param(factory, name, value, id=f"{factory.__name__}({name})")
                    break


def use(factory, **given: Any):
    """Make the object and use it on the parameters, an optimizer also for one update."""
    row = next(row for row in CATALOGUE if row.factory is factory)
    usual = {**VALID, **row.usual(), **OWN.get(factory.__name__, {}), "params": PARAMS, "tree": PARAMS}
    required = {
        name: usual[name]
        for name, parameter in parameters_of(factory)
        if parameter.default is inspect.Parameter.empty
        and parameter.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    }
    made = factory(**{**required, **GIVEN.get(factory.__name__, {}), **given})
    if isinstance(made, penalties.Penalty):
        made.value(PARAMS)
    if isinstance(made, optax.GradientTransformation):
        more = {"value_fn": lambda params: optax.tree.sum(jax.tree.map(jnp.sum, params))}
        more["residual_fn"] = lambda params: jnp.stack([more["value_fn"](params)])
        optax.with_extra_args_support(made).update(PARAMS, made.init(PARAMS), PARAMS, **more)


@pytest.mark.parametrize(("factory", "name", "value"), list(arguments()))
@pytest.mark.parametrize("wrong", [{"zz/*": ..., "**": ...}, {"zz": ...}, {"layer": {"zz": ...}, "out": ...}])
def test_what_does_not_fit_is_named(factory, name, value, wrong):
    row = next(row for row in CATALOGUE if row.factory is factory)
    value = row.usual().get(name, value)
    given = jax.tree.map(lambda _: value, wrong, is_leaf=lambda x: x is ...)
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        use(factory, **{name: given})
    assert str(error.value).startswith(f"{name} ")
    assert "zz" in str(error.value)
    assert "pattern" in str(error.value)


def test_there_are_many_such_arguments():
    found = [each.values[:2] for each in arguments()]
    assert len(found) > 60
    for name in ("weight_decay", "learning_rate", "strength", "mask", "radius", "max_norm", "unit_axis"):
        assert any(argument == name for _, argument in found), name
