"""Checks of tasks and of what their functions return; each error says in one line what is wrong."""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping

import jax
import jax.numpy as jnp
from jax.tree_util import KeyPath

from regopt._core.checks import takes
from regopt._core.messages import brief, cut, suggestion
from regopt._core.types import InBatches, Key, Task, Tree

_FORMS = {"init": "key, h", "step": "state, batch, key, h", "evaluate": "state, data, h"}  # of the functions of a task


def check_task(task: object) -> None:
    """Require the functions of a task."""
    if not all(callable(getattr(task, name, None)) for name in ("init", "step", "evaluate")):
        raise ValueError(f"task must be a regopt.sweep.Task, as sweep.supervised makes, got {brief(task)}")
    for name, form in _FORMS.items():
        function = getattr(task, name)
        if not takes(function, form.count(",") + 1):
            raise ValueError(f"task.{name} must be called as {name}({form}), got {name}{inspect.signature(function)}")


def as_state(state: Tree) -> Tree:
    """What a task's ``init`` returns, if it is a tree of arrays and numbers, with the numbers as arrays."""
    return jax.tree_util.tree_map_with_path(_as_array, state)


def _as_array(path: KeyPath, leaf: object) -> jax.Array:
    try:
        return jnp.asarray(leaf)
    except TypeError as error:
        name = f"the state{jax.tree_util.keystr(path)}"
        raise ValueError(
            f"task.init must return a tree of arrays, but {name} is {brief(leaf)}: keep the arrays of a model alone in "
            "the state, by equinox.partition(model, equinox.is_array), and put it together by equinox.combine"
        ) from error


def after_step(before: Tree, result: object) -> tuple[Tree, dict[str, jax.Array]]:
    """The result of a task's step, if it is a state of the form of the one before, and metrics by name."""
    if not (isinstance(result, tuple | list) and len(result) == 2 and isinstance(result[1], Mapping)):
        got = cut(str(jax.tree.structure(result)))
        raise ValueError(f'task.step must return a state and a dict of metrics, such as {{"loss": loss}}, got {got}')
    state, metrics = result
    if (was := jax.tree.structure(before)) != (now := jax.tree.structure(state)):
        was, now = cut(str(was)), cut(str(now))
        raise ValueError(f"task.step must return a state of the form that it was given, {was}, got {now}")
    leaves = zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(state), strict=True)
    for (path, old), new in leaves:
        new = jnp.asarray(new)
        if not getattr(old, "weak_type", False) and (old.shape, old.dtype) != (new.shape, new.dtype):
            name = f"the state{jax.tree_util.keystr(path)}"
            was, now = (f"{x.dtype}{list(x.shape)}" for x in (old, new))
            raise ValueError(f"task.step must keep shapes and dtypes: {name} was {was}, and is {now} after a step")
    return state, dict(metrics)


def as_metrics(metrics: object) -> Mapping[str, jax.Array]:
    """The result of a task's evaluation, if it is metrics by name."""
    if not isinstance(metrics, Mapping):
        got = cut(str(jax.tree.structure(metrics)))
        raise ValueError(f'task.evaluate must return a dict of metrics, such as {{"validation_loss": loss}}, got {got}')
    return metrics


@contextlib.contextmanager
def asking_for(h: object) -> Iterator[None]:
    """Turn errors about the names in a setting ``h`` into one line: the missing name and the nearest, or how to ask."""
    try:
        yield
    except KeyError as error:
        missing = error.args[0] if error.args else None
        if not isinstance(missing, str) or not isinstance(h, Mapping) or missing in h:
            raise
        if "Tracer" in missing:
            raise ValueError(
                "a traced number is used as a name: make its column static by sweep.static([...])"
            ) from error
        known = suggestion(missing, map(str, h))
        raise ValueError(f"the task asks for {brief(missing)}, which the settings do not have; {known}") from error
    except AttributeError as error:
        if not (isinstance(error.obj, Mapping) and isinstance(h, Mapping) and error.name in h):
            raise
        raise ValueError(f'the task asks for h.{error.name}, and h is a dict: write h["{error.name}"]') from error


def first_metrics(task: Task, data: Tree, key: Key, h: Tree) -> dict[str, jax.Array]:
    """The metrics of a first step and of the evaluation before it, by the names that a segment gives them."""
    state = task.init(key, h)
    per_step = task.step(state, data.train, jax.random.fold_in(key, 0), h)[1]
    return {f"train_{name}": value for name, value in per_step.items()} | task.evaluate(state, data, h)


def in_batches(task: Task) -> InBatches:
    """The parts from which the evaluation of a task in batches is put together."""
    return getattr(task.evaluate, "in_batches", InBatches(_means_alone(task), lambda means, *_: means))


def _means_alone(task: Task) -> Callable[[Tree, Tree, Tree], tuple[Tree, Tree]]:
    return lambda state, data, h: (dict(as_metrics(task.evaluate(state, data, h))), ())
