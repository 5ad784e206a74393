"""Stacking: the combiner learns from predictions for examples that the members were not fitted to."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from regopt._core.numerics import check_whole
from regopt._core.types import Key, Tree
from regopt.ensembles._learner import Learner, fit_each, predict_each
from regopt.projections import projection_simplex


class Stacked(NamedTuple):
    """The members of a stack, fitted to all examples, and their weights."""

    models: tuple[Tree, ...]  # one for each learner
    weights: jax.Array  # [learners], >= 0, with the sum 1
    features: jax.Array  # [n, learners]: the predictions that the weights were fitted to


class Stacking(NamedTuple):
    """A stack of regressors as pure functions.

    Attributes:
        fit: a function ``(key, x, y)`` to ``Stacked``.
        members: a function ``(stacked, x)`` to the predictions of each member, ``[learners, n]``.
        predict: a function ``(stacked, x)`` to the weighted predictions, ``[n]``.
    """

    fit: Callable[[Key, jax.Array, jax.Array], Stacked]
    members: Callable[[Stacked, jax.Array], jax.Array]
    predict: Callable[[Stacked, jax.Array], jax.Array]


def out_of_fold(learner: Learner, key: Key, x: jax.Array, y: jax.Array, folds: int) -> jax.Array:
    """The prediction for each example by a model fitted to the other folds; the folds are lanes with weights 0 and 1.

    Args:
        learner: the learner to fit; static.
        key: a typed PRNG key, of the random folds and of the fits.
        x: inputs, ``[n, features]``.
        y: targets, ``[n]``.
        folds: number of folds, in [2, n]; static.

    Returns:
        The predictions, ``[n]`` or ``[n, classes]``.

    Raises:
        ValueError: ``folds`` is no whole number in [2, n].

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.ensembles import nearest_neighbours, out_of_fold
        >>> x = jnp.array([[0.0], [1.0], [3.0]])
        >>> out_of_fold(nearest_neighbours(1), jax.random.key(0), x, x[:, 0], folds=3)  # of its nearest other example
        Array([1., 0., 1.], dtype=float32)

    References:
        Wolpert, D. H. (1992). Stacked generalization. Neural Networks, 5(2), 241-259. Section 2.
    """
    check_whole("folds", folds, f"[2, {len(x)}]")
    order_key, fit_key = jax.random.split(key)
    places = jnp.arange(len(x), dtype=jnp.int32)
    fold = jax.random.permutation(order_key, places % folds)
    weights = (fold[None] != jnp.arange(folds, dtype=jnp.int32)[:, None]).astype(x.dtype)
    models = fit_each(learner, jax.random.split(fit_key, folds), x, y, weights)
    return predict_each(learner, models, x)[fold, places]


def stacking(learners: Sequence[Learner], *, folds: int | None = 5, steps: int = 2000) -> Stacking:
    """``argmin_a sum_i (y_i - sum_k a_k f_k(x_i))**2`` with a >= 0 and ``sum_k a_k = 1``, and the members it weighs.

    The f_k(x_i) are out-of-fold predictions; the members that predict are fitted to all examples. With ``folds=None``
    the combiner sees the members' predictions for their training examples, as some texts print it. A member that fits
    its training set exactly then gets all the weight, whatever it is worth on new examples.

    Args:
        learners: regressors, at least one; static.
        folds: number of folds, >= 2; None for predictions on the training examples; static.
        steps: projected gradient steps for the weights, >= 1; static.

    Returns:
        The functions ``fit``, ``members`` and ``predict``.

    Raises:
        ValueError: there are no learners, or a number lies outside its range.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.ensembles import nearest_neighbours, ridge, stacking
        >>> x = jnp.arange(20.0)[:, None]
        >>> method = stacking([ridge(1e-6), nearest_neighbours(1)])
        >>> stacked = method.fit(jax.random.key(0), x, 2 * x[:, 0])  # a line, so the first one is right
        >>> stacked.weights.round(3)
        Array([1., 0.], dtype=float32)

    References:
        Wolpert, D. H. (1992). Stacked generalization. Neural Networks, 5(2), 241-259. Section 2.

        Breiman, L. (1996). Stacked regressions. Machine Learning, 24(1), 49-64. Section 2, for the constraint a >= 0.
    """
    if not learners:
        raise ValueError("learners must have at least one entry, got none")
    if folds is not None:
        check_whole("folds", folds, "[2, inf)")
    check_whole("steps", steps, "[1, inf)")

    def fit(key, x, y):
        fit_key, fold_key = jax.random.split(key)
        one = jnp.ones((1, len(x)), x.dtype)
        # one key for all: they see the same folds
        models = tuple(
            fit_each(learner, jax.random.fold_in(fit_key, place)[None], x, y, one)
            for place, learner in enumerate(learners)
        )
        if folds is None:
            columns = [predict_each(learner, model, x)[0] for learner, model in zip(learners, models, strict=True)]
        else:
            columns = [out_of_fold(learner, jax.random.clone(fold_key), x, y, folds) for learner in learners]
        features = jnp.stack(columns, axis=1)
        return Stacked(models, _on_simplex(features, y.astype(features.dtype), steps), features)

    def members(stacked, x):
        return jnp.stack(
            [predict_each(each, model, x)[0] for each, model in zip(learners, stacked.models, strict=True)]
        )

    def predict(stacked, x):
        return stacked.weights @ members(stacked, x)

    return Stacking(fit, members, predict)


def _on_simplex(features: jax.Array, y: jax.Array, steps: int) -> jax.Array:
    """Least squares with weights >= 0 that sum to 1, by accelerated projected gradients."""
    # on the simplex the targets may be taken off every column, which leaves what the members get wrong
    wrong = features - y[:, None]
    gram = wrong.T @ wrong
    rate = 1 / jnp.maximum(jnp.linalg.norm(gram, ord=2), jnp.finfo(gram.dtype).tiny)

    def step(carry, count):
        before, ahead = carry
        with jax.numpy_dtype_promotion("standard"):  # optax divides by integers
            after = projection_simplex(ahead - rate * (gram @ ahead))
        momentum = (count / (count + 3)).astype(after.dtype)
        restart = jnp.vdot(ahead - after, after - before) > 0
        return (after, jnp.where(restart, after, after + momentum * (after - before))), None

    start = jnp.full(features.shape[1], 1 / features.shape[1], features.dtype)
    return jax.lax.scan(step, (start, start), jnp.arange(steps))[0][0]
