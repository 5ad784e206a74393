"""Full-batch second-order methods."""

import optax

from regopt import optimizers
from regopt.testing._catalogue._optimizers import DIRECTION
from regopt.testing._row import NONE, Numbers, Row

SECOND = "second order"
NUMBERS: Numbers = {"learning_rate": (0.7, 0.3), "regularization": (0.5, 1.5)}
ENDS: Numbers = {"learning_rate": (0.0,), "regularization": (0.0,)}


def full_batch(factory, numbers: Numbers, ends: Numbers = NONE, variant: str = "", build=None) -> Row:
    """The row of a method whose update takes the objective."""
    return Row(factory, "second_order", numbers, ends, build, variant=variant, group=SECOND)


ROWS = [
    full_batch(optimizers.newton, NUMBERS, ENDS),
    full_batch(
        optimizers.newton,
        NUMBERS,
        ENDS,
        "saddle-free",
        lambda **numbers: optimizers.newton(**numbers, saddle_free=True),
    ),
    full_batch(optimizers.diagonal_newton, NUMBERS, ENDS),
    full_batch(optimizers.gauss_newton, NUMBERS, ENDS)._replace(needs_residuals=True),
    full_batch(optimizers.levenberg_marquardt, {"damping": (0.02, 0.7)}, {"damping": (1e-6,)})._replace(
        needs_residuals=True
    ),
    full_batch(optimizers.newton_cg, {}),
    full_batch(
        optimizers.newton_cg,
        {"max_iterations": (5.0, 2.0), "forcing": (0.01, 0.4)},
        {"max_iterations": (1.0,), "forcing": (0.0,)},
        "exact on quadratics",
        lambda **numbers: optimizers.newton_cg(**numbers, linesearch="exact_quadratic"),
    ),
    full_batch(optimizers.nonlinear_cg, {}),
    full_batch(
        optimizers.nonlinear_cg,
        {},
        variant="Hestenes-Stiefel",
        build=lambda: optimizers.nonlinear_cg(variant="hestenes_stiefel", linesearch="exact_quadratic"),
    ),
    full_batch(optimizers.bfgs, {}),
    full_batch(optimizers.bfgs, {}, variant="backtracking", build=lambda: optimizers.bfgs(linesearch="backtracking")),
    full_batch(optimizers.lbfgs, {}),
    full_batch(
        optimizers.scale_by_exact_linesearch,
        {},
        build=lambda: optax.chain(optimizers.sgd(1.0), optimizers.scale_by_exact_linesearch()),
    )._replace(group=DIRECTION),
]
