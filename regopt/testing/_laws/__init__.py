"""The laws, a file for each subject."""

from regopt.testing._laws import _full_batch, _numbers, _projections, _prox, _results, _states, _strengths
from regopt.testing._laws._law import Cell, Law

__all__ = ["LAWS", "Cell", "Law"]

LAWS: tuple[Law, ...] = (
    *_numbers.LAWS,
    *_states.LAWS,
    *_results.LAWS,
    *_full_batch.LAWS,
    *_prox.LAWS,
    *_projections.LAWS,
    *_strengths.LAWS,
)
