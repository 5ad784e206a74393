"""How long do cross-validated paths take beside the libraries that are made for them?

Each row is a problem with 100 strengths and 10 folds. Every library fits the path of each fold's rows to the same
relative duality gap, which NumPy computes in float64: its tolerance is the loosest of a list that reaches the gap. The
libraries take turns. regopt's time is that of ``cross_validate``, which also fits all rows and computes the scores; its
compilation is shown beside. Run it on an otherwise idle machine:

    taskset -c 0,1 python experiments/benchmarks/paths.py configs/paths/default.toml

A claim here is a bar that regopt should clear; what fails is printed as failing. A peer that is not installed, fails or
never reaches the gap is listed in the table with no time.
"""

import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

from _style import BLUE, ORANGE, PALE
from path_peers import fit_fold, peers
from path_problems import DATA, certificates, folds, problem
from regopt import penalties, solvers
from regopt.experiment import Claim

BARS = (0.1, 0.75, 1.0, 1.2, 1.0, 1.0, 1.0)  # the largest time over that of the best peer, in the order of DATA
COMPILE = 3.0  # seconds
TOLERANCES = (1e-6, 1e-8, 3e-9, 1e-9, 3e-10, 1e-10, 1e-12, 1e-14)
FAMILIES = {
    "gaussian": solvers.gaussian,
    "logistic": solvers.logistic,
    "poisson": solvers.poisson,
    "multinomial": partial(solvers.multinomial, 10),
}
MASK = {"coefficients": True, "intercept": False}
PEERS = ("scikit-learn", "celer", "skglm", "adelie")


@dataclass(frozen=True)
class Config:
    """How much is measured.

    Attributes:
        problems: which rows, by their position.
        strengths: of a path.
        folds: of a cross-validation.
        rounds: measurements of each library, in turn.
        gap: the relative duality gap that all must reach.
        patience: seconds; a library that takes longer for all folds is measured on one fold, times the folds. One that
            takes longer for a fold and has not reached the gap counts with this time, a lower bound.
    """

    problems: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    strengths: Annotated[int, Field(ge=2)] = 100
    folds: Annotated[int, Field(ge=2)] = 10
    rounds: Annotated[int, Field(ge=1)] = 3
    gap: Annotated[float, Field(gt=0)] = 1e-8
    patience: Annotated[float, Field(gt=0)] = 60.0


def run(config, key):
    """Seconds ``[problem, library, round]`` with regopt first, NaN where there is no time; gaps and objectives."""
    del key  # the problems have seeds of their own
    count, libraries = len(config.problems), 1 + len(PEERS)
    seconds = np.full((count, libraries, config.rounds), np.nan)
    gaps, differences = np.full((count, libraries), np.nan), np.full((count, libraries), np.nan)
    compiled = np.full(count, np.nan)
    with jax.enable_x64(True):
        for row, number in enumerate(config.problems):
            name = list(DATA)[number]
            it = problem(name, config.strengths)
            ours, compiled[row], gaps[row, 0], objectives = regopt_program(config, it)
            timers = [(0, ours)]
            for peer, fit in peers(it).items():
                place = 1 + PEERS.index(peer)
                timer, gaps[row, place], theirs = peer_program(config, it, fit)
                if theirs is not None:
                    differences[row, place] = np.max(np.abs(theirs - objectives) / np.abs(objectives))
                timers += [] if timer is None else [(place, timer)]
            for turn in range(config.rounds):
                for place, timer in timers:
                    seconds[row, place, turn] = timer()
    return {"seconds": seconds, "compiled": compiled, "gaps": gaps, "differences": differences}


def penalty_of(it):
    """The penalty as a function of its strength."""
    if it.group_size > 1:
        axis = {"coefficients": 1, "intercept": "incoming"}
        return partial(penalties.group_lasso, axis=axis, mask=MASK)
    if it.l1_ratio == 1:
        return partial(penalties.l1, mask=MASK)
    return partial(penalties.elastic_net, l1_ratio=it.l1_ratio, mask=MASK)


def regopt_program(config, it):
    """A timer, the seconds to trace and compile, and the relative gap and the objectives on the rows of fold 0.

    Wide data and groups are solved on working sets, outside of one program; the first call less the second one tells
    how long its parts take to compile.
    """
    labels = folds(len(it.x), config.folds)
    model, penalty = solvers.LinearModel(FAMILIES[it.family]()), penalty_of(it)
    x = jnp.asarray(it.x if it.group_size == 1 else it.x.reshape(len(it.x), -1, it.group_size))
    y, strengths = jnp.asarray(it.y), jnp.asarray(it.strengths)
    weights = jnp.asarray(labels != 0, x.dtype)

    def all_folds(x, y, strengths, tolerance):
        start = model.start(x)
        return solvers.cross_validate(
            model, penalty, start, x, y, folds=labels, strengths=strengths, tolerance=tolerance
        )

    def one_fold(x, y, strengths, tolerance):
        return solvers.path(model, penalty, model.start(x), x, y, weights, strengths=strengths, tolerance=tolerance)

    on_host = it.group_size > 1 or it.x.shape[1] > len(it.x)
    began = time.perf_counter()
    if on_host:
        program, one = all_folds, one_fold
        first = seconds_of(program, x, y, strengths, 1.0)
        compiled = first - seconds_of(program, x, y, strengths, 1.0)
    else:
        program, one = jax.jit(all_folds).lower(x, y, strengths, 1.0).compile(), jax.jit(one_fold)
        compiled = time.perf_counter() - began
    tolerance, gap, objectives = 1.0, np.inf, np.zeros(0)
    for tolerance in TOLERANCES:
        found = one(x, y, strengths, tolerance)
        w = np.asarray(found.params["coefficients"])
        w = w.reshape(len(w), it.x.shape[1], *w.shape[2:]) if it.group_size == 1 else w.reshape(len(w), -1)
        intercepts = np.asarray(found.params["intercept"])
        objectives, gap = certificates(it, it.x[labels != 0], it.y[labels != 0], w, intercepts)
        gap = np.max(gap / np.abs(objectives))
        if gap <= config.gap:
            break
    assert bool(program(x, y, strengths, tolerance).converged.all())

    return (lambda: seconds_of(program, x, y, strengths, tolerance)), compiled, gap, objectives


def seconds_of(program, *arguments):
    """How long a call takes."""
    began = time.perf_counter()
    jax.block_until_ready(program(*arguments))
    return time.perf_counter() - began


def peer_program(config, it, fit):
    """A timer, None where the gap is not reached; the relative gap and the objectives on the rows of fold 0."""
    labels = folds(len(it.x), config.folds)
    tolerance, gap, seconds, objectives = 1.0, np.inf, 0.0, None
    try:
        fit_fold(fit, it, labels, 0, 1e-2)  # numba compiles
        for tolerance in TOLERANCES:
            began = time.perf_counter()
            found = fit_fold(fit, it, labels, 0, tolerance)
            seconds = time.perf_counter() - began
            objectives, gap = certificates(it, it.x[labels != 0], it.y[labels != 0], *found)
            gap = np.max(gap / np.abs(objectives))
            if gap <= config.gap or seconds > config.patience:
                break
    except Exception as error:  # a library that fails has no time; the others go on
        print(f"a peer failed: {type(error).__name__}: {error}"[:200], file=sys.stderr)
        return None, np.nan, None
    if gap > config.gap and seconds > config.patience:  # the time to the gap is longer: this one stands for it
        return (lambda: seconds * config.folds), gap, objectives
    if gap > config.gap:
        return None, gap, objectives
    chosen = range(config.folds) if seconds * config.folds < config.patience else range(1)

    def timer():
        began = time.perf_counter()
        for fold in chosen:
            fit_fold(fit, it, labels, fold, tolerance)
        return (time.perf_counter() - began) * config.folds / len(chosen)

    return timer, gap, objectives


def best(arrays):
    """The median seconds of each library, and the median over the rounds of regopt's time over the best peer's."""
    medians = np.median(arrays["seconds"], axis=2)
    ratios = np.full(len(medians), np.nan)
    for row, times in enumerate(medians):
        if np.isfinite(times[1:]).any():
            ratios[row] = np.median(arrays["seconds"][row, 0] / arrays["seconds"][row, 1 + np.nanargmin(times[1:])])
    return medians, ratios


def table(config, arrays):
    """Seconds of each library, and the bars."""
    import pandas

    medians, ratios = best(arrays)
    rows = []
    for row, number in enumerate(config.problems):
        times = {peer: medians[row, 1 + place] for place, peer in enumerate(PEERS)}
        rows.append(
            {"problem": list(DATA)[number], "regopt (s)": medians[row, 0]}
            | {f"{peer} (s)": value for peer, value in times.items()}
            | {"over the best": ratios[row], "bar": BARS[number], "compile (s)": arrays["compiled"][row]}
            | {"largest difference of objectives": difference(config, arrays, row)}
        )
    return pandas.DataFrame(rows)


def difference(config, arrays, row):
    """The largest relative difference of an objective from regopt's, among the libraries that have reached the gap."""
    return float(np.nanmax([0, *arrays["differences"][row][arrays["gaps"][row] <= config.gap]]))


def figure(config, arrays):
    """Seconds of each library on each problem."""
    medians, _ = best(arrays)
    result = Figure(figsize=(9, 0.7 * len(medians) + 1.4), layout="constrained")
    axes = result.subplots()
    rows = np.arange(len(medians))[::-1]
    axes.plot(medians[:, 0], rows, "o", color=BLUE, markersize=8, label="regopt", zorder=3)
    for place, marker in enumerate("s^vD"):
        axes.plot(medians[:, 1 + place], rows, marker, color=ORANGE, alpha=0.8, label=PEERS[place])
    axes.set(xscale="log", xlabel="seconds for all folds and strengths", yticks=rows)
    axes.set_yticklabels([list(DATA)[number] for number in config.problems])
    axes.grid(axis="x", color=PALE)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return result


def claims(config, arrays):
    """The bars."""
    _, ratios = best(arrays)
    source = f"medians of alternating rounds, relative gap {config.gap:g}"
    result = []
    for row, number in enumerate(config.problems):
        name = list(DATA)[number]
        statement = f"{name}: time over that of the best peer"
        result.append(Claim(statement, source, BARS[number], float(ratios[row]), relation="at most"))
        statement = f"{name}: largest relative difference of objectives"
        result.append(Claim(statement, source, 1e-8, difference(config, arrays, row), relation="at most"))
        compiled = float(arrays["compiled"][row])
        statement = f"{name}: seconds to compile"
        result.append(Claim(statement, "cold, in this process", COMPILE, compiled, relation="at most"))
    return result


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
