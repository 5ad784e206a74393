"""The arithmetic of the products of a training step, from which the default mapping of lanes on a CPU follows.

XLA spends a few microseconds on each operation of a program for a CPU. Where products are small, lanes that run at once
share this time. Where each product keeps a core busy for long there is nothing to share: lanes that run one after the
other leave more of the cache to each, and a convolution keeps its fast implementation, which XLA does not have for
kernels that differ by lane. The choice depends on the program alone, so all processes make the same one.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import jax
from jax.extend import core

from regopt._core.jaxprs import shaped

COMPILATION = {"cpu": 1e11}  # FLOP in the time that it takes to compile a program, by platform
COMPILATION_ELSEWHERE = 1e14
ELEMENT = 10  # FLOP of a product that take as long as one element of the result of another operation
LARGE = 4e6  # FLOP of a product of one lane above which lanes run one after the other


class Products(NamedTuple):
    """The matrix products and convolutions of a program."""

    flops: float = 0.0
    squares: float = 0.0  # the sum over the products of their squared FLOP
    grouped: bool = False  # whether there is a grouped convolution, as for the kernels of several lanes

    @property
    def size(self) -> float:
        """The mean FLOP of a product, weighted by FLOP."""
        return self.squares / self.flops if self.flops else 0.0


def runs_best_alone(traced: jax.stages.Traced, steps: int, lanes: int) -> bool:
    """Whether the lanes of a program for the CPU should run one after the other.

    Args:
        traced: the program that trains lanes at once, from ``jax.jit(...).trace(...)``.
        steps: training steps in it, the length of a loop.
        lanes: number of lanes.
    """
    step = _step(traced, steps)
    return step.grouped or step.size > LARGE * lanes


def shares_work(at_once: jax.stages.Traced, one_by_one: jax.stages.Traced, steps: int, lanes: int) -> bool:
    """Whether lanes at once do much less arithmetic, as where a frozen layer is computed once for all of them.

    Args:
        at_once: the program that trains lanes at once.
        one_by_one: the same one after the other, in a loop around that of the steps.
        steps: training steps in both.
        lanes: number of lanes.
    """
    alone = _step(one_by_one, steps, skipped=int(steps == lanes))
    return _step(at_once, steps).flops < 0.8 * lanes * alone.flops


def price_of(flops: float, platform: str) -> float:
    """The time of this much arithmetic as a share of the time of a compilation."""
    return flops / COMPILATION.get(platform, COMPILATION_ELSEWHERE)


def arithmetic(jaxpr: core.Jaxpr) -> float:
    """The FLOP of the products in a program, plus FLOP that take as long as its other operations; see ``products``."""
    total = 0.0
    for eqn in jaxpr.eqns:
        inner = list(_inner(eqn))
        if inner:
            times = eqn.params["length"] if eqn.primitive.name == "scan" else 1
            total += times * sum(map(arithmetic, inner))
        else:
            elements = sum(math.prod(getattr(variable.aval, "shape", ())) for variable in eqn.outvars)
            total += _product(eqn).flops or ELEMENT * elements
    return total


def _step(traced: jax.stages.Traced, steps: int, skipped: int = 0) -> Products:
    """The products of a training step: of the body of the loop over ``steps`` with the most arithmetic."""
    loops = [products(body) for body in _loops(traced.jaxpr.jaxpr, steps)]
    return max(loops[skipped:], key=lambda each: each.flops, default=Products())


def products(jaxpr: core.Jaxpr) -> Products:
    """The products in a program; those in a loop count as often as it runs if that is known, else once."""
    total = Products()
    for eqn in jaxpr.eqns:
        found = [_product(eqn), *map(products, _inner(eqn))]
        times = eqn.params["length"] if eqn.primitive.name == "scan" else 1
        total = Products(
            total.flops + times * sum(each.flops for each in found),
            total.squares + times * sum(each.squares for each in found),
            total.grouped or any(each.grouped for each in found),
        )
    return total


def _product(eqn: core.JaxprEqn) -> Products:
    grouped, terms = False, 0.0  # of each output
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        terms = math.prod(shaped(eqn.invars[0]).shape[axis] for axis in contracted)
    elif eqn.primitive.name == "conv_general_dilated":
        kernel = shaped(eqn.invars[1]).shape
        terms = math.prod(kernel) / kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
        grouped = max(eqn.params["feature_group_count"], eqn.params["batch_group_count"]) > 1
    flops = 2.0 * terms * math.prod(shaped(eqn.outvars[0]).shape) if terms else 0.0
    return Products(flops, flops**2, grouped)


def _loops(jaxpr: core.Jaxpr, length: int) -> Iterator[core.Jaxpr]:
    """The bodies of all loops of this length."""
    for eqn in jaxpr.eqns:
        for inner in _inner(eqn):
            if eqn.primitive.name == "scan" and eqn.params["length"] == length:
                yield inner
            yield from _loops(inner, length)


def _inner(eqn: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    """The programs that an equation has as parameters."""
    values = jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr"))
    for value in values:
        inner = getattr(value, "jaxpr", value)
        if hasattr(inner, "eqns"):
            yield inner
