"""The gallery of experiments, written anew at each build from the runs in ``runs/`` (or ``REGOPT_RUNS``).

An experiment has a page with its question, its figures, and its claims with their verdicts: of the run with its default
config, else of that with its smoke config, which the page says. ``regopt claims`` makes the runs.
"""

import inspect
import json
import os
import re
import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx

from regopt.experiment import Experiment, discover, load_experiment, read_config, run_folder

CONFIGS = ("default", "smoke")
LEAD = """# Gallery

Each experiment asks one question, and its claims say what a source states, what was measured, and whether the two
agree. The pages are made from the runs themselves:

```sh
regopt claims                      # every experiment, into runs/
sphinx-build docs docs/_build/html  # the pages, from runs/
```

[Experiments](../experiments.md) says how to write one, and [the course](../course.md) which lecture each belongs to.
"""


def write(app: Sphinx) -> None:
    """Write ``gallery/``."""
    root, folder = Path(app.srcdir).parent, Path(app.srcdir) / "gallery"
    runs = Path(os.environ.get("REGOPT_RUNS", root / "runs"))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    before, cards, names = set(sys.modules), [], []
    for listing in discover(root):
        experiment = load_experiment(listing.path)
        found = _run_of(experiment, root, runs)
        figures = _figures(experiment.name, found[1], folder) if found else []
        (folder / f"{experiment.name}.md").write_text(_page(experiment, found, figures))
        cards.append(_card(experiment, found, figures))
        names.append(experiment.name)
    for name in set(sys.modules) - before:
        if name.startswith("regopt_experiment_"):
            del sys.modules[name]
    grid = "\n".join(cards)
    entries = "\n".join(names)
    text = f"{LEAD}\n:::::{{grid}} 1 2 2 3\n:gutter: 3\n\n{grid}\n:::::\n\n```{{toctree}}\n:hidden:\n{entries}\n```\n"
    (folder / "index.md").write_text(text)


def _run_of(experiment: Experiment, root: Path, runs: Path) -> tuple[str, Path] | None:
    """The name of the config and the folder of the run that the page shows; None where nothing has run."""
    for config in CONFIGS:
        path = root / "configs" / experiment.name / f"{config}.toml"
        if path.is_file():
            folder = run_folder(experiment, read_config(path, experiment.config_class), runs)
            if (folder / "claims.json").is_file():
                return config, folder
    return None


def _figures(name: str, run: Path, folder: Path) -> list[str]:
    """Copy the figures of a run beside its page."""
    copied = []
    for figure in sorted(run.glob("*.png")):
        target = figure.name if figure.stem.startswith(name) else f"{name}-{figure.name}"
        shutil.copyfile(figure, folder / target)
        copied.append(target)
    return copied


def _claims(run: Path) -> list[dict[str, str]]:
    return json.loads((run / "claims.json").read_text())


def _page(experiment: Experiment, found: tuple[str, Path] | None, figures: list[str]) -> str:
    about = inspect.getdoc(sys.modules[experiment.run.__module__]) or ""
    parts = [f"# {experiment.name}", _prose(about)]
    if found is None:
        parts.append(
            f"No run of it was there when this page was made. `regopt run {experiment.name} default` makes one."
        )
        return "\n\n".join(parts) + "\n"
    config, run = found
    if config != "default":
        parts.append(
            f"The page shows a run with the config `{config}`, which takes seconds, and not one with `default`. Its "
            "numbers are rougher."
        )
    parts += [f"![{experiment.question}]({name})" for name in figures]
    parts.append("## Claims\n\n" + _table(_claims(run)))
    parts.append(f"## Run it\n\n```sh\nregopt run {experiment.name} {config}\n```")
    for path in (f"experiments/{experiment.name}.py", f"configs/{experiment.name}/{config}.toml"):
        parts.append(f":::{{dropdown}} {path}\n```{{literalinclude}} ../../{path}\n```\n:::")
    return "\n\n".join(parts) + "\n"


def _table(claims: list[dict[str, str]]) -> str:
    rows = [
        f"| {_cell(claim['statement'])} | {_cell(claim['source'])} | {_bound(claim)} | {_number(claim['measured'])} | "
        f"{claim['verdict']} |"
        for claim in claims
    ]
    return "| claim | source | expected | measured | verdict |\n| --- | --- | --- | --- | --- |\n" + "\n".join(rows)


def _prose(text: str) -> str:
    """A docstring as Markdown: what is not code may hold stars that are products."""
    pieces = re.split(r"(``.*?``)", text, flags=re.DOTALL)
    return "".join(piece if at % 2 else re.sub(r"(?<=\S)\*|<", r"\\\g<0>", piece) for at, piece in enumerate(pieces))


def _cell(text: str) -> str:
    for letter in "\\|*_<$":
        text = text.replace(letter, f"\\{letter}")
    return text


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def _bound(claim: dict[str, str]) -> str:
    relation = "" if claim["relation"] == "equal" else f"{claim['relation']} "
    tolerance = f" ± {_number(claim['tolerance'])}" if claim["tolerance"] else ""
    return f"{relation}{_number(claim['expected'])}{tolerance}"


def _card(experiment: Experiment, found: tuple[str, Path] | None, figures: list[str]) -> str:
    lines = [f"::::{{grid-item-card}} {experiment.name}", f":link: {experiment.name}", ":link-type: doc"]
    if figures:
        lines.append(f":img-bottom: {figures[0]}")
    if found:
        claims = _claims(found[1])
        held = sum(claim["verdict"] == "holds" for claim in claims)
        verdict = f"{held} of {len(claims)} claims hold."
    else:
        verdict = "Not run."
    return "\n".join([*lines, "", _cell(experiment.question), "", f"*{verdict}*", "::::", ""])


def link_course(app: Sphinx, page: str, source: list[str]) -> None:
    """Lead from the course to the pages of the gallery, which have the numbers, and to the API."""
    del app
    if page == "course":
        to_pages = re.sub(r"\]\(\.\./experiments/(\w+)\.py\)", r"](gallery/\1.md)", source[0])
        source[0] = re.sub(r"`(regopt\.[\w.]+)`", r"{py:obj}`\1`", to_pages)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("builder-inited", write, priority=100)
    app.connect("source-read", link_course)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
