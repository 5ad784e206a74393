"""Parameters that are not trained: the same for all settings, held once on each device and never copied into a lane.

They are no part of a task's state. A sweep gives them to its programs as arguments that have no lane axis, so that a
product with them is one product over the rows of all lanes, and what depends on the batch and on them alone is computed
once. The task finds them through ``Frozen.bound``; outside of a sweep it takes the model's own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.extend import core

from regopt._core.paths import broadcast, leaf_paths
from regopt._core.types import Key, Setting, Tree

Patterns: TypeAlias = str | Sequence[str] | Mapping[str, bool]  # path patterns, or bools by path pattern


class Frozen:
    """The frozen part of the parameters of a task.

    Args:
        initial: ``(key, h) -> params``, a nested dict of all parameters.
        chosen: ``(key, h, params) -> bools``, which of them are trained.
        given: pretrained arrays, a nested dict with the same names; they replace the initial ones.
    """

    def __init__(
        self, initial: Callable[[Key, Setting], Tree], chosen: Callable[[Key, Setting, Tree], Tree], given: Tree
    ):
        self._initial, self._chosen, self._given = initial, chosen, given
        self._bound: ContextVar[Tree] = ContextVar("frozen parameters", default=None)

    def __reduce__(self) -> tuple[Callable[..., "Frozen"], tuple[object, ...]]:
        return Frozen, (self._initial, self._chosen, self._given)  # nothing is bound in another process

    def start(self, key: Key, h: Setting) -> Tree:
        """The trained part of the parameters, before its first step."""
        return self._divided(key, h)[0]

    def join(self, trained: Tree, h: Setting) -> Tree:
        """All parameters."""
        bound = self._bound.get()
        frozen = self.values(h) if bound is None else bound
        return unflatten_dict({**_flat(frozen), **_flat(trained)})

    @contextmanager
    def bound(self, values: Tree) -> Iterator[None]:
        """Use these values, such as the arguments of a program, as the frozen parameters within the block."""
        token = self._bound.set(values)
        try:
            yield
        finally:
            self._bound.reset(token)

    def values(self, h: Setting) -> Tree:
        """The frozen parameters, a nested dict of arrays.

        Args:
            h: a setting; the parameters must not depend on those of its numbers that are JAX arrays.

        Returns:
            The parameters.

        Raises:
            ValueError: a parameter depends on the key or on a number of the setting and so would differ between
                settings, the given arrays do not fit the model, or no parameter is trained.
        """
        numbers = {name: value for name, value in h.items() if isinstance(value, jax.Array)}

        def build(key: Key, numbers: Tree) -> Tree:
            return self._divided(key, {**h, **numbers})[1]

        traced, shapes = jax.make_jaxpr(build, return_shape=True)(jax.random.key(0), numbers)
        depend = _depending(traced.jaxpr)
        for path, variable in zip(leaf_paths(shapes), traced.jaxpr.outvars, strict=True):
            if not isinstance(variable, core.Literal) and variable in depend:
                raise ValueError(
                    f"the frozen parameter {path} must be the same for all settings, but the model draws it from its "
                    "key or a number of the setting: put trained arrays into the model, or give pretrained"
                )
        return jax.tree.unflatten(jax.tree.structure(shapes), _evaluated(traced, jax.random.key(0), numbers))

    def _divided(self, key: Key, h: Setting) -> tuple[Tree, Tree]:
        params = self._initial(key, h)
        flags, flat = _flat(self._chosen(key, h, params)), _flat(params)
        given = {} if self._given is None else _flat(self._given)
        if unknown := set(given) - set(flat):
            name = "/".join(map(str, min(unknown, key=str)))
            raise ValueError(f"pretrained has {name}, which the model does not have")
        for path, value in given.items():
            if jnp.shape(value) != flat[path].shape:
                name = "/".join(map(str, path))
                raise ValueError(f"pretrained {name} must have shape {flat[path].shape}, got {jnp.shape(value)}")
            flat[path] = jnp.asarray(value, flat[path].dtype)
        trained = {path: value for path, value in flat.items() if flags[path]}
        if not trained:
            raise ValueError("trainable must choose at least one parameter, got none")
        return unflatten_dict(trained), unflatten_dict({path: flat[path] for path in flat if path not in trained})


def _flat(nested: Tree) -> dict[tuple[str | int, ...], Tree]:
    return dict(flatten_dict(nested))


def by_patterns(patterns: Patterns) -> Callable[[Key, Setting, Tree], Tree]:
    """The function that chooses parameters by path patterns: one, several, or a mapping from patterns to bools."""
    if not isinstance(patterns, Mapping):
        patterns = dict.fromkeys([patterns] if isinstance(patterns, str) else patterns, True)

    def chosen(key: Key, h: Setting, params: Tree) -> Tree:
        del key, h
        return jax.tree.unflatten(jax.tree.structure(params), broadcast(patterns, params, "trainable", False))

    return chosen


def depending(function: Callable[..., list[jax.Array]], *arguments: Tree) -> list[bool]:
    """Which of the results of a function depend on its arguments, as its program tells."""
    program = jax.make_jaxpr(function)(*arguments).jaxpr
    depend = _depending(program)
    return [not isinstance(x, core.Literal) and x in depend for x in program.outvars]


def _depending(jaxpr: core.Jaxpr) -> set[core.Var]:
    """The variables of a program that depend on its inputs."""
    depend = set(jaxpr.invars)
    for eqn in jaxpr.eqns:
        if any(not isinstance(x, core.Literal) and x in depend for x in eqn.invars):
            depend.update(eqn.outvars)
    return depend


def _evaluated(traced: core.ClosedJaxpr, *inputs: Tree) -> list[jax.Array]:
    """The outputs of a program; those that are constants are not copied."""
    constants = dict(zip(traced.jaxpr.constvars, traced.consts, strict=True))
    known = [
        x.val if isinstance(x, core.Literal) else constants.get(x)  # a literal has no hash
        for x in traced.jaxpr.outvars
    ]
    if any(value is None for value in known):
        computed = jax.jit(core.jaxpr_as_fun(traced))(*jax.tree.leaves(inputs))
        known = [made if value is None else value for value, made in zip(known, computed, strict=True)]
    return [jnp.asarray(value) for value in known]
