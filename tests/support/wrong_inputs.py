"""Wrong inputs with known verdicts: what each call is given, and the words that its refusal must have.

The same families of mistakes for Python, TOML and the command line: wrong types, bools and strings for numbers, NaN
and infinities, values outside their range, whole numbers beyond int32 and int64, negative zero, names with a letter
dropped, doubled or exchanged, nesting, unicode, files of 10 MB, folders for files and files for folders.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from regopt import sweep, training
from regopt._core.messages import brief, cut
from regopt._core.types import Task
from regopt.data import Splits

NAN, INF = float("nan"), float("inf")
DATA = Splits((np.arange(12.0, dtype=np.float32),), (np.ones(3, np.float32),))
LINE = sweep.uniform(0.0, 1.0)
SPACE = {"rate": LINE}
SETTINGS = sweep.from_columns({"rate": [0.1, 0.2]})


class Wrong(NamedTuple):
    """An input that must be refused in one line."""

    name: str
    call: Callable[[], Any]
    words: tuple[str, ...]  # all of them in the line


def _task() -> Task:
    def init(key, h):
        return {"x": 0.0 * h["rate"]}

    def step(state, batch, key, h):
        return {"x": state["x"] + h["rate"]}, {"loss": state["x"]}

    def evaluate(state, data, h):
        return {"validation_loss": state["x"], "validation_accuracy": -state["x"]}

    return Task(init, step, evaluate)


TASK = _task()


def run(**options: Any) -> sweep.Result:
    """A valid sweep, but for the options."""
    given = {"task": TASK, "settings": SETTINGS, "data": DATA, "steps": 4, "eval_every": 2, "chunk": 2}
    given |= {"devices": jax.devices()[:1]} | options
    return sweep.run(given.pop("task"), given.pop("settings"), given.pop("data"), **given)


def fit(**options: Any) -> training.Fit:
    """A valid fit, but for the options."""
    given = {"task": TASK, "h": {"rate": jnp.float32(0.1)}, "data": DATA, "steps": 4, "eval_every": 2} | options
    return training.fit(given.pop("task"), given.pop("h"), given.pop("data"), **given)


def typos(name: str, count: int, draw: random.Random) -> list[str]:
    """Names near this one: a letter dropped, doubled, exchanged with the next, or in another case."""
    found: dict[str, None] = {}
    while len(found) < count:
        at = draw.randrange(1, len(name) - 1)
        letter, after = name[at], name[at + 1]
        middle = draw.choice(["", letter + letter, after + letter, letter.swapcase() + "_"])
        taken = 2 if len(middle) == 2 and middle[0] == after else 1
        wrong = name[:at] + middle + name[at + taken :]
        if wrong != name:
            found[wrong] = None
    return list(found)


def no_number(*, optional: bool) -> list[Any]:
    """What is no number; None only where it is not allowed."""
    words = ["4", "", "四", b"4", "x" * 1_000_000, "nan", True, False, np.True_]
    things = [1j, [], [4], (4,), {"a": 4}, {4}, range(3), slice(1), np.array([4.0, 8.0]), int, object(), DATA, SPACE]
    nested: Any = 4
    for _ in range(50):
        nested = [nested]
    return [*words, *things, nested, np.datetime64(0, "s"), *([] if optional else [None])]


def no_whole(low: int, *, optional: bool = False) -> list[Any]:
    """What is no whole number in [low, inf)."""
    numbers = [1.5, 2.0, NAN, INF, -INF, -0.0, np.float32(4.0), np.array(4), low - 1, low - 2, np.int64(low - 1)]
    return [*no_number(optional=optional), len, *numbers, -(2**31), -(2**70), 2**31, 2**63, 2**64, 10**400, 10**5000]


def outside(low: float, high: float, closed: str, draw: random.Random) -> list[float]:
    """Numbers outside an interval, its open ends among them."""
    found = [NAN, np.float32(NAN)]
    if low > -INF:
        found += [-INF, low - 10 ** draw.uniform(-3, 3), np.nextafter(low, -INF), *([] if closed[0] == "[" else [low])]
    if low == 0 and closed[0] == "(":
        found += [-0.0, 0]
    if high < INF:
        found += [INF, high + 10 ** draw.uniform(-3, 3), np.nextafter(high, INF), *([] if closed[1] == "]" else [high])]
    return found + ([INF] if high == INF and closed[1] == ")" else [])


def _said(value: Any) -> str:
    """How the line shows the value: as Python writes it, a number in plain digits."""
    plain = isinstance(value, int | float | np.number) and not isinstance(value, bool) and abs(value) < 2**63
    return cut(str(value))[:40] if plain and not isinstance(value, np.number) else brief(value)[:12].strip("\"'")


def _cases(name: str, call: Callable[[Any], Any], values: Sequence[Any], *words: str) -> Iterator[Wrong]:
    """One for each value, whose line names the value too."""
    for number, value in enumerate(values):
        shown = () if isinstance(value, np.number) else (_said(value),)
        yield Wrong(f"{name} {number}", lambda value=value: call(value), (*words, *shown))


def _options(call: Callable[..., Any], option: str) -> Callable[[Any], Any]:
    return lambda value: call(**{option: value})


def _of_runs(draw: random.Random) -> Iterator[Wrong]:
    """Arguments of ``sweep.run`` and ``training.fit``."""
    for call, whole in (
        (run, ("steps", "eval_every", "batch_size", "eval_batch_size", "eval_batches", "chunk", "slots")),
        (fit, ("steps", "eval_every")),
    ):
        what = call.__name__
        for name in whole:
            values = no_whole(1, optional=name not in ("steps", "eval_every"))
            yield from _cases(f"{what} {name}", _options(call, name), values, f"{name} must be a whole number")
        patience = [x for x in no_number(optional=True) if x is not int] + outside(0, INF, "[)", draw)
        yield from _cases(f"{what} patience", _options(call, "patience"), patience, "patience must", "[0, inf)")
        values = [0, 1.5, NAN, None, True, b"validation_loss", ["validation_loss"], {}, int, np.array(1), 1j]
        yield from _cases(f"{what} monitor", _options(call, "monitor"), values, "monitor must be the name of a metric")
        for right in ("validation_loss", "validation_accuracy"):
            near = f"did you mean '{right}'?"
            values = typos(right, 8, draw)
            yield from _cases(f"{what} {right}", _options(call, "monitor"), values, "monitor must be one of", near)
        values = ["", "loss\n", "四", "\x1b[31m", "x" * 10_000_000, "nan"]
        yield from _cases(f"{what} no metric", _options(call, "monitor"), values, "monitor must be one of")
        values = [0, True, "MIN", "minimum", "", b"min", ["min"], np.array(["min", "max"]), NAN, int, {}]
        yield from _cases(f"{what} mode", _options(call, "mode"), values, 'mode must be "min" or "max"')
        values = [0, 2**70, True, "0", NAN, [0], np.array([0, 1], np.uint32), jnp.zeros(2, jnp.uint32), int]
        yield from _cases(f"{what} key", _options(call, "key"), values, "key must be a typed key")
        values = [None, 0, "adam", TASK.init, {"init": TASK.init}, TASK[:3], Task]
        yield from _cases(f"{what} task", _options(call, "task"), values, "task must be a regopt.sweep.Task")
        yield from _data(call)
        yield Wrong(f"{what} batch", lambda call=call: call(batch_size=13), ("batch_size", "[1, 12]", "got 13"))
        yield Wrong(
            f"{what} multiple", lambda call=call: call(steps=5), ("multiple of eval_every = 2, got 5; 6 would",)
        )


def _data(call: Callable[..., Any]) -> Iterator[Wrong]:
    values = [None, 0, "digits", {}, [], (DATA.train,), DATA.train[0], {"train": DATA.train}]
    for number, value in enumerate(values):
        yield Wrong(f"{call.__name__} data {number}", lambda value=value: call(data=value), ("data must have a train",))
    parts = [(), 4, (4.0,), ([1.0, 2.0],), (np.array(3.0),), np.array(["a"]), np.array([object()]), np.zeros((0, 2))]
    parts.append((np.zeros(3), np.zeros(4)))
    for place, part in enumerate(("train", "validation")):
        for number, value in enumerate(parts):
            data = DATA._replace(**{part: value})
            words = ("data", part if place or number else "train")
            yield Wrong(f"{call.__name__} {part} {number}", lambda data=data: call(data=data), words)


def _of_saving(folder: str, draw: random.Random) -> Iterator[Wrong]:
    """The other arguments of ``sweep.run``: saving, devices, executors, schedulers, resamples, names."""
    values = no_number(optional=False) + outside(0, INF, "[)", draw)
    yield from _cases("save_every", _options(run, "save_every"), values, "save_every must", "[0, inf)")
    for name in ("allow_different", "progress"):
        values = [0, 1, "true", "", None, NAN, [], np.array([True, False]), "no"]
        yield from _cases(name, _options(run, name), values, f"{name} must be True or False")
    file = f"{folder}/file"
    values = [0, True, NAN, b"out", [], ["out"], {}, int, "", "a\0b", "x" * 5000, file, f"{file}/below", object()]
    for number, value in enumerate(values):
        words = ("out must be the path of a folder",)
        yield Wrong(f"out {number}", lambda value=value: run(out=value), words)
    device = jax.devices()[0]
    values = [0, [], (), "cpu", ["cpu"], [0], {device}, device, [device, device], [device, None], True, NAN]
    for number, value in enumerate(values):
        yield Wrong(f"devices {number}", lambda value=value: run(devices=value), ("devices must be",))
    values = [0, "rays", "", True, NAN, [], {}, len, sweep.Ray, object()]
    yield from _cases("executor", lambda value: run(executor=value, out=folder), values, "executor must be")
    values = [0, "asha", sweep.hyperband, True, NAN, [sweep.hyperband()], {}, "hyperband()", (None, "halving")]
    yield from _cases("scheduler", _options(run, "scheduler"), values, "scheduler must come from")
    for number, name in enumerate(typos("rate", 4, draw)):
        changing = sweep.population_based_training({name: LINE})
        words = (f"the scheduler changes {name}", "did you mean 'rate'?")
        yield Wrong(f"scheduler changes {number}", lambda changing=changing: run(scheduler=changing), words)
        settings = sweep.from_columns({name: [0.1, 0.2]})
        words = ("the task asks for 'rate'", f"did you mean {name!r}?")
        yield Wrong(f"settings {number}", lambda settings=settings: run(settings=settings), words)
        yield Wrong(f"h {number}", lambda name=name: fit(h={name: jnp.float32(0.1)}), words)
    values = [None, 0, "grid", {"rate": [0.1]}, [SETTINGS], SPACE, True, LINE]
    for number, value in enumerate(values):
        yield Wrong(f"no settings {number}", lambda value=value: run(settings=value), ("settings must come from grid",))
    values = [0, True, "0", [0, 1], [[0.5]], [[True]], [["0"]], [[0], [0, 1]], [[]], {}, [[-1]], [[12]], [[2**40]]]
    for number, value in enumerate(values):
        given = {"settings": sweep.from_columns({"rate": [0.1], "replica": [0]}), "resamples": value}
        yield Wrong(f"resamples {number}", lambda given=given: run(**given), ("resamples must",))
    for number, column in enumerate([[0.5, 1.0], ["0", "1"], [True, False], [2**31, 0], [-(2**40), 0]]):
        settings = sweep.from_columns({"rate": [0.1, 0.2], "seed": column})
        yield Wrong(
            f"seed {number}", lambda settings=settings: run(settings=settings), ("column seed", "whole numbers")
        )
    for number, values in enumerate([["0.1", "0.2"], [None, None], [(1, 2), (3, 4)]]):
        settings = sweep.from_columns({"rate": values})
        task = TASK._replace(init=lambda key, h: sweep.log_uniform(h["rate"], 1.0))
        words = ("low must be a number in (0, inf)",)
        yield Wrong(f"text {number}", lambda task=task, s=settings: run(task=task, settings=s), words)


def _of_spaces(draw: random.Random) -> Iterator[Wrong]:
    """Dimensions, designs and schedulers."""
    numbers: list[tuple[str, Callable[[Any], Any], float, float, str]] = [
        ("low", lambda x: sweep.uniform(x, 1.0), -INF, INF, "()"),
        ("high", lambda x: sweep.uniform(0.5, x), 0.5, INF, "()"),
        ("low", lambda x: sweep.log_uniform(x, 1.0), 0, INF, "()"),
        ("high", lambda x: sweep.log_uniform(0.5, x), 0.5, INF, "()"),
        ("eta", sweep.successive_halving, 1, INF, "()"),
        ("eta", sweep.hyperband, 1, INF, "()"),
        ("eta", sweep.asynchronous_halving, 1, INF, "()"),
        ("fraction", lambda x: sweep.population_based_training(SPACE, fraction=x), 0, 0.5, "(]"),
        ("resample", lambda x: sweep.population_based_training(SPACE, resample=x), 0, 1, "[]"),
        ("factors", lambda x: sweep.population_based_training(SPACE, factors=(0.8, x)), 0, INF, "()"),
    ]
    for number, (name, call, low, high, closed) in enumerate(numbers):
        values = no_number(optional=False) + outside(low, high, closed, draw)
        yield from _cases(f"{name} {number}", call, values, f"{name} must")
    whole: list[tuple[str, Callable[[Any], Any], int]] = [
        ("count", sweep.seeds, 1),
        ("first", lambda x: sweep.seeds(2, x), 0),
        ("count", sweep.replicas, 1),
        ("points", lambda x: sweep.grid(SPACE, points={"rate": x}), 1),
        ("count", lambda x: sweep.random(SPACE, x), 1),
        ("count", lambda x: sweep.sobol(SPACE, x), 1),
        ("count", lambda x: sweep.latin_hypercube(SPACE, x), 1),
        ("seed", lambda x: sweep.random(SPACE, 2, x), 0),
        ("seed", lambda x: sweep.sobol(SPACE, 2, x), 0),
        ("grace_period", sweep.median_rule, 1),
        ("min_samples", lambda x: sweep.median_rule(1, x), 1),
        ("min_resource", lambda x: sweep.successive_halving(3.0, x), 1),
        ("every", lambda x: sweep.population_based_training(SPACE, x), 1),
        ("seed", lambda x: sweep.population_based_training(SPACE, seed=x), 0),
    ]
    for number, (name, call, low) in enumerate(whole):
        values = no_whole(low, optional=name == "points")
        yield from _cases(f"whole {name} {number}", call, values, f"{name} must be a whole number")
    for number, call in enumerate((sweep.choice, sweep.static, lambda x: sweep.from_columns({"rate": x}))):
        values = [0, True, NAN, "0.1", b"0.1", "", None, {"a": 1}, {1, 2}, np.array(0.1), np.ones((2, 2)), 1j, int]
        yield from _cases(f"values {number}", call, values, "values must be a list or a one-dimensional array")
        values = [[], (), np.zeros(0), range(0)]
        for at, value in enumerate(values):
            yield Wrong(f"empty {number} {at}", lambda c=call, v=value: c(v), ("needs at least one value, got none",))
    spaces = [0, "rate", ["rate"], None, [("rate", LINE)], LINE, True]
    dimensions = [(0.0, 1.0), [0.1, 0.2], 0.1, "uniform", sweep.uniform, None]
    for number, call in enumerate((sweep.grid, lambda x: sweep.random(x, 2), sweep.population_based_training)):
        yield from _cases(f"space {number}", call, spaces, "space must be a dict")
        for at, value in enumerate(dimensions):
            words = ("the dimension rate must come from",)
            yield Wrong(f"dimension {number} {at}", lambda c=call, v=value: c({"rate": v}), words)
    for number, name in enumerate(typos("rate", 4, draw)):
        words = (f"points names {name!r}", "did you mean 'rate'?")
        yield Wrong(f"points {number}", lambda name=name: sweep.grid(SPACE, points={name: 3}), words)
    names = [0, None, True, 1.5, (1,), b"rate"]
    yield from _cases("name", lambda x: sweep.from_columns({x: [1.0]}), names, "the names of columns must be strings")
    reserved = ["status", "step", "setting", "first_bad_step"]
    yield from _cases("reserved", lambda x: sweep.from_columns({x: [1.0]}), reserved, "must not be named")


def of_python(folder: str) -> list[Wrong]:
    """All of them; ``folder/file`` must be a file."""
    draw = random.Random(0)
    return [*_of_runs(draw), *_of_saving(folder, draw), *_of_spaces(draw)]
