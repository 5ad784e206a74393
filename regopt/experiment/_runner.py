"""Runs: an experiment with a config, executed and written into a folder of its own.

The folder is named after the experiment and its resolved config, so the same run always has the same folder.
Experiments are loaded in ``_discovery.py`` and configs are read in ``_config.py``; nothing is printed here.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from regopt._core import io
from regopt._core.messages import one_line
from regopt.experiment._claims import Claim, to_record
from regopt.experiment._config import COMMAND_LINE, ConfigError, config_values
from regopt.experiment._discovery import Experiment

if TYPE_CHECKING:
    import jax
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

SWEEP = "sweep"  # the folder of an experiment's saved sweep, inside that of its run


class Outcome(NamedTuple):
    """The folder and the claims of a run.

    Attributes:
        folder: where everything was written.
        claims: the claims; none after an interruption.
        interrupted: whether the run was ended early.
        seconds: how long ``run`` took.
        skipped: what an interrupted run could not provide, and why.
    """

    folder: Path
    claims: tuple[Claim, ...]
    interrupted: bool
    seconds: float
    skipped: tuple[str, ...] = ()


def run_folder(experiment: Experiment, config: object, out: Path) -> Path:
    """Name the folder of a run, ``out/<name>-<hash>``: 8 hexadecimal digits of the digest of name and resolved config.

    Args:
        experiment: what is run.
        config: its config.
        out: the folder of all runs.

    Returns:
        A path that is the same for the same run and another one when any value differs.

    >>> from dataclasses import make_dataclass
    >>> Config = make_dataclass("Config", [("number", float, 3.0)], frozen=True)
    >>> coin = Experiment("coin", Path("coin.py"), "Is it fair?", Config, run=dict, figure=dict, claims=list)
    >>> run_folder(coin, Config(), Path("runs")).name
    'coin-e552b8ed'
    >>> run_folder(coin, Config(), Path("runs")) == run_folder(coin, Config(number=4.0), Path("runs"))
    False
    """
    identity = {"config": config_values(config), "experiment": experiment.name}
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return out / f"{experiment.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def execute(
    experiment: Experiment, config: object, out: str | Path, *, allow_different: bool = False, executor: object = None
) -> Outcome:
    """Run an experiment and write what it found, in the folder that `run_folder` names.

    The folder is proven writable before anything is computed. Arrays and table are written first, then
    claims and figure, each file whole or not at all, so an error in a later piece loses nothing of an
    earlier one. An interrupted run leaves arrays, table and, if it can be drawn, the figure, but no claims.

    Args:
        experiment: from `load_experiment`.
        config: an instance of its ``Config``; the random key comes from its ``seed`` (0 without one).
        out: the folder of all runs.
        allow_different: resume a sweep that was begun with other versions, devices or data.
        executor: where the lanes of its sweep train, as ``regopt.sweep.run`` takes it.

    Returns:
        Where the files are, the claims, and whether the run was interrupted.

    Raises:
        ConfigError: the folder cannot be written or holds another sweep, the seed is out of range, or an
            executor is given and the experiment has no sweep.
        TypeError: the experiment's ``claims`` or ``figure`` returned something else than claims or figures.

    >>> import tempfile
    >>> from dataclasses import make_dataclass
    >>> from matplotlib.figure import Figure
    >>> doubling = Experiment(
    ...     name="doubling",
    ...     path=Path("doubling.py"),
    ...     question="Is the number doubled?",
    ...     config_class=make_dataclass("Config", [("number", float, 3.0)], frozen=True),
    ...     run=lambda config, key: {"doubled": config.number + config.number},
    ...     figure=lambda config, arrays: Figure(),
    ...     claims=lambda config, arrays: [Claim("twice it", "arithmetic", 2 * config.number, arrays["doubled"])],
    ... )
    >>> with tempfile.TemporaryDirectory() as runs:
    ...     outcome = execute(doubling, doubling.config_class(), Path(runs))
    ...     sorted(path.name for path in outcome.folder.iterdir())
    ['arrays.npz', 'claims.json', 'config.toml', 'doubling.png', 'versions.json']
    >>> outcome.claims[0].verdict
    'holds'
    """
    folder = run_folder(experiment, config, Path(out))
    return execute_in(folder, experiment, config, allow_different=allow_different, executor=executor)


def execute_in(
    folder: Path, experiment: Experiment, config: object, *, allow_different: bool = False, executor: object = None
) -> Outcome:
    """Run an experiment as `execute` does, in a folder that the caller has named.

    Args:
        folder: the folder of this run, from `run_folder`.
        experiment: as for `execute`.
        config: as for `execute`.
        allow_different: as for `execute`.
        executor: as for `execute`.

    Returns:
        As `execute`.

    Raises:
        ConfigError: as `execute`.
    """
    seed = getattr(config, "seed", 0)
    if not 0 <= seed < 2**32:  # jax.random.key would drop the higher bits and repeat another seed
        raise ConfigError(f"config of {experiment.name}", "seed", f"must be an integer in [0, 2**32), got {seed}")
    saves = "saved" in inspect.signature(experiment.run).parameters
    if executor is not None and not saves:
        raise ConfigError(COMMAND_LINE, "--executor", f"{experiment.name} has no sweep that an executor could train")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        io.write_text(folder / "config.toml", to_toml(config, f"Experiment: {experiment.name}"))
    except OSError as error:
        raise ConfigError(folder, "", f"cannot be written: {error.strerror}") from error
    io.write_json(folder / "versions.json", io.versions())
    import jax

    start = time.perf_counter()
    saved: dict[str, object] = {"out": folder / SWEEP, "allow_different": allow_different}
    saved |= {"executor": executor} if executor is not None else {}
    result = _run(folder, experiment, config, jax.random.key(seed), saved if saves else None)
    seconds = time.perf_counter() - start
    claims, interrupted, skipped = _write_results(folder, experiment, config, result)
    return Outcome(folder, claims, interrupted, seconds, skipped)


def _run(
    folder: Path, experiment: Experiment, config: object, key: jax.Array, saved: dict[str, object] | None
) -> Mapping[str, ArrayLike]:
    """The experiment's arrays; an experiment that saves a sweep saves it in a folder inside its own."""
    if saved is None:
        return experiment.run(config, key)
    from regopt.sweep.checkpoint import StoreError

    try:
        return experiment.run(config, key, saved)
    except StoreError as error:
        raise ConfigError(folder, "", str(error)) from error


def _write_results(
    folder: Path, experiment: Experiment, config: object, result: Mapping[str, ArrayLike]
) -> tuple[tuple[Claim, ...], bool, tuple[str, ...]]:
    """Write everything that follows from the arrays; return the claims, whether they are partial, and what failed."""
    _remove_results(folder)
    arrays = io.write_arrays(folder / "arrays.npz", result)
    interrupted = _interrupted(arrays)
    claims: tuple[Claim, ...] = ()
    skipped: list[str] = []
    if experiment.table is not None:
        with _forgiving("table", interrupted, skipped):
            io.write_table(folder / "table.parquet", experiment.table(config, arrays))
    if not interrupted:
        claims = tuple(experiment.claims(config, arrays))
        _write_claims(folder / "claims.json", claims)
    with _forgiving("figure", interrupted, skipped):
        _write_figures(folder, experiment.name, experiment.figure(config, arrays))
    return claims, interrupted, tuple(skipped)


def _interrupted(arrays: Mapping[str, ArrayLike]) -> bool:
    """Whether a sweep among the results ended early."""
    import numpy as np

    return bool(np.any(arrays.get("interrupted", False)))


@contextlib.contextmanager
def _forgiving(piece: str, interrupted: bool, skipped: list[str]) -> Iterator[None]:
    """Note an error instead of raising it, where the interruption of the run explains it."""
    try:
        yield
    except Exception as error:
        if not interrupted:
            raise
        skipped.append(f"{piece}: {type(error).__name__}: {error}")


def to_toml(config: object, heading: str) -> str:
    """Write a config as TOML that `read_config` reads back to an equal config.

    Args:
        config: an instance of a config dataclass.
        heading: the comment on the first line.

    Returns:
        The text of the file.
    """
    lines = [f"# {one_line(heading)}"]
    for name, value in config_values(config).items():
        # JSON's scalars and lists are TOML's, but for the delete character, which TOML wants escaped
        text = json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")
        lines.append(f"{name if name.isascii() else json.dumps(name, ensure_ascii=False)} = {text}")
    return "\n".join(lines) + "\n"


def _remove_results(folder: Path) -> None:
    """Remove what an earlier run left, so that no claim or figure outlives its arrays."""
    for path in folder.iterdir():
        if path.name in ("arrays.npz", "claims.json", "table.parquet") or path.suffix == ".png":
            path.unlink(missing_ok=True)  # another host may have


def _write_claims(path: Path, claims: Sequence[Claim]) -> None:
    """Write claims with their verdicts as a JSON list."""
    for claim in claims:
        if not isinstance(claim, Claim):
            raise TypeError(f"claims must return a list of Claim, got {type(claim).__name__} in it")
    io.write_json(path, [to_record(claim) for claim in claims])


def _write_figures(folder: Path, name: str, figures: Figure | Mapping[str, Figure]) -> None:
    """Write one figure as ``<name>.png``, or several as ``<name>-<key>.png``."""
    parts = figures if isinstance(figures, Mapping) else {"": figures}
    for part, figure in parts.items():
        if not hasattr(figure, "savefig"):
            raise TypeError(f"figure must return a matplotlib Figure, got {type(figure).__name__}")
        with io.replacing(folder / f"{name}{f'-{part}' if part else ''}.png") as temporary:
            figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight")
