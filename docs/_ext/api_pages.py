"""Pages of the API, written anew at each build: one a package, from its ``__all__``, and one a public symbol.

``pages`` needs no sphinx, so that a test can look at them without a build.
"""

import importlib
import inspect
import pprint
import re
import textwrap
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

PACKAGES = [
    "regopt",
    "regopt.regularization",
    "regopt.penalties",
    "regopt.optimizers",
    "regopt.transforms",
    "regopt.schedules",
    "regopt.projections",
    "regopt.sweep",
    "regopt.training",
    "regopt.ensembles",
    "regopt.solvers",
    "regopt.sklearn",
    "regopt.layers",
    "regopt.losses",
    "regopt.noise",
    "regopt.augment",
    "regopt.initializers",
    "regopt.data",
    "regopt.curvature",
    "regopt.analysis",
    "regopt.analysis.bias_variance",
    "regopt.analysis.critical_points",
    "regopt.analysis.quadratic",
    "regopt.report",
    "regopt.experiment",
    "regopt.testing",
]
LONGEST = 8000  # characters of a constant that is shown
PARTS = {"Functions": inspect.isfunction, "Classes": inspect.isclass, "Constants": lambda _: True}


def pages() -> dict[str, str]:
    """The text of each page, by its path inside ``api/``."""
    found = {"index.md": _index()}
    homes = _homes()
    for name in PACKAGES:
        found |= _package(importlib.import_module(name), homes)
    return found


def write(app: "Sphinx") -> None:
    """Write ``api/``, leaving files that are right as they are, so that a second build reads only what changed."""
    folder, written = Path(app.srcdir) / "api", pages()
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if path.relative_to(folder).as_posix() not in written:
            path.unlink()
    for page, text in written.items():
        path = folder / page
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def _homes() -> dict[int, str]:
    """The public name of each function and class, by identity: the package that is deepest says it."""
    homes = {}
    for name in sorted(PACKAGES, key=lambda name: name.count(".")):
        package = importlib.import_module(name)
        for symbol in package.__all__:
            value = getattr(package, symbol)
            if inspect.isfunction(value) or inspect.isclass(value):
                homes[id(value)] = f"{name}.{symbol}"
    return homes


def _index() -> str:
    rows = [f"| [`{name}`]({name}.md) | {_summary(importlib.import_module(name))} |" for name in PACKAGES]
    entries = "\n".join(PACKAGES)
    return (
        "# API\n\nEach package's `__init__` is the one public path of a symbol. Other names are private."
        "\n\n"
        f"| package | what is in it |\n| --- | --- |\n{chr(10).join(rows)}\n\n"
        f"```{{toctree}}\n:hidden:\n{entries}\n```\n"
    )


def _summary(value: object) -> str:
    """The first paragraph of a docstring as one line of Markdown that fits into a table."""
    text = (inspect.getdoc(value) or "").split("\n\n")[0]
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


def _package(package: ModuleType, homes: dict[int, str]) -> dict[str, str]:
    name, pages = package.__name__, {}
    left = [symbol for symbol in package.__all__ if not symbol.startswith("__")]
    modules = [symbol for symbol in left if inspect.ismodule(getattr(package, symbol))]
    left = [symbol for symbol in left if symbol not in modules]
    text = [
        f"```{{eval-rst}}\n.. module:: {name}\n```\n\n# {name}\n\n```{{eval-rst}}\n{inspect.getdoc(package)}\n```\n"
    ]
    if modules:
        listed = [symbol for symbol in modules if f"{name}.{symbol}" in PACKAGES]
        text.append(
            _table("Packages", [(symbol, f"{name}.{symbol}.md", getattr(package, symbol)) for symbol in listed])
        )
    for part, belongs in PARTS.items():
        rows = []
        for symbol in [symbol for symbol in left if belongs(getattr(package, symbol))]:
            left.remove(symbol)
            value = getattr(package, symbol)
            home = homes.get(id(value), f"{name}.{symbol}")
            page = _page_of(home)
            rows.append((symbol, page, value if part != "Constants" else None))
            if home == f"{name}.{symbol}":
                pages[page] = _symbol(part, name, symbol)
        if rows:
            text.append(_table(part, rows))
    entries = "\n".join(page.removesuffix(".rst") for page in pages)
    if entries:
        text.append(f"```{{toctree}}\n:hidden:\n{entries}\n```\n")
    pages[f"{name}.md"] = "\n".join(text)
    return pages


def _page_of(home: str) -> str:
    """Name the page of a symbol; classes have a folder of their own, for file systems that ignore case."""
    package, _, symbol = home.rpartition(".")
    return f"{package}/{'classes/' if symbol[:1].isupper() else ''}{symbol}.rst"


def _table(title: str, rows: list[tuple[str, str, object]]) -> str:
    lines = [
        f"| [`{symbol}`]({page}) | {_summary(value) if value is not None else ''} |" for symbol, page, value in rows
    ]
    return f"## {title}\n\n| | |\n| --- | --- |\n" + "\n".join(lines) + "\n"


def _symbol(part: str, package: str, symbol: str) -> str:
    title = f"{symbol}\n{'=' * len(symbol)}\n\n.. currentmodule:: {package}\n\n"
    if part == "Constants":
        value = getattr(importlib.import_module(package), symbol)
        shown = pprint.pformat(value, width=100) if isinstance(value, str | tuple | dict) else type(value).__name__
        shown = shown if " at 0x" not in shown and len(shown) < LONGEST else type(value).__name__
        return f"{title}.. data:: {symbol}\n\n   .. code-block:: text\n\n{textwrap.indent(shown, ' ' * 6)}\n"
    if part == "Classes":
        return f"{title}.. autoclass:: {package}.{symbol}\n   :members:\n"
    return f"{title}.. autofunction:: {package}.{symbol}\n"


def skip(*event: object) -> bool | None:
    """Leave out the methods that scikit-learn generates for the routing of metadata."""
    _, _, name, *_ = event
    return True if re.fullmatch(r"set_\w+_request|get_metadata_routing", str(name)) else None


def fields(*event: object) -> None:
    """Say of a field of a NamedTuple what the comment behind it says, instead of its number."""
    _, what, name, _, _, lines = event
    assert isinstance(name, str)
    assert isinstance(lines, list)
    if what != "attribute" or not lines or not lines[0].startswith("Alias for field number"):
        return
    package, owner, field = name.rsplit(".", 2)
    source = inspect.getsource(getattr(importlib.import_module(package), owner))
    found = re.search(rf"^    {field}\b:[^#\n]*#\s*(.+)$", source, re.MULTILINE)
    lines[:] = [found[1].replace("*", "\\*").replace("|", "\\|") if found else ""]


def short_defaults(*event: object) -> tuple[str | None, str | None]:
    """Write a default that holds arrays, as the data of a task that needs none, as ``...``."""
    *_, signature, returns = event
    assert signature is None or isinstance(signature, str)
    assert returns is None or isinstance(returns, str)
    return signature and re.sub(r"=\(array\(.*?\), None\)", "=...", signature), returns


def shared_types(_: object, module: str) -> tuple[str, dict[str, tuple[str, int, int]]] | None:
    """Link no source of types that several packages share, because it would link back to one of them alone."""
    if module != "regopt._core.types":
        return None
    return inspect.getsource(importlib.import_module(module)), {}


def setup(app: "Sphinx") -> dict[str, bool]:
    """Register the extension."""
    app.connect("builder-inited", write, priority=100)
    app.connect("viewcode-find-source", shared_types)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", fields)
    app.connect("autodoc-process-signature", short_defaults)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
