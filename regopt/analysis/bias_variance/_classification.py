"""Decompositions of the cross-entropy and of the zero-one loss into bias, variance and noise."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from regopt._core.numerics import widen
from regopt.analysis.bias_variance._parts import (
    Decomposition,
    Parts,
    check_distributions,
    check_labels,
    check_predictions,
    check_targets,
    jackknife,
    mean_over_points,
)


class ZeroOne(NamedTuple):
    """``error = c1 * noise + bias + c2 * variance``: the zero-one loss according to Domingos; each ``[points]``."""

    bias: jax.Array  # 0 or 1: the main prediction is not the optimal one
    variance: jax.Array  # how often a replica differs from the main prediction
    noise: jax.Array  # how often the target differs from the optimal prediction
    c1: jax.Array
    c2: jax.Array  # 1 where unbiased; negative where biased, so that variance reduces the error
    error: jax.Array


def decompose_cross_entropy(log_probabilities: jax.Array, targets: jax.Array) -> Decomposition:
    """``E[-sum t log p] = H(t) + KL(t | pbar) + E KL(pbar | p)``: the cross-entropy as noise, bias and variance.

    pbar is the normalised geometric mean of the replicas' distributions, not their arithmetic mean; the variance is
    ``-log sum_k exp(E log p_k)``.

    Args:
        log_probabilities: log-probabilities or logits, which are normalised, ``[replicas, points, classes]`` with at
            least two replicas.
        targets: integer labels ``[points]`` or distributions ``[points, classes]``.

    Returns:
        The decomposition, in nats. The noise is the entropy of the targets, which is 0 for labels. The bias is not
        corrected for the finite number of replicas. Parts are infinite where a replica gives a probability of 0.

    Raises:
        ValueError: the shapes do not match, there are fewer than two replicas, a concrete value is NaN, or a row of
            concrete targets is no distribution.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.bias_variance import decompose_cross_entropy
        >>> decompose_cross_entropy(jnp.log(jnp.array([[[0.5, 0.5]], [[0.5, 0.5]]])), jnp.array([0])).mean.bias
        Array(0.6931472, dtype=float32)

    References:
        Heskes, T. (1998). Bias/variance decompositions for likelihood-based estimators. Neural Computation, 10(6),
        1425-1433. Equations (6)-(8).

        Pfau, D. (2013). A generalized bias-variance decomposition for Bregman divergences. Unpublished manuscript.

        Yang, Z., Yu, Y., You, C., Steinhardt, J., & Ma, Y. (2020). Rethinking bias-variance trade-off for
        generalization of neural networks. ICML. Section 3.
    """
    log_p = jax.nn.log_softmax(widen(log_probabilities)[0])
    check_predictions(log_p, infinite=True)
    t = _distributions(targets, log_p)
    replicas = len(log_p)
    points = _cross_entropy_parts(log_p, t, jnp.full(replicas, 1 / replicas, log_p.dtype))
    without = (1 - jnp.eye(replicas, dtype=log_p.dtype)) / (replicas - 1)
    left_out = jax.lax.map(lambda weights: mean_over_points(_cross_entropy_parts(log_p, t, weights)), without)
    mean = mean_over_points(points)
    return Decomposition(points, mean, jax.tree.map(jackknife, left_out), mean.bias)


def decompose_zero_one(predictions: jax.Array, targets: jax.Array, classes: int) -> ZeroOne:
    """``E L = c1 noise + bias + c2 variance``: the zero-one loss, decomposed according to Domingos.

    The main prediction is the most frequent one (the first of several), and the optimal prediction is the most likely
    target. The bias is 1 where the two differ, and the variance is the share of replicas that differ from the main
    prediction.

    Args:
        predictions: integer labels, ``[replicas, points]`` with at least two replicas.
        targets: integer labels ``[points]`` or distributions ``[points, classes]``.
        classes: number of classes; static.

    Returns:
        The decomposition at each point, whose parts give the error exactly.

    Raises:
        ValueError: the shapes do not match, there are fewer than two replicas, labels lie outside their range, or a row
            of concrete targets is no distribution.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.bias_variance import decompose_zero_one
        >>> decompose_zero_one(jnp.array([[1], [1], [0]]), jnp.array([0]), classes=2).bias
        Array([1.], dtype=float32)

    References:
        Domingos, P. (2000). A unified bias-variance decomposition and its applications. ICML. Theorem 2.
    """
    p = _frequencies(predictions, classes)
    t = _distributions(targets, p[None])
    main, best = jnp.argmax(p, axis=-1), jnp.argmax(t, axis=-1)
    p_main, p_best, t_best = (
        jnp.take_along_axis(x, at[:, None], -1)[:, 0] for x, at in ((p, main), (p, best), (t, best))
    )
    biased = main != best
    variance, noise = 1 - p_main, 1 - t_best
    right_by_noise = (
        jnp.sum(p * t, axis=-1) - p_best * t_best
    )  # the replica equals a target that is not the optimal one
    c1 = p_best - jnp.where(noise > 0, right_by_noise / jnp.where(noise > 0, noise, 1), 0)
    c2 = jnp.where(biased, -jnp.where(variance > 0, p_best / jnp.where(variance > 0, variance, 1), 0), 1)
    return ZeroOne(biased.astype(p.dtype), variance, noise, c1, c2, 1 - jnp.sum(p * t, axis=-1))


def decompose_kohavi_wolpert(predictions: jax.Array, targets: jax.Array, classes: int) -> Decomposition:
    """``1 - sum_k P_k T_k = bias + variance + noise``: the zero-one loss according to Kohavi and Wolpert, unbiased.

    ``bias = sum (T - P)**2 / 2``, ``variance = (1 - sum P**2) / 2`` and ``noise = (1 - sum T**2) / 2``, where
    P are the class frequencies of the replicas and T those of the targets. With M replicas, the estimate of the bias is
    too large by ``sum P (1 - P) / (M - 1) / 2`` and that of the variance too small by the same amount, which is
    corrected.

    Args:
        predictions: integer labels, ``[replicas, points]`` with at least two replicas.
        targets: integer labels ``[points]`` or distributions ``[points, classes]``.
        classes: number of classes; static.

    Returns:
        The decomposition, whose parts sum to the error exactly.

    Raises:
        ValueError: the shapes do not match, there are fewer than two replicas, labels lie outside their range, or a row
            of concrete targets is no distribution.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt.analysis.bias_variance import decompose_kohavi_wolpert
        >>> found = decompose_kohavi_wolpert(jnp.array([[1], [1], [0], [1]]), jnp.array([1]), classes=2).mean
        >>> float(found.error), bool(jnp.isclose(found.bias + found.variance + found.noise, found.error))
        (0.25, True)

    References:
        Kohavi, R., & Wolpert, D. H. (1996). Bias plus variance decomposition for zero-one loss functions. ICML.
        Equations (1)-(5) and section 2.2.
    """
    p = _frequencies(predictions, classes)
    t = _distributions(targets, p[None])
    one_hot = jax.nn.one_hot(predictions, classes, dtype=p.dtype)
    points = _kohavi_wolpert_parts(p, t, len(predictions))
    rest = (p[None] - one_hot / len(one_hot)) * (len(one_hot) / (len(one_hot) - 1))
    left_out = jax.lax.map(lambda q: mean_over_points(_kohavi_wolpert_parts(q, t, len(one_hot) - 1)), rest)
    plug_in = jnp.mean(jnp.sum(jnp.square(t - p), axis=-1) / 2)
    return Decomposition(points, mean_over_points(points), jax.tree.map(jackknife, left_out), plug_in)


def _cross_entropy_parts(log_p: jax.Array, t: jax.Array, weights: jax.Array) -> Parts:
    """Parts at each point, with weights of the replicas that sum to 1."""
    used = weights > 0  # 0 * -inf is NaN
    mean_log = jnp.tensordot(weights, jnp.where(used[:, None, None], log_p, 0), axes=1)
    log_norm = jax.nn.logsumexp(mean_log, axis=-1)
    positive = t > 0
    log_t = jnp.where(positive, jnp.log(jnp.where(positive, t, 1)), 0)
    noise = -jnp.sum(t * log_t, axis=-1)
    error = -jnp.sum(jnp.where(positive, t * jnp.where(positive, mean_log, 0), 0), axis=-1)
    # KL(t | pbar) with log pbar = mean_log - log_norm, and E KL(pbar | p) = -log_norm
    bias = jnp.where(
        jnp.isneginf(log_norm), jnp.inf, error + jnp.maximum(log_norm, jnp.finfo(log_norm.dtype).min) - noise
    )
    return Parts(bias, -log_norm, noise, error)


def _kohavi_wolpert_parts(p: jax.Array, t: jax.Array, replicas: int) -> Parts:
    moved = jnp.sum(p * (1 - p), axis=-1) / (2 * max(replicas - 1, 1))
    bias = jnp.sum(jnp.square(t - p), axis=-1) / 2 - moved
    variance = (1 - jnp.sum(jnp.square(p), axis=-1)) / 2 + moved
    noise = (1 - jnp.sum(jnp.square(t), axis=-1)) / 2
    return Parts(bias, variance, noise, 1 - jnp.sum(p * t, axis=-1))


def _frequencies(predictions: jax.Array, classes: int) -> jax.Array:
    """The share of replicas that predict each class, ``[points, classes]``."""
    predictions = jnp.asarray(predictions)
    if predictions.ndim != 2 or len(predictions) < 2:
        raise ValueError(
            f"predictions must have shape [replicas, points], two replicas at least, got {predictions.shape}"
        )
    check_labels("predictions", predictions, classes)
    return jnp.mean(jax.nn.one_hot(predictions, classes), axis=0)


def _distributions(targets: jax.Array, like_: jax.Array) -> jax.Array:
    """Targets as distributions ``[points, classes]``."""
    targets = jnp.asarray(targets)
    points, classes = like_.shape[1:]
    if jnp.issubdtype(targets.dtype, jnp.integer):
        check_targets(targets, (points,))
        check_labels("targets", targets, classes)
        return jax.nn.one_hot(targets, classes, dtype=like_.dtype)
    if targets.ndim == 1:
        raise ValueError(
            f"targets must have shape {(points, classes)} or be integer labels, got labels of {targets.dtype}"
        )
    check_targets(targets, (points, classes))
    check_distributions("targets", targets)
    return targets.astype(like_.dtype)
