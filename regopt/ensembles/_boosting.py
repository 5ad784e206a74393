"""Boosting of two classes: AdaBoost in its discrete, real and gradient forms, for any weak learner.

All forms build ``F_t = F_{t-1} + a_t h_t`` and weigh example i by the slope of a loss at its margin ``y_i F_t(x_i)``,
with ``y_i`` in {-1, 1}. For the exponential loss these are the weights of AdaBoost.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from regopt._core.checks import check_choice
from regopt._core.numerics import check_whole
from regopt.ensembles._learner import Learner, predict_each
from regopt.ensembles._rounds import Boosting, Round, boosted_rounds

MarginLoss = Callable[[jax.Array], jax.Array]  # of the margins y F, elementwise, decreasing and convex


def exponential_loss(margins: jax.Array) -> jax.Array:
    """``exp(-y F)``, the loss that AdaBoost minimises stage by stage.

    Args:
        margins: ``y F``, of any shape.

    Returns:
        The losses, in the same shape.

    Raises:
        TypeError: the margins are no floating-point array.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.ensembles import exponential_loss
        >>> [round(float(loss), 3) for loss in exponential_loss(jnp.array([0.0, 1.0]))]
        [1.0, 0.368]

    References:
        Friedman, J., Hastie, T., & Tibshirani, R. (2000). Additive logistic regression: A statistical view of boosting.
        Annals of Statistics, 28(2), 337-407. Section 4.
    """
    return jnp.exp(-margins)


def logistic_loss(margins: jax.Array) -> jax.Array:
    """``log(1 + exp(-y F))``, which grows linearly for wrong examples and so minds label noise less.

    Args:
        margins: ``y F``, of any shape.

    Returns:
        The losses, in the same shape.

    Raises:
        TypeError: the margins are no floating-point array.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.ensembles import logistic_loss
        >>> [round(float(loss), 3) for loss in logistic_loss(jnp.array([0.0, 1.0]))]
        [0.693, 0.313]

    References:
        Friedman, J., Hastie, T., & Tibshirani, R. (2000). Additive logistic regression: A statistical view of boosting.
        Annals of Statistics, 28(2), 337-407. Section 5.
    """
    return jax.nn.softplus(-margins)


def adaboost(learner: Learner, rounds: int = 50, *, variant: Literal["discrete", "real"] = "discrete") -> Boosting:
    """AdaBoost for two classes.

    With the weights w of a round, which sum to 1, and the learner's probability p(x) of class 1::

        "discrete"  h = sign(p - 1/2),            e = sum_i w_i [y_i != h(x_i)],   a = log((1 - e) / e) / 2
        "real"      h = log(p / (1 - p)) / 2,     a = 1
        both        w_i <- w_i exp(-a y_i h(x_i)) / Z

    The discrete form has half the coefficients of the algorithm in the book, and the same decisions. Its errors e are
    kept within rounding of 0 and 1, and so are the probabilities of the real form, so all coefficients are finite.

    Args:
        learner: a weak learner for two classes; static.
        rounds: number of rounds, >= 1; static.
        variant: "discrete" or "real"; static.

    Returns:
        The functions ``fit`` and ``scores``.

    Raises:
        ValueError: an argument lies outside its range.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.ensembles import adaboost, stump
        >>> x, y = jnp.array([[0.0], [1.0], [2.0]]), jnp.array([0, 1, 0])  # no single stump can tell these
        >>> method = adaboost(stump(), rounds=5)
        >>> boosted = method.fit(jax.random.key(0), x, y)
        >>> (method.scores(boosted, x)[-1] > 0).astype(int)
        Array([0, 1, 0], dtype=int32)

    References:
        Freund, Y., & Schapire, R. E. (1997). A decision-theoretic generalization of on-line learning and an application
        to boosting. Journal of Computer and System Sciences, 55(1), 119-139. Figure 2.

        Hastie, T., Tibshirani, R., & Friedman, J. (2009). The Elements of Statistical Learning (2nd ed.). Springer.
        Algorithm 10.1 (discrete).

        Friedman, J., Hastie, T., & Tibshirani, R. (2000). Additive logistic regression: A statistical view of boosting.
        Annals of Statistics, 28(2), 337-407. Algorithm 2 (real).
    """
    check_whole("rounds", rounds, "[1, inf)")
    check_choice("variant", variant, ("discrete", "real"))
    direction = _sign if variant == "discrete" else _half_log_odds

    def coefficient(signs, scores, step, weights, error):
        del signs, scores, weights
        return _half_log_odds(1 - error) if variant == "discrete" else jnp.ones((), step.dtype)

    return _boosting(learner, rounds, exponential_loss, direction, coefficient)


def gradient_boosting(learner: Learner, rounds: int = 50, *, loss: MarginLoss = exponential_loss) -> Boosting:
    """Descent in the space of functions: the weak classifier nearest to the negative gradient, and a line search.

    With ``g_i`` the derivative of the loss with respect to the margin of example i, the learner is fitted with the
    weights ``|g_i|``, ``h = sign(p - 1/2)`` and ``a = argmin sum_i loss(y_i (F(x_i) + a h(x_i)))`` by Newton's method.
    With the exponential loss this is discrete AdaBoost.

    Args:
        learner: a weak learner for two classes; static.
        rounds: number of rounds, >= 1; static.
        loss: an elementwise function of the margins, convex, decreasing and twice differentiable; static.

    Returns:
        The functions ``fit`` and ``scores``.

    Raises:
        ValueError: ``rounds`` is no whole number >= 1.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.ensembles import gradient_boosting, logistic_loss, stump
        >>> x, y = jnp.array([[0.0], [1.0], [2.0]]), jnp.array([0, 1, 0])
        >>> method = gradient_boosting(stump(), rounds=5, loss=logistic_loss)
        >>> (method.scores(method.fit(jax.random.key(0), x, y), x)[-1] > 0).astype(int)
        Array([0, 1, 0], dtype=int32)

    References:
        Mason, L., Baxter, J., Bartlett, P., & Frean, M. (2000). Boosting algorithms as gradient descent. NeurIPS.
        Algorithm 1.

        Friedman, J. H. (2001). Greedy function approximation: A gradient boosting machine. Annals of Statistics, 29(5),
        1189-1232. Algorithm 1.
    """
    check_whole("rounds", rounds, "[1, inf)")

    def coefficient(signs, scores, step, weights, error):
        del weights
        cap = _half_log_odds(jnp.ones_like(error))

        def newton(a, _):
            slope = jax.grad(lambda a: jnp.sum(loss(signs * (scores + a * step))))
            first, second = jax.jvp(slope, (a,), (jnp.ones_like(a),))
            move = jnp.clip(first / jnp.where(second > 0, second, 1), -1, 1)
            return jnp.clip(a - move, -cap, cap), None

        return jax.lax.scan(newton, jnp.zeros_like(error), length=60)[0]

    return _boosting(learner, rounds, loss, _sign, coefficient)


def _boosting(learner: Learner, rounds: int, loss: MarginLoss, direction, coefficient) -> Boosting:
    """The rounds that all forms share; they differ in h and in its coefficient."""

    def fit(key, x, y):
        signs = (2 * y - 1).astype(x.dtype)

        def weights_at(scores):
            slopes = -jax.vmap(jax.grad(loss))(signs * scores)
            return slopes / jnp.sum(slopes)

        def after(scores, weights, probabilities):
            step = direction(probabilities[:, 1].astype(x.dtype))
            error = jnp.sum(jnp.where(_sign_of(step) == signs, 0, weights))
            a = coefficient(signs, scores, step, weights, error)
            normalizer = jnp.sum(weights * jnp.exp(-a * signs * step))
            return Round(a, error, normalizer, scores + a * step)

        keys, start = jax.random.split(key, rounds), jnp.zeros_like(signs)
        return boosted_rounds(learner, keys, x, y, start, weights_at, after)

    def scores(boosted, x):
        probabilities = predict_each(learner, boosted.models, x)[..., 1].astype(x.dtype)
        return jnp.cumsum(boosted.coefficients[:, None] * direction(probabilities), axis=0)

    return Boosting(jax.jit(fit) if learner.traced else fit, scores)


def _sign(p: jax.Array) -> jax.Array:
    return jnp.where(p > 0.5, 1, -1).astype(p.dtype)


def _sign_of(step: jax.Array) -> jax.Array:
    return jnp.where(step > 0, 1, -1).astype(step.dtype)


def _half_log_odds(p: jax.Array) -> jax.Array:
    """``log(p / (1 - p)) / 2`` with p kept within rounding of 0 and 1."""
    rounding = jnp.finfo(p.dtype).eps
    p = jnp.clip(p, rounding, 1 - rounding)
    return (jnp.log(p) - jnp.log1p(-p)) / 2
