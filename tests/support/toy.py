"""Toy experiments as texts: one with every piece, and one whose config decides how it ends."""

from pathlib import Path

TOY = '''"""Does the toy draw its numbers from its seed?

It has every piece that an experiment can have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import pandas as pd
from matplotlib.figure import Figure
from pydantic import Field

from regopt.experiment import Claim


@dataclass(frozen=True)
class Config:
    """Scale (> 0) and size of the numbers."""

    scale: Annotated[float, Field(gt=0)]
    size: tuple[int, ...] = (3, 2)
    seed: int = 0


def run(config, key):
    numbers = config.scale * jax.random.normal(key, config.size)
    return {"numbers": numbers, "half": jnp.full(2, 1.5, jnp.bfloat16), "label": "toy", "file": 4}


def figure(config, arrays):
    result = Figure()
    result.add_subplot().plot(arrays["numbers"][0])
    return result


def claims(config, arrays):
    return [Claim("the label has 3 letters", "here", 3, len(str(arrays["label"])))]


def table(config, arrays):
    return pd.DataFrame(arrays["numbers"])
'''

MODES = '''"""Does the toy double its number?"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from matplotlib.figure import Figure
from pydantic import Field

from regopt.experiment import main
from regopt.experiment import Claim


@dataclass(frozen=True)
class Config:
    """A number, what happens to it, and words that are only stored.

    Attributes:
        number: what is doubled, from nothing to a hundred.
    """

    number: Annotated[float, Field(gt=0, le=100)]
    mode: Literal["good", "off", "early", "raise", "ctrl-c", "exit", "late"] = "good"
    steps: tuple[int, ...] = (1, 2)
    nesterov: bool = True


def run(config, key):
    if config.mode == "raise":
        raise ZeroDivisionError("the toy\\nbroke")
    if config.mode == "exit":
        sys.exit(5)
    if config.mode == "ctrl-c":
        raise KeyboardInterrupt
    return {
        "doubled": np.array(2.0 * config.number + (config.mode == "off")),
        "interrupted": np.array(config.mode == "early"),
        "late": np.array(config.mode == "late"),
    }


def figure(config, arrays):
    return Figure()


def claims(config, arrays):
    if arrays["late"]:
        raise KeyboardInterrupt
    return [Claim("it [is] doubled", "arithmetic", 2 * config.number, float(arrays["doubled"]))]


if __name__ == "__main__":
    raise SystemExit(main(["run", __file__, *sys.argv[1:]]))
'''


def write(root: Path, text: str = TOY, name: str = "toy.py") -> Path:
    path = root / "experiments" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def add(root: Path, name: str, text: str, **configs: str) -> None:
    (root / "experiments").mkdir(exist_ok=True)
    (root / "experiments" / f"{name}.py").write_text(text)
    (root / "configs" / name).mkdir(parents=True)
    for config, content in configs.items():
        (root / "configs" / name / f"{config}.toml").write_text(content)
