"""The common parts of the estimators of one penalty: their numbers, and the checks of these."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.base import RegressorMixin

from regopt.sklearn._base import Linear, is_number


class Regression(RegressorMixin, Linear):
    """The common part of the regressions."""

    def predict(self, X):
        """The expected targets, ``[examples]``."""
        return self._eta(X)


@dataclass(eq=False, repr=False, kw_only=True)
class Ratio(Linear):
    """The penalties with an ``l1_ratio``."""

    l1_ratio: float = 0.5

    def _l1_ratio(self) -> float:
        if not (is_number(self.l1_ratio) and 0 <= self.l1_ratio <= 1):
            raise ValueError(f"l1_ratio must lie in [0, 1], got {self.l1_ratio!r}")
        return float(self.l1_ratio)

    def _numbers(self) -> tuple[float, ...]:
        return (self._l1_ratio(),)


@dataclass(eq=False, repr=False, kw_only=True)
class Grouped(Linear):
    """The penalties with groups of features."""

    groups: Sequence[int] | np.ndarray | None = None

    def _groups(self, features: int) -> np.ndarray:
        groups = np.arange(features) if self.groups is None else np.asarray(self.groups)
        if groups.shape != (features,):
            raise ValueError(f"groups must have an entry for each of the {features} features, got {groups.shape}")
        return groups


@dataclass(eq=False, repr=False, kw_only=True)
class Concave(Linear):
    """The nonconvex penalties."""

    _convex = False
    _least_gamma = 0.0

    gamma: float = 3.0

    def _numbers(self) -> tuple[float, ...]:
        if not (is_number(self.gamma) and self.gamma > self._least_gamma):
            raise ValueError(f"gamma must lie in ({self._least_gamma:g}, inf), got {self.gamma!r}")
        return (float(self.gamma),)
