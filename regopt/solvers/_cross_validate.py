"""Cross-validation of a path: the folds are lanes of one program, in which the rows held out have the weight 0."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from regopt._core.numerics import check_whole
from regopt._core.types import Number, Tree
from regopt.solvers._gram import GramLoss
from regopt.solvers._linear_model import LinearModel
from regopt.solvers._path import gram_pays, path, strength_grid
from regopt.solvers._solution import Solution
from regopt.solvers._wide import PenaltyOfStrength, on_working_sets, takes_working_sets


class CrossValidation(NamedTuple):
    """The losses of held-out rows along a path, and the path on all rows."""

    strengths: jax.Array  # [strengths], descending
    scores: jax.Array  # [folds, strengths]: mean loss on the rows held out
    mean: jax.Array  # [strengths]: mean over the folds
    standard_error: jax.Array  # [strengths]: of that mean, from the spread of the folds
    best: jax.Array  # shape (), int32: index of the strength with the least mean
    one_standard_error: jax.Array  # shape (), int32: index of the largest strength within one error of the best
    path: Solution  # on all rows, with leading axis [strengths]
    converged: jax.Array  # [folds, strengths], bool: whether each fold's fit reached its certificate


def cross_validate(
    loss: Callable[..., jax.Array],
    penalty: PenaltyOfStrength,
    start: Tree,
    x: jax.Array,
    y: jax.Array,
    *,
    folds: int | jax.Array = 10,
    strengths: jax.Array | None = None,
    solver: str = "auto",
    lower_bound: Number | None = None,
    tolerance: Number = 1e-6,
    max_steps: int = 10_000,
) -> CrossValidation:
    """Fit a path on all rows but those of one fold, for each fold, and score it on these rows.

    The folds, and the path on all rows, are lanes of one program (``vmap``). Where ``path`` takes working sets, they
    share the products with the data instead. To cross-validate another number too, ``l1_ratio`` for example, vmap this
    function over it.

    Args:
        loss: a function ``(params, x, y, weights)`` to the weighted mean loss, ``LinearModel`` for example.
        penalty: a function from a strength, shape (), to the penalty.
        start: the parameters from which each path starts.
        x: inputs, ``[examples, ...]``.
        y: targets, ``[examples, ...]``.
        folds: the number of folds of consecutive rows, from 2 to the number of examples; or the fold of each row,
            ``[examples]``, concrete integers from 0 up. Shuffle ordered rows first.
        strengths: the strengths, ``[n]``, descending; None for 100 of them by ``strength_grid``, on all rows.
        solver: as for ``path``; static.
        lower_bound: as for ``minimize``.
        tolerance: as for ``minimize``.
        max_steps: as for ``path``; static.

    Returns:
        The scores, the strengths that they favour, and the path on all rows.

    Raises:
        ValueError: the folds do not fit the rows, or ``minimize`` refuses an argument.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import l1
        >>> from regopt.solvers import LinearModel, cross_validate, gaussian
        >>> x = jnp.array([[-2.0], [-1.0], [1.0], [2.0]])
        >>> y, model = x[:, 0], LinearModel(gaussian())
        >>> result = cross_validate(model, l1, model.start(x), x, y, folds=2, strengths=jnp.array([1.0, 0.1]))
        >>> int(result.best)
        1

    References:
        Hastie, T., Tibshirani, R., & Friedman, J. (2009). The Elements of Statistical Learning (2nd ed.). Springer.
        Section 7.10, with the one-standard-error rule.
    """
    x, y = jnp.asarray(x), jnp.asarray(y)
    labels, count = _labels(folds, len(y))
    strengths = strength_grid(loss, penalty, start, x, y, None) if strengths is None else jnp.asarray(strengths)

    def fit(start: Tree, loss: Callable[..., jax.Array], *data: Tree) -> Solution:
        return path(
            loss,
            penalty,
            start,
            *data,
            strengths=strengths,
            solver=solver,
            lower_bound=lower_bound,
            tolerance=tolerance,
            max_steps=max_steps,
        )

    rows, held = _rows(labels, count)
    held = held.astype(strengths.dtype)
    weights = np.concatenate([labels[None] != np.arange(count)[:, None], np.ones((1, len(y)), bool)])
    weights = jnp.asarray(weights.astype(strengths.dtype))
    on_host = takes_working_sets(solver, loss, penalty, start, (x, y), strengths, tolerance)
    if on_host:
        lanes = on_working_sets(loss, penalty, start, (x, y), weights, strengths, tolerance, max_steps)
    else:
        if isinstance(loss, LinearModel):
            x, y, *_ = loss.in_dtype_of(start, x, y)
        # with a start for each lane the loop over the strengths is traced once instead of twice
        starts = jax.tree.map(lambda w: jnp.broadcast_to(w, (len(weights), *w.shape)), start)
        if isinstance(loss, LinearModel) and gram_pays(loss, penalty, start, x):
            losses = GramLoss.of_folds(x, y, jnp.asarray(rows), jnp.asarray(held, x.dtype), intercept=loss.intercept)
            lanes = jax.vmap(fit)(starts, losses)
        else:
            lanes = jax.vmap(lambda start, weights: fit(start, loss, x, y, weights))(starts, weights)

    # outside a program, the compiled scores are kept for the next call
    scored = jax.jit(_scored, static_argnums=0) if on_host else _scored
    return scored(loss, lanes, strengths, x, y, jnp.asarray(rows), jnp.asarray(held))


def _scored(
    loss: Callable[..., jax.Array],
    lanes: Solution,
    strengths: jax.Array,
    x: jax.Array,
    y: jax.Array,
    rows: jax.Array,
    held: jax.Array,
) -> CrossValidation:
    """The fits of all folds, followed by those on all rows, with their scores."""
    scores = _scores(loss, jax.tree.map(lambda w: w[:-1], lanes.params), x, y, rows, held)
    whole = jax.tree.map(lambda leaf: leaf[-1], lanes)
    mean, error = jnp.mean(scores, 0), jnp.std(scores, 0, ddof=1) / jnp.sqrt(len(rows))
    best = jnp.argmin(mean)
    within = mean <= mean[best] + error[best]
    simplest = jnp.argmax(jnp.where(within, strengths, -jnp.inf))
    return CrossValidation(strengths, scores, mean, error, best, simplest, whole, lanes.converged[:-1])


def _scores(
    loss: Callable[..., jax.Array], params: Tree, x: jax.Array, y: jax.Array, rows: jax.Array, held: jax.Array
) -> jax.Array:
    """The losses of held-out rows, ``[folds, strengths]``."""

    def score(fold: tuple[Tree, jax.Array, jax.Array]) -> jax.Array:
        params, rows, held = fold
        return jax.vmap(lambda params: loss(params, x[rows], y[rows], held))(params)

    return jax.lax.map(score, (params, rows, held))


def _labels(folds: int | jax.Array, examples: int) -> tuple[np.ndarray, int]:
    """The fold of each row, and the number of folds."""
    if isinstance(folds, int):
        check_whole("folds", folds, "[2, inf)")
        if folds > examples:
            raise ValueError(f"folds must be at most the number of examples, {examples}, got {folds}")
        return np.repeat(np.arange(folds), [len(p) for p in np.array_split(np.arange(examples), folds)]), folds
    labels = np.asarray(folds)
    if labels.shape != (examples,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"folds must be an integer for each of the {examples} rows, got {labels.dtype}{labels.shape}")
    count = int(labels.max()) + 1
    if count < 2 or len(np.unique(labels)) != count or int(labels.min()) < 0:
        raise ValueError(f"folds must hold each integer from 0 to at least 1, got {np.unique(labels)}")
    return labels, count


def _rows(labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of each fold, ``[folds, rows]``, padded by row 0, and where they are rows of the fold."""
    rows = [np.flatnonzero(labels == fold) for fold in range(count)]
    longest = max(map(len, rows))
    padded = [np.pad(chosen, (0, longest - len(chosen))) for chosen in rows]
    return np.array(padded), np.array([np.arange(longest) < len(own) for own in rows])
