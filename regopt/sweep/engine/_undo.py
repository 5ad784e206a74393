"""Copies of what a failing call would lose, kept until the call is reported: its lanes, or the whole buffer."""

from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from regopt._core.types import Tree
from regopt.sweep.engine._devices import LANES
from regopt.sweep.engine._program import lanes_at, put_back


class Before(NamedTuple):
    """The state before a call: of its lanes, or of the whole buffer."""

    ids: jax.Array | None  # of the lanes, [seats]; None where the whole buffer is kept
    entries: Tree


Fails: TypeAlias = Literal["program", "data"] | None  # what may raise: a program that calls Python, or a batch to read


def before_call(mesh: Mesh, buffer: Tree, ids: jax.Array, fails: Fails) -> Before | None:
    """A copy of what must be restored if a call fails; None for calls that cannot fail.

    A program that fails leaves no buffer, so the whole buffer is copied. A batch that cannot be read leaves the lanes
    of the call ahead of what was reported, so only these lanes are copied; each of them lies on one device.
    """
    if fails is None:
        return None
    if fails == "program":
        return Before(None, jax.tree.map(jnp.copy, buffer))
    take, _ = _programs(mesh)
    return Before(ids, take(buffer, ids))


def undone(mesh: Mesh, buffer: Tree, calls: list[Before]) -> Tree:
    """The buffer as it was before the calls, which are in the order in which they were made.

    None if the devices have failed, so that the buffer is lost. Where only lanes were copied, ``buffer`` is donated.
    """
    if calls[0].ids is None:
        return calls[0].entries
    _, put = _programs(mesh)
    try:
        for ids, entries in calls:  # they have no lane in common
            buffer = put(buffer, ids, entries)
        return jax.block_until_ready(buffer)
    except RuntimeError:
        return None


@cache
def _programs(mesh: Mesh) -> tuple[Callable[..., Tree], Callable[..., Tree]]:
    lanes = PartitionSpec(LANES)
    take = jax.shard_map(lanes_at, mesh=mesh, in_specs=lanes, out_specs=lanes, check_vma=False)
    put = jax.shard_map(put_back, mesh=mesh, in_specs=lanes, out_specs=lanes, check_vma=False)
    return jax.jit(take), jax.jit(put, donate_argnums=0)
