"""The loss of a linear model, with its duality gap: what ``minimize``, ``path`` and ``cross_validate`` fit.

For ``minimize`` it is a loss like any other. Because it has a ``duality_gap`` of its own, the intercept may have no
penalty.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from regopt._core.messages import brief
from regopt._core.numerics import check_range, widen
from regopt._core.types import Penalty, Tree
from regopt.solvers._accelerated import LinearProblem
from regopt.solvers._families import Family, squared_error
from regopt.solvers._gram import GramLoss
from regopt.solvers._proximal_newton import Weighted

_SHARES_TO = 0.01  # by how much the sum of the shares of the classes may differ from 1, for 16-bit targets


class LinearModel(NamedTuple):
    """``sum_i c_i f(x_i w + b + o_i, y_i)`` with weights c that sum to 1; f is the family's loss.

    Called with ``(params, x, y, weights, offset)`` it is the loss. The parameters are a dictionary with
    ``"coefficients"`` ``[features]`` and, if ``intercept`` is set, ``"intercept"``, shape (). Inputs of more axes,
    ``[examples, groups, members]`` for example, have coefficients ``[groups, members]``; with ``multinomial`` the
    coefficients have one more axis and the intercept is ``[classes]``.

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
        """Zeros for all parameters of a model of ``x`` ``[examples, ...]``, at least float32."""
        (wide,) = widen(x)
        outputs = _outputs_of(self.family)
        params = {"coefficients": jnp.zeros((*x.shape[1:], *outputs), wide.dtype)}
        return {**params, "intercept": jnp.zeros(outputs, wide.dtype)} if self.intercept else params

    def check_params(self, params: Tree) -> None:
        """Refuse parameters that are no mapping, or that lack one of the names of ``start``."""
        names = ["coefficients", "intercept"] if self.intercept else ["coefficients"]
        if not isinstance(params, Mapping) or not set(names) <= set(params):
            parts = " and ".join(map(repr, names))
            raise ValueError(
                f"the parameters of a LinearModel must have {parts}, as model.start(x) has, got {_kind(params)}"
            )

    def check_data(
        self, x: jax.Array, y: jax.Array, weights: jax.Array | None = None, offset: jax.Array | None = None
    ) -> None:
        """Refuse data whose shapes do not fit the model, and concrete targets outside of the family's range."""
        rows, shape = jnp.shape(y)[:1], (len(x), *_outputs_of(self.family))
        if rows and rows[0] != len(x):
            raise ValueError(f"x and y of a LinearModel must have the same length, got {len(x)} and {rows[0]}")
        hot = ", for example jax.nn.one_hot(y, classes)" if len(shape) == 2 else ""
        expected = {"y": (y, shape, hot), "weights": (weights, shape[:1], ""), "offset": (offset, shape, "")}
        for name, (array, right, hint) in expected.items():
            if array is not None and jnp.shape(array) != right:
                raise ValueError(f"{name} of a LinearModel must have shape {right}{hint}, got {jnp.shape(array)}")
        if self.family.targets is None or isinstance(y, Tracer) or not len(x):
            return
        with jax.ensure_compile_time_eval():  # where the data lie; only these numbers come to the host
            least, most, total, between = np.asarray(_extremes(jnp.asarray(y)), np.float64)
        for end in (least, most):
            check_range("y of this family", float(end), self.family.targets)
        if self.family.binary and between not in (0, 1):
            raise ValueError(f"y of this family must be 0 or 1, got {between:g}")
        if len(shape) == 2 and not abs(total - 1) <= _SHARES_TO:
            raise ValueError(f"each row of y of this family must sum to 1, got a row that sums to {total:g}")

    def in_dtype_of(
        self,
        params: Tree,
        x: jax.Array,
        y: jax.Array,
        weights: jax.Array | None = None,
        offset: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array, jax.Array | None, jax.Array | None]:
        """The data in the widest dtype of the parameters, at least float32, so that no loop widens what it carries."""
        dtype = widen(*jax.tree.leaves(params))[0].dtype

        def cast(each: jax.Array) -> jax.Array:
            return each if getattr(each, "dtype", dtype) == dtype else each.astype(dtype)

        weights = None if weights is None else cast(weights)
        return cast(x), cast(y), weights, None if offset is None else cast(offset)

    def predictor(self, params: Tree, x: jax.Array, offset: jax.Array | None = None) -> jax.Array:
        """``x w + b + offset``, ``[examples]``, or ``[examples, classes]`` with ``multinomial``."""
        self.check_params(params)
        outputs = _outputs_of(self.family)
        eta = x.reshape(len(x), -1) @ params["coefficients"].reshape(-1, *outputs)
        eta = eta + jnp.broadcast_to(params["intercept"], eta.shape) if self.intercept else eta
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
        self.check_data(x, y, weights, offset)
        losses = self.family.loss(self.predictor(params, x, offset), y)
        return jnp.sum(_shares(losses, weights) * losses)

    def shares_gram(self, x: jax.Array) -> bool:
        """Whether many problems on these inputs are better solved from their Gram matrix."""
        return self.family.loss is squared_error and len(x) >= x[0].size

    def shared(
        self,
        x: jax.Array,
        y: jax.Array,
        weights: jax.Array | None = None,
        offset: jax.Array | None = None,
    ) -> GramLoss:
        """The loss of least squares from the Gram matrix, for many problems on the same data."""
        self.check_data(x, y, weights, offset)
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

        The dual point consists of the slopes of the losses, ``v_i = f'(eta_i)``. With an intercept without a penalty
        they must satisfy ``sum_i c_i v_i = 0``, so ``Family.balance`` moves them. The dual objective is
        ``sum_i c_i (v_i o_i - f*(v_i))`` plus the ``linear_minimum`` of the penalty at ``sum_i c_i v_i x_i``, over the
        coefficients whose penalty is at most the objective.
        """
        problem = self.problem(x, y, weights, offset)
        image = problem.image(params)
        return problem.gap(penalty, params, image, problem.value(params, image) + penalty.value(params))

    def with_intercept(
        self,
        params: Tree,
        x: jax.Array,
        y: jax.Array,
        weights: jax.Array | None = None,
        offset: jax.Array | None = None,
    ) -> Tree:
        """The parameters of a least-squares fit with their best intercept, if there is one."""
        if not self.intercept:
            return params
        residuals = y - self.predictor(params, x, offset)
        shares = _shares(residuals, weights)
        return {**params, "intercept": params["intercept"] + jnp.sum(shares * residuals)}

    def weighted(
        self,
        x: jax.Array,
        y: jax.Array,
        weights: jax.Array | None = None,
        offset: jax.Array | None = None,
    ) -> Weighted:
        """The model on its data, for the proximal Newton method."""
        flat = x.reshape(len(x), -1)
        shares = _shares(jnp.zeros(len(x), flat.dtype), weights)
        return Weighted(self.problem(x, y, weights, offset), self.family, flat, y, shares, self.intercept)

    def problem(
        self,
        x: jax.Array,
        y: jax.Array,
        weights: jax.Array | None = None,
        offset: jax.Array | None = None,
        *,
        profiled: bool = False,
    ) -> LinearProblem:
        """The form that the solvers take; the image is the predictor.

        With ``profiled``, for squared errors, the loss is that at the best intercept, which the gradient leaves alone.
        """
        self.check_data(x, y, weights, offset)
        flat = x.reshape(len(x), -1)
        shares = _shares(jnp.zeros(len(x), flat.dtype), weights)

        def slopes(eta):
            if profiled:
                return eta - y - jnp.sum(shares * (eta - y))
            return self.family.slopes(eta, y)

        def weighted(values):
            return jnp.expand_dims(shares, tuple(range(1, values.ndim))) * values

        def through_data(params, values):
            grad = {"coefficients": (flat.T @ weighted(values)).reshape(params["coefficients"].shape)}
            return {**grad, "intercept": jnp.sum(weighted(values), 0)} if self.intercept else grad

        def value(_, eta):
            if profiled:
                return jnp.sum(shares * jnp.square(slopes(eta))) / 2
            return jnp.sum(shares * self.family.loss(eta, y))

        def gap(penalty, params, eta, objective):
            v = slopes(eta)
            if profiled:
                eta = v + y
            free = self.intercept and not penalty.mask(params)["intercept"]
            v = self.family.balance(shares, v, y) if free else v
            grad = through_data(params, v)
            grad = {**grad, "intercept": jnp.zeros_like(params["intercept"])} if free else grad
            conjugate = jnp.sum(shares * self.family.conjugate(v, y))
            conjugate = conjugate if offset is None else conjugate - jnp.sum(weighted(v * offset))
            return objective + conjugate - penalty.linear_minimum(grad, objective)

        return LinearProblem(
            lambda params: self.predictor(params, x, offset),
            value,
            lambda params, eta: through_data(params, slopes(eta)),
            lambda _, after, before: jnp.sum(weighted((slopes(after) - slopes(before)) * (after - before))),
            gap,
        )


@jax.jit
def _extremes(y: jax.Array) -> jax.Array:
    """The least and the largest entry, the row sum farthest from 1, and the entry farthest from both 0 and 1."""
    y = y.reshape(len(y), -1).astype(float)
    totals, apart = jnp.sum(y, 1), jnp.minimum(jnp.abs(y), jnp.abs(y - 1))
    return jnp.stack([jnp.min(y), jnp.max(y), totals[jnp.argmax(jnp.abs(totals - 1))], y.ravel()[jnp.argmax(apart)]])


def _kind(params: Tree) -> str:
    """A description of parameters without their values, which may be traced."""
    if isinstance(params, Mapping):
        return f"a dictionary with {', '.join(map(repr, params)) or 'nothing'}"
    shape = getattr(params, "shape", None)
    return f"a {type(params).__name__}" if shape is None else f"an array of shape {shape}"


def _outputs_of(family: object) -> tuple[int, ...]:
    """The shape of the output of a model of a family for one example."""
    if not isinstance(family, Family):
        raise ValueError(
            f"the family of a LinearModel must be one of regopt.solvers, such as gaussian(), got {brief(family)}"
        )
    return () if family.classes is None else (family.classes,)


def _shares(like: jax.Array, weights: jax.Array | None) -> jax.Array:
    """The weights, divided by their sum."""
    if weights is None:
        return jnp.full_like(like, 1 / max(like.size, 1))
    return weights.astype(like.dtype) / jnp.sum(weights)
