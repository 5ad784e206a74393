"""Imports point down the levels and have no cycle; nothing in the package imports the experiments."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEVELS = [
    {"types", "messages"},
    {"numerics", "tree", "decompositions"},
    {"schedules", "penalties", "projections", "noise", "augment", "initializers", "losses", "data", "curvature"},
    {"transforms", "layers", "stopping"},
    {"optimizers", "training", "analysis", "solvers"},
    {"sweep", "report", "claims", "plots", "artifacts"},
    {"config", "experiment", "cli"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
FILES = sorted((ROOT / "regopt").rglob("*.py"))


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path):
    """The regopt modules that a file imports, at its top or inside a function."""
    modules = {module_of(file) for file in FILES}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "regopt")
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "regopt":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else node.module


def unit(module):
    """The file or folder of level 1 below the package."""
    return module.split(".")[1]


def violations(level_of, edges):
    """Imports that go up, or sideways between two different units of the same folder that are not modules of it."""
    return [(a, b) for a, b in edges if level_of[unit(b)] > level_of[unit(a)]]


EDGES = [
    (module_of(path), imported)
    for path in FILES
    if module_of(path) != "regopt"
    for imported in imports_of(path)
    if imported != "regopt"  # __version__, for the command line and the records
]


def test_every_module_has_a_level():
    assert {unit(module_of(path)) for path in FILES if module_of(path) != "regopt"} <= set(LEVEL)


def test_imports_go_down_or_sideways():
    assert violations(LEVEL, EDGES) == []
    assert violations(LEVEL, [("regopt.noise", "regopt.sweep.engine")])  # the check sees one that goes up


def test_there_is_no_cycle():
    graph = {}
    for importer, imported in EDGES:
        if importer != imported and not importer.startswith(f"{imported}."):
            graph.setdefault(importer, set()).add(imported)
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert len(order) > 20


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_the_package_knows_nothing_of_experiments_and_only_the_command_line_prints(path):
    tree = ast.parse(path.read_text())
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert "print" not in names or path.name == "cli.py"
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            assert "experiments" not in ast.unparse(node)


def test_experiments_import_only_regopt_of_this_repository():
    for path in (ROOT / "experiments").rglob("*.py"):
        source = path.read_text()
        assert "from tests" not in source
        assert "import tests" not in source
        assert "from experiments" not in source
