"""Full-batch second-order methods."""

import optax

import regopt
from regopt import optimizers
from support.catalogue.row import Row

NUMBERS = {"learning_rate": (0.7, 0.3), "regularization": (0.2, 1.5)}
ENDS = {"learning_rate": (0.0,), "regularization": (0.0,)}
ROWS = [
    Row(regopt.newton, "second_order", NUMBERS, ENDS),
    Row(
        regopt.newton,
        "second_order",
        NUMBERS,
        ENDS,
        build=lambda **numbers: regopt.newton(**numbers, saddle_free=True),
    ),
    Row(regopt.diagonal_newton, "second_order", NUMBERS, ENDS),
    Row(regopt.gauss_newton, "second_order", NUMBERS, ENDS),
    Row(regopt.levenberg_marquardt, "second_order", {"damping": (0.02, 0.7)}, {"damping": (1e-6,)}),
    Row(regopt.newton_cg, "second_order", {}),
    Row(
        regopt.newton_cg,
        "second_order",
        {"max_iterations": (5.0, 2.0), "forcing": (0.01, 0.4)},
        {"max_iterations": (1.0,), "forcing": (0.0,)},
        build=lambda **numbers: regopt.newton_cg(**numbers, linesearch="exact_quadratic"),
    ),
    Row(regopt.nonlinear_cg, "second_order", {}),
    Row(
        regopt.nonlinear_cg,
        "second_order",
        {},
        build=lambda: regopt.nonlinear_cg(variant="hestenes_stiefel", linesearch="exact_quadratic"),
    ),
    Row(regopt.bfgs, "second_order", {}),
    Row(regopt.bfgs, "second_order", {}, build=lambda: regopt.bfgs(linesearch="backtracking")),
    Row(regopt.lbfgs, "second_order", {}),
    Row(
        optimizers.scale_by_exact_linesearch,
        "second_order",
        {},
        build=lambda: optax.chain(regopt.sgd(1.0), optimizers.scale_by_exact_linesearch()),
    ),
]
