"""The other libraries of ``paths.py``: each fits a path on the rows outside each fold, as its documentation shows.

A peer is a function ``(problem, x, y, tolerance) -> (coefficients, intercepts)``; intercepts may be None where the
rows are centred. Peers that are not installed are left out. adelie asks for NumPy 1 and is in no extra; it runs with
NumPy 2 when it is installed without its dependencies, beside IPython, which it imports.
"""

import importlib
import importlib.util
import warnings

import numpy as np


def centred(function):
    """A peer for the Gaussian family, which gets centred rows."""

    def peer(it, x, y, tolerance):
        return function(it, np.asfortranarray(x - x.mean(0)), y - y.mean(), tolerance), None

    return peer


@centred
def _scikit_learn(it, x, y, tolerance):
    from sklearn.linear_model import enet_path

    # the Gram matrix pays where there are more examples than features
    gram = x.shape[0] > x.shape[1]
    found = enet_path(x, y, l1_ratio=it.l1_ratio, alphas=it.strengths, precompute=gram, tol=tolerance, max_iter=100_000)
    return found[1].T


@centred
def _celer(it, x, y, tolerance):
    celer_path = importlib.import_module("celer.homotopy").celer_path

    found = celer_path(x, y, "lasso", alphas=it.strengths, l1_ratio=it.l1_ratio, tol=tolerance, max_iter=1000)
    return found[1].T


@centred
def _skglm(it, x, y, tolerance):
    ElasticNet = importlib.import_module("skglm").ElasticNet

    model = ElasticNet(l1_ratio=it.l1_ratio, tol=tolerance, fit_intercept=False, max_iter=1000)
    return model.path(x, y, it.strengths)[1].T


@centred
def _skglm_groups(it, x, y, tolerance):
    GeneralizedLinearEstimator = importlib.import_module("skglm").GeneralizedLinearEstimator
    QuadraticGroup = importlib.import_module("skglm.datafits").QuadraticGroup
    WeightedGroupL2 = importlib.import_module("skglm.penalties").WeightedGroupL2
    GroupBCD = importlib.import_module("skglm.solvers").GroupBCD
    grp_converter = importlib.import_module("skglm.utils.data").grp_converter

    indices, starts = grp_converter(it.group_size, x.shape[1])
    penalty = WeightedGroupL2(1.0, np.ones(len(starts) - 1), starts, indices)
    solver = GroupBCD(tol=tolerance, fit_intercept=False, warm_start=True, max_iter=1000)
    model = GeneralizedLinearEstimator(QuadraticGroup(starts, indices), penalty, solver)
    return np.array([_at(model, strength).fit(x, y).coef_.copy() for strength in it.strengths])


def _skglm_newton(it, x, y, tolerance):
    GeneralizedLinearEstimator = importlib.import_module("skglm").GeneralizedLinearEstimator
    Logistic = importlib.import_module("skglm.datafits").Logistic
    Poisson = importlib.import_module("skglm.datafits").Poisson
    L1_plus_L2 = importlib.import_module("skglm.penalties").L1_plus_L2
    ProxNewton = importlib.import_module("skglm.solvers").ProxNewton

    datafit, y = (Logistic(), 2 * y - 1) if it.family == "logistic" else (Poisson(), y)
    solver = ProxNewton(tol=tolerance, fit_intercept=True, warm_start=True, max_iter=1000)
    model = GeneralizedLinearEstimator(datafit, L1_plus_L2(1.0, it.l1_ratio), solver)
    fits = []
    for strength in it.strengths:
        _at(model, strength).fit(x, y)
        fits.append((np.ravel(model.coef_).copy(), float(np.ravel(model.intercept_)[0])))
    return np.array([w for w, _ in fits]), np.array([b for _, b in fits])


def _at(model, strength):
    model.penalty.alpha = strength
    return model


def _adelie(it, x, y, tolerance):
    adelie = importlib.import_module("adelie")

    family = getattr(adelie.glm, "binomial" if it.family == "logistic" else it.family)
    groups = np.arange(0, x.shape[1], it.group_size)
    found = adelie.grpnet(
        np.asfortranarray(x),
        family(y=np.ascontiguousarray(y)),
        groups=groups,
        penalty=np.ones(len(groups)),
        alpha=it.l1_ratio,
        lmda_path=it.strengths,
        early_exit=False,
        tol=tolerance,
        irls_tol=tolerance,
        irls_max_iters=1000,
        newton_tol=1e-12,
        min_ratio=1e-6,
        progress_bar=False,
        n_threads=2,
    )
    return found.betas.toarray(), np.asarray(found.intercepts)


def _saga(it, x, y, tolerance):
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(l1_ratio=it.l1_ratio, solver="saga", tol=tolerance, max_iter=10_000, warm_start=True)
    fits = []
    for strength in it.strengths:
        model.C = 1 / (strength * len(x))
        model.fit(x, y if y.ndim == 1 else y.argmax(1))
        fits.append((np.array(model.coef_), np.array(model.intercept_)))
    w, b = np.array([w for w, _ in fits]), np.array([b for _, b in fits])
    return (w[:, 0], b[:, 0]) if y.ndim == 1 else (w.transpose(0, 2, 1), b)


def _jaxopt(it, x, y, tolerance):
    return importlib.import_module("path_jax_peers").jaxopt_path(it, x, y, tolerance)


def _nemos(it, x, y, tolerance):
    return importlib.import_module("path_jax_peers").nemos_path(it, x, y, tolerance)


GAUSSIAN = {"scikit-learn": _scikit_learn, "celer": _celer, "skglm": _skglm, "adelie": _adelie}
PACKAGES = {"scikit-learn": "sklearn", "JAXopt": "jaxopt", "NeMoS": "nemos"}


def peers(it):
    """The peers that solve this problem, by name."""
    if it.family == "gaussian":
        found = GAUSSIAN if it.group_size == 1 else {"adelie": _adelie, "skglm": _skglm_groups, "NeMoS": _nemos}
    elif it.family == "multinomial":
        found = {"scikit-learn": _saga, "NeMoS": _nemos}  # the groups of adelie hold the coefficients of all classes
    else:
        found = {"adelie": _adelie, "skglm": _skglm_newton}
        found |= {"scikit-learn": _saga} if it.family == "logistic" else {"NeMoS": _nemos}
    found = {**found, "JAXopt": _jaxopt}
    return {name: peer for name, peer in found.items() if importlib.util.find_spec(PACKAGES.get(name, name))}


def fit_fold(peer, it, labels, fold, tolerance):
    """The solutions on the rows outside a fold."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each library warns in its own way that it has not converged
        return peer(it, it.x[labels != fold], it.y[labels != fold], tolerance)
