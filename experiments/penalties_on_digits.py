"""Which regularisers help a small network on 300 handwritten digits, and by more than the noise of its seeds?

Each of ten methods is trained at every strength of its grid with the same seeds, and each seed stands for a training
set, initial weights and an order of the images that all methods share. The first seeds choose one strength for each
method, the one with the lowest mean cross-entropy on validation images; the other seeds, which had no say, are compared
on test images with no regularisation, pair by pair. The validation and test images are the same for all, so an interval
is about another draw of weights and of 300 from the 777 training images, not about other test images.

All share the learning rate and the number of steps. A method is a number that is neutral in the lanes of the others, so
most methods are lanes of one program.
"""

import sys
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib.figure import Figure
from pydantic import Field
from scipy import stats
from scipy.special import log_softmax

import regopt
from _style import BLACK, BLUE, GREY, RED, paired_interval
from regopt import augment, layers, penalties, projections, sweep
from regopt.data import digits, subsamples
from regopt.experiment import Claim
from regopt.losses import cross_entropy, smoothed_cross_entropy
from regopt.regularization import ConstraintState
from regopt.sweep.results import holm

NONE, STOPPING = "none", "early stopping"
GRIDS = {  # the strengths of each method, from weak to strong, and what they are
    NONE: ((0.0,), ""),
    "L2": ((1e-4, 3e-4, 1e-3, 3e-3, 1e-2), "strength"),
    "L1": ((1e-5, 3e-5, 1e-4, 3e-4, 1e-3), "strength"),
    "elastic net": ((1e-5, 3e-5, 1e-4, 3e-4, 1e-3), "strength"),
    "label smoothing": ((0.003, 0.01, 0.03, 0.1, 0.3), "share"),
    "max-norm": ((16.0, 3.0, 2.0, 1.5, 1.0), "radius"),  # the first is out of reach: a check
    "dropout": ((0.05, 0.1, 0.2, 0.35, 0.5), "rate"),
    "Gaussian dropout": ((0.05, 0.1, 0.2, 0.35, 0.5), "rate"),
    "augmentation": ((0.06, 0.12, 0.25, 0.5, 1.0), "pixels"),
    "batch norm": ((1.0,), ""),
    STOPPING: ((16.0, 8.0, 4.0, 2.0, 1.0), "patience"),
}
NEUTRAL = dict.fromkeys(GRIDS, 0.0) | {"max-norm": 1e6}
Method = Literal[
    "L2",
    "L1",
    "elastic net",
    "label smoothing",
    "max-norm",
    "dropout",
    "Gaussian dropout",
    "augmentation",
    "batch norm",
    "early stopping",
]
SIDES = ("lower_loss", "higher_loss", "lower_error", "higher_error")
LEVELS = max(len(grid) for grid, _ in GRIDS.values())
PIXELS, SIDE, CLASSES = 64, 8, 10
DEGREES = 10  # of the largest rotation, for each pixel of the largest translation
MEASURES = {"loss": "test loss (nats)", "error": "test error (%)"}


@dataclass(frozen=True)
class Config:
    """The methods, the data and the network.

    Attributes:
        methods: methods that are compared with none.
        tuning: number of seeds that choose the strengths.
        runs: number of further seeds, on which the methods are compared.
        examples: training images of a seed, drawn from those that are neither for validation nor for the test.
        validation: number of images for validation.
        test: number of images for the test.
        width: units in each of the two hidden layers.
        learning_rate: learning rate of Adam, in parameter units.
        batch_size: images in a batch.
        steps: steps of a training.
        eval_every: steps between evaluations.
        level: level of the confidence intervals.
        lower_loss: methods claimed to have a lower test loss than none, in intervals that hold for all at once.
        higher_loss: methods claimed to have a higher test loss than none.
        lower_error: methods claimed to have a lower test error than none.
        higher_error: methods claimed to have a higher test error than none.
        seed: random seed of everything.
    """

    methods: tuple[Method, ...] = get_args(Method)
    tuning: Annotated[int, Field(ge=1)] = 8
    runs: Annotated[int, Field(ge=3)] = 20
    examples: Annotated[int, Field(ge=10, le=700)] = 300
    validation: Annotated[int, Field(ge=50, le=360)] = 300
    test: Annotated[int, Field(ge=50, le=720)] = 720
    width: Annotated[int, Field(ge=1)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    batch_size: Annotated[int, Field(ge=2)] = 50
    steps: Annotated[int, Field(ge=1)] = 300
    eval_every: Annotated[int, Field(ge=1)] = 10
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    lower_loss: tuple[Method, ...] = ()
    higher_loss: tuple[Method, ...] = ()
    lower_error: tuple[Method, ...] = ()
    higher_error: tuple[Method, ...] = ()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def __post_init__(self):
        if self.steps % self.eval_every:
            raise ValueError(f"steps must be a multiple of eval_every = {self.eval_every}, got {self.steps}")
        if self.batch_size > self.examples:
            raise ValueError(f"batch_size must be at most examples = {self.examples}, got {self.batch_size}")
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise ValueError(f"methods must name at least one method, each once, got {self.methods}")
        for side in ("lower_loss", "higher_loss", "lower_error", "higher_error"):
            if unknown := set(getattr(self, side)) - set(self.methods):
                raise ValueError(f"{side} must be among methods, got {sorted(unknown)}")


def run(config, key):
    """All strengths of all methods with all seeds; early stopping by itself, since it keeps another state."""
    data = digits(config.validation, config.test)
    seeds = config.tuning + config.runs
    places = subsamples(jax.random.fold_in(key, 1), seeds, len(data.train[1]), config.examples)
    methods = (NONE, *(name for name in config.methods if name != STOPPING))
    found = []
    for names in (methods, (STOPPING,) if STOPPING in config.methods else ()):
        if not names:
            continue
        result = sweep.run(
            task_of(config),
            settings_of(names, seeds),
            data,
            steps=config.steps,
            eval_every=config.eval_every,
            batch_size=config.batch_size,
            key=key,
            resamples=places,
            patience=(lambda h: h[STOPPING]) if names == (STOPPING,) else None,
            monitor="validation_cross_entropy",
            noise="per lane",  # a field that all seeds shared would not vary between them
            progress=True,
        )
        if result.interrupted:
            return {"interrupted": np.array(True)}
        found.append(outcome(config, result, data.test, names))
    return {
        "names": np.array([*methods, *([STOPPING] if len(found) > 1 else [])]),
        **{name: np.concatenate([each[name] for each in found]) for name in found[0]},
    }


def settings_of(names, seeds):
    """One lane for each method, strength and seed; what needs another program is told by static values."""
    rows = [(name, strength, seed) for name in names for strength in GRIDS[name][0] for seed in range(seeds)]
    own, _, replicas = zip(*rows, strict=True)
    columns = {
        method: np.array([strength if name == method else NEUTRAL[method] for name, strength, _ in rows])
        for method in GRIDS
        if method not in (NONE, "batch norm")
    }
    static = {
        "noisy": [name in ("dropout", "Gaussian dropout") for name in own],
        "augmented": [name == "augmentation" for name in own],
        "normalised": [name == "batch norm" for name in own],
    }
    return sweep.from_columns({**columns, **static, "seed": np.array(replicas), "replica": np.array(replicas)})


def projected(optimizer, ball):
    """The optimizer followed by a projection: several regularisers at once, of which each setting uses one."""

    def init(params):
        return ConstraintState(optimizer.init(params), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra_args):
        assert params is not None
        updates, inner = optimizer.update(updates, state.inner, params, **extra_args)
        stepped = optax.apply_updates(params, updates)
        nearest = ball(stepped)
        differs = jax.tree.map(lambda a, b: jnp.any(a != b), stepped, nearest)
        active = state.active + jnp.any(jnp.stack(jax.tree.leaves(differs))).astype(jnp.int32)
        return jax.tree.map(jnp.subtract, nearest, params), ConstraintState(inner, state.count + 1, active)

    return optax.GradientTransformationExtraArgs(init, update)


def task_of(config):
    """One network with all methods on it, each at its own strength or neutral."""
    sizes = (PIXELS, config.width, config.width, CLASSES)

    def model(h, rngs):
        if h["normalised"]:
            dense = [layers.Dense(a, b, rngs=rngs) for a, b in pairwise(sizes)]
            first, second = (layers.BatchNorm(config.width, momentum=0.9) for _ in range(2))
            return nnx.Sequential(dense[0], first, jax.nn.relu, dense[1], second, jax.nn.relu, dense[2])
        mlp: Any = layers.MLP(sizes, rngs=rngs)
        if h["noisy"]:
            mlp.dropout = nnx.Sequential(
                layers.Dropout(h["dropout"], rngs=rngs), layers.GaussianDropout(h["Gaussian dropout"], rngs=rngs)
            )
        return mlp

    def loss(logits, labels, h):
        return smoothed_cross_entropy(logits, labels, h["label smoothing"])

    def optimizer(h):
        net = h["elastic net"] / 2  # half of it for each part
        sparse = penalties.total(penalties.l1(h["L1"] + net), penalties.l2(net))
        inner = regopt.regularize(regopt.adam(config.learning_rate), penalties.l2(h["L2"]))
        inner = regopt.regularize(inner, sparse, "proximal")
        ball = partial(projections.projection_max_norm, radius=h["max-norm"])
        return projected(inner, ball)

    def changed(key, x, y, h):
        if not h["augmented"]:
            return x, y
        reach = h["augmentation"]
        transform = augment.compose(augment.translation(reach), augment.rotation(DEGREES * reach))
        return transform(key, x.reshape(-1, SIDE, SIDE, 1)).reshape(x.shape), y

    metrics = {"cross_entropy": cross_entropy}
    return sweep.supervised(model, loss, optimizer, metrics=metrics, augment=changed)


def outcome(config, result, test, names):
    """What each method's lanes gave: ``[methods, strengths]`` on validation images, ``[methods, runs]`` on the rest."""
    images, labels = test
    logits = result.predict(images)
    values = {
        "loss": -log_softmax(logits, axis=-1)[:, np.arange(len(labels)), labels].mean(axis=1),
        "error": 100 * np.mean(logits.argmax(axis=-1) != labels, axis=1),
        "validation": result.kept_metrics()["validation_cross_entropy"],
    }
    found = {name: [] for name in ("loss", "error", "validation", "chosen", "active", "zeros", "weakest", "diverged")}
    seeds, first = config.tuning + config.runs, 0
    for name in names:
        lanes = first + np.arange(len(GRIDS[name][0]) * seeds).reshape(-1, seeds)
        first += lanes.size
        validation = values["validation"][lanes[:, : config.tuning]].mean(axis=1)
        at = int(np.argmin(np.where(np.isnan(validation), np.inf, validation)))
        judged = lanes[at, config.tuning :]
        found["chosen"].append(at)
        found["validation"].append(np.pad(validation, (0, LEVELS - len(validation)), constant_values=np.nan))
        for measure in MEASURES:
            found[measure].append(values[measure][judged])
        reports = [[report(result.state(lane)) for lane in lanes[i, config.tuning :]] for i in (0, at, -1)]
        found["active"].append(np.array(reports)[..., 0])
        found["zeros"].append(np.array(reports)[1, :, 1])
        found["weakest"].append(values["loss"][lanes[0, config.tuning :]])
        found["diverged"].append(np.sum(result.status[lanes] == "diverged"))
    return {name: np.array(each) for name, each in found.items()}


def report(state):
    """Share of the steps on which the constraint was active, and of the weights that are exactly 0."""
    constraint = state.opt_state
    weights = sum(w.size for w in jax.tree.leaves(state.params) if w.ndim > 1)
    return float(constraint.active / constraint.count), float(constraint.inner.zeros / weights)


def compared(config, arrays, measure):
    """For each method the paired differences from none: mean, half widths of one interval and of all, Holm's p."""
    values, none = np.asarray(arrays[measure][1:], float), np.asarray(arrays[measure][0], float)
    levels = config.level, 1 - (1 - config.level) / len(values)
    (mean, one), (_, all_at_once) = (
        np.transpose([paired_interval(each, none, level) for each in values]) for level in levels
    )
    p = stats.ttest_rel(values, none[None], axis=1).pvalue
    return mean, one, all_at_once, holm(p)  # no p where a method changed nothing


def label(arrays, method):
    """A method with the strength that was chosen, and how often a constraint was active."""
    name, at = str(arrays["names"][method]), arrays["chosen"][method]
    grid, unit = GRIDS[name]
    often = f", active on {arrays['active'][method, 1].mean():.0%} of steps" if name == "max-norm" else ""
    return f"{name}: {unit} {grid[at]:g}{often}" if unit else name


def table(config, arrays):
    """One row for each method: the strength, its differences from none with their intervals, and what it did."""
    import pandas

    rows = []
    (loss, error) = (compared(config, arrays, measure) for measure in MEASURES)
    for i, name in enumerate(arrays["names"][1:]):
        at = arrays["chosen"][i + 1]
        rows.append(
            {
                "method": name,
                "strength": GRIDS[name][0][at],
                "of": GRIDS[name][1],
                "at an end of the grid": at in (0, len(GRIDS[name][0]) - 1),
                "runs": arrays["loss"].shape[-1],
                **columns("loss", loss, i),
                **columns("error", error, i),
                "constraint active (share of steps)": arrays["active"][i + 1, 1].mean(),
                "zeros (share of weights)": arrays["zeros"][i + 1].mean(),
            }
        )
    return pandas.DataFrame(rows)


def columns(measure, found, i):
    """The columns of one measure."""
    mean, one, all_at_once, p = (values[i] for values in found)
    return {
        f"{measure}: difference": mean,
        f"{measure}: half width": one,
        f"{measure}: half width, all at once": all_at_once,
        f"{measure}: p (Holm)": p,
    }


def figure(config, arrays):
    """The differences from none with their intervals, in test loss and in test error."""
    drawing = Figure(figsize=(12.5, 1.9 + 0.36 * len(arrays["names"])), layout="constrained")
    panels = drawing.subplots(1, 2, sharey=True)
    order = np.argsort(-compared(config, arrays, "loss")[0])
    for axes, (measure, name) in zip(panels, MEASURES.items(), strict=True):
        mean, one, all_at_once, _ = (values[order] for values in compared(config, arrays, measure))
        axes.axvline(0, color=BLACK, lw=1)
        for place in range(len(order)):
            settled = abs(mean[place]) > all_at_once[place]
            color = GREY if not settled else BLUE if mean[place] < 0 else RED
            for half, width in ((all_at_once, 1.2), (one, 4)):
                axes.plot(mean[place] + half[place] * np.array([-1, 1]), [place, place], color=color, lw=width)
            axes.plot(mean[place], place, "o", color=color, mfc=color if settled else "white", ms=8)
        none = arrays[measure][0]
        axes.set(xlabel=f"{name} minus that of none; better to the left")
        axes.set_title(f"none: {none.mean():.3g}, standard deviation {none.std(ddof=1):.2g} over runs", fontsize=10)
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(order)), [label(arrays, method + 1) for method in order])
    panels[0].set_ylim(-0.6, len(order) - 0.4)
    drawing.suptitle(
        f"{config.examples} training digits, {arrays['loss'].shape[-1]} paired runs: "
        f"thick, {config.level:.0%} interval; thin, all {len(order)} at once; grey: no difference established"
    )
    return drawing


def claims(config, arrays):
    """That pairs are pairs and the constraint was active, what the config claims, and how small the effects are."""
    names, runs = [str(name) for name in arrays["names"]], arrays["loss"].shape[-1]
    result = [Claim("trainings that diverged", "measured", 0, float(np.sum(arrays["diverged"])))]
    if "max-norm" in names:
        result += constraint_claims(arrays, names.index("max-norm"))
    for side in SIDES:
        direction, measure = side.split("_")
        mean, _, half, _ = compared(config, arrays, measure)
        for name in getattr(config, side):
            i, sign = names.index(name) - 1, 1 if direction == "lower" else -1
            result.append(
                Claim(
                    f"{label(arrays, i + 1)}: {MEASURES[measure]} minus that of none, mean {mean[i]:+.3f}; the end "
                    f"nearer to 0 of {runs} pairs' interval, {config.level:.0%} for all {len(mean)} at once",
                    "measured, paired runs on digits",
                    0,
                    float(mean[i] + sign * half[i]),
                    relation="at most" if sign > 0 else "at least",
                )
            )
    few, mean = few_runs(config, arrays), np.abs(compared(config, arrays, "error")[0])
    return [
        *result,
        Claim(
            f"methods of {len(mean)} whose difference in test error is below {few:.2f} percentage points, "
            "the half width of an interval from four unpaired runs a side: at least half of them",
            "Bouthillier et al. (2021): the noise of seeds and splits",
            len(mean) / 2,
            float(np.sum(mean < few)),
            relation="at least",
        ),
    ]


def constraint_claims(arrays, method):
    """Where the constraint is out of reach the training is the one without it."""
    radii, share = GRIDS["max-norm"][0], arrays["active"][method].mean(axis=1)
    return [
        Claim(
            f"max-norm: share of the steps on which a radius of {radii[0]:g} was active (of {radii[-1]:g}: "
            f"{share[2]:.0%}; of {radii[arrays['chosen'][method]]:g}, the chosen one: {share[1]:.0%})",
            "measured",
            0,
            share[0],
        ),
        Claim(
            f"largest difference in test loss between a radius of {radii[0]:g}, out of reach, and none (nats)",
            "the pairs are the same training",
            0,
            float(np.abs(arrays["weakest"][method] - arrays["loss"][0]).max()),
            tolerance=1e-3,  # rounding, grown in training: 0 where a lane's place in a chunk changes no bit
        ),
    ]


def few_runs(config, arrays, runs=4):
    """Half the width of Student's interval for the difference in error of two methods with a few unpaired runs each."""
    deviation = arrays["error"][0].std(ddof=1)
    return float(stats.t.ppf((1 + config.level) / 2, 2 * runs - 2) * deviation * np.sqrt(2 / runs))


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
