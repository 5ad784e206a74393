"""The files of a run folder: one function per format.

This file is not for deciding what is written when (``_runner.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regopt.experiment._claims import Claim, to_record

if TYPE_CHECKING:
    pass
from regopt._core.io import replacing, write_json


def remove_results(folder: Path) -> None:
    """Remove what an earlier run left, so that no claim or figure outlives its arrays.

    Args:
        folder: the run folder.
    """
    for path in folder.iterdir():
        if path.name in ("arrays.npz", "claims.json", "table.parquet") or path.suffix == ".png":
            path.unlink(missing_ok=True)  # another host may have


def write_claims(path: Path, claims: Sequence[Claim]) -> None:
    """Write claims with their verdicts as a JSON list.

    Args:
        path: the file.
        claims: the claims in their order.

    Raises:
        TypeError: one of them is no `Claim`.
    """
    for claim in claims:
        if not isinstance(claim, Claim):
            raise TypeError(f"claims must return a list of Claim, got {type(claim).__name__} in it")
    write_json(path, [to_record(claim) for claim in claims])


def write_figures(folder: Path, name: str, figures: Any) -> None:
    """Write one figure as ``<name>.png``, or several as ``<name>-<key>.png``.

    Args:
        folder: where to.
        name: the experiment's name.
        figures: a matplotlib Figure, or a mapping from keys to Figures.

    Raises:
        TypeError: one of them is no figure.
    """
    parts = figures if isinstance(figures, Mapping) else {"": figures}
    for part, figure in parts.items():
        if not hasattr(figure, "savefig"):
            raise TypeError(f"figure must return a matplotlib Figure, got {type(figure).__name__}")
        with replacing(folder / f"{name}{f'-{part}' if part else ''}.png") as temporary:
            figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight")
