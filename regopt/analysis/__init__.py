"""What the textbook proves about regularisation, as pure functions: exact where it is exact."""

from regopt.analysis import bias_variance, diagnosis, dropout, equivalence, propagation, quadratic

__all__ = ["bias_variance", "diagnosis", "dropout", "equivalence", "propagation", "quadratic"]
