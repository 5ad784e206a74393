"""Checks of training data, and of the numbers of steps and of examples in a batch, before anything is traced."""

import jax
import numpy as np

from regopt._core.messages import brief
from regopt._core.numerics import check_whole
from regopt._core.types import Tree


def check_data(data: object, parts: tuple[str, ...] = ("train", "validation")) -> None:
    """Require a training and a validation part, each of arrays of one length."""
    for part in parts:
        arrays = jax.tree.leaves(getattr(data, part, None))
        if not arrays:
            form = "regopt.data.Splits(train=(x, y), validation=(x_held_out, y_held_out))"
            raise ValueError(f"data must have a {part} part, as {form} has, got {_kind(data)}")
        for array in arrays:
            if not np.ndim(array) or getattr(array, "dtype", None) is None:
                got = f"a {type(array).__name__}" if hasattr(array, "to_numpy") else brief(array)  # of pandas
                raise ValueError(f"data.{part} must hold arrays [examples, ...], as numpy.asarray makes, got {got}")
            if array.dtype.kind in "OUSmM":
                raise ValueError(f"data.{part} must hold arrays of numbers, got dtype {array.dtype}")
        lengths = {len(array) for array in arrays}
        if len(lengths) != 1:
            hint = f"; {for_batches(part)}" if isinstance(getattr(data, part), list) else ""
            raise ValueError(f"the arrays of data.{part} must have the same length, got {sorted(lengths)}{hint}")
        if 0 in lengths:
            raise ValueError(f"data.{part} must have at least one example, got none")


def for_batches(part: str) -> str:
    """How to give a list of batches."""
    return f"for a list of batches give a function of the step: {part}=lambda step: batches[step % len(batches)]"


def _kind(data: object) -> str:
    if callable(data) and not isinstance(data, type):
        return f"the function {getattr(data, '__name__', 'itself')}, which was not called"
    shape = getattr(data, "shape", None)
    return type(data).__name__ if shape is None else f"an array of shape {shape}"


def check_steps(steps: int, eval_every: int, **others: int | None) -> None:
    """Require whole numbers (of ``others``, where given), and steps that are a multiple of ``eval_every``."""
    for name, value in {"steps": steps, "eval_every": eval_every, **others}.items():
        if value is not None or name not in others:
            check_whole(name, value, "[1, inf)")
    check_multiple(steps, eval_every)


def check_multiple(steps: int, eval_every: int) -> None:
    """Require steps that are a multiple of ``eval_every``."""
    if steps % eval_every:
        would_do = steps - steps % eval_every + eval_every
        raise ValueError(f"steps must be a multiple of eval_every = {eval_every}, got {steps}; {would_do} would do")


def size_of(examples: Tree) -> int:
    """The number of examples."""
    return len(jax.tree.leaves(examples)[0])


def check_batch(batch_size: int, examples: int) -> None:
    """Raise unless the batch size lies between 1 and the number of examples."""
    if not 1 <= batch_size <= examples:
        raise ValueError(f"batch_size must lie in [1, {examples}], the number of examples, got {batch_size}")
