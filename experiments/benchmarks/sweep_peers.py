"""How long do the tools that people sweep with take for what regopt trains in one program?

The job is AdamW on an MLP on handwritten digits, for as many settings of learning rate and weight decay as the config
says. The slow contenders train a sample of the settings, spread over all, and their seconds are scaled up to all. All
take turns; each figure is a median over the rounds. Workers are started and programs compiled before the clock runs.
Run it on an otherwise idle machine:

    pip install "regopt[benchmark]"
    python experiments/benchmarks/sweep_peers.py configs/sweep_peers/default.toml
"""

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated

import jax
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

import torch_peers
from _style import BLUE, GREEN, RED
from contenders import Job, engine, in_turns, looped, rates_and_decays, ratio, swept, vmapped
from regopt.data import batch_indices, digits
from regopt.experiment import Claim

ENGINE, LOOP, VMAP = "regopt", "jax: compiled scan in a loop", "jax: jit(vmap(train))"
JOBLIB, FUNC, OPTUNA = "joblib + torch, fused AdamW", "torch.func.vmap", "Optuna + torch"
RAY, SKLEARN = "Ray Tune + torch, actors reused", "scikit-learn GridSearchCV"
PEERS = {  # name, contender, and settings of a turn by the config
    JOBLIB: (torch_peers.joblib_torch, "sample"),
    FUNC: (torch_peers.torch_func, "stack"),
    OPTUNA: (torch_peers.optuna_torch, "sample"),
    RAY: (torch_peers.ray_tune, "sample"),
    SKLEARN: (torch_peers.grid_search, "sample"),
}


@dataclass(frozen=True)
class Config(Job):
    """The job and how often it is measured.

    Attributes:
        sample: number of settings for the peers that train one at a time.
        stack: number of settings that ``torch.func.vmap`` trains at once.
        rounds: measurements of each contender, in turn.
    """

    sample: Annotated[int, Field(ge=2)] = 32
    stack: Annotated[int, Field(ge=2)] = 64
    rounds: Annotated[int, Field(ge=1)] = 3

    def __post_init__(self):
        for name in ("sample", "stack"):
            if getattr(self, name) > self.settings:
                raise ValueError(f"{name} must be at most settings = {self.settings}, got {getattr(self, name)}")


def run(config, key):
    """Every contender in turn, ``rounds`` times; seconds for all settings, and the losses that they reach."""
    data = digits()
    numbers = rates_and_decays(config)
    order = batch_indices(
        jax.random.clone(key), 0, config.steps, examples=len(data.train[0]), batch_size=config.batch_size
    )
    losses = {ENGINE: swept(config, key, data, numbers).kept_metrics()["validation_loss"]}
    with ExitStack() as stack:
        contenders = {
            ENGINE: engine(config, key, data, numbers),
            LOOP: looped(config, key, data, numbers),
            VMAP: vmapped(config, key, data, numbers),
        }
        for name, (peer, count) in PEERS.items():
            rows = _spread(config, getattr(config, count))
            pairs = list(zip(*(column[rows] for column in numbers.values()), strict=True))
            train = stack.enter_context(peer(config, data, np.asarray(order)))
            losses[name] = np.full(config.settings, np.nan)
            losses[name][rows] = train(pairs)  # starts workers, imports and caches
            contenders[name] = _scaled(train, pairs, config.settings)
        measured = in_turns(contenders, config.rounds)
    return {
        **measured,
        "loss_names": np.array(list(losses)),
        "losses": np.array(list(losses.values())),
        **numbers,
    }


def table(config, arrays):
    """Settings a second, and how many times regopt's time each contender takes."""
    import pandas

    names = arrays["contenders"].tolist()
    return pandas.DataFrame(
        {
            "settings/s": config.settings / np.median(arrays["seconds"], axis=1),
            "regopt is faster by": [ratio(arrays, name, ENGINE) for name in names],
        },
        index=pandas.Index(names, name="contender"),
    )


def figure(config, arrays):
    """Settings a second of each contender, and the losses that they reach."""
    drawing = Figure(figsize=(12, 4.2), layout="constrained")
    left, right = drawing.subplots(1, 2, width_ratios=(3, 2))
    names = arrays["contenders"].tolist()[::-1]
    rates = config.settings / np.median(arrays["seconds"], axis=1)[::-1]
    bars = left.barh(names, rates, color=[RED if name == ENGINE else BLUE for name in names])
    left.bar_label(bars, fmt="{:.3g}", padding=3)
    left.set(xlabel=f"settings a second on {int(arrays['devices'])} CPU cores, median of rounds")
    left.margins(x=0.12)
    chosen = {ENGINE: RED, JOBLIB: BLUE, FUNC: GREEN}
    for name, losses in zip(arrays["loss_names"].tolist(), arrays["losses"], strict=True):
        if name in chosen:
            known = np.isfinite(losses)
            style = {"ls": "-"} if name == ENGINE else {"ls": "", "marker": "o", "ms": 4}
            right.plot(arrays["learning_rate"][known], losses[known], color=chosen[name], label=name, **style)
    right.set(xscale="log", xlabel="learning rate (decay rises with it)", ylabel="validation loss (nats)")
    right.legend(frameon=False)
    return drawing


def claims(config, arrays):
    """The bars, and that the contenders train the same thing."""
    source = "medians of alternating rounds"
    bars = {JOBLIB: 7.0, FUNC: 6.0, RAY: 100.0, VMAP: 3.0, LOOP: 2.0}
    names, seconds = arrays["contenders"].tolist(), np.median(arrays["seconds"], axis=1)
    share = config.settings / seconds[names.index(ENGINE)] * config.gflop / float(arrays["peak"])
    losses = dict(zip(arrays["loss_names"].tolist(), arrays["losses"], strict=True))
    return [
        *(
            Claim(f"{name}: its time over regopt's", source, bar, ratio(arrays, name, ENGINE), relation="at least")
            for name, bar in bars.items()
        ),
        Claim(
            f"regopt: share of the sgemm peak ({float(arrays['peak']):.0f} GFLOP/s)",
            source,
            0.55,
            float(share),
            relation="at least",
        ),
        *(
            Claim(
                f"{name}: median distance of its validation loss from regopt's, of the same settings (nats)",
                "other initial weights, same batches",
                0.02,
                float(np.nanmedian(np.abs(losses[name] - losses[ENGINE]))),
                relation="at most",
            )
            for name in (JOBLIB, FUNC)
        ),
    ]


def _spread(config, count):
    """The rows of ``count`` settings, spread from the first to the last."""
    return np.round(np.linspace(0, config.settings - 1, count)).astype(int)


def _scaled(train, pairs, settings):
    """The seconds for all settings, scaled up from those for the pairs."""

    def contender():
        began = time.perf_counter()
        train(pairs)
        return (time.perf_counter() - began) * settings / len(pairs)

    return contender


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
