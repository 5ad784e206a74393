"""Laws of proximal operators: the minimum of its own definition, firmly non-expansive, Moreau's identity, symmetries.

Nothing here knows a formula of a penalty: values come from its own ``value``.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from regopt._core.types import Penalty, Tree
from regopt.testing._compare import all_finite, require
from regopt.testing._laws._law import Cell, Law
from regopt.testing._points import parameters
from regopt.testing._row import ProxTraits, Row

SHAPE = (3, 4)
DRAWS = 20


class ProxPoint(NamedTuple):
    """A point at which a prox is checked."""

    a: np.ndarray  # SHAPE
    b: np.ndarray  # SHAPE, another point
    step: float  # > 0
    numbers: Mapping[str, float]  # of the penalty


@functools.lru_cache(maxsize=64)
def compiled(make: Callable[..., Penalty], traits: ProxTraits, dtype: DTypeLike) -> Callable[..., dict[str, Tree]]:
    """Everything the laws compare, in one program for all numbers; ``dtype`` is part of the cache's key alone."""
    del dtype

    @jax.jit
    def facts(a, b, step, steps, numbers):
        penalty = make(**numbers)
        value, prox = penalty.value, penalty.prox
        at_a, metric = prox(a, step), prox(a, steps)

        def everything(numbers, step, a):
            penalty = make(**numbers)
            moved = jnp.sum(penalty.prox(a, step)) + jnp.sum(penalty.prox(a, steps))
            return moved + (1.0 if traits.finite else 0.0) * penalty.value(at_a)

        found = {
            "a": at_a,
            "b": prox(b, step),
            "minus": prox(-a, step),
            "zero": prox(jnp.zeros_like(a), step),
            "still": prox(a, 0.0),
            "metric": metric,
            "same": prox(a, jnp.full_like(steps, 1) * step),
            "slopes": jax.grad(everything, argnums=(0, 1, 2))(numbers, step, a),
            "slopes at zero": jax.grad(everything, argnums=(0, 1, 2))(numbers, step, jnp.zeros_like(a)),
            "values": jnp.stack(
                [value(x) for x in (at_a, metric, a, b, jnp.zeros_like(a), (a + b) / 2, prox(b, step))]
            ),
        }
        if traits.permute:
            found["permuted"] = prox(traits.permute(a), step)
        if traits.scaled:
            found["scaled"] = make(**traits.scaled(**numbers)).prox(2 * a, step)
        return found

    return facts


def check_prox_at(make: Callable[..., Penalty], traits: ProxTraits, dtype: DTypeLike, point: ProxPoint) -> None:
    """Check the prox of a penalty at one point.

    Args:
        make: numbers -> penalty.
        traits: what is promised.
        dtype: float32 or float64.
        point: points, step and numbers.

    Raises:
        AssertionError: a promise is broken.

    Example:
        >>> import jax.numpy as jnp
        >>> import numpy as np
        >>> from regopt import penalties, testing
        >>> a = np.linspace(-2.0, 2.0, 12, dtype=np.float32).reshape(3, 4)
        >>> point = testing.ProxPoint(a, a[::-1].copy(), 0.5, {"strength": 0.3})
        >>> testing.check_prox_at(penalties.l1, testing.ProxTraits(odd=True, keeps_zeros=True), jnp.float32, point)
    """
    a, b, step, numbers = point
    steps = np.linspace(0.2, 2.1, a.size).reshape(SHAPE) * step if traits.steps_by_entry else step
    with jax.enable_x64(dtype == jnp.float64):
        array = functools.partial(jnp.asarray, dtype=dtype)
        given = {name: array(value) for name, value in numbers.items()}
        facts = compiled(make, traits, dtype)(*map(array, (a, b, step, steps)), given)
        facts = jax.tree.map(lambda x: np.asarray(x, np.float64), facts)
    rounding = 60 * float(jnp.finfo(dtype).eps)  # of sums of a dozen entries of size 4, times steps of 4
    require(all_finite((facts["slopes"], facts["slopes at zero"])), f"a slope of the prox is not finite at {point}")
    require(all_finite((facts["a"], facts["b"], facts["metric"])), f"the prox is not finite at {point}")
    _check_symmetries(facts, a, traits, rounding)
    a, b = a.astype(np.float64), b.astype(np.float64)
    _check_minimum(facts, a, b, step, steps, traits.convex, rounding * 1000 * (1 + step))


def _check_symmetries(facts: Mapping[str, np.ndarray], a: np.ndarray, traits: ProxTraits, rounding: float) -> None:
    def close(found: np.ndarray, expected: np.ndarray, what: str) -> None:
        np.testing.assert_allclose(found, expected, rtol=rounding, atol=4 * rounding, err_msg=what)

    close(facts["same"], facts["a"], "equal steps by entry are not the one step")
    if traits.odd:
        np.testing.assert_array_equal(facts["minus"], -facts["a"], err_msg="prox(-w) is not -prox(w)")
    if traits.keeps_zeros:
        np.testing.assert_array_equal(facts["zero"], 0.0, err_msg="the prox at 0 is not 0")
        require((facts["a"][a == 0] == 0).all(), "an entry that is 0 does not stay 0")
        require((facts["metric"][a == 0] == 0).all(), "an entry that is 0 does not stay 0 with steps by entry")
    if traits.permute:
        with jax.enable_x64(True):
            permuted = np.asarray(traits.permute(jnp.asarray(facts["a"])))
        close(facts["permuted"], permuted, "the prox does not commute with the permutation")
    if traits.scaled:
        close(facts["scaled"], 2 * facts["a"], "prox(2 w) is not 2 prox(w) with the scaled numbers")
    if traits.finite:
        close(facts["still"], a, "the prox with step 0 is not the identity")


def _check_minimum(
    facts: Mapping[str, np.ndarray],
    a: np.ndarray,
    b: np.ndarray,
    step: float,
    steps: np.ndarray | float,
    convex: bool,
    slack: float,
) -> None:
    at_a, metric, *others = facts["values"]
    elsewhere = [a, b, 0 * a, (a + b) / 2, facts["b"]]

    def objective(u: np.ndarray, value: float, steps: np.ndarray | float) -> float:
        return float(np.sum((u - a) ** 2 / (2 * steps)) + value)

    for at, value_at, length in ((facts["a"], at_a, step), (facts["metric"], metric, steps)):
        for u, value in zip(elsewhere, others, strict=True):
            better = objective(at, value_at, length) - objective(u, value, length)
            require(better <= slack / step, f"the prox is not optimal: another point is better by {better:.3g}")
        for u, value in zip(elsewhere, others, strict=True):
            if convex:  # (w - u) / step is a subgradient at u: Moreau's identity with the conjugate written out
                gap = value - value_at - np.sum((a - at) / length * (u - at))
                require(
                    gap >= -slack / step, f"Moreau's identity: (w - prox(w)) / step is no subgradient, by {-gap:.3g}"
                )
    if convex:
        moved = facts["a"] - facts["b"]
        excess = np.sum(moved * moved) - np.sum(moved * (a - b))
        require(excess <= slack, f"the prox is not firmly non-expansive, by {excess:.3g}")


def draws(row: Row) -> Iterator[ProxPoint]:
    """Points with zeros, equal entries and sizes of several orders; numbers of the row, ends of ranges too."""
    rng = np.random.default_rng(0)
    special = np.array([0.0, 0.5, -0.5, 1.0, 1e-3])
    for _ in range(DRAWS):
        a, b = (
            np.where(rng.random(SHAPE) < 0.3, rng.choice(special, SHAPE), rng.uniform(-4, 4, SHAPE)).astype(np.float32)
            for _ in range(2)
        )
        numbers: dict[str, float] = {}
        for name, values in row.numbers.items():
            numbers[name] = float(rng.choice([*values, *row.ends.get(name, ())]))
        yield ProxPoint(a, b, float(np.float32(rng.uniform(0.0625, 4.0))), numbers)


def the_prox_is_the_minimum_and_keeps_its_promises(row: Row, dtype: DTypeLike) -> None:
    """The prox is checked at twenty drawn points."""
    assert row.prox is not None
    for point in draws(row):
        check_prox_at(row.build or row.factory, row.prox, dtype, point)


def a_tree_of_steps_is_taken(row: Row) -> None:
    """A proximal step gives one step for each leaf; where these are equal the result is that of one step."""
    penalty, params = row.make(), parameters(jnp.float32)
    one = penalty.prox(params, 0.3)
    try:
        found = penalty.prox(params, jax.tree.map(lambda _: jnp.float32(0.3), params))
    except (TypeError, ValueError) as error:
        fix = "jax.tree.map(rule, params, jax.tree.broadcast(step, params)) takes one step and a tree"
        raise AssertionError(f"prox(params, step) fails with a step for each leaf, {error}: {fix}") from error
    rounding = 60 * float(jnp.finfo(jnp.float32).eps)
    for at, expected in zip(*map(jax.tree.leaves, (found, one)), strict=True):
        np.testing.assert_allclose(
            at, expected, rtol=rounding, atol=4 * rounding, err_msg="equal steps are not one step"
        )


def the_projection_of_a_penalty_is_that_of_a_ball(row: Row) -> None:
    """Idempotent, and nearest by the variational inequality ``<w - P w, v - P w> <= 0`` for every v of the ball."""
    with jax.enable_x64(True):
        project = jax.jit(row.make().project)
        points = [jnp.asarray(x, jnp.float64) for point in draws(row) for x in (point.a, point.b)]
        feasible = [np.asarray(project(v, 0.7)) for v in points[1::2]]
        for w in points[::2]:
            nearest = np.asarray(project(w, 0.7))
            np.testing.assert_allclose(project(jnp.asarray(nearest), 0.7), nearest, rtol=0, atol=1e-12)
            for v in feasible:
                gap = float(np.sum((w - nearest) * (v - nearest)))
                require(gap <= 1e-11 * np.linalg.norm(w), f"another point of the ball is nearer, by {gap:.3g}")


def _with_prox(row: Row) -> list[Cell]:
    applies = row.prox is not None and row.make().has_prox
    return [{"dtype": dtype} for dtype in (jnp.float32, jnp.float64)] if applies else []


def _with_steps(row: Row) -> list[Cell]:
    return [{}] if row.prox is not None and row.make().has_prox else []


def _with_projection(row: Row) -> list[Cell]:
    return [{}] if row.prox is not None and row.prox.convex and row.make().has_projection else []


LAWS = (
    Law(the_prox_is_the_minimum_and_keeps_its_promises, ("penalty",), _with_prox),
    Law(a_tree_of_steps_is_taken, ("penalty",), _with_steps),
    Law(the_projection_of_a_penalty_is_that_of_a_ball, ("penalty",), _with_projection),
)
