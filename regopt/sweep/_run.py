"""The entry point of a sweep: settings in groups, each with a program, trained round by round."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import jax

from regopt._core.io import JsonObject
from regopt.sweep.checkpoint import StoreError, differences, opened, read, refuse_other
from regopt.sweep.engine._callbacks import Callbacks
from regopt.sweep.engine._checkpointing import Checkpointing, Reading
from regopt.sweep.engine._config import SweepConfig, configured
from regopt.sweep.engine._extending import may_differ
from regopt.sweep.engine._prepare import fingerprint, prepare, share_data
from regopt.sweep.engine._progress import compiling
from regopt.sweep.engine._runner import Runner
from regopt.sweep.engine._signals import interruptible
from regopt.sweep.executors._coordinate import coordinated
from regopt.sweep.results import Result

# what is compared before compilation, beside the arguments; workers have an environment of their own
_KNOWN = ("scheduler", "settings", "data", "resamples", "key")
_ENVIRONMENT = ("versions", "device", "options", "flags")
_OF_PROGRAMS = ("slots", "chunk", "mapping", "patience")  # arguments whose final values the programs tell


@configured(SweepConfig)
def run(config: SweepConfig) -> Result:  # noqa: D417 - the arguments are those of the config
    """Train every setting, many at once in one compiled program for each group of static values.

    The numbers of the settings are traced, so any value runs in the same program. A setting diverges when a metric of a
    step, the monitor, or a number of its state that was finite becomes infinite or NaN. The table records its first bad
    step; it is trained no further and changes no bit of the other settings. In the same row, with the same
    ``Result.chunk``, mapping and devices, the results of a setting are bit for bit the same whatever the other settings
    are. With a scheduler, or with fewer ``slots`` than settings, a setting trains at any free position of a chunk,
    which may change a rounding. The last settings then train in smaller chunks, a quarter as large each time, down to
    one setting, where the arithmetic that this saves is worth the compilation of another program. ``Result.refit`` uses
    the same positions and sizes again.

    On a GPU XLA may choose other kernels when it compiles again in another process. Bitwise equal results after a
    resume or a refit need ``XLA_FLAGS=--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0``. A sweep that
    resumes from a folder checks that the flags are the same.

    On a CPU the lanes of a program that decomposes matrices (orthogonal weights, ``jnp.linalg``) run one after the
    other, because batches of LAPACK calls could wait for each other forever.

    Where static values make several groups, their programs are compiled in threads, as many at a time as there are
    cores, and each of them needs the memory of the compiler. A group begins to train when it is its turn and its own
    programs are compiled, while the programs of later groups still compile; an error of the compiler is raised when the
    turn of its group comes. The first save to ``out`` waits until all programs are compiled.

    Ctrl-C ends the sweep after the chunks that are being trained; the result then holds what was done so far. With
    ``out`` it is saved, after compilations under way have ended, and SIGTERM does the same. A second Ctrl-C ends the
    sweep at once. An exception of the task or the scheduler is raised once what was trained before it is saved, if
    there is ``out``; its attribute ``partial_result`` is the result so far.

    Args:
        task: what to train; see ``supervised``.
        settings: which settings; see ``grid``, ``random``, ``sobol``. The column ``seed`` decides the initial state of
            a setting and its order of the data; without it all settings share both.
        data: examples; ``train`` is cut into batches, the task evaluates on ``validation``. It may be omitted for a
            hand-written task that needs no data, such as one that plays a game. Training data may stream: ``train`` may
            be memory-mapped arrays, a data set of batches with ``__getitem__`` and ``__len__`` (such as a
            ``grain.MapDataset``), a function from the step to its batch, or an iterable, which needs all settings at
            the same step (no fewer ``slots`` than settings, no ``executor``). All settings then train on the same
            batches, read in blocks of ``eval_every`` while the previous block trains; the task sees no ``data.train``
            in an evaluation. ``validation`` may stream too: memory-mapped arrays with an ``eval_batch_size``, a data
            set of batches, a function from the index of a batch (from 0) to the batch, or an iterable that can be
            iterated over again in each evaluation. Each chunk of settings is then evaluated on all batches, which are
            read again where ``eval_cache_bytes`` has no room for them, and the metrics are means over the examples of
            all batches, as with an ``eval_batch_size``.
        steps: training steps of each setting, a multiple of ``eval_every``; static.
        eval_every: steps between evaluations, >= 1; static.
        batch_size: examples in a batch, drawn without replacement in each epoch; static. None gives every step all
            examples, or the batches of data that are given in batches. A column ``batch_size`` of the settings takes
            its place: each size has a program, all settings train the same number of steps, and so the number of epochs
            follows from the size.
        eval_batch_size: validation examples that are evaluated at a time, so that the memory of an evaluation does not
            grow with their number; metrics are then weighted means over the batches, see ``losses.from_means`` for
            others; static. None evaluates all at once.
        eval_batches: batches that an evaluation takes from validation data that are given in batches; required where
            their number is unknown, as for a function. None takes all of them.
        eval_cache_bytes: bytes of validation batches that stay in the memory of the host, where these are given in
            batches, so that calls and evaluations do not read them again; 0 keeps none.
        key: source of all randomness; ``jax.random.key(0)`` by default.
        patience: end a setting after this many evaluations in a row without strict improvement of ``monitor``, and keep
            its best state; a number >= 0, or a function of ``h``, as in ``lambda h: h["patience"]``. None trains to the
            end.
        monitor: the metric that early stopping, the progress line and ``best`` use.
        mode: whether a smaller or a larger ``monitor`` is better; by default what the task declares: "min" for its
            loss, and for a metric what ``losses.metric`` says.
        noise: "shared" gives all settings the same random field at a step, which also pairs their noise; "per lane"
            gives each setting its own, at the price of drawing it.
        resamples: training sets as indices into ``data.train``, whole numbers ``[replicas, examples]``, repetitions
            allowed; see ``regopt.data.bootstrap``. A setting trains on the row that its column ``replica`` names;
            batches are cut from the row as they are from all examples without it. The order in which a row is visited
            depends on the seed alone: with one seed, all replicas visit the same positions of their own rows. The data
            are not copied for each lane, except with ``batch_size=None`` for the chunk in training.
        scheduler: the rule that decides between rounds which settings go on; see ``successive_halving``, ``hyperband``,
            ``median_rule``, ``asynchronous_halving`` and ``population_based_training``. None trains all settings to the
            end.
        slots: the number of settings of a group that are held on the devices at the same time; the others wait, and
            each takes the place of one that has ended, in the same program. By default all, or as many as fill half of
            the memory. The state of a setting that gave its place away is not kept, except that of the best one. With
            early stopping or a scheduler, chunks stay full if ``slots`` is at least twice the chunk times the number of
            evaluations.
        chunk: the largest number of settings that a device trains in one call; by default as many as fit cache and
            memory, and fewer on a CPU if the scheduler lets only few of them train to the end.
        mapping: how a device trains the settings of a chunk: "vmap" all at once, "map" one after the other. By default
            "vmap", except on a CPU for a task whose matrix products keep a core busy for long, or that has
            convolutions: "map" is faster there. "measured" times both, and smaller chunks, on two segments of the real
            program, takes the fastest, and remembers it in the process and in the folder of JAX's persistent
            compilation cache, if there is one. It compiles up to four candidate programs, as many as 5 % of the time of
            the sweep allow and none in a short sweep. The choice depends on measured times, so another process may
            choose otherwise; a sweep that resumes from ``out`` keeps its mapping. ``plan`` shows which one is chosen.
        default_matmul_precision: the precision of matrix products and convolutions that name none, as
            ``jax.default_matmul_precision`` takes it: "highest" is float32 also on a TPU and on tensor cores, where the
            default is faster and coarser. A sweep resumes only with the same value. None leaves it to JAX's
            configuration.
        devices: what to run on; by default all local devices.
        mesh: for settings that are larger than a device: the number of devices over which the settings are spread
            ("lanes") and over which each of them is divided, such as ``{"lanes": 4, "model": 2}``, or a
            ``jax.sharding.Mesh`` with an axis "lanes". XLA inserts the communication between devices into the program.
            A sweep resumes only with the same mesh and partition.
        partition: which axes of the parameters are divided, by path patterns:
            ``{"**/up/kernel": PartitionSpec(None, "model"), "**/down/kernel": PartitionSpec("model")}``, without an
            axis for the settings. Of several patterns that match, the one with the most characters outside of wildcards
            and slashes wins; a parameter that none matches is replicated. Arrays of the optimizer's state with the path
            and the shape of a parameter, such as moments, are divided like the parameter, and so are frozen parameters.
        rest: where the states of settings are kept that are not training at the moment: on the "device", or in the
            memory of the "host", which then bounds how many are held. With "host" each chunk is copied to the devices
            and back; the results are bit for bit the same.
        executor: where the lanes train: "ray", ``sweep.Ray``, ``sweep.Futures`` or an executor of
            ``concurrent.futures``; None trains in this process. The table and the decisions of the scheduler stay in
            this process, and the result is bit for bit that of one process with as many devices of the workers' kind as
            there are shards.
        out: the folder to save the sweep in: the same call resumes from there after an interruption of any kind, with
            bitwise equal results, and trains nothing if all is done. ``sweep.load`` and ``regopt sweep show`` can read
            it while the sweep runs.
        save_every: seconds of training between saves, >= 0.
        allow_different: resume although ``out`` holds a sweep of other data, settings, versions or devices, and log the
            differences.
        extend: keep what ``out`` has trained with fewer settings, fewer steps or another scheduler, and train the rest.
            Settings that were pruned, stopped or diverged stay ended, and all settings must fit on the devices. Where
            nothing changes, this resumes as usual.
        callbacks: functions ``(step, settings, metrics)``, or objects with such a method ``on_segment`` and optionally
            ``on_end(result)``, called in this process for each segment that a chunk of settings has trained; see
            ``regopt.report.Tracker`` and, for example, ``report.track_tensorboard``. An exception in one ends the sweep
            as Ctrl-C does, and is raised once what was trained is saved, if there is ``out``.
        progress: show progress on standard error: a bar on a terminal and in a notebook with ``ipywidgets``; elsewhere
            a line when programs compile and when they are compiled, one a minute, and one at the end.

    Returns:
        The table, the learning curves, and the trained states.

    Raises:
        ValueError: an argument is out of range, ``steps`` is no multiple of ``eval_every``, ``monitor`` is not a metric
            of the task, ``resamples`` and the column ``replica`` do not go together, or the scheduler does not fit the
            settings.
        StoreError: the folder ``out`` is in use, holds another sweep, is damaged, or cannot be written.

    Example:
        >>> import jax.numpy as jnp
        >>> from regopt import sweep
        >>> from regopt.data import Splits
        >>> task = sweep.Task(  # w moves towards the mean of the batch
        ...     init=lambda key, h: jnp.zeros(()),
        ...     step=lambda w, batch, key, h: (
        ...         w + h["rate"] * jnp.mean(batch - w), {"loss": jnp.mean((batch - w) ** 2)}
        ...     ),
        ...     evaluate=lambda w, data, h: {"validation_loss": jnp.mean((data.validation - w) ** 2)},
        ... )
        >>> data = Splits(train=jnp.array([0.5, 1.5]), validation=jnp.array([1.0]))
        >>> settings = sweep.grid({"rate": sweep.choice([0.1, 0.5, 1e30])})
        >>> result = sweep.run(task, settings, data, steps=4, eval_every=1)
        >>> result.status.tolist()
        ['done', 'done', 'diverged']
        >>> result.best().setting, float(result.state(result.best()))
        ({'rate': 0.5}, 0.9375)

    References:
        Goodfellow, I., Bengio, Y., & Courville, A. (2016). Deep Learning. MIT Press. Algorithm 7.1, for ``patience``.
    """
    with interruptible(terminable=config.out is not None) as halt:
        try:
            return _train(config, halt)
        finally:
            if config.iterated is not None:
                config.iterated.wait()


def _train(config: SweepConfig, halt: Callable[[], bool]) -> Result:
    """Train every setting until all have ended or ``halt`` returns True."""
    out = None if config.out is None else Path(config.out)
    stored = None if out is None else _stored(out)
    if out is not None and stored is not None:
        _check_known(config, out, stored)
    if config.executor is not None:
        with coordinated(config, stored) as (runner, identity):
            return _follow(runner, identity, config, out, halt)
    if jax.process_count() > 1:
        raise ValueError(
            f"sweep.run must be called in a single process, but jax.distributed has started {jax.process_count()}: "
            'call it in one process, with executor="ray"'
        )
    with contextlib.ExitStack() as until:
        with compiling(config.progress, len(config.settings)) as left:
            runner = prepare(config, share_data(config), stored, until=until)
            left.extend(group for group in runner.groups if not group.is_ready)
        return _follow(runner, lambda: fingerprint(config, runner.groups, runner.settings), config, out, halt)


def _follow(
    runner: Runner,
    identity: Callable[[], JsonObject],
    config: SweepConfig,
    out: Path | None,
    halt: Callable[[], bool],
) -> Result:
    """Train from the first step, or from what is saved in a folder."""
    callbacks = Callbacks(config.callbacks)
    if out is None:
        return runner.train(halt=halt, progress=config.progress, callbacks=callbacks)
    differ = may_differ if config.extend else None
    given = identity() if all(group.is_ready for group in runner.groups) else _later(identity, config)
    with opened(out, given, allow_different=config.allow_different, may_differ=differ) as store:
        reading = None
        if config.iterated is not None:
            reading = Reading(config.iterated, config.eval_every, not config.allow_different)
        checkpointing = Checkpointing(store, out, config.save_every, reading)
        return runner.train(checkpointing, halt=halt, progress=config.progress, callbacks=callbacks)


def _later(identity: Callable[[], JsonObject], config: SweepConfig) -> Callable[[], JsonObject]:
    """A fingerprint that is completed while a sweep trains; what does not depend on its programs is read now.

    A scheduler may change the variables that it closes over, and data that stream are read by a thread meanwhile.
    """
    known = fingerprint(config, (), config.settings)
    parts, taken = known["task"]["parts"], {name: known[name] for name in known if name not in ("config", "task")}

    def whole() -> JsonObject:
        own = identity()
        return {**own, **taken, "task": {**own["task"], "parts": parts}}

    return whole


def _check_known(config: SweepConfig, out: Path, stored: JsonObject) -> None:
    """Refuse the folder of another sweep by what is known before compilation; opening it compares the rest."""
    if config.allow_different:
        return
    known, around = [], []
    for identity in (stored, json.loads(json.dumps(fingerprint(config, (), config.settings)))):
        around.append({name: identity.get(name) for name in _ENVIRONMENT})
        arguments = {name: value for name, value in identity.get("config", {}).items() if name not in _OF_PROGRAMS}
        known.append({name: identity.get(name) for name in _KNOWN} | {"config": arguments})
    found = differences(*known)
    if config.extend:
        found = [difference for difference in found if not may_differ(difference)]
    if found:
        found += [] if config.executor is not None else differences(*around)
        refuse_other(out, found, may_extend=not config.extend)


def _stored(folder: Path) -> JsonObject | None:
    """The fingerprint of the sweep in a folder; None if none can be read, in which case opening it raises the error."""
    try:
        snapshot = read(folder)
    except StoreError:
        return None
    return None if snapshot is None else snapshot.identity
