"""Safe screening: the coefficients that are 0 in every solution, found from any point and its duality gap."""

import jax
import jax.numpy as jnp

from regopt._core.types import Penalty, Tree
from regopt.solvers._linear_model import LinearModel

_HALVINGS = 40  # bisection steps for the largest factor of the slopes


def gap_safe(
    model: LinearModel,
    penalty: Penalty,
    params: Tree,
    x: jax.Array,
    y: jax.Array,
    weights: jax.Array | None = None,
    offset: jax.Array | None = None,
) -> jax.Array:
    """The coefficients that may differ from 0 at the minimum; all others are 0 there, and may be left out.

    The slopes of the loss at the minimum differ from those at ``params`` by at most ``|x_j| sqrt(2 L gap)``, where L
    bounds the curvature of the losses and ``|x_j|`` is the weighted norm of the column, centred if there is an
    intercept. A coefficient, or its whole group, is 0 if the prox of the largest slopes is 0. The nearer ``params`` is
    to the minimum, the more coefficients are left out: along a path, take the solution for the previous strength. The
    function is pure.

    Args:
        model: a model with a family of bounded curvature: gaussian, logistic, multinomial, huber_loss or squared_hinge.
        penalty: a convex penalty that is a sum over coefficients or groups.
        params: any parameters.
        x: as for the model.
        y: as for the model.
        weights: as for the model.
        offset: as for the model.

    Returns:
        Booleans with the shape of the coefficients.

    Raises:
        ValueError: the family or the penalty is not one of these, or a group joins coefficients with another leaf.

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
    if any(term.joined for terms in penalty.terms(params) for term in terms):
        raise ValueError("screening needs groups of coefficients alone, got groups that join them with another leaf")
    problem, parts = model.problem(x, y, weights, offset), model.weighted(x, y, weights, offset)
    eta = problem.image(params)
    slopes = model.family.slopes(eta, y)
    slopes = model.family.balance(parts.shares, slopes, y) if model.intercept else slopes
    shape = params["coefficients"].shape
    grad = jax.tree.map(jnp.zeros_like, params)
    through_data = (parts.x * parts.shares[:, None]).T @ slopes
    grad = {**grad, "coefficients": through_data.reshape(shape)}
    objective = problem.value(params, eta) + penalty.value(params)
    pull = 0.0 if offset is None else jnp.sum(_by_row(parts.shares, slopes) * slopes * offset)

    def gap_at(shrink):
        """The gap at the dual point shrunk by this factor."""
        conjugate = jnp.sum(parts.shares * model.family.conjugate(shrink * slopes, y))
        least = penalty.linear_minimum(jax.tree.map(lambda g: shrink * g, grad), objective)
        return objective + conjugate - shrink * pull - least

    shrink = jnp.stack([_largest_shrink(penalty, grad), jnp.ones_like(objective)])
    gaps = jax.vmap(gap_at)(shrink)
    best = jnp.argmin(gaps)
    gap = jnp.maximum(gaps[best], 10 * jnp.finfo(eta.dtype).eps * jnp.abs(objective))
    free = model.intercept and not penalty.mask(params)["intercept"]  # then the dual point has mean 0
    columns = parts.x - (parts.shares @ parts.x)[None] if free else parts.x
    reach = jnp.sqrt(parts.shares @ (columns * columns) * 2 * curvature * gap)
    largest = shrink[best] * jnp.abs(through_data) + _by_row(reach, through_data)
    return penalty.prox({**params, "coefficients": largest.reshape(shape)}, 1.0)["coefficients"] != 0


def _by_row(values: jax.Array, like: jax.Array) -> jax.Array:
    """One number for each row of the other array, with as many axes as it has."""
    return jnp.expand_dims(values, tuple(range(1, like.ndim)))


def _largest_shrink(penalty: Penalty, grad: Tree) -> jax.Array:
    """The largest factor up to 1 at which the slopes leave all coefficients at 0."""
    sizes = jax.tree.map(jnp.abs, grad)

    def at_zero(shrink):
        after = penalty.prox(jax.tree.map(lambda g: shrink * g, sizes), 1.0)["coefficients"]
        return ~jnp.any(after != 0)

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        inside = at_zero(middle)
        return jnp.where(inside, middle, low), jnp.where(inside, high, middle)

    one = jnp.ones((), jax.tree.leaves(grad)[0].dtype)
    low, _ = jax.lax.fori_loop(0, _HALVINGS, halve, (jnp.zeros_like(one), one))
    return jnp.where(at_zero(one), one, low)
