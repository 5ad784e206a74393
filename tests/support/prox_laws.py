"""What holds for every prox, checked on one penalty at drawn points; the families' tests draw the points.

Nothing here knows a formula of a penalty: values come from its own ``value``, which the families' tests compare with
their sources' formulas.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis.extra import numpy as drawn

SHAPE = (3, 4)
DTYPES = (jnp.float32, jnp.float64)
settings = hypothesis.settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[hypothesis.Phase.generate],  # a failure is shown as drawn
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
strength = st.floats(0.0, 3.0, width=32)


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A penalty, where to draw its numbers, and what it is."""

    name: str
    make: Callable[..., Any]
    numbers: dict[str, Any]
    scaled: Callable[..., dict[str, Any]] | None = (
        None  # the numbers for which prox(2 w) = 2 prox(w); None: no such law
    )
    scaled_step: float = 1.0  # times the step
    convex: bool = True
    odd: bool = True
    keeps_zeros: bool = True
    finite: bool = True  # the value, everywhere
    metric: bool = True  # the prox is known for a step for each entry, too
    permute: Callable[[Any], Any] | None = lambda w: w[::-1, (2, 0, 3, 1)]  # what the prox commutes with


def points():
    """Arrays with zeros, equal entries and sizes of several orders."""
    entries = st.one_of(st.floats(-4, 4, width=32), st.sampled_from([0.0, 0.5, -0.5, 1.0, 1e-3]))
    return drawn.arrays(np.float32, SHAPE, elements=entries)


@functools.cache
def compiled(case: Case, dtype: Any) -> Callable[..., dict[str, Any]]:
    """Everything the laws compare, in one program for all numbers."""

    @jax.jit
    def facts(a, b, step, steps, numbers):
        penalty = case.make(**numbers)
        value, prox = penalty.value, penalty.prox
        at_a = prox(a, step)
        metric = prox(a, steps)

        def everything(numbers, step, a):
            penalty = case.make(**numbers)
            return (
                jnp.sum(penalty.prox(a, step))
                + jnp.sum(penalty.prox(a, steps))
                + (1.0 if case.finite else 0.0) * penalty.value(at_a)
            )

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
        if case.permute:
            found["permuted"] = prox(case.permute(a), step)
        if case.scaled:
            found["scaled"] = case.make(**case.scaled(**numbers)).prox(2 * a, step * case.scaled_step)
        return found

    return facts


def check(case: Case, dtype: Any, data: Any) -> None:
    """Draws a point and numbers, and checks the laws."""
    a, b, step, numbers = data.draw(
        st.tuples(points(), points(), st.floats(0.0625, 4, width=32), st.fixed_dictionaries(case.numbers))
    )
    steps = np.linspace(0.2, 2.1, a.size).reshape(SHAPE) * step if case.metric else step
    with jax.enable_x64(dtype == jnp.float64):
        array = functools.partial(jnp.asarray, dtype=dtype)
        facts = compiled(case, dtype)(*map(array, (a, b, step, steps)), {k: array(v) for k, v in numbers.items()})
        facts = jax.tree.map(lambda x: np.asarray(x, np.float64), facts)
    eps = 60 * float(jnp.finfo(dtype).eps)  # roundings of sums of a dozen entries of size 4, times steps of 4
    close = functools.partial(np.testing.assert_allclose, rtol=eps, atol=eps * 4)

    assert all(np.isfinite(x).all() for x in jax.tree.leaves((facts["slopes"], facts["slopes at zero"])))
    assert all(np.isfinite(facts[k]).all() for k in ("a", "b", "metric"))
    close(facts["same"], facts["a"])
    if case.odd:
        np.testing.assert_array_equal(facts["minus"], -facts["a"])
    if case.keeps_zeros:
        np.testing.assert_array_equal(facts["zero"], 0.0)
        assert (facts["a"][a == 0] == 0).all()
        assert (facts["metric"][a == 0] == 0).all()
    if case.permute:
        close(facts["permuted"], case.permute(facts["a"]))
    if case.scaled:
        close(facts["scaled"], 2 * facts["a"])
    if case.finite:
        close(facts["still"], a)
    a, b = a.astype(np.float64), b.astype(np.float64)
    objective_slack = eps * 100 * (1 + step) * 10
    _check_optimal(facts, a, b, step, steps, case, objective_slack)


def _check_optimal(facts, a, b, step, steps, case, slack):
    at_a, metric, *others = facts["values"]
    elsewhere = [a, b, 0 * a, (a + b) / 2, facts["b"]]

    def objective(u, value, steps):
        return np.sum((u - a) ** 2 / (2 * steps)) + value

    for u, value in zip(elsewhere, others, strict=True):
        assert objective(facts["a"], at_a, step) <= objective(u, value, step) + slack / step
        assert objective(facts["metric"], metric, steps) <= objective(u, value, steps) + slack / step
        if case.convex:  # (w - u) / step is a subgradient at u: Moreau's identity with the conjugate written out
            for at, value_at, length in ((facts["a"], at_a, step), (facts["metric"], metric, steps)):
                assert value >= value_at + np.sum((a - at) / length * (u - at)) - slack / step
    if case.convex:
        moved = facts["a"] - facts["b"]
        assert np.sum(moved * moved) <= np.sum(moved * (a - b)) + slack
