"""Sweeps that nobody trained: a made-up loss over a made-up space, some settings diverged, some stopped."""

from types import SimpleNamespace

import numpy as np

from regopt import sweep
from regopt.sweep.results import Result
from regopt.sweep.results._findings import findings as findings_of
from regopt.sweep.results._history import History


def result(settings=40, seeds=2, evaluations=4, names=("activation",), texts=("relu", "tanh"), segments=None):
    """A finished ``Result``, or one that was read after some segments.

    The loss is best at learning rate 1e-2, hardly cares for dropout, and diverges above 1.
    """
    space = {
        "learning_rate": sweep.log_uniform(1e-4, 3.0),
        "dropout": sweep.uniform(0.0, 0.8),
        names[0]: sweep.static(list(texts)),
    }
    if seeds > 1:
        space["seed"] = sweep.seeds(seeds)
    drawn = sweep.latin_hypercube(space, settings // seeds, seed=1)
    record = History.empty(drawn, ["validation_loss", "validation_accuracy"], 10 * np.arange(1, evaluations + 1))
    done = evaluations if segments is None else segments
    rate, noise = drawn.numbers["learning_rate"], np.random.default_rng(0).normal(size=len(drawn))
    level = 0.1 + 0.1 * (np.log10(rate) + 2) ** 2 + 0.02 * drawn.numbers["dropout"] + 0.003 * noise
    bad, stopped = (rate > 1) & (done > 1), (np.arange(len(drawn)) % 7 == 3) & (done == evaluations)
    trained = np.where(bad, 2, np.where(stopped, done - 1, done))[:, None]
    loss = np.where(np.arange(evaluations) < trained, level[:, None] + 2.0 / np.arange(1, evaluations + 1) ** 2, np.nan)
    loss[bad, 1] = 1e-3  # the metric of a state that is not finite where it is not looked at
    record.curves.update(validation_loss=loss, validation_accuracy=1 / (1 + loss))
    record.last_step[:], record.first_bad_step[:], record.stopped[:] = 10 * trained[:, 0], 13 * bad, stopped & ~bad
    record.training[:] = (segments is not None) & ~bad
    numbers = {"trace_seconds": 0.5, "compile_seconds": 0.25, "run_seconds": 2.0, "chunk": 8, "temporary_bytes": 1000}
    known = Result.__dataclass_fields__
    return Result(
        history=record,
        monitor="validation_loss",
        mode="min",
        keeps_best=False,
        interrupted=segments is not None,
        states=SimpleNamespace(
            state=lambda index: index, refit=lambda index: result(), outputs=lambda wanted, inputs: inputs
        ),
        **numbers,
        **({"busy_share": 0.75} if "busy_share" in known else {}),
    )


def findings(title="A sweep", **options):
    """The tables of such a sweep."""
    return findings_of(result(**options), title)
