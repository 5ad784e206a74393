"""The sweep: settings in groups, each with its program, trained round by round, on one host or on several."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from regopt.sweep.checkpoint import opened
from regopt.sweep.engine._checkpointing import Checkpointing
from regopt.sweep.engine._config import SweepConfig, configured
from regopt.sweep.engine._prepare import fingerprint, prepare, share_data
from regopt.sweep.engine._signals import interruptible
from regopt.sweep.executors._elsewhere import Elsewhere
from regopt.sweep.executors._hosts import as_hosts, train_together
from regopt.sweep.results import Result
from regopt.sweep.results._layout import check_division


@configured(SweepConfig)
def run(config: SweepConfig) -> Result:  # noqa: D417 - the arguments are those of the config
    """Train every setting, many at once in one compiled program for each group of static values.

    The settings' numbers are traced, so any value runs in the same program. A setting diverges when a metric of a
    step, the monitor, or a number of its state that was finite is so no longer; it is recorded with its first bad
    step and trained no further, and changes no bit of the others. In the same row, with the same ``Result.chunk``
    and devices, a setting has the same bits whatever the others are; with a scheduler or fewer ``slots`` than settings
    it takes whatever slot of a call is free, which may change a rounding, and ``Result.refit`` knows which it was.

    On a GPU XLA may choose other kernels when it compiles again, in another process: the same bits after a resume or a
    refit need ``XLA_FLAGS=--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0``. The flags are part of what a
    folder is checked for.

    On a CPU the lanes of a program that decomposes matrices (orthogonal weights, ``jnp.linalg``) run one after the
    other, as LAPACK's batches would wait for each other without end.

    Ctrl-C ends the sweep after the chunks in hand; the result then holds what was done so far. With ``out`` it is
    saved, and SIGTERM does the same. A second Ctrl-C ends the sweep at once. An exception of the task or the scheduler
    is raised once what was trained before it is saved, if there is ``out``; its attribute ``partial_result`` is the
    result so far.

    Args:
        task: what to train; see ``supervised``.
        settings: which settings; see ``grid``, ``random``, ``sobol``. The column ``seed`` decides a setting's
            initial state and order of data; without it all settings share both.
        data: examples; ``train`` is cut into batches, the task evaluates on ``validation``.
        steps: training steps of each setting, a multiple of ``eval_every``.
        eval_every: steps between evaluations, >= 1.
        batch_size: examples in a batch, drawn without replacement in each epoch; None gives every step them all.
        key: source of all randomness; ``jax.random.key(0)`` by default.
        patience: end a setting after this many evaluations in a row without strict improvement of ``monitor``, and
            keep its best state (book Algorithm 7.1); a number, or a function of ``h``, as in
            ``lambda h: h["patience"]``. None trains to the end.
        monitor: the metric that early stopping, the progress line and ``best`` watch.
        mode: whether a smaller or a larger ``monitor`` is better; by default "max" for an accuracy, else "min".
        noise: "shared" gives all settings the same random field at a step, which also pairs their noise; "per
            lane" gives each its own, at the price of drawing it.
        resamples: training sets as places in ``data.train``, whole numbers ``[replicas, examples]``, repetitions
            allowed; see ``regopt.data.bootstrap``. A setting trains on the row that its column ``replica`` names;
            batches are cut from the row as they are from all examples without it. The order in which a row is
            visited depends on the seed alone: with one seed, all replicas visit the same places of their own rows.
            The data are not copied for a lane, but for ``batch_size=None`` and the chunk at hand.
        scheduler: who decides between rounds which settings go on; see ``successive_halving``, ``hyperband``,
            ``median_rule``, ``asynchronous_halving`` and ``population_based_training``. None trains all.
        slots: settings of a group that are held on the devices at the same time; the others wait, and each takes the
            place of one that has ended, in the same program. By default all, or as many as fill half of the memory.
            The state of a setting that gave its place away is not kept, but for the best one's. With early stopping
            or a scheduler, twice as many slots as a chunk has settings times evaluations keep the chunks full.
        chunk: settings that a device trains at once; by default measured to fit cache and memory.
        devices: what to run on; by default all local devices.
        out: folder to save the sweep in: the same call goes on from there after an interruption of any kind, to the
            same bits, and gives the result at once when all is done. ``sweep.load`` and ``regopt sweep show`` read it
            meanwhile.
        save_every: seconds of training between saves, >= 0.
        hosts: which host this is and of how many, as ``(0, 4)`` or "1/4"; each trains every n-th setting, in a folder
            within ``out``, which all must see, and then what others left that are gone. By default those of
            ``jax.distributed``, if it is initialised with several processes.
        allow_different: go on although ``out`` holds a sweep of other data, settings, versions or devices, and say so.
        progress: show a progress line, if standard error is a terminal.

    Returns:
        The table, the learning curves, and the trained states.

    Raises:
        ValueError: an argument is out of range, ``steps`` is no multiple of ``eval_every``, ``monitor`` is not a
            metric of the task, ``resamples`` and the column ``replica`` do not go together, or the scheduler does not
            fit the settings.
        StoreError: the folder ``out`` is in use, holds another sweep, is damaged, or cannot be written.
    """
    with interruptible(terminable=config.out is not None) as halt:
        return _train(config, halt)


def _train(config: SweepConfig, halt: Callable[[], bool]) -> Result:
    """Train every setting until all have ended or an end is asked for."""
    hosts = config.hosts
    if hosts is None and jax.process_count() > 1:
        hosts = (jax.process_index(), jax.process_count())
    shared = share_data(config)
    if config.out is None:
        if hosts is not None:
            raise ValueError("hosts need a folder that all of them see: pass out")
        return prepare(config, shared).train(halt=halt, progress=config.progress)
    out, scheduler = Path(config.out), config.scheduler

    def train(rows: np.ndarray | None, folder: Path) -> Result:
        runner = prepare(config, shared, rows)
        others, table_seconds = None, np.inf
        if rows is not None and scheduler is not None and scheduler.meets_others:
            others, table_seconds = Elsewhere(folder, runner.scores), min(config.save_every, 1.0)
        identity = fingerprint(config, runner.groups, runner.settings)
        with opened(folder, identity, allow_different=config.allow_different) as store:
            checkpointing = Checkpointing(store, folder, config.save_every, table_seconds)
            return runner.train(checkpointing, others, halt=halt, progress=config.progress)

    if hosts is not None:
        return train_together(train, config.settings, out, *as_hosts(hosts))
    check_division(out, 0)
    return train(None, out)
