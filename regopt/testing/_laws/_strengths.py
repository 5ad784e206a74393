"""Laws of numbers by layer and by entry: each penalty takes them in every form, or refuses a form in one line."""

from collections.abc import Callable
from functools import partial
from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.types import Penalty, Tree
from regopt.testing._compare import floats, require
from regopt.testing._laws._law import Cell, Law
from regopt.testing._laws._prox import SHAPE, check_prox_at, draws
from regopt.testing._points import parameters
from regopt.testing._row import Row

FORMS: dict[str, Callable[[float, float], Tree]] = {
    "tree": lambda kernel, bias: {"layer": {"kernel": kernel, "bias": bias}},
    "patterns": lambda kernel, bias: {"**/ker*": kernel, "**": bias},
    "prefix": lambda kernel, _: {"layer": kernel},
    "arrays": lambda kernel, bias: {"layer": {"kernel": np.full((2, 3), kernel), "bias": np.full(3, bias)}},
}


def numbers_by_layer_are_right_or_refused(row: Row, number: str, form: str) -> None:
    """A number for each layer gives each layer what the number gives alone; a tree of equal numbers is that number."""
    first, second = row.numbers[number][:2]
    with jax.enable_x64(True):
        params = parameters(jnp.float64)
        if row.prox is not None and not row.prox.finite:
            params = jax.tree.map(lambda w: w * 0.01, params)  # values inside of the set
        try:
            equal = _facts(row.make(**{number: FORMS[form](first, first)}), params)
            by_layer = _facts(row.make(**{number: FORMS[form](first, second)}), params)
        except (TypeError, ValueError) as error:
            _check_refusal(error)
            return
        alone, other = (_facts(row.make(**{number: value}), params) for value in (first, second))
        _check_equal(equal, alone, f"equal numbers as {form} are not the number")
        for key in [k for k in alone if k.startswith("prox")]:
            expected = {"layer": {"kernel": alone[key]["layer"]["kernel"], "bias": other[key]["layer"]["bias"]}}
            if form == "prefix":
                expected = alone[key]
            _check_equal(by_layer[key], expected, f"the {key} of another number for the bias, as {form}")


def numbers_by_entry_are_right_or_refused(row: Row, number: str, shape: tuple[int, ...]) -> None:
    """An array of equal numbers is that number; with other entries the prox is the minimum of its own definition."""
    assert row.prox is not None
    value = row.numbers[number][0]
    varied = value * np.linspace(0.6, 1.0, int(np.prod(shape))).reshape(shape)
    make = row.build or row.factory
    with jax.enable_x64(True):
        w = jnp.asarray(next(draws(row)).a, jnp.float64)
        try:
            equal = _facts(row.make(**{number: np.full(shape, value)}), w)
            _facts(row.make(**{number: varied}), w)
        except (TypeError, ValueError) as error:
            _check_refusal(error)
            return
        _check_equal(
            equal, _facts(row.make(**{number: value}), w), f"equal numbers of shape {shape} are not the number"
        )
    traits = row.prox._replace(permute=None, scaled=None, odd=False)  # odd to rounding: vectors have a remainder
    if not row.make().has_prox:
        return
    for point in islice(draws(row), 5):
        check_prox_at(make, traits, jnp.float64, point._replace(numbers={**row.usual(), number: varied}))


def _facts(penalty: Penalty, params: Tree) -> dict[str, Tree]:
    return jax.jit(partial(_everything, penalty))(params)


def _everything(penalty: Penalty, params: Tree) -> dict[str, Tree]:
    value = penalty.value(params)
    require(jnp.shape(value) == (), f"the value is no scalar but of shape {jnp.shape(value)}")
    facts = {"value": value, "slope": jax.grad(penalty.value)(params)}
    if penalty.has_prox:
        facts["prox"] = penalty.prox(params, 0.5)
        steps = jax.tree.map(lambda w: jnp.full_like(w, 0.5), params)
        try:
            facts["prox by coordinate"] = penalty.prox(params, steps)
        except ValueError as error:
            _check_refusal(error)
    if penalty.has_projection:
        facts["projection"] = penalty.project(params, 0.7)
    if penalty.has_strength_max:
        largest = penalty.strength_max(params)
        require(jnp.shape(largest) == (), f"the largest strength is no scalar but of shape {jnp.shape(largest)}")
        facts["strength_max"] = largest
    return facts


def _check_equal(found: Tree, expected: Tree, what: str) -> None:
    np.testing.assert_allclose(floats(found), floats(expected), rtol=1e-12, atol=1e-12, err_msg=what)


def _check_refusal(error: Exception) -> None:
    require("\n" not in str(error), f"the refusal is not one line: {str(error)[:200]}")
    jax_words = ("broadcast", "incompatible shapes", "pytree", "concatenate")
    require(not any(word in str(error) for word in jax_words), f"the refusal is JAX's own: {str(error)[:200]}")


def _by_layer(row: Row) -> list[Cell]:
    return [{"number": number, "form": form} for number in row.numbers for form in FORMS]


def _by_entry(row: Row) -> list[Cell]:
    shapes = (SHAPE, SHAPE[1:], (1, SHAPE[1]))
    return [{"number": number, "shape": shape} for number in row.numbers for shape in shapes if row.prox is not None]


LAWS = (
    Law(numbers_by_layer_are_right_or_refused, ("penalty",), _by_layer),
    Law(numbers_by_entry_are_right_or_refused, ("penalty",), _by_entry),
)
