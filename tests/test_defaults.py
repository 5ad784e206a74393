"""The numbers and switches that a call leaves out: a changed default changes what every user's script does."""

import inspect

import pytest

from regopt import optimizers, penalties, regularization, sweep, transforms

ADAM = {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0}
ADAGRAD = {"eps": 1e-7, "eps_root": 0.0, "initial_accumulator": 0.0}
RMSPROP = {"decay": 0.9, "eps": 0.0, "eps_root": 1e-6}
NEWTON = {"learning_rate": 1.0, "regularization": 0.0}
ONE_STRENGTH = ["activity_l1", "exclusive_lasso", "l0", "l1", "l2", "l2_norm", "l2_sp", "nuclear", "orthogonality"]
ONE_STRENGTH += ["spectral_norm", "tie"]
RUN = {
    "eval_cache_bytes": 2**28,
    "save_every": 60.0,
    "allow_different": False,
    "extend": False,
    "progress": False,
}
DEFAULTS = {
    optimizers: {
        "adadelta": {"learning_rate": 1.0, "decay": 0.95, "eps_root": 1e-6},
        "adagrad": ADAGRAD,
        "adam": ADAM,
        "adamax": {"b1": 0.9, "b2": 0.999, "eps": 0.0},
        "adamw": ADAM | {"weight_decay": 1e-4},
        "amsgrad": ADAM,
        "diagonal_newton": NEWTON,
        "gauss_newton": NEWTON,
        "lbfgs": {"memory_size": 10},
        "levenberg_marquardt": {"damping": 1e-3},
        "lion": {"b1": 0.9, "b2": 0.99, "weight_decay": 1e-3},
        "nadam": ADAM,
        "nesterov": {"explicit_point": False},
        "newton": NEWTON | {"saddle_free": False},
        "newton_cg": {"max_iterations": 100, "forcing": 0.5},
        "rmsprop": RMSPROP | {"centered": False},
        "rmsprop_nesterov": RMSPROP | {"momentum": 0.9, "explicit_point": False},
        "scale_by_adadelta": {"decay": 0.95, "eps_root": 1e-6},
        "scale_by_adagrad": ADAGRAD,
        "scale_by_adam": ADAM,
        "scale_by_adamax": {"b1": 0.9, "b2": 0.999, "eps": 0.0},
        "scale_by_amsgrad": ADAM,
        "scale_by_lion": {"b1": 0.9, "b2": 0.99},
        "scale_by_nadam": ADAM,
        "scale_by_rmsprop": RMSPROP | {"centered": False},
        "schedule_free_adamw": {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "weight_decay": 0.0},
        "schedule_free_sgd": {"b1": 0.9, "weight_decay": 0.0},
    },
    transforms: {
        "add_gradient_noise": {"gamma": 0.55},
        "drop_updates": {"inverted": False},
        "guard": {"max_shrink": 1e6},
        "lookahead": {"sync_period": 5, "slow_step_size": 0.5},
        "reduce_on_plateau": {
            "factor": 0.1,
            "patience": 10,
            "rtol": 1e-4,
            "atol": 0.0,
            "cooldown": 0,
            "accumulation_size": 1,
            "min_scale": 0.0,
        },
        "sam": {"rho": 0.05, "explicit_point": False},
    },
    regularization: {"add_penalty_gradient": {"scale": 1.0}},
    penalties: {
        **{name: {"strength": 1.0} for name in ONE_STRENGTH},
        "box": {"lower": -1.0, "upper": 1.0},
        "elastic_net": {"strength": 1.0, "l1_ratio": 0.5},
        "group_lasso": {"strength": 1.0, "weighted": False},
        "huber": {"strength": 1.0, "delta": 1.0},
        "kl_sparsity": {"target": 0.05, "strength": 1.0, "eps": 1e-4},
        "log_sum": {"strength": 1.0, "eps": 0.1},
        "mcp": {"strength": 1.0, "gamma": 3.0},
        "scad": {"strength": 1.0, "gamma": 3.7},
        "scaled": {"factor": 1.0},
        "sorted_l1": {"strength": 1.0, "l1_ratio": 0.5},
        "sparse_group_lasso": {"strength": 1.0, "l1_ratio": 0.5, "weighted": False},
        "total_variation": {"strength": 1.0, "axis": 0},
    },
    sweep: {
        "asynchronous_halving": {"eta": 3.0, "min_resource": 1},
        "compare": {"reference": 0, "level": 0.95},
        "hyperband": {"eta": 3.0},
        "implicit_hypergradient": {"iterations": 100, "tolerance": 1e-6, "damping": 0.0},
        "importance": {"folds": 5, "rounds": 2, "level": 0.95, "most": 2000, "seed": 0},
        "latin_hypercube": {"seed": 0},
        "log_uniform_int": {"static": False},
        "median_rule": {"grace_period": 1, "min_samples": 5},
        "plan": RUN,
        "population_based_training": {"every": 1, "fraction": 0.2, "resample": 0.25, "seed": 0},
        "random": {"seed": 0},
        "repeats": {"level": 0.95},
        "replicate": {"seeds": 1},
        "run": RUN,
        "seeds": {"first": 0},
        "sobol": {"seed": 0},
        "successive_halving": {"eta": 3.0, "min_resource": 1},
        "uniform_int": {"static": False},
    },
}


@pytest.mark.parametrize("package", DEFAULTS, ids=lambda package: package.__name__)
def test_the_defaults_of_the_functions_are_these(package):
    found = {}
    for name, factory in vars(package).items():
        if not name.startswith("_") and inspect.isfunction(factory):
            parameters = inspect.signature(factory).parameters.values()
            found[name] = {x.name: x.default for x in parameters if isinstance(x.default, int | float)}
    assert {name: defaults for name, defaults in found.items() if defaults} == DEFAULTS[package]
