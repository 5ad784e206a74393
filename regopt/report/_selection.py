"""The part of a large sweep that the figures show: the order of the numbers, the points of a scatter, the curves."""

import itertools
from typing import NamedTuple

import numpy as np

from regopt.report._axes import BLUE, GREEN, GREY, VERMILLION
from regopt.report._findings import REPEATED, Findings

MOST_POINTS = 1000  # of a scatter; more make the page slow and show nothing new
MOST_STEPS = 200  # of a curve
EACH = 20  # curves of each group of a large sweep


class Group(NamedTuple):
    """The curves that share a name and a colour."""

    name: str
    colour: str
    rows: np.ndarray  # of the table, the best first


def groups(findings: Findings) -> list[Group]:
    """The curves of the page: all of a small sweep, else the best, middle and worst ones, and some that diverged."""
    order, bad = findings.shown, np.flatnonzero(findings.diverged)
    if is_small(findings):
        best = int(np.isin(order, findings.best_rows).sum())
        found = [Group("best", BLUE, order[:best]), Group("others", GREY, order[best:])]
    else:
        middle = len(order) // 2 - EACH // 2
        found = [
            Group("best", BLUE, order[:EACH]),
            Group("middle", GREY, order[middle : middle + EACH]),
            Group("worst", GREEN, order[-EACH:]),
        ]
    return [group for group in (*found, Group("diverged", VERMILLION, bad[:EACH])) if len(group.rows)]


def is_small(findings: Findings) -> bool:
    """Whether a figure has room for the curves of all settings."""
    return len(findings.order) <= 3 * EACH


def important(findings: Findings) -> list[str]:
    """The names that vary, the most important first where the importance is known."""
    known = [] if findings.importance is None else list(findings.importance.index)
    return [name for name in known if name in findings.varying] + [n for n in findings.varying if n not in known]


def pairs(findings: Findings, most: int = 4) -> list[tuple[str, str]]:
    """The pairs of the ``most`` most important numbers; none where fewer than four settings have a value."""
    numbers = [name for name in important(findings) if findings.is_number(name) and name not in REPEATED]
    return list(itertools.combinations(numbers[:most], 2)) if len(findings.order) > 3 else []


def sampled(findings: Findings) -> np.ndarray:
    """The rows that a scatter shows: all, or the best fifth of ``MOST_POINTS`` and the others evenly by rank."""
    order = findings.shown
    if len(order) <= MOST_POINTS:
        return order
    first = MOST_POINTS // 5
    return np.concatenate([order[:first], order[np.linspace(first, len(order) - 1, MOST_POINTS - first).astype(int)]])


def neighbours(findings: Findings) -> int:
    """The number of settings whose median is a point of a contour; 1 where only two numbers vary."""
    others = [name for name in findings.varying if name not in REPEATED]
    return max(1 if len(others) <= 2 else 3, round(len(findings.order) / 60))
