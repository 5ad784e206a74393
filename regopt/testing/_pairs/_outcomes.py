"""One outcome of the table of pairs: an optimizer, a way to apply a penalty, a penalty, and a verdict."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from regopt import penalties
from regopt._core.protocols import evaluation_params
from regopt._core.types import Penalty, Tree
from regopt.regularization import metric_of, regularize
from regopt.testing._pairs._optimizers import Candidate, falling
from regopt.testing._pairs._problem import LOWER, PENALTIES, STRENGTH, UPPER, penalty, problem, project

HOW = ("gradient", "decoupled", "proximal", "constraint")
RIGHT, TOLERANCE = "right to 1e-6", 1e-6
ANOTHER = {
    "gradient": "another fixed point, documented: near the solution, by the size of a step",
    "decoupled": "another fixed point, documented: the decay is not scaled by the optimizer",
    "proximal": "another fixed point, documented: the optimizer's own decay is part of the problem",
}


class PairOutcome(NamedTuple):
    """The outcome of one pair; ``excess`` is that of the objective where it was measured."""

    optimizer: str
    how: str
    penalty: str
    verdict: str
    excess: float | None = None

    @property
    def is_wrong(self) -> bool:
        """Whether the pair is accepted, nothing is documented, and another problem is solved."""
        return self.verdict.startswith("WRONG")


def outcomes(
    candidate: Candidate, how: str, names: Sequence[str] = PENALTIES, *, steps: int = 3000
) -> list[PairOutcome]:
    """The outcomes of an optimizer and a way, for several penalties in one program.

    Args:
        candidate: the optimizer.
        how: the way to apply the penalty.
        names: the penalties.
        steps: steps of the measured run; 0 for no run, so that an accepted pair is not measured.

    Returns:
        One outcome for each penalty.
    """
    lenient = jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow")
    with jax.enable_x64(True), lenient[0], lenient[1], warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what optax is about to remove
        optimizer = candidate.make(falling(candidate.rate, candidate.half_life))
        verdicts = {name: _verdict(optimizer, how, name) for name in names}
        excesses = {}
        open_names = [name for name, verdict in verdicts.items() if not verdict]
        if steps and open_names:
            excesses = _excesses(optimizer, how, open_names, steps)
    return [_outcome(candidate, how, name, verdict, excesses.get(name)) for name, verdict in verdicts.items()]


def outcome_lines(found: Sequence[PairOutcome]) -> str:
    """The outcomes as text: one line for each optimizer and way, the penalties with the same verdict together."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for outcome in found:
        rows.setdefault((outcome.optimizer, outcome.how, outcome.verdict), []).append(outcome.penalty)
    width = max((len(optimizer) for optimizer, _, _ in rows), default=0)
    return "\n".join(
        f"{optimizer:<{width}}  {how:<10}  {', '.join(names):<21}  {verdict}"
        for (optimizer, how, verdict), names in rows.items()
    )


def _outcome(candidate: Candidate, how: str, name: str, verdict: str, excess: float | None) -> PairOutcome:
    if not verdict and excess is not None:
        verdict = RIGHT if abs(excess) <= TOLERANCE else f"WRONG: the objective is {excess:.1e} too large"
        return PairOutcome(candidate.name, how, name, verdict, excess)
    return PairOutcome(candidate.name, how, name, verdict or "accepted, not measured")


def _verdict(optimizer: optax.GradientTransformation, how: str, name: str) -> str:
    """The reason why the pair is refused, or its documented limit; "" where it promises the solution."""
    params = _start([name])
    own: Penalty = {
        "l1": penalties.l1(STRENGTH, mask=None),
        "group lasso": penalties.group_lasso(STRENGTH, axis=-1, mask=None),
        "box": penalties.box(LOWER, UPPER, mask=None),
    }[name]
    try:
        if how == "constraint":
            regularize(optimizer, how=how, constraint=project).init(params)
        else:
            regularize(optimizer, own, how).init(params)  # pyright: ignore[reportArgumentType]
        if how == "gradient":
            _check_takes(optimizer, params)
    except Exception as error:  # an optimizer may also refuse the parameters by an error of its own
        message = (str(error).splitlines() or [type(error).__name__])[0]
        named = f'how="{how}" '
        return f"refused: {message.removeprefix(named)}"
    if how in ("gradient", "decoupled"):
        return ANOTHER[how]
    metric = metric_of(optimizer, params, how)
    if not any(metric.trained.values()):
        return "right: nothing is trained"
    return ANOTHER["proximal"] if metric.decays else ""


def _check_takes(optimizer: optax.GradientTransformation, params: Tree) -> None:
    """Raise where the optimizer does not take these parameters; what it does to the gradient does not matter."""
    try:
        metric_of(optimizer, params, "gradient")
    except ValueError as error:
        if isinstance(error.__cause__, AttributeError | KeyError):
            reason = f'its update raises "{error.__cause__}"'
            raise ValueError(f"{reason}: it takes parameters in another form") from error


def _excesses(optimizer: optax.GradientTransformation, how: str, names: Sequence[str], steps: int) -> dict[str, float]:
    if how == "constraint":
        regularised = regularize(optimizer, how="constraint", constraint=project)
    else:
        regularised = regularize(optimizer, penalty(names), "proximal")
    params = _run(regularised, _start(names), steps)
    return {name: problem().excess(name, np.asarray(w)) for name, w in params.items()}


def _run(optimizer: optax.GradientTransformationExtraArgs, start: Tree, steps: int) -> Tree:
    def step(carry, _):
        params, state = carry
        value, grads = jax.value_and_grad(problem().loss)(evaluation_params(params, state))
        updates, state = optimizer.update(grads, state, params, value=value)
        return (optax.apply_updates(params, updates), state), None

    def run(start):
        return jax.lax.scan(step, (start, optimizer.init(start)), length=steps)[0][0]

    # the program runs once, on eight numbers a leaf, so its compilation is all that takes time
    return jax.jit(run, compiler_options={"xla_backend_optimization_level": 0})(start)


def _start(names: Sequence[str] = PENALTIES) -> Tree:
    return {name: jnp.full((4, 2), 0.3) for name in names}
