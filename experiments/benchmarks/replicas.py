"""What does training on many resamples cost, beside scikit-learn in a loop and beside a sweep on one training set?

The work is what a bias-variance decomposition needs: an MLP at several L2 strengths, each trained on many bootstraps of
the digits, and its predictions on the test images. scikit-learn's ``MLPClassifier`` does the same in a joblib loop, one
process on each core: same layers, Adam, steps, batches and resamples, ``alpha = strength * batch size``. A part of its
fits is timed and extrapolated. The engine's replicas share one seed, so nothing varies but the training set; those with
"a seed and a resample each" have their own initial weights and order of the data, as each fit of scikit-learn has. The
contenders take turns, and each figure is a median over the rounds. Run it on an otherwise idle machine:

    taskset -c 0,1 python experiments/benchmarks/replicas.py configs/replicas/default.toml

A claim here is a bar that the engine should clear; what fails is printed as failing.
"""

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import jax
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

import regopt
from _style import BLUE, RED
from regopt import penalties, sweep
from regopt.data import bootstrap, digits
from regopt.experiment import Claim
from regopt.layers import MLP
from regopt.losses import cross_entropy
from regopt.sweep.engine._devices import available_cores

REPLICAS, COLD = "a resample each", "a resample each, with tracing and compiling"
SEEDED, BOTH, SHARED = "a seed each", "a seed and a resample each", "one seed, one training set"
SKLEARN = "scikit-learn, joblib loop"
COLUMNS = {REPLICAS: ("replica",), SEEDED: ("seed",), BOTH: ("replica", "seed"), SHARED: ()}
EXAMPLES = 1024  # of training: a whole number of batches, as scikit-learn trains on the rest of an epoch too


@dataclass(frozen=True)
class Config:
    """The job and how often it is measured.

    Attributes:
        replicas: bootstraps of the training set.
        strengths: strengths of the L2 penalty ``strength / 2 * |w|**2``, in nats per squared parameter unit.
        steps: Adam steps of each fit, a whole number of epochs.
        eval_every: steps between the engine's evaluations.
        batch_size: images in a batch, a divisor of 1024.
        width: hidden units.
        learning_rate: learning rate of Adam.
        rounds: measurements of each contender, in turn.
        measured: replicas that scikit-learn is timed on in a round, at all strengths.
        seed: random seed of the bootstraps, the weights and the batches.
    """

    replicas: Annotated[int, Field(ge=2)] = 200
    strengths: tuple[Annotated[float, Field(gt=0)], ...] = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
    steps: Annotated[int, Field(ge=1)] = 320
    eval_every: Annotated[int, Field(ge=1)] = 80
    batch_size: Annotated[int, Field(ge=1, le=EXAMPLES)] = 128
    width: Annotated[int, Field(ge=1)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    rounds: Annotated[int, Field(ge=1)] = 3
    measured: Annotated[int, Field(ge=1)] = 6
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def __post_init__(self):
        if EXAMPLES % self.batch_size or self.steps * self.batch_size % EXAMPLES:
            raise ValueError(f"batch_size must divide {EXAMPLES}, and steps be whole epochs of {EXAMPLES} images")
        if self.rounds * self.measured > self.replicas:
            raise ValueError(f"rounds * measured must lie in [1, {self.replicas}], got {self.rounds * self.measured}")

    @property
    def fits(self):
        """How many fits the whole job has."""
        return self.replicas * len(self.strengths)


def run(config, key):
    """Every contender in turn, ``rounds`` times: seconds for all fits, and the test errors that they reach."""
    data = _data()
    resamples = np.asarray(bootstrap(jax.random.fold_in(key, 0), config.replicas, EXAMPLES))
    train_key = jax.random.fold_in(key, 1)
    _use_no_cache()
    results = {name: _swept(config, train_key, data, resamples, columns) for name, columns in COLUMNS.items()}
    reached = _errors(config, results[BOTH].predict(data.test[0]), data.test[1])
    seconds = {name: [] for name in (*COLUMNS, COLD, SKLEARN)}
    theirs = []
    with _workers() as pool:
        _looped(config, pool, data, resamples, range(2))  # starts the processes and their imports
        for turn in range(config.rounds):
            for name, result in results.items():
                seconds[name].append(_seconds(lambda result=result: result.refit().predict(data.test[0])))
            seconds[COLD].append(_seconds(lambda: _replicated(config, train_key, data, resamples)))
            replicas = range(turn * config.measured, (turn + 1) * config.measured)
            began = time.perf_counter()
            outputs = _looped(config, pool, data, resamples, replicas)
            seconds[SKLEARN].append((time.perf_counter() - began) * config.replicas / config.measured)
            theirs.append(_errors(config, outputs, data.test[1]))
    theirs = np.concatenate(theirs, axis=1)
    return {
        "contenders": np.array(list(seconds)),
        "seconds": np.array(list(seconds.values())),
        "errors": reached[:, : theirs.shape[1]],
        "sklearn_errors": theirs,
        "devices": np.array(jax.local_device_count()),
        "chunk": np.array(results[REPLICAS].chunk),
    }


def table(config, arrays):
    """Seconds for all fits, fits a second, and how many times the first contender's time each takes."""
    import pandas

    names, seconds = arrays["contenders"].tolist(), np.median(arrays["seconds"], axis=1)
    return pandas.DataFrame(
        {
            "seconds": seconds,
            "fits/s": config.fits / seconds,
            f"time over '{REPLICAS}'": [_ratio(arrays, name, REPLICAS) for name in names],
        },
        index=pandas.Index(names, name="contender"),
    )


def figure(config, arrays):
    """Seconds of each contender, and the test error that both libraries reach."""
    drawing = Figure(figsize=(11, 4), layout="constrained")
    left, right = drawing.subplots(1, 2, width_ratios=(3, 2))
    names, seconds = arrays["contenders"].tolist()[::-1], np.median(arrays["seconds"], axis=1)[::-1]
    bars = left.barh(names, seconds, color=[RED if name == SKLEARN else BLUE for name in names])
    left.bar_label(bars, fmt="{:.3g} s", padding=3)
    left.set(xlabel=f"seconds for {config.fits} fits on {int(arrays['devices'])} CPU cores, median of rounds")
    left.margins(x=0.15)
    for name, colour, marker in (("errors", BLUE, "o"), ("sklearn_errors", RED, "s")):
        errors = 100 * arrays[name]
        right.errorbar(
            config.strengths,
            errors.mean(axis=1),
            errors.std(axis=1, ddof=1) / np.sqrt(errors.shape[1]),
            label="regopt" if name == "errors" else "scikit-learn",
            color=colour,
            marker=marker,
            capsize=3,
        )
    right.set(xscale="log", xlabel="L2 strength (nats per squared unit)", ylabel="test error (%)")
    right.set_title(f"mean of {errors.shape[1]} resamples ± standard error", fontsize="medium")
    right.legend(frameon=False)
    return drawing


def claims(config, arrays):
    """The bars."""
    source = "medians of alternating rounds"
    gaps = (arrays["errors"] - arrays["sklearn_errors"]).mean(axis=0)  # of each replica
    return [
        Claim(
            "scikit-learn's time over that of replicas with one seed, programs compiled before",
            source,
            6.0,
            _ratio(arrays, SKLEARN, REPLICAS),
            relation="at least",
        ),
        Claim(
            "scikit-learn's time over that of replicas with one seed, tracing and compiling included",
            source,
            2.5,
            _ratio(arrays, SKLEARN, COLD),
            relation="at least",
        ),
        Claim(
            "time with a resample each over a seed each", source, 1.1, _ratio(arrays, REPLICAS, SEEDED), 0.0, "at most"
        ),
        Claim(
            "time with a seed and a resample each over a seed each",
            source,
            1.1,
            _ratio(arrays, BOTH, SEEDED),
            0.0,
            "at most",
        ),
        Claim(
            "mean test error minus scikit-learn's",
            "same resamples and strengths; tolerance: 4 standard errors",
            0.0,
            float(gaps.mean()),
            4 * float(gaps.std(ddof=1) / np.sqrt(len(gaps))),
        ),
    ]


def _ratio(arrays, slow, fast):
    """Median over the rounds of the time of one contender over that of another, in the same round."""
    names = arrays["contenders"].tolist()
    return float(np.median(arrays["seconds"][names.index(slow)] / arrays["seconds"][names.index(fast)]))


def _data():
    return digits(validation=1797 - 360 - EXAMPLES)


def _task(config):
    """The model of ``MLPClassifier``, with its initial weights (but not its initial biases, which are not 0)."""
    return sweep.supervised(
        lambda _, rngs: MLP((64, config.width, 10), kernel_init=jax.nn.initializers.glorot_uniform(), rngs=rngs),
        cross_entropy,
        lambda h: regopt.regularize(regopt.adam(config.learning_rate), penalties.l2(h["strength"])),
    )


def _options(config, key):
    return {
        "steps": config.steps,
        "eval_every": config.eval_every,
        "batch_size": config.batch_size,
        "key": jax.random.clone(key),
        "progress": True,
    }


def _swept(config, key, data, resamples, columns):
    """The sweep with a replica, a seed, both or neither for each fit; trained once."""
    replicas = np.tile(np.arange(config.replicas), len(config.strengths))
    settings = {"strength": np.repeat(config.strengths, config.replicas)} | dict.fromkeys(columns, replicas)
    options = _options(config, key) | ({"resamples": resamples} if "replica" in columns else {})
    return sweep.run(_task(config), sweep.from_columns(settings), data, **options)


def _replicated(config, key, data, resamples):
    """Compile from cold, train, and predict."""
    jax.clear_caches()
    settings = sweep.from_columns({"strength": config.strengths})
    sweep.replicate(_task(config), settings, data, resamples, inputs=data.test[0], **_options(config, key))


@contextmanager
def _workers():
    """A process on each core, with one thread of linear algebra."""
    from joblib import Parallel, parallel_config

    with parallel_config(backend="loky", inner_max_num_threads=1), Parallel(n_jobs=available_cores()) as pool:
        yield pool


def _looped(config, pool, data, resamples, replicas):
    """scikit-learn's class probabilities ``[strengths, replicas, images, classes]``, fit by fit."""
    from joblib import delayed

    epochs = config.steps * config.batch_size // EXAMPLES
    options = {
        "hidden_layer_sizes": (config.width,),
        "batch_size": config.batch_size,
        "learning_rate_init": config.learning_rate,
        "max_iter": epochs,
        "n_iter_no_change": epochs + 1,
    }

    def fit(x, y, inputs, alpha, replica):  # it must not refer to this module, which a worker could not import
        import warnings

        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

        warnings.simplefilter("ignore", ConvergenceWarning)
        return MLPClassifier(alpha=alpha, random_state=replica, **options).fit(x, y).predict_proba(inputs)

    x, y = data.train
    outputs = pool(
        delayed(fit)(x[resamples[replica]], y[resamples[replica]], data.test[0], strength * config.batch_size, replica)
        for strength in config.strengths
        for replica in replicas
    )
    return np.reshape(outputs, (len(config.strengths), len(replicas), *np.shape(outputs[0])))


def _errors(config, outputs, labels):
    """Share of wrong test images, ``[strengths, replicas]``."""
    chosen = outputs.reshape(len(config.strengths), -1, len(labels), 10).argmax(axis=-1)
    return (chosen != labels).mean(axis=-1)


def _seconds(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _use_no_cache():
    """Turn the persistent cache off, so that a cold program is compiled anew."""
    from jax.experimental.compilation_cache import compilation_cache

    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
