"""The loss of a linear model, with its duality gap: what ``minimize``, ``path`` and ``cross_validate`` fit.

It is a loss like any other for ``minimize``; that it has a ``duality_gap`` of its own lets the intercept stay without a
penalty.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from regopt._core.numerics import widen
from regopt._core.types import Penalty, Tree
from regopt.solvers._families import Family, squared_error
from regopt.solvers._gram import GramLoss


class LinearModel(NamedTuple):
    """``sum_i c_i f(x_i w + b + o_i, y_i)`` with weights c that sum to 1; f is the family's loss.

    Called with ``(params, x, y, weights, offset)`` it is the loss. The parameters are a dictionary with
    ``"coefficients"`` ``[features]`` and, if ``intercept`` is set, ``"intercept"``, shape ().

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import l1
        >>> from regopt.solvers import LinearModel, gaussian, minimize
        >>> model, x = LinearModel(gaussian()), jnp.array([[-1.0], [1.0]])
        >>> solution = minimize(model, l1(0.5), model.start(x), x, jnp.array([0.0, 4.0]), tolerance=1e-4)
        >>> solution.params["coefficients"].round(2), solution.params["intercept"].round(2)
        (Array([1.5], dtype=float32), Array(2., dtype=float32))

    References:
        Friedman, J., Hastie, T., & Tibshirani, R. (2010). Regularization paths for generalized linear models via
        coordinate descent. Journal of Statistical Software, 33(1), 1-22. Equation (1), and section 3 for other
        families.
    """

    family: Family
    intercept: bool = True

    def start(self, x: jax.Array) -> dict[str, jax.Array]:
        """Zeros for all parameters of a model of ``x`` ``[examples, features]``, at least float32."""
        (wide,) = widen(x)
        params = {"coefficients": jnp.zeros(x.shape[1], wide.dtype)}
        return {**params, "intercept": jnp.zeros((), wide.dtype)} if self.intercept else params

    def predictor(self, params: Tree, x: jax.Array, offset: jax.Array | None = None) -> jax.Array:
        """``x w + b + offset``, ``[examples]``."""
        eta = x @ params["coefficients"]
        eta = eta + params["intercept"] if self.intercept else eta
        return eta if offset is None else eta + offset

    def __call__(
        self,
        params: Tree,
        x: jax.Array,
        y: jax.Array,
        weights: jax.Array | None = None,
        offset: jax.Array | None = None,
    ) -> jax.Array:
        """The weighted mean of the losses, shape (); without weights all examples count the same."""
        losses = self.family.loss(self.predictor(params, x, offset), y)
        return jnp.sum(_shares(losses, weights) * losses)

    def shared(
        self,
        x: jax.Array,
        y: jax.Array,
        weights: jax.Array | None = None,
        offset: jax.Array | None = None,
    ) -> GramLoss | None:
        """The same loss from the Gram matrix, for many problems on the same data; None where that does not pay."""
        if self.family.loss is not squared_error or len(x) < x.shape[1]:
            return None
        target = y if offset is None else y - offset
        return GramLoss.of(x, target, _shares(target, weights), intercept=self.intercept)

    def duality_gap(
        self,
        penalty: Penalty,
        params: Tree,
        x: jax.Array,
        y: jax.Array,
        weights: jax.Array | None = None,
        offset: jax.Array | None = None,
    ) -> jax.Array:
        """An upper bound on the objective at ``params`` minus its minimum, shape ().

        The dual point are the slopes of the losses, ``v_i = f'(eta_i)``. With an intercept they must satisfy
        ``sum_i c_i v_i = 0``, so those of the sign that prevails are shrunk. The dual objective is
        ``sum_i c_i (v_i o_i - f*(v_i))`` plus the ``linear_minimum`` of the penalty at ``sum_i c_i v_i x_i``, over the
        coefficients whose penalty is at most the objective.
        """
        eta = self.predictor(params, x, offset)
        shares = _shares(eta, weights)
        losses, slopes = jax.jvp(lambda eta: self.family.loss(eta, y), (eta,), (jnp.ones_like(eta),))
        slopes = _balanced(shares, slopes) if self.intercept else slopes
        objective = jnp.sum(shares * losses) + penalty.value(params)
        grad = {"coefficients": (shares * slopes) @ x}
        grad = {**grad, "intercept": jnp.zeros_like(params["intercept"])} if self.intercept else grad
        conjugates = self.family.conjugate(slopes, y) - (0 if offset is None else slopes * offset)
        return objective + jnp.sum(shares * conjugates) - penalty.linear_minimum(grad, objective)


def _shares(like: jax.Array, weights: jax.Array | None) -> jax.Array:
    """The weights, divided by their sum."""
    if weights is None:
        return jnp.full_like(like, 1 / max(like.size, 1))
    return weights.astype(like.dtype) / jnp.sum(weights)


def _balanced(shares: jax.Array, slopes: jax.Array) -> jax.Array:
    """The slopes with those of the prevailing sign shrunk, so that their weighted sum is 0."""
    up, down = jnp.sum(shares * jnp.maximum(slopes, 0)), jnp.sum(shares * jnp.maximum(-slopes, 0))
    shrink_up = jnp.where(up > down, down / jnp.where(up > 0, up, 1), 1)
    shrink_down = jnp.where(down > up, up / jnp.where(down > 0, down, 1), 1)
    return jnp.where(slopes > 0, slopes * shrink_up, slopes * shrink_down)
