"""Three small regularised problems with certified solutions, in one tree of parameters, one leaf for each penalty."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from regopt import penalties
from regopt._core.types import Penalty, Tree

STRENGTH = 0.15
LOWER, UPPER = -0.2, 0.4
PENALTIES = ("l1", "group lasso", "box")
STEPS = {  # the proximal step of each penalty in NumPy
    "l1": lambda w, step: np.sign(w) * np.maximum(np.abs(w) - step * STRENGTH, 0),
    "group lasso": lambda w, step: w * np.maximum(1 - step * STRENGTH / np.maximum(_norms(w), 1e-300), 0),
    "box": lambda w, _: np.clip(w, LOWER, UPPER),
}


class Problem(NamedTuple):
    """Two regressions on the same inputs: ``|x w - y|^2 / (2 n)`` with w of shape [4, 2], a group for each input."""

    x: np.ndarray  # [40, 4]
    y: np.ndarray  # [40, 2]
    best: Mapping[str, np.ndarray]  # by penalty: the solution, [4, 2]

    def loss(self, params: Tree) -> jax.Array:
        """The sum of the losses of all leaves."""
        losses = [jnp.sum((jnp.asarray(self.x) @ w - jnp.asarray(self.y)) ** 2) for w in jax.tree.leaves(params)]
        return sum(losses, jnp.zeros(())) / (2 * len(self.x))

    def excess(self, name: str, w: np.ndarray) -> float:
        """The objective at w above the smallest one; infinite where w is not feasible by more than a rounding."""
        if name == "box" and not (np.all(w >= LOWER - 1e-12) and np.all(w <= UPPER + 1e-12)):
            return np.inf
        excess = self._objective(name, w) - self._objective(name, self.best[name])
        return np.inf if np.isnan(excess) else float(excess)

    def _objective(self, name: str, w: np.ndarray) -> float:
        size = {"l1": np.abs(w).sum(), "group lasso": _norms(w).sum(), "box": 0.0}[name]
        return float(np.sum((self.x @ w - self.y) ** 2) / (2 * len(self.x)) + STRENGTH * size)


@cache
def problem() -> Problem:
    """The problem; its solutions are fixed points of a proximal step to 1e-12."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 4))
    x = (x - x.mean(0)) / x.std(0)
    y = x @ np.array([[1.0, -0.5], [0.3, 0.6], [0.05, 0.02], [0.0, 0.1]]) + 0.5 * rng.normal(size=(40, 2))
    return Problem(x, y, {name: _solution(x, y, prox) for name, prox in STEPS.items()})


def penalty(names: Sequence[str] = PENALTIES) -> Penalty:
    """The penalty of each leaf, as one."""

    def only(own):
        return {name: name == own for name in names}

    each = {
        "l1": penalties.l1(STRENGTH, mask=only("l1")),
        "group lasso": penalties.group_lasso(STRENGTH, axis=-1, mask=only("group lasso")),
        "box": penalties.box(LOWER, UPPER, mask=only("box")),
    }
    return penalties.total(*(each[name] for name in names))


def project(params: Tree) -> Tree:
    """The projection of each leaf onto the ball in which its solution has the same size, or onto the box."""
    best = problem().best
    ball = penalties.l1(mask=None).project

    def at_groups(w):  # the lengths of the groups are projected onto a ball
        lengths = jnp.sqrt(jnp.maximum(jnp.sum(w * w, axis=1, keepdims=True), jnp.finfo(w.dtype).tiny))
        return w * ball(lengths, _norms(best["group lasso"]).sum()) / lengths

    each = {
        "l1": lambda w: ball(w, np.abs(best["l1"]).sum()),
        "group lasso": at_groups,
        "box": lambda w: jnp.clip(w, LOWER, UPPER),
    }
    return {name: each[name](w) for name, w in params.items()}


def _solution(x: np.ndarray, y: np.ndarray, prox: Callable[[np.ndarray, float], np.ndarray]) -> np.ndarray:
    step = len(x) / np.linalg.eigvalsh(x.T @ x)[-1]
    w = before = np.zeros((x.shape[1], y.shape[1]))
    for _ in range(10_000):
        before, w = w, prox(w - step * x.T @ (x @ w - y) / len(x), step)
    assert np.max(np.abs(w - before)) < 1e-12, "the problem is not solved"
    return w


def _norms(w: np.ndarray) -> np.ndarray:
    return np.linalg.norm(w, axis=1, keepdims=True)
