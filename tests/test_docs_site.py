"""The documentation site: names, links and navigation without a build; behind ``long`` a build and a real browser."""

import ast
import importlib
import inspect
import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import regopt

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GENERATED = {"api", "gallery", "_build"}  # written by a build
PAGES = [path for path in sorted(DOCS.rglob("*.md")) if path.relative_to(DOCS).parts[0] not in GENERATED]
TABLES = [page for page in PAGES if page.parent.name == "coming_from" and page.stem != "index"]
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!http)([^)#\s]+)[^)]*\)")


@pytest.fixture(scope="module")
def api_pages():
    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        yield importlib.import_module("api_pages")
    finally:
        sys.path.remove(str(DOCS / "_ext"))


def name_of(path):
    return str(path.relative_to(DOCS))


def cells_of(page):
    return [re.sub(r"\A(:[^\n]*\n)+", "", cell) for cell in CELL.findall(page.read_text())]


def spans(page):
    """The code in the second column of the tables of a page."""
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    return [span for row in rows[1:] for span in re.findall(r"`([^`]+)`", row.split(" | ", 1)[1])]


ROOTS = {"result": regopt.sweep.Result, "solution": regopt.solvers.Solution, "regopt": regopt}
ROOTS |= {name: getattr(regopt, name) for name in regopt.__all__ if inspect.ismodule(getattr(regopt, name))}
ROOTS["report"] = importlib.import_module("regopt.report")


def dotted(node):
    """The parts of ``a.b.c``; empty for anything else."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (parts := dotted(node.value)):
        return [*parts, node.attr]
    return []


def resolve(parts):
    """The object that a dotted name means; raises AttributeError or ImportError where there is none."""
    value = ROOTS[parts[0]]
    for at, part in enumerate(parts[1:], 2):
        if inspect.ismodule(value) and not hasattr(value, part):
            importlib.import_module(".".join([value.__name__, part]))
        if hasattr(value, "_fields") and part in value._fields:
            assert at == len(parts)
            return None
        value = getattr(value, part)
    return value


def wrong_names(code):
    """What code says of regopt that does not exist: names, and keyword arguments."""
    found, tree = [], ast.parse(code)
    for node in ast.walk(tree):
        parts = dotted(node)
        if len(parts) > 1 and parts[0] in ROOTS:
            try:
                resolve(parts)
            except (AttributeError, ImportError):
                found.append(".".join(parts))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or len(parts := dotted(node.func)) < 2 or parts[0] not in ROOTS or found:
            continue
        parameters = inspect.signature(resolve(parts)).parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            found += [
                f"{'.'.join(parts)}({key.arg}=)" for key in node.keywords if key.arg and key.arg not in parameters
            ]
    return sorted(set(found))


@pytest.mark.parametrize("page", TABLES, ids=name_of)
def test_every_name_of_the_tables_exists(page):
    wrong = []
    for span in spans(page):
        try:
            wrong += wrong_names(span)
        except SyntaxError:
            assert not re.match(r"(regopt|sweep|penalties|solvers|result)\.", span), f"no Python: {span}"
    assert wrong == []


NUMBERS = {"lr": 0.1, "m": 0.9, "d": 0.01, "s": 0.1, "r": 1.0, "lam": 0.1, "gamma": 0.5, "l1reg": 0.1, "l2reg": 0.1}
NUMBERS |= {"max_nz": 2, "value": 1.0, "max_value": 1.0, "unit": 1.0, "lower": 0.0, "upper": 1.0, "scaling": 0.5}
NAMES = ROOTS | NUMBERS | {"np": np, "jax": jax, "optimizer": regopt.sgd(0.1), "penalty": regopt.penalties.l1(0.1)}
NAMES |= {"space": {"learning_rate": regopt.sweep.log_uniform(1e-4, 1e-1)}}
NAMES |= {"fun": lambda w: ((w - 2) ** 2).sum(), "projection": regopt.projections.projection_simplex}
NAMES |= {"start": np.full(3, 0.5, np.float32), "x": np.eye(3, dtype=np.float32)}


@pytest.mark.parametrize("page", TABLES, ids=name_of)
def test_what_the_tables_construct_is_accepted(page):
    built = 0
    for span in spans(page):
        if re.match(r"(regopt|penalties|sweep|schedules|solvers)\.", span) and span.endswith(")"):
            try:
                eval(span, dict(NAMES))
                built += 1
            except NameError:  # a task, a result or data, which the table does not make
                continue
    assert built >= 5


def test_the_tables_have_names():
    names = [span for page in TABLES for span in spans(page) if re.match(r"\w+\.", span)]
    assert len(names) > 150


def test_the_check_of_names_sees_what_is_wrong():
    assert wrong_names("penalties.l3(0.1)") == ["penalties.l3"]
    assert wrong_names("sweep.run(task, settings, data, step=3)") == ["sweep.run(step=)"]
    assert wrong_names("result.bestest()") == ["result.bestest"]
    assert wrong_names("sweep.run(task, settings, data, steps=3, executor=sweep.Ray(num_gpus=1))") == []


@pytest.mark.parametrize("page", [page for page in PAGES if cells_of(page)], ids=name_of)
def test_every_program_parses_and_uses_names_that_exist(page):
    code = "\n".join(cells_of(page))
    given = {
        each.id for each in ast.walk(ast.parse(code)) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
    }
    wrong = [name for name in wrong_names(code) if name.split(".")[0] not in given]
    assert wrong == []
    imports = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
    for node in imports:
        if (node.module or "").split(".")[0] == "regopt":
            package = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(package, alias.name)] == []


def test_every_page_is_in_the_navigation():
    reached, waiting = set(), [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or not page.is_file():
            continue
        reached.add(page)
        for body in TOCTREE.findall(page.read_text()):
            entries = [line for line in body.splitlines() if line and not line.startswith(":")]
            for entry in entries:
                waiting += [path.resolve() for path in page.parent.glob(f"{entry}.md")]
    assert [name_of(page) for page in PAGES if page not in reached] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_has_a_target(page, api_pages):
    written = {DOCS / "api" / name for name in api_pages.pages()}
    written |= {DOCS / "gallery" / f"{path.stem}.md" for path in (ROOT / "experiments").glob("[!_]*.py")}
    written.add(DOCS / "gallery" / "index.md")
    code = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = [(page.parent / link).resolve() for link in LINK.findall(code)]
    assert [str(target) for target in targets if not target.is_file() and target not in written] == []


def test_every_public_symbol_has_a_page(api_pages):
    written = api_pages.pages()
    for name in api_pages.PACKAGES:
        package = importlib.import_module(name)
        listed = written[f"{name}.md"]
        left = [symbol for symbol in package.__all__ if not symbol.startswith("__")]
        assert [symbol for symbol in left if f"[`{symbol}`]" not in listed] == []
        pages = re.findall(r"^\| \[`\w+`\]\(([^)]+)\)", listed, re.MULTILINE)
        assert [page for page in pages if page not in written] == []


def test_every_public_package_is_in_the_api(api_pages):
    public = {path.parent.name for path in (ROOT / "regopt").glob("[!_]*/__init__.py")}
    assert {f"regopt.{name}" for name in public} <= set(api_pages.PACKAGES)
