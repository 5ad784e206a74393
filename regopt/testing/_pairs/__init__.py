"""Every optimizer of regopt, optax and optax.contrib with every way to apply a penalty, and the outcome."""

from regopt.testing._pairs._optimizers import Candidate, candidates
from regopt.testing._pairs._outcomes import ANOTHER, HOW, RIGHT, PairOutcome, outcome_lines, outcomes
from regopt.testing._pairs._problem import PENALTIES, problem

__all__ = [
    "ANOTHER",
    "HOW",
    "PENALTIES",
    "RIGHT",
    "Candidate",
    "PairOutcome",
    "candidates",
    "outcome_lines",
    "outcomes",
    "problem",
]
