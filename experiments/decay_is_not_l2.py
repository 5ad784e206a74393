"""Is weight decay the same as an L2 penalty?

For plain gradient descent it is: a penalty ``strength / 2 |w|^2`` in the loss and a decay of the weights by
``learning_rate * strength`` are one step. Adam divides a gradient by its own size, and the penalty's with it: the first
step does not see the penalty at all, later ones see it least where gradients are large. Checked in double precision,
then in a sweep of both forms over learning rate and strength on handwritten digits, some of them labelled wrongly.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from pydantic import Field

import regopt
from _draws import stream_of
from _style import BLACK, heatmap
from regopt import penalties, sweep
from regopt.data import Splits, digits
from regopt.experiment import Claim
from regopt.layers import MLP
from regopt.losses import accuracy, cross_entropy

PAPER = "Loshchilov & Hutter 2019, "
FORMS = {"gradient": "L2 in the loss", "decoupled": "decoupled decay"}
DARKEST = 1.2  # loss beyond which the map tells no more
OPTIMIZERS = {"SGD": regopt.sgd, "Adam": regopt.adam}


@dataclass(frozen=True)
class Config:
    """The sweep, and the comparison of what it finds best.

    Attributes:
        examples: training images.
        label_noise: share of their labels replaced by a wrong one.
        width: hidden units.
        batch_size: images in a batch.
        steps: training steps of each setting.
        sgd_rates: smallest and largest learning rate of SGD, in parameter units per gradient unit.
        adam_rates: smallest and largest learning rate of Adam, in parameter units.
        strengths: smallest and largest strength of the penalty, in loss units per squared parameter unit.
        points: number of levels of the learning rate and of the strength.
        seeds: number of initial weights and orders of the images that every setting is trained from.
        fresh_seeds: number of further seeds for the best setting of each form, which is then measured on the test
            images.
        seed: random seed of the wrong labels and of the paths in double precision.
    """

    examples: Annotated[int, Field(ge=50, le=1077)] = 300
    label_noise: Annotated[float, Field(ge=0, le=1)] = 0.2
    width: Annotated[int, Field(ge=1)] = 64
    batch_size: Annotated[int, Field(ge=1, le=300)] = 50
    steps: Annotated[int, Field(ge=1)] = 2000
    sgd_rates: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.02, 0.5)
    adam_rates: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (3e-4, 3e-2)
    strengths: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (3e-4, 3.0)
    points: tuple[Annotated[int, Field(ge=2)], Annotated[int, Field(ge=2)]] = (7, 9)
    seeds: Annotated[int, Field(ge=1)] = 2
    fresh_seeds: Annotated[int, Field(ge=2)] = 48
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def run(config, key):
    """The identities, the two sweeps of both forms, and the best settings again with fresh seeds."""
    flip_key, run_key, path_key = jax.random.split(key, 3)
    data = _noisy(config, flip_key)
    arrays = _identities(path_key)
    interrupted = False
    for name in OPTIMIZERS:
        found, ended = _sweep(config, name, data, jax.random.clone(run_key))
        arrays |= found
        interrupted |= ended
    return arrays | {"interrupted": np.array(interrupted)}


def figure(config, arrays):
    """The validation loss over learning rate and strength: a row for each optimizer, a column for each form."""
    drawing = Figure(figsize=(11, 8.4), layout="constrained")
    for name, row in zip(OPTIMIZERS, drawing.subplots(2, 2), strict=True):
        for how, axes in zip(FORMS, row, strict=True):
            rates, strengths, loss = _map(arrays, name, how)
            heatmap(
                axes,
                rates,
                strengths,
                np.minimum(loss, DARKEST),
                labels=("learning rate", "strength", f"validation loss (nats, cut at {DARKEST})"),
                best=tuple(arrays[f"{name}, {how}, best"]),
            )
            axes.plot(rates, _ridge(arrays, name, how), "o", mfc="none", mec=BLACK, ms=8)
            axes.set_xticks(rates[::2], labels=[f"{rate:.2g}" for rate in rates[::2]])
            axes.xaxis.set_minor_locator(NullLocator())
            fresh = arrays[f"{name}, {how}, fresh_loss"]
            error = fresh.std(ddof=1) / np.sqrt(len(fresh))
            axes.set_title(f"{name}, {FORMS[how]}; at the star: test loss {fresh.mean():.3f} ± {error:.3f}")
    drawing.suptitle(
        "circles: the best strength at each learning rate; star: the best of all; ±: standard error over fresh seeds"
    )
    return drawing


def claims(config, arrays):
    """What is exact, and what the sweep shows of it."""
    return _update_claims(arrays) + _digits_claims(arrays)


def _update_claims(arrays):
    """The updates of both forms in double precision."""
    return [
        Claim(
            "SGD: largest difference of the weights over 300 steps, L2 of strength decay / rate and decoupled decay",
            PAPER + "proposition 1",
            0,
            float(arrays["sgd_gap"]),
            tolerance=1e-13,
        ),
        Claim(
            "momentum 0.9: largest difference of the weights over 300 steps, L2 and decoupled decay",
            PAPER + "section 2",
            1e-2,
            float(arrays["momentum_gap"]),
            relation="at least",
        ),
        Claim(
            "Adam, eps = 0: largest difference that L2 makes to the first update, relative to the learning rate",
            PAPER + "proposition 2",
            0,
            float(arrays["adam_first_gap"]),
            tolerance=1e-13,
        ),
        Claim(
            "Adam: largest difference between rate x strength x |w| and what decoupled decay adds to the first update",
            PAPER + "algorithm 2",
            0,
            float(arrays["adamw_first_gap"]),
            tolerance=1e-13,
        ),
    ]


def _digits_claims(arrays):
    """The losses of both forms, setting by setting, and their best strengths."""
    medians = {name: float(np.nanmedian(_gaps(arrays, name))) for name in OPTIMIZERS}
    ratios = {name: float(np.median(np.divide(*(_ridge(arrays, name, how) for how in FORMS)))) for name in OPTIMIZERS}
    return [
        Claim(
            "digits, SGD: median difference in validation loss of the two forms, setting by setting (nats; float32), "
            f"the largest being {np.nanmax(_gaps(arrays, 'SGD')):.1g} where training amplifies roundings",
            PAPER + "proposition 1",
            0,
            medians["SGD"],
            tolerance=1e-5,
        ),
        Claim(
            "digits, Adam: median difference in validation loss of the two forms, setting by setting (nats)",
            PAPER + "proposition 2",
            0.1,
            medians["Adam"],
            relation="at least",
        ),
        Claim(
            "digits, SGD: best strength in the loss over best strength decoupled, the median over learning rates",
            PAPER + "proposition 1",
            1,
            ratios["SGD"],
        ),
        Claim(
            "digits, Adam: best strength in the loss over best strength decoupled, the median over learning rates",
            PAPER + "proposition 3",
            0.1,
            ratios["Adam"],
            relation="at most",
        ),
    ]


def table(config, arrays):
    """One row for each optimizer and form: the best setting, and its test loss and accuracy with fresh seeds."""
    import pandas

    rows = []
    for name in OPTIMIZERS:
        for how in FORMS:
            part = {what: arrays[f"{name}, {how}, {what}"] for what in ("best", "fresh_loss", "fresh_accuracy")}
            rows.append(
                {
                    "optimizer": name,
                    "form": FORMS[how],
                    "learning_rate": part["best"][0],
                    "strength": part["best"][1],
                    "test_loss": part["fresh_loss"].mean(),
                    "test_accuracy": part["fresh_accuracy"].mean(),
                }
            )
    return pandas.DataFrame(rows)


def _noisy(config, key):
    """The first images for training, a share of their labels wrong; validation and test labels are true."""
    data = digits()
    stream = stream_of(key)
    x, y = (part[: config.examples] for part in data.train)
    flipped = stream.uniform(size=len(y)) < config.label_noise
    wrong = (y + stream.integers(1, 10, len(y))) % 10
    return Splits((x, np.where(flipped, wrong, y).astype(y.dtype)), data.validation, data.test)


def _optimizer(name, h):
    """An optimizer with an L2 penalty of strength ``gradient`` in the loss, and with decay."""
    rate = h["learning_rate"]
    optimizer = regopt.regularize(OPTIMIZERS[name](rate), penalties.l2(h["gradient"]))
    return regopt.regularize(optimizer, penalties.l2(h["decoupled"]), "decoupled", learning_rate=rate)


def _identities(key):
    """Both forms in double precision on a logistic regression, step by step, and Adam's first update."""
    stream = stream_of(key)
    x, y, w = stream.normal(size=(50, 6)), stream.uniform(size=50) < 0.5, stream.normal(size=6)
    large = 1 + np.abs(stream.normal(size=6))  # so that the penalty turns no sign
    grads, penalty = np.where(np.arange(6) % 2 == 0, large, -large), penalties.l2(0.1)
    rate, decay = 0.3, 0.004

    def path(optimizer):
        def step(carry, _):
            w, state = carry
            grads = jax.grad(lambda w: jnp.mean(jnp.logaddexp(0, jnp.where(y, -1, 1) * (x @ w))))(w)
            updates, state = optimizer.update(grads, state, w)
            return (w + updates, state), w + updates

        start = jnp.asarray(w)
        return jax.lax.scan(step, (start, optimizer.init(start)), length=300)[1]

    def gap(optimizer):
        inside = regopt.regularize(optimizer, penalties.l2(decay / rate))
        outside = regopt.regularize(optimizer, penalties.l2(decay), "decoupled", learning_rate=1.0)
        return jnp.max(jnp.abs(path(inside) - path(outside)))

    def first(how):
        adam = regopt.adam(rate, eps=0.0)
        given = rate if how == "decoupled" else None
        optimizer = regopt.regularize(adam, penalty, how, learning_rate=given) if how else adam
        at = jnp.asarray(w)
        return jnp.asarray(optimizer.update(jnp.asarray(grads), optimizer.init(at), at)[0]) / rate

    @jax.jit
    def identities():
        plain = first(None)
        return {
            "sgd_gap": gap(regopt.sgd(rate)),
            "momentum_gap": gap(regopt.heavy_ball(rate, 0.9)),
            "adam_first_gap": jnp.max(jnp.abs(first("gradient") - plain)),
            "adamw_first_gap": jnp.max(jnp.abs(plain - first("decoupled") - 0.1 * w)),
        }

    with jax.enable_x64(True):
        return identities()


def _sweep(config, name, data, key):
    """Every setting of both forms from a few seeds, then the best of each from many, on the test images."""
    task = sweep.supervised(
        lambda _, rngs: MLP((64, config.width, 10), rngs=rngs),
        cross_entropy,
        lambda h: _optimizer(name, h),
        metrics={"accuracy": accuracy},
    )
    rates = config.sgd_rates if name == "SGD" else config.adam_rates
    space = {"learning_rate": sweep.log_uniform(*rates), "strength": sweep.log_uniform(*config.strengths)}
    space |= {"seed": sweep.seeds(config.seeds)}
    grid = sweep.grid(space, points=dict(zip(("learning_rate", "strength"), config.points, strict=True))).numbers
    shape = (*config.points, config.seeds)
    levels = {"learning_rate": grid["learning_rate"].reshape(shape)[:, 0, 0]}
    levels |= {"strength": grid["strength"].reshape(shape)[0, :, 0]}
    settings = _both_forms(*(np.stack([grid[column]] * 2) for column in ("learning_rate", "strength", "seed")))
    # as many slots in both sweeps: one program serves them
    common = {"steps": config.steps, "eval_every": config.steps, "batch_size": config.batch_size}
    common |= {"slots": min(2 * config.fresh_seeds, len(settings))}
    result = sweep.run(task, settings, data, key=key, progress=True, **common)
    losses = np.where(result.status == "diverged", np.nan, result.kept_metrics()["validation_loss"])
    losses = losses.reshape(2, *shape)
    places = [np.unravel_index(np.nanargmin(each.mean(axis=2)), config.points) for each in losses]
    best = np.array([[levels["learning_rate"][i], levels["strength"][j]] for i, j in places])
    seeds = np.arange(config.seeds, config.seeds + config.fresh_seeds)
    rates, strengths = (np.tile(each[:, None], len(seeds)) for each in best.T)
    fresh = _both_forms(rates, strengths, np.stack([seeds] * 2))
    on_test = sweep.run(task, fresh, data._replace(validation=data.test), key=jax.random.clone(key), **common)
    measured = on_test.kept_metrics()
    found = {}
    for place, how in enumerate(FORMS):
        own = slice(place * len(seeds), (place + 1) * len(seeds))
        parts = levels | {"loss": losses[place], "best": best[place]}
        parts |= {f"fresh_{what}": measured[f"validation_{what}"][own] for what in ("loss", "accuracy")}
        found |= {f"{name}, {how}, {what}": values for what, values in parts.items()}
    return found, result.interrupted or on_test.interrupted


def _both_forms(learning_rates, strengths, seeds):
    """Settings from arrays ``[2, n]``: the strengths of the first row are in the loss, those of the second decay."""
    inside = np.array([[1.0], [0.0]])
    columns = {"learning_rate": learning_rates, "seed": seeds}
    columns |= {"gradient": strengths * inside, "decoupled": strengths * (1 - inside)}
    return sweep.from_columns({column: values.ravel() for column, values in columns.items()})


def _map(arrays, name, how):
    """Levels of the learning rate and of the strength, and the mean loss over the seeds, NaN where one diverged."""
    loss = arrays[f"{name}, {how}, loss"].mean(axis=2)
    return arrays[f"{name}, {how}, learning_rate"], arrays[f"{name}, {how}, strength"], loss


def _ridge(arrays, name, how):
    """The best strength at each learning rate."""
    _, strengths, loss = _map(arrays, name, how)
    return strengths[np.argmin(np.where(np.isnan(loss), np.inf, loss), axis=1)]


def _gaps(arrays, name):
    """Differences in loss between the two forms, setting by setting and seed by seed."""
    inside, outside = (arrays[f"{name}, {how}, loss"] for how in FORMS)
    return np.abs(inside - outside)


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
