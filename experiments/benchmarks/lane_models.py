"""Is any model slower in the engine than in the loop that one would write by hand?

Six models are trained for a number of learning rates, with the same evaluations, in five ways: by the engine with its
default mapping and with the one that it measures, by a Python loop over one compiled training function, and by
``jax.lax.map`` and ``jax.vmap`` of that function, compiled. All take turns, and each figure is a median over the
rounds. Compilation is left out, except in the figures on tuning: what the choice of a mapping takes. Run it on an
otherwise idle machine:

    python experiments/benchmarks/lane_models.py configs/lane_models/default.toml
"""

import sys
import time
from dataclasses import dataclass
from typing import Annotated

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


@dataclass(frozen=True)
class Config:
    """The job and how often it is measured.

    Attributes:
        models: which of the models.
        settings: how many are trained.
        length: factor on the training steps of each model.
        evaluations: of each setting.
        rounds: measurements of each model and way, in turn.
        seed: random seed of the weights and the batches.
    """

    models: tuple[str, ...] = ("MLP", "CNN", "CNN by product", "BatchNorm CNN", "transformer", "REINFORCE")
    settings: Annotated[int, Field(ge=2)] = 64
    length: Annotated[float, Field(gt=0)] = 1.0
    evaluations: Annotated[int, Field(ge=1)] = 2
    rounds: Annotated[int, Field(ge=1)] = 5
    seed: int = 0


def run(config, key):
    """Seconds for all settings, ``[models and ways, rounds]``, and what was chosen at which price, ``[models]``."""
    contenders, tuning, chosen, compiling = {}, [], [], []
    every = jobs()
    for name in config.models:
        job = _shortened(every[name], config)
        began = time.perf_counter()
        plain = _engine(config, key, job)
        compiling.append(plain.compile_seconds + plain.trace_seconds)
        one = time.perf_counter() - began
        began = time.perf_counter()
        measured = _engine(config, key, job, mapping="measured")
        tuning.append(time.perf_counter() - began - min(one, measured.run_seconds))
        chosen.append(", ".join(_chosen(config, key, job, mapping) for mapping in (None, "measured")))
        train, rates = by_hand(config, key, job), _rates(config)
        once, mapped, vmapped = jax.jit(train), jax.jit(lambda r, f=train: jax.lax.map(f, r)), jax.jit(jax.vmap(train))
        ways = {
            DEFAULT: lambda r=plain: r.refit().run_seconds,
            MEASURED: lambda r=measured: r.refit().run_seconds,
            LOOP: timed(lambda f=once, r=rates: [f(rate) for rate in r]),
            MAP: timed(lambda f=mapped, r=rates: f(r)),
            VMAP: timed(lambda f=vmapped, r=rates: f(r)),
        }
        contenders |= {_name(name, way): work for way, work in ways.items()}
    return in_turns(contenders, config.rounds) | {
        "tuning": np.array(tuning),
        "chosen": np.array(chosen),
        "compiling": np.array(compiling),
    }


def table(config, arrays):
    """Seconds of each way, their ratio to the best by hand, and the price of the choice."""
    import pandas

    names = arrays["contenders"].tolist()
    seconds = dict(zip(names, np.median(arrays["seconds"], axis=1).tolist(), strict=True))
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
    medians = {each: np.median(arrays["seconds"][names.index(_name(model, each))]) for each in BY_HAND}
    return ratio(arrays, _name(model, way), _name(model, min(medians, key=lambda each: medians[each])))


def _rates(config):
    return jnp.geomspace(1e-4, 1e-2, config.settings)


def _shortened(job, config):
    segment = max(int(job.steps * config.length / config.evaluations), 1)
    return job._replace(steps=segment * config.evaluations)


def _chosen(config, key, job, mapping):
    """The mapping and the chunk, of programs that are compiled."""
    group = _engine(config, key, job, sweep.plan, mapping=mapping).groups[0]
    return f"{group.mapping} {group.chunk}"


def _engine(config, key, job, do=sweep.run, **options):
    settings = sweep.from_columns({"learning_rate": np.asarray(_rates(config))})
    return do(
        job.task,
        settings,
        job.data,
        steps=job.steps,
        eval_every=job.steps // config.evaluations,
        batch_size=job.batch_size,
        key=jax.random.clone(key),
        **options,
    )


def by_hand(config, key, job):
    """A scan over the task's own steps, with the engine's evaluations, as a function of the learning rate."""
    train = jax.tree.map(jnp.asarray, job.data.train)
    segment, rows = job.steps // config.evaluations, None
    if job.batch_size is not None:
        count = len(jax.tree.leaves(train)[0])
        rows = batch_indices(jax.random.clone(key), 0, job.steps, examples=count, batch_size=job.batch_size)
        rows = rows.reshape(config.evaluations, segment, job.batch_size)
    numbers = jnp.arange(job.steps, dtype=jnp.int32).reshape(config.evaluations, segment)
    start, noise = jax.random.split(jax.random.clone(key))

    def trained(learning_rate):
        h = {"learning_rate": learning_rate}

        def step(state, at):
            number, chosen = at
            batch = train if chosen is None else jax.tree.map(lambda x: x[chosen], train)
            return job.task.step(state, batch, jax.random.fold_in(noise, number), h)

        def evaluated(state, at):
            state, metrics = jax.lax.scan(step, state, at)
            return state, (jax.tree.map(jnp.mean, metrics), job.task.evaluate(state, job.data, h))

        return jax.lax.scan(evaluated, job.task.init(start, h), (numbers, rows))

    return trained


if __name__ == "__main__":
    sweep.use_all_cores()
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
