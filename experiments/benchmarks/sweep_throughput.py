"""How many settings a second does the sweep engine train, beside what one would write by hand?

All contenders train the same AdamW on the same MLP, batches and settings. They take turns in one process, and each
figure is a median over the rounds, so a machine that slows down slows them all. All evaluate as often as the config
says, and report the loss of their steps. Run it on an otherwise idle machine:

    python experiments/benchmarks/sweep_throughput.py configs/sweep_throughput/default.toml

A claim here is a bar that the engine should clear; what fails is printed as failing.
"""

import sys
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from matplotlib.figure import Figure
from pydantic import Field

from _style import BLUE
from contenders import (
    Job,
    digits_task,
    engine,
    in_turns,
    looped,
    rates_and_decays,
    ratio,
    swept,
    timed,
    training_by_hand,
    vmapped,
)
from lanes_by_hand import lanes_by_hand
from regopt.data import digits
from regopt.experiment import Claim

ENGINE, LOOP, VMAP, SINGLE = "regopt engine", "compiled scan, Python loop", "jit(vmap(train))", "one jit per setting"
DROPOUT, DROPOUT_PER_LANE = "engine with dropout, shared field", "engine with dropout, keys per lane"
BARE = "the engine's program without the engine"
BY_HAND = "lanes by hand, with the same evaluations"


@dataclass(frozen=True)
class Config(Job):
    """The job and how often it is measured.

    Attributes:
        rounds: measurements of each contender, in turn.
        singles: settings of "one jit per setting", extrapolated to all.
    """

    rounds: Annotated[int, Field(ge=1)] = 5
    singles: Annotated[int, Field(ge=1)] = 8


def run(config, key):
    """Every contender in turn, ``rounds`` times; seconds for all settings."""
    data = digits()
    numbers = rates_and_decays(config)
    contenders = {
        ENGINE: engine(config, key, data, numbers),
        LOOP: looped(config, key, data, numbers),
        VMAP: vmapped(config, key, data, numbers),
        SINGLE: _single(config, key, data, numbers),
        DROPOUT: engine(config, key, data, {**numbers, "rate": np.linspace(0.1, 0.5, config.settings)}),
        DROPOUT_PER_LANE: engine(
            config, key, data, {**numbers, "rate": np.linspace(0.1, 0.5, config.settings)}, noise="per lane"
        ),
        BARE: _bare(config, key, data, numbers),
        BY_HAND: lanes_by_hand(config, key, data, numbers, swept(config, key, data, numbers).chunk),
    }
    measured = in_turns(contenders, config.rounds)
    memory = {
        f"{settings} settings, chunk {chunk}": _engine_memory(config, key, data, settings, chunk)
        for settings, chunk in ((64, 8), (64, 16), (256, 8), (256, 16), (256, 32))
    }
    return {
        **measured,
        **_compile_seconds(config, key, data, numbers),
        "memory_names": np.array(list(memory)),
        "memory_bytes": np.array(list(memory.values())),
    }


def table(config, arrays):
    """Settings a second, the ratio to the engine, GFLOP/s, and the share of the measured matrix-product peak."""
    import pandas

    rates = _rates(config, arrays)
    gflops = {name: rate * config.gflop for name, rate in rates.items()}
    return pandas.DataFrame(
        {
            "settings/s": rates,
            "engine is faster by": {name: ratio(arrays, name, ENGINE) for name in rates},
            "GFLOP/s": gflops,
            "share of peak": {name: value / float(arrays["peak"]) for name, value in gflops.items()},
        }
    ).rename_axis("contender")


def figure(config, arrays):
    """Settings a second of each contender."""
    rates = {name: rate for name, rate in _rates(config, arrays).items() if name != BARE}
    drawing = Figure(figsize=(8, 3.2), layout="constrained")
    axes = drawing.subplots()
    bars = axes.barh(list(rates)[::-1], list(rates.values())[::-1], color=BLUE)
    axes.bar_label(bars, fmt="{:.3g}", padding=3)
    axes.set(xlabel=f"settings a second, {int(arrays['devices'])} CPU cores")
    axes.margins(x=0.12)
    return drawing


def claims(config, arrays):
    """The bars."""
    rates, source = _rates(config, arrays), "medians of alternating runs"
    share = rates[ENGINE] * config.gflop / float(arrays["peak"])
    memory = dict(zip(arrays["memory_names"].tolist(), arrays["memory_bytes"].tolist(), strict=True))

    def faster(words, other, bar):
        share = ratio(arrays, other, ENGINE)
        return Claim(f"engine: settings a second over {words}", source, bar, share, relation="at least")

    return [
        faster("jit(vmap(train))", VMAP, 2.5),
        faster("the looped scan", LOOP, 2.0),
        faster("lanes by hand", BY_HAND, 0.97),
        Claim(
            f"engine: share of the sgemm peak ({float(arrays['peak']):.0f} GFLOP/s)",
            source,
            0.5,
            share,
            relation="at least",
        ),
        Claim(
            "XLA's compile seconds, cold",
            "all programs of a sweep",
            1.5,
            float(arrays["compile_cold"]),
            relation="at most",
        ),
        Claim(
            "seconds to read them from the persistent cache",
            "all programs of a sweep",
            0.1,
            float(arrays["compile_cached"]),
            relation="at most",
        ),
        Claim(
            "temporary memory: 256 settings over 64",
            "compiler, chunk 16",
            1.0,
            memory["256 settings, chunk 16"] / memory["64 settings, chunk 16"],
            0.05,
        ),
        Claim(
            "temporary memory: chunk 32 over 8",
            "compiler, 256 settings",
            4.0,
            memory["256 settings, chunk 32"] / memory["256 settings, chunk 8"],
            0.4,
        ),
        Claim("time with dropout over without", source, 1.25, ratio(arrays, DROPOUT, ENGINE), relation="at most"),
        Claim(
            "share of a sweep that is the engine's own",
            source,
            0.05,
            1 - 1 / ratio(arrays, ENGINE, BARE),
            relation="at most",
        ),
    ]


def _rates(config, arrays):
    """Median settings a second by contender."""
    return {
        str(name): config.settings / float(np.median(seconds))
        for name, seconds in zip(arrays["contenders"], arrays["seconds"], strict=True)
    }


def _engine_memory(config, key, data, settings, chunk):
    """Bytes of temporaries on a device, as the compiler counts them."""
    numbers = {name: np.geomspace(1e-3, 1e-2, settings) for name in ("learning_rate", "weight_decay")}
    short = replace(config, steps=config.eval_every)
    return swept(short, key, data, numbers, chunk=chunk).temporary_bytes


def _compile_seconds(config, key, data, numbers):
    """XLA's seconds for the programs of a sweep, without and with a warm persistent cache; medians."""
    cold, cached, traced = [], [], []
    before = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    short = replace(config, steps=config.eval_every)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(config.rounds):
            for where, seconds in ((None, cold), (folder, []), (folder, cached)):
                _use_cache(where)
                jax.clear_caches()
                result = swept(short, key, data, numbers)
                seconds.append(result.compile_seconds)
                traced.append(result.trace_seconds)
        _use_cache(before)
    return {
        "compile_cold": np.array(np.median(cold)),
        "compile_cached": np.array(np.median(cached)),
        "trace_seconds": np.array(np.median(traced)),
    }


def _use_cache(folder):
    from jax.experimental.compilation_cache import compilation_cache

    jax.config.update("jax_compilation_cache_dir", folder)
    compilation_cache.reset_cache()


def _bare(config, key, data, numbers):
    """The computation of the lanes alone: the same program and chunk, without gather, scatter and decisions."""
    from regopt._core.keys import split_key
    from regopt.sweep.engine._program import start_lane, train_lane
    from regopt.sweep.engine._recipe import Constants, Recipe

    result = swept(config, key, data, numbers)
    devices = np.array(jax.local_devices())
    lanes, calls = result.chunk * len(devices), -(-config.settings // (result.chunk * len(devices)))
    recipe = Recipe(
        digits_task(config), (), config.eval_every, config.batch_size, None, "validation_loss", "min", "shared"
    )
    keys = split_key(key)
    mesh = Mesh(devices, ("lanes",))
    spread, same = PartitionSpec("lanes"), PartitionSpec()
    spec = partial(jax.shard_map, mesh=mesh, check_vma=False)
    given = {name: jnp.asarray(np.resize(column, lanes), jnp.float32) for name, column in numbers.items()}
    constants = jax.device_put(Constants(given, jnp.arange(lanes)), NamedSharding(mesh, spread))
    keys, on_devices = jax.device_put((keys, data), NamedSharding(mesh, same))
    start = jax.jit(
        spec(jax.vmap(partial(start_lane, recipe), in_axes=(None, 0)), in_specs=(same, spread), out_specs=spread)
    )
    segment = jax.jit(
        spec(
            jax.vmap(partial(train_lane, recipe), in_axes=(None, None, None, 0, 0)),
            in_specs=(same, same, same, spread, spread),
            out_specs=spread,
        ),
        donate_argnums=4,
    )

    def contender():
        chunks = [start(keys, constants) for _ in range(calls)]
        jax.block_until_ready(chunks)
        began = time.perf_counter()
        for first_step in range(0, config.steps, config.eval_every):
            step = jax.device_put(np.int32(first_step), NamedSharding(mesh, same))
            for place, chunk in enumerate(chunks):
                chunks[place], *_ = segment(keys, step, on_devices, constants, chunk)
        jax.block_until_ready(chunks)
        return time.perf_counter() - began

    contender()
    return contender


def _single(config, key, data, numbers):
    """A jit for each setting, as with constants in a script; compiling is part of it. Extrapolated."""

    def train():
        for i in range(config.singles):
            pair = [float(column[i]) for column in numbers.values()]
            jax.block_until_ready(jax.jit(partial(training_by_hand(config, key, data), *pair))())

    once = timed(train, warm=False)
    return lambda: once() * config.settings / config.singles


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
