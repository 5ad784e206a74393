"""Safe screening: which coefficients are 0 in every solution, told from any point and its duality gap."""

import jax
import jax.numpy as jnp

from regopt._core.types import Penalty, Tree
from regopt.solvers._linear_model import LinearModel


def gap_safe(
    model: LinearModel,
    penalty: Penalty,
    params: Tree,
    x: jax.Array,
    y: jax.Array,
    weights: jax.Array | None = None,
    offset: jax.Array | None = None,
) -> jax.Array:
    """Which coefficients may differ from 0 at the minimum; all others are 0 there, and may be left out.

    The slopes of the loss at the minimum differ from those at ``params`` by at most ``|x_j| sqrt(2 L gap)``, where L
    bounds the curvature of the losses and ``|x_j|`` is the weighted norm of the column, centred if there is an
    intercept. A coefficient, or its whole group, is 0 if the prox of the largest slopes is 0. The nearer ``params`` is
    to the minimum, the more are left out: take the solution for the last strength of a path.
    The function is pure.

    Args:
        model: with a family whose curvature is bounded: gaussian, logistic, multinomial, huber_loss or squared_hinge.
        penalty: a convex penalty that is a sum over coefficients or groups.
        params: any parameters.
        x: as for the model.
        y: as for the model.
        weights: as for the model.
        offset: as for the model.

    Returns:
        Booleans with the shape of the coefficients.

    Raises:
        ValueError: the family or the penalty is none of these.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.penalties import l1
        >>> from regopt.solvers import LinearModel, gap_safe, gaussian
        >>> model, x = LinearModel(gaussian()), jnp.array([[-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
        >>> params, y = {"coefficients": jnp.array([1.5, 0.0]), "intercept": jnp.array(0.0)}, 2 * x[:, 0]
        >>> gap_safe(model, l1(0.5), params, x, y)
        Array([ True, False], dtype=bool)

    References:
        Ndiaye, E., Fercoq, O., Gramfort, A., & Salmon, J. (2017). Gap safe screening rules for sparsity enforcing
        penalties. Journal of Machine Learning Research, 18(128), 1-33. Theorem 6.
    """
    curvature = model.family.curvature
    if curvature is None:
        raise ValueError(
            "screening needs a loss of bounded curvature: gaussian, logistic, multinomial, huber_loss or squared_hinge"
        )
    if penalty.terms is None or not penalty.has_linear_minimum:
        raise ValueError(
            "screening needs a convex penalty that is a sum over coefficients or groups, such as l1, elastic_net or "
            "group_lasso"
        )
    problem, parts = model.problem(x, y, weights, offset), model.weighted(x, y, weights, offset)
    eta = problem.image(params)
    slopes = jax.grad(lambda eta: jnp.sum(model.family.loss(eta, y)))(eta)
    slopes = model.family.balance(parts.shares, slopes, y) if model.intercept else slopes
    objective = problem.value(params, eta) + penalty.value(params)
    gap = jnp.maximum(problem.gap(penalty, params, eta), 10 * jnp.finfo(eta.dtype).eps * jnp.abs(objective))
    columns = parts.x - (parts.shares @ parts.x)[None] if model.intercept else parts.x
    reach = jnp.sqrt(parts.shares @ (columns * columns) * 2 * curvature * gap)
    largest = jnp.abs((parts.x * parts.shares[:, None]).T @ slopes)
    largest = largest + jnp.expand_dims(reach, tuple(range(1, largest.ndim)))
    shape = params["coefficients"].shape
    return penalty.prox({**params, "coefficients": largest.reshape(shape)}, 1.0)["coefficients"] != 0
