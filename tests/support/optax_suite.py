"""optax's own tests, as its wheel ships them, run with regopt in optax's place.

The source of a test file is read where optax is installed; the list of optimizers under test and the module under test
are exchanged before it runs. Nothing of it is copied.
"""

import ast
import types
import unittest
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax

import regopt
from regopt import optimizers, schedules, transforms
from regopt.transforms._plateau import ReduceOnPlateauState as PlateauState


def load(path: str, constants: Mapping[str, Any], modules: Mapping[str, Any]) -> types.ModuleType:
    """A test file of optax's as a module.

    Args:
        path: the file, relative to the optax package.
        constants: by name, what its assignments at the top level assign instead.
        modules: by name, what its imports mean instead.

    Returns:
        The module.
    """
    file = Path(optax.__file__).parent / path
    source = ast.parse(file.read_text(), filename=str(file))
    exchanged = set()
    # what is added to an exchanged list is left out
    source.body = [
        node for node in source.body if not (isinstance(node, ast.AugAssign) and _name(node.target) in constants)
    ]
    for node in source.body:
        if isinstance(node, ast.Assign) and _name(node.targets[0]) in constants:
            node.value = ast.Name(f"_regopt_{_name(node.targets[0])}", ast.Load(), lineno=node.lineno, col_offset=0)
            exchanged.add(_name(node.targets[0]))
    assert exchanged == set(constants), f"optax's {path} no longer assigns {set(constants) - exchanged}"
    imported = {name for node in source.body for name in _exchange_imports(node, modules)}
    assert imported == set(modules), f"optax's {path} no longer imports {set(modules) - imported}"
    source.body = [node for node in source.body if getattr(node, "names", True)]
    module = types.ModuleType(f"optax_suite.{file.stem}")
    module.__dict__.update({f"_regopt_{name}": value for name, value in constants.items()} | dict(modules))
    exec(compile(ast.fix_missing_locations(source), str(file), "exec"), module.__dict__)
    return module


def _exchange_imports(node: ast.stmt, modules: Mapping[str, Any]) -> set[str]:
    """Take the modules out of an import; the names that were taken."""
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return set()
    taken = [alias for alias in node.names if (alias.asname or alias.name) in modules]
    node.names = [alias for alias in node.names if alias not in taken]
    return {alias.asname or alias.name for alias in taken}


def classes_of(module: types.ModuleType) -> set[str]:
    """The names of the test classes of a file."""
    return {
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == module.__name__
    }


def _name(target: ast.expr) -> str:
    return target.id if isinstance(target, ast.Name) else ""


def leave_out(case: type, reasons: Mapping[str, str]) -> None:
    """Skip tests of a class, with a reason, that start with a name or whose parameters contain a word.

    A key ``"test_x"`` means every test of that name; ``"test_x: word"`` those with the word in their parameters.
    """
    parameters = getattr(case, "_test_params_reprs", {})
    unused = set(reasons)
    for name in [name for name in dir(case) if name.startswith("test")]:
        for key, reason in reasons.items():
            test, _, word = key.partition(": ")
            bare = name.rstrip("0123456789_")
            if bare == test.rstrip("_") and word in parameters.get(name, ""):
                setattr(case, name, unittest.skip(reason)(getattr(case, name)))
                unused.discard(key)
    assert not unused, f"{case.__name__} has no tests for {sorted(unused)}"


def _not_offered(what: str) -> Any:
    raise unittest.SkipTest(f"regopt has no {what}")


def _polynomial(init_value, end_value, power, transition_steps, transition_begin=0):
    if power != 1:
        _not_offered("polynomial schedule of another power than 1")
    return _delayed(init_value, schedules.linear(init_value, end_value, transition_steps), transition_begin)


def _exponential(init_value, transition_steps, decay_rate, transition_begin=0, staircase=False, end_value=None):
    schedule = schedules.exponential(init_value, decay_rate, transition_steps, end_value, staircase=staircase)
    return _delayed(init_value, schedule, transition_begin)


def _delayed(init_value, schedule, begin):
    return schedules.join([schedules.constant(init_value), schedule], [begin]) if begin else schedule


def _piecewise_constant(init_value, boundaries_and_scales):
    values = [init_value]
    for scale in boundaries_and_scales.values():
        values.append(values[-1] * scale)
    return schedules.piecewise_constant(values, list(boundaries_and_scales))


SCHEDULES = types.SimpleNamespace(
    constant_schedule=schedules.constant,
    polynomial_schedule=_polynomial,
    exponential_decay=_exponential,
    cosine_decay_schedule=schedules.cosine,
    warmup_cosine_decay_schedule=schedules.warmup_cosine,
    piecewise_constant_schedule=_piecewise_constant,
    cosine_onecycle_schedule=schedules.one_cycle,
    linear_onecycle_schedule=lambda *args, **kwargs: _not_offered("linear one-cycle schedule"),
    piecewise_interpolate_schedule=lambda *args, **kwargs: _not_offered("piecewise interpolation"),
    sgdr_schedule=lambda *args, **kwargs: _not_offered("schedule of that name; join cosine schedules"),
)


def with_lbfgs(by_name: types.SimpleNamespace) -> types.SimpleNamespace:
    """optax's names of optimizers with regopt's L-BFGS among them."""

    def lbfgs(learning_rate=None, memory_size=10, scale_init_precond=True, linesearch="zoom"):
        if learning_rate is not None or linesearch is None or not scale_init_precond:
            _not_offered("L-BFGS without a line search or without the scale of its first matrix")
        return optimizers.lbfgs(memory_size=memory_size, linesearch=linesearch)

    return types.SimpleNamespace(**vars(by_name), lbfgs=lbfgs)


class LookaheadParams(NamedTuple):
    """optax's parameters of lookahead: regopt keeps the slow ones in its state."""

    fast: Any
    slow: Any

    @classmethod
    def init_synced(cls, params):
        return cls(params, params)


class _LookaheadState(NamedTuple):
    state: Any

    @property
    def fast_state(self):
        return self.state.inner


def _lookahead(fast_optimizer, sync_period, slow_step_size, reset_state=False):
    if reset_state:
        _not_offered("lookahead that resets the state of the optimizer")
    ours = transforms.lookahead(fast_optimizer, sync_period, slow_step_size)

    def update(updates, state, params):
        moves, after = ours.update(updates, state.state, params.fast)
        moved = optax.apply_updates(params.fast, moves)
        slow = jax.tree.map(lambda new, old: new - old, regopt.final_params(moved, after), params.slow)
        return LookaheadParams(moves, slow), _LookaheadState(after)

    def init(params):  # optax maps over the parameters of a state with a placeholder in their place
        return _LookaheadState(ours.init(getattr(params, "fast", params)))

    return optax.GradientTransformation(init, update)


LOOKAHEAD = types.SimpleNamespace(LookaheadParams=LookaheadParams, lookahead=_lookahead)


def _sam(optimizer, adv_optimizer, sync_period, opaque_mode):
    del adv_optimizer, sync_period  # a normalised step of length 1e-5, and the two calls of a step
    if opaque_mode:
        _not_offered("SAM that takes a gradient function")
    return transforms.sam(optimizer, rho=1e-5)


SAM = types.SimpleNamespace(sam=_sam, normalize=optax.contrib.normalize)


def _plateau_state(*, avg_value, **fields):
    return PlateauState(total=avg_value, **fields)


PLATEAU = types.SimpleNamespace(reduce_on_plateau=transforms.reduce_on_plateau, ReduceLROnPlateauState=_plateau_state)
