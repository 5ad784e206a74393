"""Boosting of more than two classes: scikit-learn's SAMME, the real form written out, and AdaBoost for two."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import make_hastie_10_2
from sklearn.ensemble import AdaBoostClassifier
from sklearn.tree import DecisionTreeClassifier

from regopt.ensembles import BoostedClassifier, adaboost, from_estimator, samme, stump

pytestmark = pytest.mark.usefixtures("double_precision")


def key():
    return jax.random.key(0)


def three_classes(examples=300, seed=2):
    x = np.random.default_rng(seed).normal(size=(examples, 4))
    return jnp.asarray(x), jnp.asarray(np.digitize(x[:, 0] + 0.3 * x[:, 1], [-0.5, 0.6]), jnp.int32)


def test_discrete_samme_is_scikit_learns():
    x, y = three_classes()
    method = samme(stump(3), 3, 40)
    ours = method.fit(key(), x, y)
    theirs = AdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=40).fit(np.asarray(x), np.asarray(y))
    np.testing.assert_allclose(ours.coefficients, theirs.estimator_weights_, atol=1e-10)
    np.testing.assert_allclose(ours.errors, theirs.estimator_errors_, atol=1e-12)
    np.testing.assert_allclose(method.scores(ours, x), ours.scores, atol=1e-12)
    np.testing.assert_array_equal(ours.scores[-1].argmax(axis=1), theirs.predict(np.asarray(x)))


def test_the_real_form_of_samme_is_algorithm_4_written_out():
    x, y = three_classes(120)
    boosted = samme(stump(3), 3, 6, variant="real").fit(key(), x, y)
    codes = np.where(np.eye(3, dtype=bool)[np.asarray(y)], 1.0, -0.5)
    weights, scores = np.full(120, 1 / 120), np.zeros((120, 3))
    for place in range(6):
        learner = stump(3)
        model = learner.fit(key(), x, y, jnp.asarray(weights))
        logs = np.log(np.maximum(np.asarray(learner.predict(model, x)), np.finfo(float).eps))
        scores += 2 * (logs - logs.mean(axis=1, keepdims=True))
        weights = weights * np.exp(-2 / 3 * np.sum(codes * logs, axis=1))
        np.testing.assert_allclose(boosted.normalizers[place], weights.sum(), rtol=1e-10)
        weights /= weights.sum()
        # a share near 0 is a difference of two sums: its logarithm has lost digits
        np.testing.assert_allclose(boosted.scores[place], scores, rtol=1e-8)


@pytest.mark.parametrize("variant", ["discrete", "real"])
def test_samme_with_two_classes_is_adaboost(variant):
    x, y = make_hastie_10_2(300, random_state=1)
    x, y = jnp.asarray(x), jnp.asarray(y > 0, jnp.int32)
    two = samme(stump(), 2, 20, variant=variant).fit(key(), x, y)
    one = adaboost(stump(), 20, variant=variant).fit(key(), x, y)
    np.testing.assert_allclose(two.scores[..., 1] - two.scores[..., 0], 2 * one.scores, atol=1e-9)
    np.testing.assert_allclose(two.errors, one.errors, atol=1e-10)


def test_samme_loops_over_trees_that_cannot_be_traced():
    x, y = three_classes(100)
    tree = from_estimator(DecisionTreeClassifier(max_depth=1), classes=3)
    scanned, looped = samme(stump(3), 3, 5), samme(tree, 3, 5)
    np.testing.assert_allclose(
        scanned.scores(scanned.fit(key(), x, y), x), looped.scores(looped.fit(key(), x, y), x), atol=1e-6
    )


@pytest.mark.parametrize("variant", ["discrete", "real"])
def test_the_boosted_classifier_takes_more_than_two_classes(variant):
    x, y = three_classes()
    names = np.array(["one", "two", "three"])[np.asarray(y)]
    model = BoostedClassifier(rounds=60, variant=variant).fit(x[:200], names[:200])
    probabilities = model.predict_proba(x[200:])
    assert model.score(x[200:], names[200:]) > 0.75
    assert np.all(model.classes_[probabilities.argmax(axis=1)] == model.predict(x[200:]))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: samme(stump(), 1), "classes must be"),
        (lambda: samme(stump(), 2, 0), "rounds must be"),
        (lambda: samme(stump(), 2, variant="fast"), "variant must be"),
    ],
)
def test_a_wrong_argument_is_refused_with_its_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()
