"""How long do cross-validated paths take beside the libraries that are made for them?

Each row is a problem with 100 strengths and 10 folds. For each fold, every library fits the path on the rows outside
the fold to the same relative duality gap, which NumPy computes in float64: its tolerance is the loosest of a list that
reaches the gap. The libraries take turns, the others in processes of their own. regopt's time is that of
``cross_validate``, which also fits all rows and computes the scores; the time of its compilation is shown separately.
Run it on an otherwise idle machine:

    taskset -c 0,1 python experiments/benchmarks/paths.py configs/paths/default.toml

A claim here is a bar that regopt should clear; what fails is printed as failing. A library that is not installed,
fails, takes longer than the time limit or never reaches the gap has no time, and the table says why.
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
from path_problems import DATA, certificates, folds, problem
from path_worker import TOLERANCES, State, Worker
from regopt import penalties, solvers
from regopt.experiment import Claim

BARS = (0.1, 0.75, 1.0, 1.2, 1.0, 1.0, 1.0)  # the largest time over that of the best peer, in the order of DATA
COMPILE = 3.0  # seconds
FAMILIES = {
    "gaussian": solvers.gaussian,
    "logistic": solvers.logistic,
    "poisson": solvers.poisson,
    "multinomial": partial(solvers.multinomial, 10),
}
MASK = {"coefficients": True, "intercept": False}
PEERS = ("scikit-learn", "celer", "skglm", "adelie", "JAXopt", "NeMoS")


@dataclass(frozen=True)
class Config:
    """How much is measured.

    Attributes:
        problems: the problems to measure, by their position in ``DATA``.
        strengths: the number of strengths of a path.
        folds: the number of folds of a cross-validation.
        rounds: measurements of each library, in turn.
        gap: the relative duality gap that all must reach.
        patience: seconds that another library may take to compile what it needs for a problem, and again to find the
            tolerance at which one fold reaches the gap. If the rounds of all folds would take longer, one fold is
            measured, and its time is multiplied by the number of folds.
    """

    problems: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    strengths: Annotated[int, Field(ge=2)] = 100
    folds: Annotated[int, Field(ge=2)] = 10
    rounds: Annotated[int, Field(ge=1)] = 3
    gap: Annotated[float, Field(gt=0)] = 1e-8
    patience: Annotated[float, Field(gt=0)] = 60.0


def run(config, key):
    """Seconds ``[problem, library, round]``, regopt first, NaN where there is none; compilation, gaps, states."""
    del key  # the problems have seeds of their own
    count, libraries = len(config.problems), 1 + len(PEERS)
    seconds = np.full((count, libraries, config.rounds), np.nan)
    gaps, differences = np.full((count, libraries), np.nan), np.full((count, libraries), np.nan)
    states = np.full((count, libraries), State.MEASURED)
    compiled, workers = np.full(count, np.nan), {}
    with jax.enable_x64(True):
        for row, number in enumerate(config.problems):
            name = list(DATA)[number]
            ours, compiled[row], gaps[row, 0], objectives = regopt_program(config, problem(name, config.strengths))
            timers = [(0, ours)]
            for place, peer in enumerate(PEERS, 1):
                workers[peer] = workers.get(peer) or Worker(peer)
                states[row, place], reached, timer = peer_program(config, workers[peer], name)
                if reached is not None:
                    gaps[row, place] = reached.gap
                    differences[row, place] = np.max(np.abs(reached.objectives - objectives) / np.abs(objectives))
                timers += [] if timer is None else [(place, timer)]
                if states[row, place] in (State.FAILED, State.LATE):
                    workers.pop(peer).end()
            for turn in range(config.rounds):
                for place, timer in timers:
                    seconds[row, place, turn] = timer()
                    if np.isnan(seconds[row, place, turn]) and place > 0:
                        states[row, place] = State.LATE
    for worker in workers.values():
        worker.end()
    return {"seconds": seconds, "compiled": compiled, "gaps": gaps, "differences": differences, "states": states}


def penalty_of(it):
    """The penalty as a function of its strength."""
    if it.group_size > 1:
        axis = {"coefficients": 1, "intercept": "incoming"}
        return partial(penalties.group_lasso, axis=axis, mask=MASK)
    if it.l1_ratio == 1:
        return partial(penalties.l1, mask=MASK)
    return partial(penalties.elastic_net, l1_ratio=it.l1_ratio, mask=MASK)


def regopt_program(config, it):
    """A timer, the seconds to trace and compile, and the relative gap and the objectives on the rows outside fold 0.

    Wide data and groups are solved on working sets, outside of one program, whose parts are compiled in the first call.
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
        compiled = seconds_compiling(program, x, y, strengths, 1.0)
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
    reached = gap <= config.gap and bool(program(x, y, strengths, tolerance).converged.all())
    return (lambda: seconds_of(program, x, y, strengths, tolerance) if reached else np.nan), compiled, gap, objectives


def seconds_of(program, *arguments):
    """How long a call takes."""
    began = time.perf_counter()
    jax.block_until_ready(program(*arguments))
    return time.perf_counter() - began


def seconds_compiling(program, *arguments):
    """How long JAX traces, lowers and compiles in a call, by its own events; nested spans count once."""
    spans = []

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event.startswith("/jax/core/compile/"):
            now = time.time()
            spans.append((now - duration_secs, now))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        jax.block_until_ready(program(*arguments))
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    total, reached = 0.0, -np.inf
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def peer_program(config, worker, name):
    """The state of another library on a problem, what it reaches outside fold 0, and a timer; None if there is none."""
    found = []
    try:
        # compiling, and finding the tolerance, have the same limit
        if list(worker.answers(("prepare", (name, config.strengths, config.folds)), config.patience)) == [False]:
            return State.NOT_FOR_IT, None, None
        request = ("calibrate", (name, config.strengths, config.folds, config.gap))
        for reached in worker.answers(request, config.patience):
            found.append(reached)
    except TimeoutError:
        return State.LATE, (found or [None])[-1], None
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return State.FAILED, None, None
    reached = found[-1]
    if reached.gap > config.gap:
        return State.SHORT, min(found, key=lambda one: one.gap), None
    if reached.seconds * config.rounds > config.patience:  # the last fit stands for all folds
        return State.MEASURED, reached, lambda: reached.seconds * config.folds
    used = config.folds if reached.seconds * config.rounds * config.folds <= config.patience else 1
    request = ("measure", (name, config.strengths, config.folds, reached.tolerance, used))

    def timer():
        try:
            (seconds,) = worker.answers(request, 10 * config.patience)
        except (RuntimeError, TimeoutError) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return np.nan
        return seconds

    return State.MEASURED, reached, timer


def cell(config, seconds, state, gap):
    """The seconds of a library, or why it has none, with the gap that it has reached."""
    reached = "" if np.isnan(gap) else f", gap {gap:.1e}"
    return {
        State.MEASURED: f"{seconds:.3g}",
        State.NOT_FOR_IT: "-",
        State.FAILED: "failed",
        State.LATE: f"did not end in {config.patience:g} s{reached}",
        State.SHORT: f"ended{reached}",
    }[State(state)]


def best(arrays):
    """The median seconds of each library, and the median over the rounds of regopt's time over the best peer's."""
    medians = np.median(arrays["seconds"], axis=2)
    ratios = np.full(len(medians), np.nan)
    for row, times in enumerate(medians):
        if np.isfinite(times[1:]).any():
            ratios[row] = np.median(arrays["seconds"][row, 0] / arrays["seconds"][row, 1 + np.nanargmin(times[1:])])
    return medians, ratios


def table(config, arrays):
    """Seconds of each library, or why it has none, and the bars."""
    import pandas

    medians, ratios = best(arrays)
    rows = []
    for row, number in enumerate(config.problems):
        cells = map(partial(cell, config), medians[row], arrays["states"][row], arrays["gaps"][row])
        largest = difference(config, arrays, row)
        rows.append(
            {"problem": list(DATA)[number]}
            | {f"{library} (s)": text for library, text in zip(("regopt", *PEERS), cells, strict=True)}
            | {"over the best": ratios[row], "bar": BARS[number], "compile (s)": arrays["compiled"][row]}
            | {"largest difference of objectives": "no peer reached the gap" if largest is None else f"{largest:.1e}"}
        )
    return pandas.DataFrame(rows)


def difference(config, arrays, row):
    """The largest relative difference of a peer's objective from regopt's at the gap; None if no peer reached it."""
    reached = arrays["gaps"][row, 1:] <= config.gap
    return float(np.max(arrays["differences"][row, 1:][reached])) if reached.any() else None


def figure(config, arrays):
    """Seconds of each library on each problem."""
    medians, _ = best(arrays)
    result = Figure(figsize=(9, 0.7 * len(medians) + 1.4), layout="constrained")
    axes = result.subplots()
    rows = np.arange(len(medians))[::-1]
    axes.plot(medians[:, 0], rows, "o", color=BLUE, markersize=8, label="regopt", zorder=3)
    for place, marker in enumerate("s^vDPX"):
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
        name, largest = list(DATA)[number], difference(config, arrays, row)
        if largest is None:
            statement, gap = f"{name}: no peer reached the gap; that of regopt", float(arrays["gaps"][row, 0])
            result.append(Claim(statement, "relative, fold 0", config.gap, gap, relation="at most"))
        else:
            statement = f"{name}: time over that of the best peer"
            result.append(Claim(statement, source, BARS[number], float(ratios[row]), relation="at most"))
            statement = f"{name}: largest relative difference of objectives"
            result.append(Claim(statement, source, 1e-8, largest, relation="at most"))
        compiled = float(arrays["compiled"][row])
        statement = f"{name}: seconds to compile"
        result.append(Claim(statement, "cold, in this process", COMPILE, compiled, relation="at most"))
    return result


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
