"""Can two numbers tell what is wrong with a training, and does the advice help?

A course's table reads high and low errors on training and validation data as bias, as variance, or as done; it leaves
out the case that only the training error is high. A dozen networks on handwritten digits are spoilt in a known way,
each is diagnosed from its two errors (`analysis.diagnose`), and trained again with what the advice says. What two
numbers cannot see are wrong labels: they look like bias. Where there are no more images, moving the few that there are
helps too (`augment`).
"""

import itertools
import sys
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

import regopt
from _style import BLACK, BLUE, GREEN, GREY, ORANGE, PALE, PURPLE, RED, note, paired_interval
from regopt import augment
from regopt.analysis import BOTH, GOOD, OVERFITS, SUSPICIOUS, UNDERFITS, diagnose
from regopt.data import digits
from regopt.experiment import Claim

BOOK = "Goodfellow et al. (2016), section 11.3"
MOVES = "Goodfellow et al. (2016), section 7.4"
NAMES = {GOOD: "good", UNDERFITS: "underfits", OVERFITS: "overfits", BOTH: "both", SUSPICIOUS: "suspicious"}
PAIRS = 6  # of trainings with images as they are and with moved ones
COLORS = {GOOD: GREEN, UNDERFITS: BLUE, OVERFITS: RED, BOTH: PURPLE, SUSPICIOUS: ORANGE}


class Recipe(NamedTuple):
    """One training."""

    width: int = 64  # hidden units in use
    images: int = 600  # training images in use
    steps: float = 1.0  # share of the training steps
    strength: float = 1e-4  # of the penalty on squares
    rate: float = 3e-3  # learning rate of Adam
    flipped: float = 0.0  # share of the training labels that are wrong
    noise: float = 0.0  # standard deviation of noise on the training inputs, also where the training error is measured
    moved: float = 0.0  # 1 where each training image is shifted, rotated and scaled anew in every step
    draw: int = 0  # number of the random draws, and of the images that are the first ones


class Case(NamedTuple):
    """A training, what is wrong with it, and what it should be after the advice."""

    recipe: Recipe
    code: int
    remedy: Recipe | None


CASES = {
    "as it should be": Case(Recipe(), GOOD, None),
    "half the width": Case(Recipe(width=32), GOOD, None),
    "one hidden unit": Case(Recipe(width=1), UNDERFITS, Recipe()),
    "two hidden units": Case(Recipe(width=2), UNDERFITS, Recipe()),
    "a few steps": Case(Recipe(steps=0.01), UNDERFITS, Recipe()),
    "tiny learning rate": Case(Recipe(rate=1e-5), UNDERFITS, Recipe()),
    "strong penalty": Case(Recipe(strength=0.3), UNDERFITS, Recipe()),
    "40 images": Case(Recipe(images=40), OVERFITS, Recipe()),
    "30 images": Case(Recipe(images=30), OVERFITS, Recipe()),
    "20 images": Case(Recipe(images=20), OVERFITS, Recipe()),
    "40 images, two units": Case(Recipe(images=40, width=2), BOTH, Recipe()),
    "a third of the labels wrong": Case(Recipe(flipped=0.33, steps=0.3), UNDERFITS, Recipe()),  # which looks like bias
    "error measured with noise on": Case(Recipe(noise=0.8), SUSPICIOUS, Recipe()),
}
FEW, MOVED = ([Recipe(images=40, moved=moved, draw=draw) for draw in range(PAIRS)] for moved in (0.0, 1.0))


@dataclass(frozen=True)
class Config:
    """The trainings.

    Attributes:
        steps: training steps of a whole training.
        goal: the error to reach.
        gap: the largest difference of the errors that counts as close.
        repeats: trainings of each recipe; the errors are means.
        seed: random seed of everything.
    """

    steps: Annotated[int, Field(ge=100)] = 500
    goal: Annotated[float, Field(gt=0, lt=1)] = 0.1
    gap: Annotated[float, Field(gt=0, lt=1)] = 0.1
    repeats: Annotated[int, Field(ge=1)] = 5
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def run(config, key):
    """Training and validation errors ``[..., 2]`` of all cases, before and after the advice, and with moved images."""
    data = digits()
    parts = {
        "before": [case.recipe for case in CASES.values()],
        "after": [case.remedy or case.recipe for case in CASES.values()],
        "few": FEW,
        "moved": MOVED,
    }
    different = list(dict.fromkeys(itertools.chain.from_iterable(parts.values())))
    numbers = jax.tree.map(lambda *values: np.array(values, np.float32), *different)

    def errors(recipe):
        keys = jax.random.split(jax.random.fold_in(key, recipe.draw.astype(int)), config.repeats)
        return jnp.mean(jax.vmap(lambda key: _train(config, recipe, data, key))(keys), axis=0)

    found = np.asarray(jax.jit(lambda numbers: jax.lax.map(errors, numbers))(numbers))
    return {name: found[[different.index(recipe) for recipe in part]] for name, part in parts.items()}


def _train(config, recipe, data, key):
    """Errors on the training set, as it was trained on, and on the validation set."""
    x, y = (jnp.roll(jnp.asarray(each[:600]), -40 * recipe.draw.astype(int), axis=0) for each in data.train)
    validation_x, validation_y = (jnp.asarray(each) for each in data.validation)
    keys = jax.random.split(key, 5)
    used = (jnp.arange(600) < recipe.images) / recipe.images
    units = (jnp.arange(64) < recipe.width).astype(float)
    wrong = jax.random.uniform(keys[0], (600,)) < recipe.flipped
    labels = jnp.where(wrong, (y + jax.random.randint(keys[1], (600,), 1, 10)) % 10, y)
    draw = jax.nn.initializers.he_normal()
    start = {"w": draw(keys[2], (64, 64)), "b": jnp.zeros(64), "v": draw(keys[3], (64, 10)), "c": jnp.zeros(10)}
    optimizer = regopt.adam(recipe.rate)

    def logits(params, x):
        return (jax.nn.relu(x @ params["w"] + params["b"][None]) * units[None]) @ params["v"] + params["c"][None]

    def seen(step):
        """The training images of a step; what a recipe has no use for is not drawn."""
        move_key, noise_key = jax.random.split(jax.random.fold_in(keys[4], step))
        move = augment.compose(augment.translation(0.7), augment.rotation(10.0), augment.scaling(0.1))
        moved = jax.lax.cond(
            recipe.moved > 0, lambda: move(move_key, x.reshape(-1, 8, 8, 1)).reshape(x.shape), lambda: x
        )
        return jax.lax.cond(
            recipe.noise > 0, lambda: moved + recipe.noise * jax.random.normal(noise_key, x.shape), lambda: moved
        )

    def step(carry, count):
        params, state = carry

        def loss(params):
            log_p = jax.nn.log_softmax(logits(params, seen(count)))
            penalty = recipe.strength / 2 * (jnp.sum(jnp.square(params["w"])) + jnp.sum(jnp.square(params["v"])))
            return penalty - jnp.sum(used * jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0])

        updates, after = optimizer.update(jax.grad(loss)(params), state, params)
        going = count < recipe.steps * config.steps
        moved = jax.tree.map(jnp.add, params, updates), after
        return jax.tree.map(lambda new, old: jnp.where(going, new, old), moved, carry), None

    (params, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), jnp.arange(config.steps))
    train = jnp.sum(used * (jnp.argmax(logits(params, seen(config.steps)), axis=1) != labels))
    return jnp.stack([train, jnp.mean(jnp.argmax(logits(params, validation_x), axis=1) != validation_y)])


def codes(config, errors):
    """The diagnosis of each row ``(training, validation)``."""
    train, validation = jnp.asarray(errors.T)
    return np.asarray(diagnose(train, validation, config.goal, config.gap))


def neighbours(points, distance):
    """Lists of the points that share a label: each is within the distance of its list's first point."""
    groups: list[list[int]] = []
    for place, point in enumerate(points):
        for group in groups:
            if np.max(np.abs(points[group[0]] - point)) < distance:
                group.append(place)
                break
        else:
            groups.append([place])
    return groups


def figure(config, arrays):
    """The plane of both errors with its regions, and what the advice did."""
    drawing = Figure(figsize=(12, 5.4), layout="constrained")
    left, right = drawing.subplots(1, 2, width_ratios=(1.1, 1))
    grid = np.linspace(0, 1, 401)
    x, y = np.meshgrid(grid, grid)
    region = np.asarray(diagnose(jnp.asarray(x), jnp.asarray(y), config.goal, config.gap))
    left.contourf(x, y, region, levels=np.arange(-0.5, 5), colors=[COLORS[code] for code in NAMES], alpha=0.15)
    found = codes(config, arrays["before"])
    for place in range(len(CASES)):
        left.plot(*arrays["before"][place], "o", color=COLORS[int(found[place])])
    for places in neighbours(arrays["before"], 0.03):
        wrong = any(found[place] != tuple(CASES.values())[place].code for place in places)
        words = ", ".join(str(place + 1) for place in places) + ("!" if wrong else "")
        note(left, words, arrays["before"][places[0]], BLACK, (6, 2), fontsize=9)
    for code, at in (
        (GOOD, (0.012, 0.065)),
        (UNDERFITS, (0.62, 0.55)),
        (OVERFITS, (0.03, 0.65)),
        (BOTH, (0.3, 0.8)),
        (SUSPICIOUS, (0.62, 0.04)),
    ):
        left.text(*at, NAMES[code], color=COLORS[code], fontsize=11, rotation=90 if code == OVERFITS else 0)
    left.set(
        xlabel="training error", ylabel="validation error", xlim=(0, 1), ylim=(0, 1), title="diagnosis from two errors"
    )
    befores, afters = (
        np.append(arrays[case][:, 1], arrays[images][:, 1].mean())
        for case, images in (("before", "few"), ("after", "moved"))
    )
    rows = np.arange(len(befores))[::-1]
    for row, before, after, code in zip(rows, befores, afters, [*found, OVERFITS], strict=True):
        right.plot([before, after], [row, row], color=PALE, lw=3, zorder=0)
        right.plot(before, row, "o", color=COLORS[int(code)])
        right.plot(after, row, "|", color=BLACK, ms=12, mew=2)
    right.axvline(config.goal, color=GREY, ls=":")
    right.set_yticks(rows, [*(f"{place + 1}  {name}" for place, name in enumerate(CASES)), "40 images, moved"])
    right.set(xlabel="validation error (dot: before, bar: after the advice)", xlim=(0, 1), title="what helped")
    return drawing


def claims(config, arrays):
    """How many diagnoses name what was spoilt, and whether the advice helps where there is one."""
    found = codes(config, arrays["before"])
    expected = np.array([case.code for case in CASES.values()])
    spoilt = np.array([case.remedy is not None for case in CASES.values()])
    gain = arrays["before"][:, 1] - arrays["after"][:, 1]
    failing = spoilt & (arrays["before"][:, 1] > config.goal)
    change, half = paired_interval(arrays["moved"][:, 1], arrays["few"][:, 1], 0.95)
    return [
        Claim("diagnoses that name what was spoilt", BOOK, len(CASES), float(np.sum(found == expected))),
        Claim("different diagnoses among them", BOOK, len(NAMES), float(len(set(found.tolist())))),
        Claim(
            "trainings that miss the goal on validation data: gain by the advice, smallest",
            BOOK,
            0,
            float(gain[failing].min()),
            relation="at least",
        ),
        Claim(
            "after the advice: trainings that miss the goal",
            BOOK,
            0,
            float(np.sum(codes(config, arrays["after"])[spoilt] != GOOD)),
        ),
        Claim(
            "40 images, shifted, rotated and scaled anew in every step: change of the validation error, "
            f"{change:+.3f} over {PAIRS} pairs, upper end of its 95 % interval",
            MOVES,
            0,
            change + half,
            relation="at most",
        ),
    ]


if __name__ == "__main__":
    from regopt.experiment import main

    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
