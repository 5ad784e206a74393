"""Checks of the examples of a supervised task before anything is compiled: shapes, labels, NaN."""

from collections.abc import Callable, Hashable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.messages import one_line
from regopt._core.metrics import innermost
from regopt._core.types import Key, Setting, Tree
from regopt.data import Splits


def checked_examples(
    init: Callable[[Key, Setting], Tree],
    predict: Callable[[Tree, Tree, Setting], Tree],
    loss: Callable[[Tree, Tree, Setting], jax.Array],
    given: Mapping[str, object],
) -> Callable[[Splits, Setting], None]:
    """The check of a supervised task.

    Args:
        init: the ``init`` of the task.
        predict: the ``predict`` of the task.
        loss: ``(outputs, targets, h) -> scalar``.
        given: the loss and the metrics as they were given, by name; those with an attribute ``check_targets`` check the
            targets by ``check_targets(part, targets, outputs)``.

    Returns:
        ``check(data, h)``, which raises a ``ValueError`` in one line where the data do not fit the model or the loss.
    """
    known: dict[Hashable, Tree] = {}  # shapes of outputs, so that the next sweep does not trace again

    def outputs_of(x: Tree, h: Setting) -> Tree:
        leaves, structure = jax.tree.flatten(x)
        static = tuple((name, value) for name, value in h.items() if not isinstance(value, int | float | np.number))
        recipe = structure, tuple((leaf.shape[1:], str(leaf.dtype)) for leaf in leaves), tuple(h), static
        if recipe not in known:
            one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape[1:]), leaf.dtype), x)
            state = jax.eval_shape(lambda: init(jax.random.key(0), h))
            try:
                outputs = jax.eval_shape(lambda state, x: predict(state, x, h), state, one)
            except (TypeError, ValueError) as error:
                shapes = ", ".join(f"[examples{''.join(f', {n}' for n in leaf.shape[1:])}]" for leaf in leaves)
                reason = str(error).split("\n")[0]
                raise ValueError(
                    one_line(f"the model does not take inputs {shapes} of data.validation: {reason}")
                ) from error
            if len(known) >= 32:
                known.clear()
            known[recipe] = outputs
        return known[recipe]

    def check(data: Splits, h: Setting) -> None:
        parts = {f"data.{part}": getattr(data, part) for part in ("train", "validation")}
        if not all(_is_pair_of_arrays(examples) for examples in parts.values()):
            return  # they stream, or the task says what is wrong with them
        outputs = outputs_of(parts["data.validation"][0], h)
        for part, (x, y) in parts.items():
            for measure in given.values():
                if check_targets := getattr(innermost(measure), "check_targets", None):
                    check_targets(part, y, outputs)

            def loss_of(places: np.ndarray, x=x, y=y) -> jax.Array:
                some = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[places]), (x, y))
                return loss(predict(init(jax.random.key(0), h), some[0], h), some[1], h)

            check_no_nan(part, (x, y), loss_of)

    check.init = init  # type: ignore[attr-defined]  # a task with another init sees other settings
    return check


def _is_pair_of_arrays(examples: object) -> bool:
    if not (isinstance(examples, tuple | list) and len(examples) == 2):
        return False
    return all(hasattr(leaf, "dtype") and hasattr(leaf, "shape") for leaf in jax.tree.leaves(examples))


def check_scalar(loss: jax.Array) -> jax.Array:
    """The loss, if it is one number."""
    if jnp.shape(loss):
        raise ValueError(f"the loss must be one number, such as the mean over the batch, got shape {jnp.shape(loss)}")
    return loss


BLOCK = 2**22  # entries that are looked at together


def first_nan(tree: Tree) -> tuple[str, np.ndarray] | None:
    """The first array with a NaN, by its path, and the places of the examples that have one, at most 8."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if isinstance(leaf, np.memmap) or getattr(getattr(leaf, "dtype", None), "kind", "") != "f":
            continue  # a file is not read through before training begins
        rows = max(BLOCK // max(int(np.prod(leaf.shape[1:])), 1), 1)
        for start in range(0, len(leaf), rows):
            part = np.asarray(leaf[start : start + rows])
            bad = np.isnan(part).reshape(len(part), -1).any(axis=1)
            if bad.any():
                return jax.tree_util.keystr(path), start + np.flatnonzero(bad)[:8]
    return None


def check_no_nan(part: str, examples: Tree, loss_of: Callable[[np.ndarray], jax.Array]) -> None:
    """Refuse examples with NaN that makes the loss NaN; a task that masks missing values may have them.

    Args:
        part: the name of the examples, for the message.
        examples: a tree of arrays.
        loss_of: the loss of some of the examples, given their places.

    Raises:
        ValueError: the loss is NaN there.
    """
    found = first_nan(examples)
    if found is None:
        return
    path, places = found
    if not np.isfinite(np.asarray(loss_of(places))).all():
        raise ValueError(
            f"{part}{path} holds NaN, first at example {places[0]}: the data are at fault, not the settings"
        )
