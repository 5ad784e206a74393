"""Is any model slower in the engine than in the loop that one would write by hand?

Six models are trained for a number of learning rates, with the same evaluations, in five ways: by the engine with its
default mapping and with the one that it measures, by a Python loop over one compiled training function, and by
``jax.lax.map`` and ``jax.vmap`` of that function, compiled. All take turns, and each figure is a median over the
rounds. Compilation is left out, except in the figures on tuning: the time to choose a mapping for a sweep of a minute;
the same choice then trains the short sweep of the rounds. The models are measured one after the other, in about a
minute each. Run it on an otherwise idle machine, for all models or for some:

    python experiments/benchmarks/lane_models.py configs/lane_models/default.toml
    python experiments/benchmarks/lane_models.py configs/lane_models/default.toml --models MLP CNN
"""

import contextlib
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

from _style import BLUE, GREEN, GREY, ORANGE, PALE, RED
from contenders import in_turns, ratio, timed
from lane_tasks import jobs
from regopt import sweep
from regopt.data import batch_indices
from regopt.experiment import Claim

DEFAULT, MEASURED = "engine", "engine, measured"
LOOP, MAP, VMAP = "Python loop", "lax.map", "jit(vmap)"
BY_HAND = (LOOP, MAP, VMAP)
COLOURS = {DEFAULT: RED, MEASURED: ORANGE, LOOP: BLUE, MAP: GREEN, VMAP: GREY}
MINUTE = 60.0
PATIENCE = 2.5  # a way that takes more than this many times as long as the fastest is measured once


@dataclass(frozen=True)
class Config:
    """The job and how often it is measured.

    Attributes:
        models: names of the models to measure.
        settings: number of settings.
        length: factor on the training steps of each model.
        evaluations: number of evaluations of each setting.
        rounds: measurements of each model and way, in turn.
        seed: random seed of the weights and the batches.
    """

    models: tuple[str, ...] = ("MLP", "CNN", "CNN by product", "BatchNorm CNN", "transformer", "REINFORCE")
    settings: Annotated[int, Field(ge=2)] = 64
    length: Annotated[float, Field(gt=0)] = 1.0
    evaluations: Annotated[int, Field(ge=1)] = 1
    rounds: Annotated[int, Field(ge=1)] = 3
    seed: int = 0


def run(config, key):
    """Seconds for all settings, ``[models and ways, rounds]``, and what was chosen at which price, ``[models]``."""
    every, found, prices = jobs(), [], []
    for name in config.models:
        contenders, price = _contenders(config, key, name, _shortened(every[name], config))
        found.append(in_turns(contenders, config.rounds, patience=PATIENCE))
        prices.append(price)
    return {
        "contenders": np.concatenate([each["contenders"] for each in found]),
        "seconds": np.concatenate([each["seconds"] for each in found]),
        "peak": np.array([each["peak"] for each in found]),
        "tuning": np.array([price.tuning for price in prices]),
        "chosen": np.array([price.chosen for price in prices]),
    }


class Price(NamedTuple):
    """The cost of choosing a mapping, and the choice.

    Attributes:
        tuning: seconds to choose, for a sweep that takes a minute.
        chosen: the default and the measured mapping, each with its chunk.
    """

    tuning: float
    chosen: str


def _contenders(config, key, name, job):
    """Functions that train all settings in each way and return the seconds, compiled, and the price of the choice."""
    segment = job.steps // config.evaluations
    train_all = partial(_engine, config, key, job, segment)
    plain = train_all()
    longer = max(round(MINUTE / plain.run_seconds), 1)
    plan = partial(_engine, config, key, job._replace(steps=longer * job.steps), segment, do=sweep.plan)
    began = time.perf_counter()
    planned = plan().groups[0]
    once = time.perf_counter() - began
    began = time.perf_counter()
    chosen = plan(mapping="measured").groups[0]
    price = Price(
        time.perf_counter() - began - once,
        f"{planned.mapping} {planned.chunk}, {chosen.mapping} {chosen.chunk}",
    )
    measured = train_all(mapping=chosen.mapping, chunk=chosen.chunk)
    train, arrays = by_hand(key, job, config.evaluations)
    rates = _rates(config)
    alone, each = jax.jit(train), list(rates)
    jax.block_until_ready(alone(arrays, each[0]))
    mapped = jax.jit(lambda arrays, rates: jax.lax.map(partial(train, arrays), rates)).lower(arrays, rates).compile()
    vmapped = jax.jit(jax.vmap(train, (None, 0))).lower(arrays, rates).compile()
    ways = {
        DEFAULT: lambda: plain.refit().run_seconds,
        MEASURED: lambda: measured.refit().run_seconds,
        LOOP: timed(lambda: [alone(arrays, rate) for rate in each], warm=False),
        MAP: timed(lambda: mapped(arrays, rates), warm=False),
        VMAP: timed(lambda: vmapped(arrays, rates), warm=False),
    }
    return {_name(name, way): work for way, work in ways.items()}, price


def table(config, arrays):
    """Seconds of each way, their ratio to the best by hand, and the price of the choice."""
    import pandas

    names = arrays["contenders"].tolist()
    seconds = dict(zip(names, np.nanmedian(arrays["seconds"], axis=1).tolist(), strict=True))
    columns = {f"{way}, s": [seconds[_name(model, way)] for model in config.models] for way in COLOURS}
    for way in (DEFAULT, MEASURED):
        columns[f"{way}, to the best by hand"] = [_to_best(arrays, model, way) for model in config.models]
    columns["tuning, s"] = arrays["tuning"].tolist()
    columns["default, measured"] = arrays["chosen"].tolist()
    return pandas.DataFrame(columns, index=list(config.models)).rename_axis("model")


def figure(config, arrays):
    """The time of each way, as a multiple of that of the best one by hand."""
    drawing = Figure(figsize=(9, 4.6), layout="constrained")
    axes = drawing.subplots()
    for number, (way, colour) in enumerate(COLOURS.items()):
        places = np.arange(len(config.models)) + 0.16 * (number - 2)
        bars = axes.barh(
            places, [_to_best(arrays, model, way) for model in config.models], 0.15, color=colour, label=way
        )
        axes.bar_label(bars, fmt="{:.2f}", padding=2, fontsize=7)
    axes.axvline(1.0, color=PALE, linewidth=1, zorder=0)
    axes.set_yticks(range(len(config.models)), list(config.models))
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="time, as a multiple of that of the best way by hand")
    axes.margins(x=0.12)
    axes.legend(frameon=False)
    return drawing


def claims(config, arrays):
    """The engine is no slower than the best way by hand, and its choice is cheap."""
    source = "medians of alternating rounds"
    speed = [
        Claim(f"{model}, {way}: time to the best by hand", source, 1.05, _to_best(arrays, model, way), 0.0, "at most")
        for model in config.models
        for way in (DEFAULT, MEASURED)
    ]
    price = [
        Claim(f"{model}: tuning, as a share of a minute", "one run", 0.05, float(seconds) / MINUTE, 0.0, "at most")
        for model, seconds in zip(config.models, arrays["tuning"], strict=True)
    ]
    return speed + price


def _name(model, way):
    return f"{model}, {way}"


def _to_best(arrays, model, way):
    """Median over the rounds of the time over that of the best way by hand, which is the one of the least median."""
    names = arrays["contenders"].tolist()
    medians = {each: np.nanmedian(arrays["seconds"][names.index(_name(model, each))]) for each in BY_HAND}
    return ratio(arrays, _name(model, way), _name(model, min(medians, key=lambda each: medians[each])))


def _rates(config):
    return jnp.geomspace(1e-4, 1e-2, config.settings)


def _shortened(job, config):
    segment = max(int(job.steps * config.length / config.evaluations), 1)
    return job._replace(steps=segment * config.evaluations)


def _engine(config, key, job, segment, do=sweep.run, **options):
    settings = sweep.from_columns({"learning_rate": np.asarray(_rates(config))})
    return do(
        job.task,
        settings,
        job.data,
        steps=job.steps,
        eval_every=segment,
        batch_size=job.batch_size,
        key=jax.random.clone(key),
        **options,
    )


def by_hand(key, job, evaluations):
    """A scan over the task's own steps, with the engine's evaluations: ``(arrays, learning_rate) -> results``.

    The arrays, which are returned too, are the data and the parameters that are not trained. If they were constants of
    the program, XLA would spend minutes of compilation on what depends on them alone, such as a frozen layer's outputs.
    """
    frozen = job.task.frozen
    fixed = None if frozen is None else frozen.values({"learning_rate": jnp.float32(1e-3)})
    arrays = jax.tree.map(jnp.asarray, job.data), fixed
    segment, rows = job.steps // evaluations, None
    if job.batch_size is not None:
        count = len(jax.tree.leaves(job.data.train)[0])
        rows = batch_indices(jax.random.clone(key), 0, job.steps, examples=count, batch_size=job.batch_size)
        rows = rows.reshape(evaluations, segment, job.batch_size)
    numbers = jnp.arange(job.steps, dtype=jnp.int32).reshape(evaluations, segment)
    start, noise = jax.random.split(jax.random.clone(key))

    def trained(arrays, learning_rate):
        h, (data, fixed) = {"learning_rate": learning_rate}, arrays

        def step(state, at):
            number, chosen = at
            batch = data.train if chosen is None else jax.tree.map(lambda x: x[chosen], data.train)
            return job.task.step(state, batch, jax.random.fold_in(noise, number), h)

        def evaluated(state, at):
            state, metrics = jax.lax.scan(step, state, at)
            return state, (jax.tree.map(jnp.mean, metrics), job.task.evaluate(state, data, h))

        with contextlib.nullcontext() if frozen is None else frozen.bound(fixed):
            return jax.lax.scan(evaluated, job.task.init(start, h), (numbers, rows))

    return trained, arrays


if __name__ == "__main__":
    sweep.use_all_cores()
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
