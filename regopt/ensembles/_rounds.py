"""The rounds that all forms of boosting share; they differ in their weights and in what a round adds."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from regopt._core.types import Key, Tree
from regopt.ensembles._learner import Learner


class Round(NamedTuple):
    """The contribution of a round, beside the model."""

    coefficient: jax.Array
    error: jax.Array
    normalizer: jax.Array
    scores: jax.Array


class Boosted(NamedTuple):
    """The rounds of a boosted ensemble."""

    models: Tree  # each leaf [rounds, ...]; a list where the learner cannot be traced
    coefficients: jax.Array  # [rounds]: a_t, the weight of h_t in F
    errors: jax.Array  # [rounds]: the weight of what h_t gets wrong, under the weights that it was fitted to
    normalizers: jax.Array  # [rounds]: Z_t, the sum of the new weights before they are divided by it
    scores: jax.Array  # [rounds, n], or [rounds, n, classes]: F_t for the training inputs


class Boosting(NamedTuple):
    """A boosted ensemble as pure functions.

    Attributes:
        fit: a function ``(key, x, y)`` to ``Boosted``, with y in {0, 1}, or in {0, ..., classes - 1} for ``samme``.
        scores: a function ``(boosted, x)`` to ``F_t(x)`` after every round: ``[rounds, n]``, class 1 where F > 0; or
            ``[rounds, n, classes]``, the class with the largest F.
    """

    fit: Callable[[Key, jax.Array, jax.Array], Boosted]
    scores: Callable[[Boosted, jax.Array], jax.Array]


def boosted_rounds(
    learner: Learner,
    keys: Key,
    x: jax.Array,
    y: jax.Array,
    start: jax.Array,
    weights_at: Callable[[jax.Array], jax.Array],
    after: Callable[[jax.Array, jax.Array, jax.Array], Round],
) -> Boosted:
    """Fit the learner round by round: scanned where it can be traced, else in a loop.

    Args:
        learner: the weak learner.
        keys: one for each round, ``[rounds]``.
        x: inputs, ``[n, features]``.
        y: targets, ``[n]``.
        start: the scores before the first round.
        weights_at: the weights of the examples, ``[n]``, from the scores so far.
        after: what a round adds, from the scores so far, the weights and the model's probabilities.

    Returns:
        The rounds.
    """

    def one(scores, key):
        weights = weights_at(scores)
        model = learner.fit(key, x, y, weights)
        return model, weights, learner.predict(model, x)

    if learner.traced:

        def body(scores, key):
            model, weights, probabilities = one(scores, key)
            done = after(scores, weights, probabilities)
            return done.scores, (model, done)

        models, every = jax.lax.scan(body, start, keys)[1]
        return Boosted(models, *every)
    models, found, finish = [], [], jax.jit(after)
    for each in keys:
        scores = found[-1].scores if found else start
        model, weights, probabilities = one(scores, each)
        models.append(model)
        found.append(finish(scores, weights, probabilities))
    return Boosted(models, *jax.tree.map(lambda *leaves: jnp.stack(leaves), *found))
