"""AdaBoost for any number of classes: SAMME, and its real form."""

from typing import Literal

import jax
import jax.numpy as jnp

from regopt._core.checks import check_choice
from regopt._core.numerics import check_whole
from regopt.ensembles._learner import Learner, predict_each
from regopt.ensembles._rounds import Boosted, Boosting, Round, boosted_rounds

Variant = Literal["discrete", "real"]


def samme(learner: Learner, classes: int, rounds: int = 50, *, variant: Variant = "discrete") -> Boosting:
    """AdaBoost for K classes, by forward stagewise fits of the multi-class exponential loss.

    With the weights w of a round, which sum to 1, the learner's probabilities ``p_k(x)`` and the class c of example i::

        "discrete"  h_k = [k = argmax p],           e = sum_i w_i [c != argmax p],  a = log((1 - e) / e) + log(K - 1)
                    w_i <- w_i exp(a [c != argmax p]) / Z
        "real"      h_k = (K - 1) (log p_k - mean_j log p_j),                       a = 1
                    w_i <- w_i exp(-(h_c - sum_{k != c} h_k / (K - 1)) / K) / Z

    and ``F = sum_t a_t h_t``; the class is that of the largest F. A learner is of use while ``e < 1 - 1 / K``, which is
    less than what chance gets wrong; a worse one has a negative coefficient. With two classes these are the forms of
    ``adaboost``, with ``F_1 - F_0`` twice its scores. Errors and probabilities are kept within rounding of 0 and 1.

    Args:
        learner: a weak learner for that many classes; static.
        classes: number of classes K, >= 2; static.
        rounds: number of rounds, >= 1; static.
        variant: "discrete" (SAMME) or "real" (SAMME.R); static.

    Returns:
        The functions ``fit`` and ``scores``, with scores ``[rounds, n, classes]``.

    Raises:
        ValueError: an argument lies outside its range.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from regopt.ensembles import samme, stump
        >>> x, y = jnp.array([[0.0], [1.0], [2.0]]), jnp.array([0, 2, 1])  # a stump tells two classes
        >>> method = samme(stump(3), 3, rounds=5)
        >>> method.scores(method.fit(jax.random.key(0), x, y), x)[-1].argmax(axis=1)
        Array([0, 2, 1], dtype=int32)

    References:
        Zhu, J., Zou, H., Rosset, S., & Hastie, T. (2009). Multi-class AdaBoost. Statistics and Its Interface, 2(3),
        349-360. Algorithms 2 and 4.
    """
    check_whole("classes", classes, "[2, inf)")
    check_whole("rounds", rounds, "[1, inf)")
    check_choice("variant", variant, ("discrete", "real"))

    def direction(p):
        if variant == "discrete":
            return jax.nn.one_hot(jnp.argmax(p, axis=-1), classes, dtype=p.dtype)
        logs = jnp.log(jnp.clip(p, jnp.finfo(p.dtype).eps, 1))
        return (classes - 1) * (logs - jnp.mean(logs, axis=-1, keepdims=True))

    def margins(scores, y):
        """The logarithm of the inverse weight of each example, up to a constant."""
        own = jnp.take_along_axis(scores, y[..., None], axis=-1)[..., 0]
        if variant == "discrete":
            return own
        return (own - (jnp.sum(scores, axis=-1) - own) / (classes - 1)) / classes

    def fit(key, x, y):
        def after(scores, weights, probabilities):
            step = direction(probabilities.astype(x.dtype))
            wrong = jnp.argmax(probabilities, axis=-1).astype(y.dtype) != y
            error = jnp.sum(jnp.where(wrong, weights, 0))
            rounding = jnp.finfo(x.dtype).eps
            kept = jnp.clip(error, rounding, 1 - rounding)
            a = (
                jnp.log1p(-kept) - jnp.log(kept) + jnp.log(jnp.asarray(classes - 1, x.dtype))
                if variant == "discrete"
                else 1.0
            )
            a = jnp.asarray(a, x.dtype)
            factors = jnp.exp(jnp.where(wrong, a, 0)) if variant == "discrete" else jnp.exp(-margins(step, y))
            return Round(a, error, jnp.sum(weights * factors), scores + a * step)

        def weights_at(scores):
            return jax.nn.softmax(-margins(scores, y))

        start = jnp.zeros((len(y), classes), x.dtype)
        return boosted_rounds(learner, jax.random.split(key, rounds), x, y, start, weights_at, after)

    def scores(boosted: Boosted, x: jax.Array) -> jax.Array:
        probabilities = predict_each(learner, boosted.models, x).astype(x.dtype)
        return jnp.cumsum(boosted.coefficients[:, None, None] * direction(probabilities), axis=0)

    return Boosting(jax.jit(fit) if learner.traced else fit, scores)
