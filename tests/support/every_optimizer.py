"""Every optimizer of the package as a function of a learning rate, for tests that no optimizer may fail."""

import regopt
from regopt import penalties


def momentum_of(factory):
    return lambda rate: factory(rate, 0.9)


def regularized(penalty, how):
    def build(rate):
        follows = {} if how == "gradient" else {"learning_rate": rate}
        return regopt.regularize(regopt.adam(rate), penalty, how, **follows)

    return build


def without_rate(factory, **options):
    """Of those that find their own step; the rate is not used, so it cannot be poisoned."""
    return lambda rate: factory(**options)


FIRST_ORDER = {
    **{name: getattr(regopt, name) for name in ("adadelta", "adagrad", "adam", "adamax", "adamw", "amsgrad", "lion")},
    **{name: getattr(regopt, name) for name in ("nadam", "rmsprop", "rmsprop_nesterov", "sgd")},
    **{name: momentum_of(getattr(regopt, name)) for name in ("ema_momentum", "heavy_ball", "nesterov")},
    "adam, l2 in the gradient": regularized(penalties.l2(0.01), "gradient"),
    "adam, l2 decoupled": regularized(penalties.l2(0.01), "decoupled"),
    "adam, prox of l1": regularized(penalties.l1(0.01), "proximal"),
    "adam, prox of elastic net": regularized(penalties.elastic_net(0.01), "proximal"),
    "adam, prox of group lasso": regularized(penalties.group_lasso(0.01), "proximal"),
    "adam, box": lambda rate: regopt.regularize(
        regopt.adam(rate), penalties.box(-5.0, 5.0), "proximal", learning_rate=rate
    ),
    "schedule_free_sgd": regopt.schedule_free_sgd,
    "schedule_free_adamw": regopt.schedule_free_adamw,
    "sam": lambda rate: regopt.sam(regopt.sgd(rate)),
    "lookahead": lambda rate: regopt.lookahead(regopt.adam(rate)),
    "average_params": lambda rate: regopt.average_params(regopt.adam(rate)),
    "accumulate": lambda rate: regopt.accumulate(regopt.adam(rate), 2),
    "guard": lambda rate: regopt.guard(regopt.adam(rate)),
}
SECOND_ORDER = {
    "newton": without_rate(regopt.newton, regularization=0.5),
    "diagonal_newton": without_rate(regopt.diagonal_newton, regularization=0.5),
    "newton_cg": without_rate(regopt.newton_cg),
    "nonlinear_cg": without_rate(regopt.nonlinear_cg),
    "bfgs": without_rate(regopt.bfgs),
    "lbfgs": without_rate(regopt.lbfgs),
}
