"""The common parts of the estimators of one penalty: their numbers, and the checks of these."""

import numpy as np
from sklearn.base import RegressorMixin

from regopt.sklearn._base import Linear, is_number


class Regression(RegressorMixin, Linear):
    """The common part of the regressions."""

    def predict(self, X):
        """The expected targets, ``[examples]``."""
        return self._eta(X)


class Ratio(Linear):
    """The penalties with an ``l1_ratio``."""

    def _l1_ratio(self) -> float:
        if not (is_number(self.l1_ratio) and 0 <= self.l1_ratio <= 1):
            raise ValueError(f"l1_ratio must lie in [0, 1], got {self.l1_ratio!r}")
        return float(self.l1_ratio)

    def _numbers(self) -> tuple[float, ...]:
        return (self._l1_ratio(),)


class Grouped(Linear):
    """The penalties with groups of features."""

    def _groups(self, features: int) -> np.ndarray:
        groups = np.arange(features) if self.groups is None else np.asarray(self.groups)
        if groups.shape != (features,):
            raise ValueError(f"groups must have an entry for each of the {features} features, got {groups.shape}")
        return groups


class Concave(Linear):
    """The nonconvex penalties."""

    _least_gamma = 0.0

    def _numbers(self) -> tuple[float, ...]:
        if not (is_number(self.gamma) and self.gamma > self._least_gamma):
            raise ValueError(f"gamma must lie in ({self._least_gamma:g}, inf), got {self.gamma!r}")
        return (float(self.gamma),)
