"""Ensembles against scikit-learn's own, against sums written out, and against the identities of the theory."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, make_hastie_10_2, make_regression
from sklearn.ensemble import AdaBoostClassifier
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from regopt import ensembles
from regopt.ensembles import adaboost, gradient_boosting, stump

pytestmark = pytest.mark.usefixtures("double_precision")


def key(seed=0):
    return jax.random.key(seed)


def hastie(examples=300, seed=1):
    x, y = make_hastie_10_2(examples, random_state=seed)
    return jnp.asarray(x), jnp.asarray(y > 0, jnp.int32)


def predictions(learner, x, y, weights, new):
    """Fitted and applied in one program."""
    return jax.jit(lambda *data: learner.predict(learner.fit(key(), *data), new))(x, y, weights)


def signs_of(y):
    return (2 * y - 1).astype(float)


def weights_of(examples, seed=0):
    return jnp.asarray(np.random.default_rng(seed).exponential(size=examples))


@pytest.mark.parametrize("classes", [2, 3])
def test_a_stump_is_scikit_learns_tree_of_depth_one(classes):
    rng = np.random.default_rng(classes)
    for seed in range(5):
        x = rng.normal(size=(60, 4)).astype(np.float32).astype(float)  # scikit-learn's trees keep float32
        x[:, 1] = np.round(x[:, 1])  # ties
        y = rng.integers(classes, size=60)
        weights = rng.exponential(size=60) * (rng.random(60) < 0.8)
        tree = DecisionTreeClassifier(max_depth=1, random_state=seed).fit(x, y, sample_weight=weights)
        found = predictions(stump(classes), *map(jnp.asarray, (x, y, weights, x)))
        np.testing.assert_allclose(found, tree.predict_proba(x), atol=1e-9)


def test_the_stump_of_least_error_is_the_best_of_all_splits():
    x, y = hastie(40)
    weights = np.asarray(weights_of(40))
    found = np.asarray(predictions(stump(criterion="error"), x, y, weights, x)).argmax(axis=1)
    error = np.sum(np.asarray(weights) * (found != np.asarray(y)))
    every = []
    for feature in range(x.shape[1]):
        for cut in np.asarray(x[:, feature]):
            left = np.asarray(x[:, feature] <= cut)
            mass = [[np.sum(weights[side & np.asarray(y == c)]) for c in (0, 1)] for side in (left, ~left)]
            every.append(min(mass[0]) + min(mass[1]))
    assert error == pytest.approx(min(every), rel=1e-12)


def test_a_stump_on_constant_features_predicts_the_shares():
    found = predictions(stump(), jnp.ones((4, 2)), jnp.array([0, 0, 0, 1]), jnp.ones(4), jnp.ones((1, 2)))
    np.testing.assert_allclose(found, [[0.75, 0.25]])


def test_discrete_adaboost_is_scikit_learns():
    x, y = hastie()
    ours = adaboost(stump(), 60).fit(key(), x, y)
    theirs = AdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=60).fit(np.asarray(x), np.asarray(y))
    np.testing.assert_allclose(2 * ours.coefficients, theirs.estimator_weights_, atol=1e-10)
    np.testing.assert_allclose(ours.errors, theirs.estimator_errors_, atol=1e-12)


def test_a_loop_over_trees_is_the_scan_over_stumps():
    x, y = hastie(100)
    tree = ensembles.from_estimator(DecisionTreeClassifier(max_depth=1), classes=2)
    for variant in ("discrete", "real"):
        scanned, looped = adaboost(stump(), 8, variant=variant), adaboost(tree, 8, variant=variant)
        np.testing.assert_allclose(
            scanned.scores(scanned.fit(key(), x, y), x), looped.scores(looped.fit(key(), x, y), x), atol=1e-6
        )


@pytest.mark.parametrize("variant", ["discrete", "real"])
def test_the_identities_of_adaboost(variant):
    x, y = hastie()
    method = adaboost(stump(), 40, variant=variant)
    boosted = method.fit(key(), x, y)
    np.testing.assert_allclose(method.scores(boosted, x), boosted.scores, atol=1e-12)
    signs, scores = np.asarray(signs_of(y)), np.asarray(boosted.scores)
    z, e = np.asarray(boosted.normalizers), np.asarray(boosted.errors)
    mean = np.mean(np.exp(-signs * scores), axis=1)
    np.testing.assert_allclose(np.cumprod(z), mean, rtol=1e-12)
    assert np.all(np.mean(signs * scores <= 0, axis=1) <= mean)
    if variant == "discrete":
        np.testing.assert_allclose(z, 2 * np.sqrt(e * (1 - e)), rtol=1e-12)
        assert np.all(z <= np.exp(-2 * (0.5 - e) ** 2))
        steps, after = np.diff(scores, axis=0, prepend=0.0), np.exp(-signs * scores)
        half = np.sum(after * (np.sign(steps) != signs), axis=1) / np.sum(after, axis=1)
        np.testing.assert_allclose(half, 0.5, atol=1e-12)


def test_gradient_boosting_with_the_exponential_loss_is_adaboost():
    x, y = hastie()
    one, other = adaboost(stump(), 30).fit(key(), x, y), gradient_boosting(stump(), 30).fit(key(), x, y)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-9)


def test_a_step_of_gradient_boosting_is_the_minimum_along_its_line():
    x, y = hastie()
    boosted = gradient_boosting(stump(), 5, loss=ensembles.logistic_loss).fit(key(), x, y)
    scores, signs = np.asarray(boosted.scores), np.asarray(signs_of(y))
    slopes = -signs / (1 + np.exp(signs * scores[-1]))
    assert abs(np.mean(slopes * (scores[-1] - scores[-2]))) < 1e-12


def test_boosting_separable_data_stays_finite():
    x = jnp.arange(6.0)[:, None]
    y = jnp.array([0, 0, 0, 1, 1, 1])
    for method in (adaboost(stump(), 4), adaboost(stump(), 4, variant="real"), gradient_boosting(stump(), 4)):
        boosted = method.fit(key(), x, y)
        assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(boosted))
        assert jnp.all((boosted.scores[-1] > 0) == (y == 1))


def test_small_networks_can_be_boosted():
    angle = jnp.linspace(0, 6.0, 60)
    x, y = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1), (jnp.sin(3 * angle) > 0).astype(jnp.int32)
    boosted = adaboost(ensembles.network(width=2, steps=60), 6, variant="real").fit(key(), x, y)
    wrong = np.mean((np.asarray(boosted.scores) > 0) != np.asarray(y == 1), axis=1)
    assert wrong[-1] < wrong[0] - 0.1


def test_ridge_and_neighbours_are_scikit_learns():
    x, y = map(jnp.asarray, make_regression(30, 3, noise=5.0, random_state=0))
    weights = jnp.where(jnp.arange(30) % 4 == 0, 0, weights_of(30))
    new = x + 0.1
    theirs = Ridge(0.3 * float(jnp.sum(weights))).fit(x, y, sample_weight=weights)
    np.testing.assert_allclose(predictions(ensembles.ridge(0.3), x, y, weights, new), theirs.predict(new), rtol=1e-9)
    near, equal = ensembles.nearest_neighbours(3), (weights > 0).astype(float)
    kept = np.asarray(weights > 0)
    theirs = KNeighborsRegressor(3).fit(x[kept], y[kept])
    np.testing.assert_allclose(predictions(near, x, y, equal, new), theirs.predict(new), rtol=1e-9)


def test_a_bagged_lane_is_a_fit_to_its_resampled_rows():
    x, y = map(jnp.asarray, make_regression(25, 2, noise=5.0, random_state=0))
    method = ensembles.bagging(ensembles.ridge(0.1), members=4)
    bagged = method.fit(key(), x, y)
    assert bagged.counts.shape == (4, 25)
    np.testing.assert_array_equal(bagged.counts.sum(axis=1), 25)
    for counts, found in zip(bagged.counts, method.predict(bagged, x), strict=True):
        rows = np.repeat(np.arange(25), counts)
        model = Ridge(0.1 * 25).fit(x[rows], y[rows])
        np.testing.assert_allclose(found, model.predict(x), rtol=1e-9)


def test_trees_are_bagged_in_a_loop():
    x, y = map(jnp.asarray, make_regression(40, 2, noise=5.0, random_state=0))
    method = ensembles.bagging(ensembles.from_estimator(DecisionTreeRegressor()), members=5)
    bagged = method.fit(key(), x, y)
    found = method.predict(bagged, x)
    seen = np.asarray(bagged.counts > 0)
    np.testing.assert_allclose(np.asarray(found)[seen], np.broadcast_to(y, found.shape)[seen])
    assert np.abs(np.asarray(found) - np.asarray(y))[~seen].min() > 0


def test_out_of_bag_is_the_mean_of_those_that_have_not_seen():
    predictions, counts = np.arange(24.0).reshape(3, 4, 2), np.array([[0, 1, 2, 1], [0, 0, 1, 1], [1, 0, 0, 3]])
    found = np.asarray(ensembles.out_of_bag(jnp.asarray(predictions), jnp.asarray(counts)))
    for place in range(4):
        unseen = counts[:, place] == 0
        expected = predictions[unseen, place].mean(axis=0) if unseen.any() else [np.nan, np.nan]
        np.testing.assert_allclose(found[place], expected)
    with pytest.raises(ValueError, match="predictions must have the leading axes"):
        ensembles.out_of_bag(jnp.ones((2, 3)), jnp.ones((3, 2)))


def test_without_resampling_members_differ_in_their_keys():
    x, y = hastie(30)
    method = ensembles.bagging(ensembles.network(width=2, steps=3), members=2, resample=False)
    bagged = method.fit(key(), x, y)
    assert jnp.all(bagged.counts == 1)
    found = method.predict(bagged, x)
    assert jnp.max(jnp.abs(found[0] - found[1])) > 0.01


def test_the_three_combiners():
    p = np.array([[[0.6, 0.3, 0.1]], [[0.5, 0.1, 0.4]], [[0.1, 0.8, 0.1]]])
    np.testing.assert_allclose(ensembles.arithmetic_mean(jnp.asarray(p)), p.mean(axis=0))
    product = p.prod(axis=0) ** (1 / 3)
    np.testing.assert_allclose(ensembles.geometric_mean(jnp.asarray(p)), product / product.sum(), rtol=1e-12)
    np.testing.assert_allclose(ensembles.majority_vote(jnp.asarray(p)), [[2 / 3, 1 / 3, 0]])
    vetoed = ensembles.geometric_mean(jnp.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]))
    np.testing.assert_allclose(vetoed, [1, 0, 0])
    np.testing.assert_allclose(ensembles.geometric_mean(jnp.array([[1.0, 0.0], [0.0, 1.0]])), [0.5, 0.5])
    with pytest.raises(ValueError, match="probabilities must have at least one member"):
        ensembles.arithmetic_mean(jnp.zeros((0, 3)))


def test_the_error_of_an_average_is_that_of_the_covariance_matrix():
    v, c, k = 2.0, 0.7, 5
    covariance = np.full((k, k), c) + (v - c) * np.eye(k)
    mean = np.full(k, 1 / k)
    np.testing.assert_allclose(ensembles.average_error(v, c, k), mean @ covariance @ mean, rtol=1e-12)


def test_out_of_fold_predictions_come_from_the_other_folds():
    x, y = map(jnp.asarray, make_regression(23, 2, noise=5.0, random_state=0))
    found = ensembles.out_of_fold(ensembles.ridge(0.1), key(), x, y, 4)
    fold = np.asarray(jax.random.permutation(jax.random.split(key())[0], jnp.arange(23) % 4))
    for each in range(4):
        rest = fold != each
        model = Ridge(0.1 * rest.sum()).fit(x[rest], y[rest])
        np.testing.assert_allclose(found[~rest], model.predict(x[~rest]), rtol=1e-9)


def test_stacking_meets_the_conditions_of_its_minimum():
    x, y = map(jnp.asarray, make_regression(60, 4, noise=30.0, random_state=0))
    learners = [ensembles.ridge(0.01), ensembles.ridge(1.0), *map(ensembles.nearest_neighbours, (1, 3, 9))]
    stacked = ensembles.stacking(learners).fit(key(), x, y)
    a, p = stacked.weights, stacked.features
    assert jnp.all(a >= 0)
    assert float(a.sum()) == pytest.approx(1)
    slope = p.T @ (p @ a - y)
    active = a > 1e-9
    scale = jnp.max(jnp.abs(slope))
    assert jnp.ptp(slope[active]) < 1e-6 * scale  # equal slopes inside, and none smaller outside
    assert jnp.all(slope >= jnp.min(slope[active]) - 1e-6 * scale)


def test_the_printed_form_gives_all_the_weight_to_a_member_that_fits_exactly():
    x, y = map(jnp.asarray, make_regression(60, 4, noise=30.0, random_state=0))
    learners = [ensembles.ridge(0.01), ensembles.nearest_neighbours(1)]
    printed = ensembles.stacking(learners, folds=None).fit(key(), x, y)
    np.testing.assert_allclose(printed.weights, [0, 1], atol=1e-9)
    assert ensembles.stacking(learners).fit(key(), x, y).weights[0] > 0.9


def test_snapshots_are_the_states_of_the_plain_loop_at_the_ends_of_the_cycles():
    schedule = ensembles.snapshot_schedule(0.3, 5)
    state, ends = 1.0, []
    for count in range(15):
        state = state - float(schedule(count)) * state
        ends += [state] if count % 5 == 4 else []
    found = ensembles.snapshots(lambda w, t: w - schedule(t) * w, jnp.array(1.0), cycle=5, members=3)
    np.testing.assert_allclose(found, ends, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: adaboost(stump(), 0), "rounds must be"),
        (lambda: adaboost(stump(), 3, variant="fast"), "variant must be"),
        (lambda: gradient_boosting(stump(), 1.5), "rounds must be"),
        (lambda: stump(1), "classes must be"),
        (lambda: stump(criterion="best"), "criterion must be"),
        (lambda: ensembles.bagging(stump(), 0), "members must be"),
        (lambda: ensembles.stacking([]), "learners must"),
        (lambda: ensembles.stacking([stump()], folds=1), "folds must be"),
        (lambda: ensembles.ridge(0.0), "strength must lie"),
        (lambda: ensembles.nearest_neighbours(0), "neighbours must be"),
        (lambda: ensembles.network(width=0), "width must be"),
        (lambda: ensembles.snapshot_schedule(0.1, 0), "cycle must be"),
        (lambda: ensembles.average_error(-1.0, 0.0, 2), "variance must lie"),
        (lambda: ensembles.from_estimator(KNeighborsRegressor()), "estimator must take sample_weight"),
    ],
)
def test_a_wrong_argument_is_refused_with_its_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_the_estimators_predict_what_the_functions_do():
    x, y = load_breast_cancer(return_X_y=True)
    names = np.array(["benign", "malignant"])[y]
    model = ensembles.BoostedClassifier(rounds=10, variant="discrete").fit(x[:300], names[:300])
    theirs = AdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=10).fit(x[:300], names[:300])
    assert np.mean(model.predict(x[300:]) == theirs.predict(x[300:])) == 1
    bagged = ensembles.BaggedClassifier(members=15, combine="vote").fit(x[:300], names[:300])
    assert bagged.score(x[300:], names[300:]) > 0.85
    assert 0.03 < bagged.oob_error_ < 0.2


ESTIMATORS = [
    ensembles.BaggedRegressor(members=3),
    ensembles.StackedRegressor(folds=3),
    ensembles.BaggedClassifier(partial(ensembles.network, steps=100), members=3),
    ensembles.BoostedClassifier(rounds=3),
]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learns_own_checks(estimator, check):
    with jax.numpy_dtype_promotion("standard"):
        check(estimator)
