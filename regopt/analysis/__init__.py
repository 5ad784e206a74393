"""What the textbook proves about regularisation, as pure functions: exact where it is exact."""

from regopt.analysis import quadratic

__all__ = ["quadratic"]
