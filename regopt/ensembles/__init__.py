"""Ensembles: bagging, boosting, stacking and snapshots of any learner, with the members as lanes of one program.

The methods are pure functions of keys and arrays. The classes at the end have scikit-learn's interface, and need it
installed, as the extra ``experiments`` does. An ensemble over dropout's masks is ``regopt.noise.monte_carlo``.
"""

from regopt.ensembles._bagging import Bagged, Bagging, bagging, out_of_bag
from regopt.ensembles._boosting import adaboost, exponential_loss, gradient_boosting, logistic_loss
from regopt.ensembles._combine import arithmetic_mean, average_error, geometric_mean, majority_vote
from regopt.ensembles._estimators import BaggedClassifier, BaggedRegressor, BoostedClassifier, StackedRegressor
from regopt.ensembles._learner import Learner, from_estimator
from regopt.ensembles._learners import nearest_neighbours, network, ridge
from regopt.ensembles._multiclass import samme
from regopt.ensembles._rounds import Boosted, Boosting
from regopt.ensembles._snapshots import snapshot_schedule, snapshots
from regopt.ensembles._stacking import Stacked, Stacking, out_of_fold, stacking
from regopt.ensembles._stump import Stump, stump

__all__ = [
    "Bagged",
    "BaggedClassifier",
    "BaggedRegressor",
    "Bagging",
    "Boosted",
    "BoostedClassifier",
    "Boosting",
    "Learner",
    "Stacked",
    "StackedRegressor",
    "Stacking",
    "Stump",
    "adaboost",
    "arithmetic_mean",
    "average_error",
    "bagging",
    "exponential_loss",
    "from_estimator",
    "geometric_mean",
    "gradient_boosting",
    "logistic_loss",
    "majority_vote",
    "nearest_neighbours",
    "network",
    "out_of_bag",
    "out_of_fold",
    "ridge",
    "samme",
    "snapshot_schedule",
    "snapshots",
    "stacking",
    "stump",
]
