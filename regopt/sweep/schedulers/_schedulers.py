"""Who trains next: pure functions from the table of a sweep so far to a decision.

A scheduler sees nothing but the table and is asked between rounds of calls, so the same command gives the same
decisions, also after an interruption. A diverged setting scores infinity: it never outlives another.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from regopt._core.numerics import check_number, check_whole


class Standing(NamedTuple):
    """What a scheduler sees: NumPy arrays with the settings on the first axis."""

    scores: np.ndarray  # [settings, evaluations], float: smaller is better, inf diverged, NaN not trained so far
    segments: np.ndarray  # [settings], int: segments done
    going: np.ndarray  # [settings], bool: neither done, stopped, diverged nor cut
    wave: np.ndarray  # [settings], int: settings of one wave fit on the devices at the same time
    group: np.ndarray  # [settings], int: those of one group have the same static values
    numbers: Mapping[str, np.ndarray]  # each [settings]: the traced columns
    parents: np.ndarray  # [settings, evaluations], int: whose state a segment began with, -1 where not decided
    others: np.ndarray = np.empty((0, 0))  # as scores, of the settings of other hosts


class Decision(NamedTuple):
    """What a scheduler says."""

    wait: np.ndarray  # [settings], bool: not to be trained before something else has happened
    cut: np.ndarray  # [settings], bool: to end now
    parents: np.ndarray | None = None  # [settings], int: whose state to go on from; None or the own row: one's own
    numbers: Mapping[str, np.ndarray] = {}  # columns that change, each [settings]


class Scheduler(NamedTuple):
    """``decide(standing) -> decision``."""

    decide: Callable[[Standing], Decision]
    name: str  # with all its arguments: two schedulers of one name decide alike
    changes: tuple[str, ...] = ()  # names of the numbers that it may change
    draws_fractions: tuple[str, ...] = ()  # of these, those that need not stay whole numbers
    meets_others: bool = False  # wants the settings of other hosts in the standing


def median_rule(grace: int = 1, minimum: int = 5) -> Scheduler:
    """End a setting whose best score so far is worse than the median of all mean scores up to there.

    Args:
        grace: segments before which nothing is cut, >= 1.
        minimum: settings, itself included, that must have come as far before one is cut, >= 1.

    Returns:
        The scheduler.

    Raises:
        ValueError: an argument lies outside its range.

    References: Golovin et al. (2017), section 3.2.1. There the median is over finished trials; in a sweep that trains
    all at once it is over those that have come as far.
    """
    check_whole("grace", grace, "[1, inf)")
    check_whole("minimum", minimum, "[1, inf)")

    def decide(standing):
        nobody = np.zeros_like(standing.going)
        best = np.fmin.accumulate(standing.scores, axis=1)
        means = np.cumsum(standing.scores, axis=1) / np.arange(1, standing.scores.shape[1] + 1)
        cut = nobody.copy()
        asked = standing.going & (standing.segments >= grace)
        for segments in np.unique(standing.segments[asked]):
            there, at = standing.segments >= segments, asked & (standing.segments == segments)
            if there.sum() >= minimum:
                cut |= at & (best[:, segments - 1] > np.median(means[there, segments - 1]))
        return Decision(nobody, cut)

    return Scheduler(decide, f"median_rule(grace={grace}, minimum={minimum})")


def successive_halving(eta: float = 3.0, first: int = 1) -> Scheduler:
    """After ``first * eta**k`` segments the best ``1/eta`` of the settings go on, the others end.

    A rung is decided when all who may reach it have come to it. Settings that don't fit on the devices together
    compete wave by wave.

    Args:
        eta: > 1; by how much each rung cuts the settings and lengthens the training.
        first: segments before the first rung, >= 1.

    Returns:
        The scheduler.

    Raises:
        ValueError: an argument lies outside its range.

    References: Jamieson & Talwalkar (2016), figure 3; Li et al. (2018), algorithm 1, the inner loop.
    """
    _check_halving(eta, first)

    def decide(standing):
        return _halve(standing, standing.wave, {wave: _rungs(standing, eta, first) for wave in set(standing.wave)}, eta)

    return Scheduler(decide, f"successive_halving(eta={eta}, first={first})")


def hyperband(eta: float = 3.0) -> Scheduler:
    """Brackets of successive halving, from many settings with a short first rung to a few without any.

    With ``R`` segments in all, bracket ``s`` of ``0 .. floor(log_eta R)`` has its first rung after ``R eta**-s``
    segments, and a share of the settings in proportion to ``eta**s / (s + 1)``, drawn at random but always alike.

    Args:
        eta: > 1; see ``successive_halving``.

    Returns:
        The scheduler.

    Raises:
        ValueError: eta lies outside its range.

    References: Li et al. (2018), algorithm 1.
    """
    _check_halving(eta, 1)

    def decide(standing):
        size, total = standing.scores.shape
        brackets = np.arange(int(np.log(total) / np.log(eta) + 1e-9), -1, -1)
        shares = np.cumsum(eta**brackets / (brackets + 1.0))
        member = brackets[np.searchsorted(shares / shares[-1], (np.arange(size) + 0.5) / size)]
        member = np.random.default_rng(0).permutation(member)
        cohort = standing.wave * len(brackets) + member
        rungs = {c: _rungs(standing, eta, total / eta ** (c % len(brackets))) for c in set(cohort.tolist())}
        return _halve(standing, cohort, rungs, eta)

    return Scheduler(decide, f"hyperband(eta={eta})")


def asynchronous_halving(eta: float = 3.0, first: int = 1) -> Scheduler:
    """Successive halving in which nobody waits: a setting goes on past a rung if it is among the best so far there.

    It ends at a rung unless its score lies in the best ``1/eta`` of those that have come to it by then. Within one
    program, where all come to a rung together, ``successive_halving`` wastes less; this one is for settings that
    stream through the devices or are divided among hosts. There it compares with the settings of all hosts, as these
    were last saved: who is cut then depends on who was faster, also after an interruption.

    Args:
        eta: > 1; see ``successive_halving``.
        first: segments before the first rung, >= 1.

    Returns:
        The scheduler.

    Raises:
        ValueError: an argument lies outside its range.

    References: Li et al. (2020), in the variant that stops rather than pauses.
    """
    _check_halving(eta, first)

    def decide(standing):
        nobody = np.zeros_like(standing.going)
        cut = nobody.copy()
        for rung in _rungs(standing, eta, first):
            there = standing.segments >= rung
            others = standing.others[:, rung - 1 : rung].ravel()
            scores = np.sort(np.append(standing.scores[there, rung - 1], others[~np.isnan(others)]))
            if len(scores):
                bar = scores[max(int(len(scores) / eta), 1) - 1]
                at = standing.going & (standing.segments == rung)
                cut |= at & (standing.scores[:, rung - 1] > bar)
        return Decision(nobody, cut)

    return Scheduler(decide, f"asynchronous_halving(eta={eta}, first={first})", meets_others=True)


def _check_halving(eta: float, first: int) -> None:
    check_number("eta", eta, "(1, inf)")
    check_whole("first", first, "[1, inf)")


def _rungs(standing: Standing, eta: float, first: float) -> list[int]:
    """Segments after which settings are cut: ascending, whole, before the last."""
    total = standing.scores.shape[1]
    count = int(np.ceil(np.log(total / first) / np.log(eta))) if first < total else 0
    rungs = sorted({max(round(first * eta**k), 1) for k in range(count)})
    return [rung for rung in rungs if rung < total]


def _halve(standing: Standing, cohort: np.ndarray, rungs: Mapping[int, list[int]], eta: float) -> Decision:
    """Synchronous rungs of each cohort, decided anew from the table."""
    wait, cut = np.zeros_like(standing.going), np.zeros_like(standing.going)
    for name, its_rungs in rungs.items():
        alive = np.flatnonzero(cohort == name)
        count = len(alive)
        for k, rung in enumerate(its_rungs):
            coming = standing.going[alive] & (standing.segments[alive] < rung)
            if coming.any():
                wait[alive] |= standing.going[alive] & (standing.segments[alive] >= rung)
                break
            at = np.minimum(standing.segments[alive], rung) - 1
            scores = np.where(at >= 0, standing.scores[alive, at], np.inf)
            keep = max(int(count / eta ** (k + 1) + 1e-9), 1)
            order = np.argsort(scores, kind="stable")
            losers = alive[order[keep:]]
            cut[losers] |= standing.going[losers]
            alive = np.sort(alive[order[:keep]])
    return Decision(wait, cut)
