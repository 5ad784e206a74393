"""Least squares from the Gram matrix: a step then costs ``features**2`` instead of ``2 examples * features``.

It pays where many problems share their data, as along a path, and there are more examples than features.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from regopt._core.types import Penalty, Tree
from regopt.solvers._accelerated import LinearProblem, Target, accelerated
from regopt.solvers._solution import Solution, duality_gap


class GramLoss(NamedTuple):
    """``(w' G w - 2 q' w + s) / 2``: the weighted mean squared error halved, at the best intercept for each w.

    Its parameters are those of the ``LinearModel``. It does not depend on the intercept, which ``with_intercept`` adds.
    """

    gram: jax.Array  # [features, features]
    products: jax.Array  # [features]: q
    square: jax.Array  # shape (): s
    mean_x: jax.Array  # [features]; 0 without an intercept
    mean_y: jax.Array  # shape ()

    @classmethod
    def of(cls, x: jax.Array, target: jax.Array, shares: jax.Array, *, intercept: bool) -> "GramLoss":
        """From the inputs ``[examples, ...]``, the targets ``[examples]``, and the weights, which sum to 1."""
        x = x.reshape(len(x), -1)
        mean_x = shares @ x if intercept else jnp.zeros(x.shape[1], x.dtype)
        mean_y = shares @ target if intercept else jnp.zeros((), x.dtype)
        centred, target = x - mean_x[None], target - mean_y
        weighted = centred * shares[:, None]
        return cls(weighted.T @ centred, weighted.T @ target, shares @ (target * target), mean_x, mean_y)

    @classmethod
    def of_folds(cls, x: jax.Array, y: jax.Array, rows: jax.Array, held: jax.Array, *, intercept: bool) -> "GramLoss":
        """The losses on all rows but those of one fold, for each fold, followed by that on all rows, as lanes.

        The sums over the rows of a fold are subtracted from those over all rows, so that all folds together cost as
        much as two Gram matrices.

        Args:
            x: inputs, ``[examples, ...]``.
            y: targets, ``[examples]``.
            rows: the rows of each fold, ``[folds, rows]``, padded.
            held: 1 for each row, 0 for the padding, ``[folds, rows]``.
            intercept: whether the model has one.

        Returns:
            The losses, with leading axis ``[folds + 1]``.
        """
        x = x.reshape(len(x), -1)
        middle_x, middle_y = (x.mean(0), y.mean()) if intercept else (jnp.zeros_like(x[0]), jnp.zeros_like(y[0]))
        ones = jnp.ones(len(x), x.dtype)
        table = jnp.concatenate([x - middle_x[None], (y - middle_y)[:, None], ones[:, None]], 1)

        def sums(fold):
            indices, held = fold
            chosen = table[indices] * held[:, None]
            return chosen.T @ chosen

        out = jax.lax.map(sums, (rows, held))
        total = jnp.sum(out, 0)
        moments = jnp.concatenate([total[None] - out, total[None]])
        moments = moments / moments[:, -1:, -1:]
        mean = moments[:, -1, :-1] if intercept else jnp.zeros_like(moments[:, -1, :-1])
        moments = moments[:, :-1, :-1] - mean[:, :, None] * mean[:, None]
        mean_x, mean_y = mean[:, :-1] + middle_x[None], mean[:, -1] + middle_y
        return cls(moments[:, :-1, :-1], moments[:, :-1, -1], moments[:, -1, -1], mean_x, mean_y)

    def problem(self) -> LinearProblem:
        """The form that the solvers take; the image is ``G w``."""

        def flat(params):
            return params["coefficients"].ravel()

        def value(params, image):
            return (flat(params) @ (image - 2 * self.products) + self.square) / 2

        def gradient(params, image):
            grad = jax.tree.map(jnp.zeros_like, params)
            return {**grad, "coefficients": (image - self.products).reshape(params["coefficients"].shape)}

        def gap(penalty: Penalty, params, image, _):
            return duality_gap(params, value(params, image), gradient(params, image), penalty, 0.0)

        return LinearProblem(
            lambda params: self.gram @ flat(params),
            value,
            gradient,
            lambda turn, after, before: flat(turn) @ (after - before),
            gap,
            lambda turn: flat(turn) @ (self.gram @ flat(turn)),
        )

    def minimum(
        self, penalty: Penalty, start: Tree, *, target: Target, max_steps: int, check_start: bool = True
    ) -> Solution:
        """The minimum of the loss plus a penalty; see ``accelerated``.

        The loss does not depend on the intercept, so the steps leave it out, which halves the arrays to compile.
        """

        def whole(own):
            return {**start, **own}

        def of_coefficients(params):
            return {"coefficients": params["coefficients"]}

        others = jax.tree.map(jnp.zeros_like, start)
        own = Penalty(
            lambda own: penalty.value(whole(own)),
            lambda own, step: of_coefficients(penalty.prox(whole(own), step)),
            lambda own: of_coefficients(penalty.mask(whole(own))),
            linear_minimum=lambda grad, level: penalty.linear_minimum({**others, **grad}, level),
        )
        found = accelerated(
            self.problem(), own, of_coefficients(start), target=target, max_steps=max_steps, check_start=check_start
        )
        return found._replace(params=whole(found.params))

    def __call__(self, params: Tree) -> jax.Array:
        """The loss, shape ()."""
        w = params["coefficients"].ravel()
        return (w @ (self.gram @ w) - 2 * (self.products @ w) + self.square) / 2

    def with_intercept(self, params: Tree) -> Tree:
        """The parameters with their best intercept, if there is one."""
        if "intercept" not in params:
            return params
        return {**params, "intercept": self.mean_y - self.mean_x @ params["coefficients"].ravel()}
