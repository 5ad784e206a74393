"""Checks of the examples of a supervised task before anything is compiled: shapes, labels, values not finite."""

import logging
from collections.abc import Callable, Hashable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.messages import brief, cut, one_line, suggestion
from regopt._core.metrics import innermost
from regopt._core.types import Key, Setting, Tree
from regopt.data import Splits

PRIME = 97  # the number of examples in a traced loss; no other axis is likely to have this size
BLOCK = 2**22  # entries that are checked at a time
_LOG = logging.getLogger(__name__)


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
            except KeyError as error:
                if not isinstance(x, Mapping) or not error.args or error.args[0] in x:
                    raise
                known_names = suggestion(str(error.args[0]), map(str, x))
                raise ValueError(
                    f"the model asks for {brief(error.args[0])}, which the inputs of data.validation do not have; "
                    f"{known_names}"
                ) from error
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
            return  # data that stream are not checked, and the task itself refuses anything else
        outputs = outputs_of(parts["data.validation"][0], h)
        for part, (x, y) in parts.items():
            for measure in given.values():
                if check_targets := getattr(innermost(measure), "check_targets", None):
                    check_targets(part, y, outputs)
            checks_labels = hasattr(innermost(given["loss"]), "check_targets")

            def loss_of(places: np.ndarray, x=x, y=y) -> jax.Array:
                some = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[places]), (x, y))
                return loss(predict(init(jax.random.key(0), h), some[0], h), some[1], h)

            if not checks_labels:
                _check_labels(part, y, outputs, loss_of)
            check_finite(part, (x, y), loss_of)
        _warn_of_broadcast(parts["data.validation"][1], outputs, lambda outputs, y: loss(outputs, y, h))

    check.init = init  # type: ignore[attr-defined]  # a task with another init sees other settings
    return check


def _check_labels(part: str, y: Tree, outputs: Tree, loss_of: Callable[[np.ndarray], jax.Array]) -> None:
    """Refuse labels outside the classes of the model where the loss of their examples is not finite.

    A finite loss may mask such labels or may not notice them, so a warning is logged instead.
    """
    if isinstance(y, np.memmap) or not (hasattr(y, "dtype") and hasattr(outputs, "shape")):
        return
    if y.dtype.kind not in "iu" or y.shape[1:] != outputs.shape[1:-1] or not outputs.shape[1:]:
        return
    labels, classes = np.asarray(y), outputs.shape[-1]
    outside = (labels < 0) | (labels >= classes)
    places = np.flatnonzero(outside.reshape(len(labels), -1).any(axis=1))[:8]
    if not len(places):
        return
    said = f"the labels of {part} must lie in [0, {classes - 1}], as the model has {classes} outputs, got "
    said += str(labels[outside][0])
    if not np.isfinite(np.asarray(loss_of(places))).all():
        raise ValueError(said)
    _LOG.warning("%s; the loss of such examples is finite: does it mask them?", said)


def _warn_of_broadcast(y: Tree, outputs: Tree, loss: Callable[[Tree, Tree], jax.Array]) -> None:
    """Warn of a loss that broadcasts ``[examples, 1]`` against ``[examples]`` and so compares all pairs of examples."""
    if not (hasattr(y, "dtype") and hasattr(outputs, "shape")) or {y.shape[1:], outputs.shape[1:]} != {(), (1,)}:
        return
    some = [jax.ShapeDtypeStruct((PRIME, *x.shape[1:]), x.dtype) for x in (outputs, y)]
    try:
        traced = jax.make_jaxpr(loss)(*some)
    except Exception:
        return  # the error of a loss is raised where it trains
    if any(getattr(variable.aval, "shape", ()) == (PRIME, PRIME) for eqn in traced.eqns for variable in eqn.outvars):
        _LOG.warning(
            "the loss compares all pairs of examples, as outputs are [examples%s] and targets [examples%s]: give both "
            "one shape",
            *("".join(f", {n}" for n in x.shape[1:]) for x in (outputs, y)),
        )


def _is_pair_of_arrays(examples: object) -> bool:
    if not (isinstance(examples, tuple | list) and len(examples) == 2):
        return False
    return all(hasattr(leaf, "dtype") and hasattr(leaf, "shape") for leaf in jax.tree.leaves(examples))


def check_scalar(loss: jax.Array) -> jax.Array:
    """The loss, after a check that it is one floating-point number; ``ValueError`` otherwise."""
    if not hasattr(loss, "shape") and not isinstance(loss, int | float):
        raise ValueError(f"the loss must be one number, got {cut(str(jax.tree.structure(loss)))}")
    if jnp.shape(loss):
        raise ValueError(f"the loss must be one number, such as the mean over the batch, got shape {jnp.shape(loss)}")
    if not jnp.issubdtype(jnp.result_type(loss), jnp.floating):
        raise ValueError(f"the loss must be a floating number, which has a gradient, got {jnp.result_type(loss)}")
    return loss


def first_not_finite(tree: Tree) -> tuple[str, np.ndarray, str] | None:
    """The first array with a NaN or an infinity: its path, the indices of at most 8 such examples, and which it is."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if isinstance(leaf, np.memmap) or getattr(getattr(leaf, "dtype", None), "kind", "") != "f":
            continue  # a file is not read through before training begins
        rows = max(BLOCK // max(int(np.prod(leaf.shape[1:])), 1), 1)
        for start in range(0, len(leaf), rows):
            part = np.asarray(leaf[start : start + rows])
            bad = ~np.isfinite(part).reshape(len(part), -1).all(axis=1)
            if bad.any():
                places = np.flatnonzero(bad)[:8]
                name = "NaN" if np.isnan(part[places[0]]).any() else "an infinity"
                return jax.tree_util.keystr(path), start + places, name
    return None


def check_finite(part: str, examples: Tree, loss_of: Callable[[np.ndarray], jax.Array]) -> None:
    """Refuse examples whose NaN or infinities make the loss NaN or infinite; a task may mask such values.

    Args:
        part: the name of the examples, for the message.
        examples: a tree of arrays.
        loss_of: from the indices of some examples to their loss.

    Raises:
        ValueError: the loss is not finite there.
    """
    found = first_not_finite(examples)
    if found is None:
        return
    path, places, name = found
    if not np.isfinite(np.asarray(loss_of(places))).all():
        raise ValueError(
            f"{part}{path} holds {name}, first at example {places[0]}: the data are at fault, not the settings"
        )
