"""The lasso and the elastic net on a working set of columns, by an active-set method in NumPy.

A step solves the linear system of the coefficients that are not 0, with their signs fixed. The size of the system
changes from step to step, so this is for use outside compiled programs.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

_ROUNDING = 1e-12  # the share of the reach by which a slope may exceed it
_RIDGE = 1e-11  # the share of the diagonal that is added to a singular matrix
_STATIONARY = 1e-11  # the largest misfit of a slope at a solution, as a share of the reach
_SMALL_REACH = 0.1  # the share of the largest slope at 0 that counts as the reach where that is smaller
_SHORTEST = 1e-6  # the shortest share of a Newton step


class Quadratic(NamedTuple):
    """``w' G w / 2 - q' w + reach |w|_1 + square |w|**2 / 2``."""

    gram: np.ndarray  # [columns, columns]
    products: np.ndarray  # [columns]: q
    reach: float
    square: float

    def value(self, w: np.ndarray) -> float:
        """The objective."""
        image = self.gram[:, w != 0] @ w[w != 0] + self.square * w
        return float(w @ (image / 2 - self.products) + self.reach * np.abs(w).sum())


def minimize_quadratic(problem: Quadratic, w: np.ndarray, max_steps: int) -> tuple[np.ndarray, int]:
    """The minimiser, from a point near it, and the number of linear systems that were solved.

    A step goes to the minimiser of the face that the signs span, or as far towards it as the objective falls. At the
    minimiser of a face, the zeros whose slopes are above the reach join it; where that does not lower the objective,
    fewer of them join.

    Args:
        problem: the quadratic.
        w: where to start, ``[columns]``.
        max_steps: the largest number of linear systems.

    Returns:
        The minimiser, and the number of systems.

    References:
        Lee, H., Battle, A., Raina, R., & Ng, A. Y. (2007). Efficient sparse coding algorithms. NeurIPS. Algorithm 1.
    """
    signs, joins = np.sign(w), np.zeros(0, int)
    for steps in range(1, max_steps + 1):
        face, end = np.flatnonzero(signs), np.zeros_like(w)
        end[face] = _minimiser_of_face(problem, face, signs[face])
        against = end * signs < 0
        if not against.any():
            w = end
            joins, entering = _joins(problem, w)
            if not len(joins):
                return w, steps
            signs = np.sign(w)
            signs[joins] = entering
        elif problem.value(np.where(against, 0, end)) < problem.value(w):
            w, joins = np.where(against, 0, end), joins[:0]
            signs = np.sign(w)
        elif against[joins].any():
            if len(joins) == 1:  # a single entry goes against its slope by rounding alone
                return w, steps
            fewer = -(-len(joins) // 4)
            signs[joins[fewer:]], joins = 0, joins[:fewer]
        else:
            w, joins = _along(problem, w, end, against), joins[:0]
            signs = np.sign(w)
    return w, max_steps


def _minimiser_of_face(problem: Quadratic, face: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """The minimiser over the coefficients of the face where the l1 norm is linear, with these signs."""
    matrix = problem.gram[face[:, None], face]
    matrix[np.diag_indices(len(face))] += problem.square
    target = problem.products[face] - problem.reach * signs
    try:
        return cho_solve(cho_factor(matrix, overwrite_a=True, check_finite=False), target, check_finite=False)
    except LinAlgError:  # equal columns, for example: far along the direction in which the face falls, if there is one
        matrix = problem.gram[face[:, None], face]
        matrix[np.diag_indices(len(face))] *= 1 + _RIDGE
        return np.linalg.solve(matrix, target)


def _joins(problem: Quadratic, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The zeros whose slopes are above the reach, the steepest first, and the signs with which they leave 0."""
    slopes = problem.gram[:, w != 0] @ w[w != 0] - problem.products
    excess = np.where(w == 0, np.abs(slopes) - problem.reach * (1 + _ROUNDING), -1)
    order = np.argsort(-excess)[: np.count_nonzero(excess > 0)]
    return order, -np.sign(slopes[order])


def _along(problem: Quadratic, w: np.ndarray, end: np.ndarray, against: np.ndarray) -> np.ndarray:
    """The best of the points, on the way to the end, at which a coefficient becomes 0."""
    turn, crossing = end - w, np.flatnonzero(against)
    times = w[crossing] / (w[crossing] - end[crossing])
    turned = problem.gram @ turn + problem.square * turn
    slope = turned @ w - problem.products @ turn
    norms = np.abs(w[None] + times[:, None] * turn[None]).sum(1)
    best = np.argmin(times * slope + times**2 * (turned @ turn) / 2 + problem.reach * norms)
    moved = w + times[best] * turn
    moved[crossing[best]] = 0
    return moved


def minimize_groups(problem: Quadratic, size: int, w: np.ndarray, max_steps: int) -> tuple[np.ndarray, int]:
    """The minimiser with the sum of the norms of consecutive groups in place of the l1 norm, and the number of steps.

    A step is a pass of block coordinate descent over the groups that are not 0 or may leave it, and a Newton step on
    the groups that are not 0, where the objective is smooth.

    Args:
        problem: the quadratic.
        size: the number of columns of a group.
        w: where to start, ``[groups * size]``.
        max_steps: the largest number of steps.

    Returns:
        The minimiser, and the number of steps.

    References:
        Yuan, M., & Lin, Y. (2006). Model selection and estimation in regression with grouped variables. Journal of the
        Royal Statistical Society B, 68(1), 49-67. Section 3, for the passes.
    """
    table = w.reshape(-1, size).copy()
    for steps in range(1, max_steps + 1):
        image = _pass_over_groups(problem, table, problem.gram @ table.ravel() + problem.square * table.ravel())
        on = np.flatnonzero(table.any(1))
        slopes = (image - problem.products).reshape(-1, size)
        free = np.linalg.norm(np.delete(slopes, on, 0), axis=1) > problem.reach * (1 + _ROUNDING)
        if not len(on) and not free.any():
            return table.ravel(), steps
        if not len(on):
            continue
        norms = np.linalg.norm(table[on], axis=1, keepdims=True)
        misfit = slopes[on] + problem.reach * table[on] / norms
        scale = max(problem.reach, _SMALL_REACH * np.abs(problem.products).max())
        if np.abs(misfit).max() <= _STATIONARY * scale and not free.any():
            return table.ravel(), steps
        _newton_step(problem, table, on, norms, misfit)
    return table.ravel(), max_steps


def _pass_over_groups(problem: Quadratic, table: np.ndarray, image: np.ndarray) -> np.ndarray:
    """One proximal step for each group, in place; the image of the result."""
    size = table.shape[1]
    for group, w in enumerate(table):
        own = slice(group * size, (group + 1) * size)
        slope = image[own] - problem.products[own]
        if not w.any() and np.linalg.norm(slope) <= problem.reach:
            continue
        block = problem.gram[own, own] + problem.square * np.eye(size)
        at_zero = slope - block @ w
        after = np.zeros(size)
        if np.linalg.norm(at_zero) > problem.reach:  # else 0 is the minimiser over the group
            curvature = np.linalg.norm(block)
            end = w - slope / curvature
            after = end * max(0.0, 1 - problem.reach / (curvature * np.linalg.norm(end)))
        move = after - w
        image += problem.gram[:, own] @ move
        image[own] += problem.square * move
        table[group] = after
    return image


def _newton_step(problem: Quadratic, table: np.ndarray, on: np.ndarray, norms: np.ndarray, misfit: np.ndarray) -> None:
    """A Newton step on the groups that are not 0, in place, shortened until the objective falls."""
    size = table.shape[1]
    places = (on[:, None] * size + np.arange(size)).ravel()
    hessian = problem.gram[places[:, None], places]
    hessian[np.diag_indices(len(places))] += problem.square
    units = table[on] / norms
    for i, (unit, norm) in enumerate(zip(units, norms[:, 0], strict=True)):
        own = slice(i * size, (i + 1) * size)
        hessian[own, own] += problem.reach / norm * (np.eye(size) - np.outer(unit, unit))
    try:
        factor = cho_factor(hessian, overwrite_a=True, check_finite=False)
    except LinAlgError:  # without a Newton step; the passes go on
        return
    turn = -cho_solve(factor, misfit.ravel(), check_finite=False).reshape(-1, size)
    turned = problem.gram[places[:, None], places] @ turn.ravel() + problem.square * turn.ravel()
    bend, start = float(turned @ turn.ravel()), table[on]
    # <slope of the quadratic, turn>: the misfit holds the slope of the norms too
    slope = float(((misfit - problem.reach * units) * turn).sum())
    length = 1.0
    while length > _SHORTEST:
        moved = start + length * turn
        change = length * slope + length**2 * bend / 2
        change += problem.reach * float((np.linalg.norm(moved, axis=1) - norms[:, 0]).sum())
        if change < 0:
            table[on] = moved
            return
        length /= 2
