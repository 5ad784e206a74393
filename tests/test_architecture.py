"""The house: imports go down one list of packages, nothing has a cycle, every public name has one home."""

import ast
import importlib
import inspect
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import regopt

ROOT = Path(__file__).parents[1]
ORDER = [  # a package imports from those above it and from itself
    "_version",
    "_core",
    "projections",
    "penalties",
    "schedules",
    "noise",
    "augment",
    "initializers",
    "losses",
    "data",
    "curvature",
    "regularization",
    "optimizers",
    "transforms",
    "layers",
    "training",
    "ensembles",
    "solvers",
    "sklearn",
    "analysis",
    "report",
    "sweep",
    "testing",
    "experiment",
    "",  # the package itself
    "__main__",
]
ORDER_OF_SWEEP = [
    "space",
    "schedulers",
    "checkpoint",
    "results",
    "engine",
    "executors",
    "accelerators",
    "_run",
    "_plan",
    "_replicate",
    "_suggest",
    "_frozen",
    "_examples",
    "_faces",
    "_task",
    "hypergradients",
    "",
]
FILES = sorted((ROOT / "regopt").rglob("*.py"))


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in FILES}


def imports_of(path):
    """The regopt modules that a file imports, at its top, inside a function or for a type checker."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "regopt")
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "regopt":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


EDGES = [(module_of(path), imported) for path in FILES for imported in imports_of(path)]


def part(module, depth):
    """The package, or the part of a package, that a module belongs to; empty for the parent itself."""
    return ".".join(module.split(".")[depth : depth + 1])


def climbs(edges, order, depth):
    """The imports that go up a list."""
    rank = {name: place for place, name in enumerate(order)}
    return [(a, b) for a, b in edges if rank[part(b, depth)] > rank[part(a, depth)]]


def cycle_in(edges):
    """The modules of a cycle; None where there is none."""
    graph = {}
    for importer, imported in edges:
        graph.setdefault(importer, set()).add(imported)
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return error.args[1]
    return None


def test_every_package_has_a_place_in_the_order():
    assert {part(module, 1) for module in MODULES} == set(ORDER)


def test_every_part_of_the_sweep_has_a_place_in_its_order():
    parts = {part(module, 2) for module in MODULES if part(module, 1) == "sweep"}
    assert parts == set(ORDER_OF_SWEEP)


def test_imports_go_down():
    assert climbs(EDGES, ORDER, 1) == []
    assert climbs([("regopt.noise._labels", "regopt.sweep")], ORDER, 1)  # the check sees one that goes up
    inside = [(a, b) for a, b in EDGES if part(a, 1) == part(b, 1) == "sweep"]
    assert climbs(inside, ORDER_OF_SWEEP, 2) == []


def test_there_is_no_cycle():
    assert cycle_in(EDGES) is None
    assert cycle_in([*EDGES, ("regopt._core.types", "regopt")])  # the check sees one through the top-level package


def test_modules_are_private():
    public = [path for path in FILES if not path.name.startswith("_") and path.parent.name != "_core"]
    assert public == []


def private_imports(edges):
    """The imports of a private module of another package; ``_core`` and the version are for all packages."""
    for importer, imported in edges:
        package, *inner = imported.split(".")[1:] or [""]
        private = any(name.startswith("_") for name in inner)
        if private and package not in ("_core", part(importer, 1)):
            yield importer, imported


def test_a_package_imports_only_public_names_of_another():
    assert list(private_imports(EDGES)) == []
    assert list(private_imports([("regopt.sweep._task", "regopt.training._fit")]))  # the check sees one
    assert list(private_imports([("regopt", "regopt.training._fit")]))


def packages():
    return [
        importlib.import_module(module_of(path))
        for path in FILES
        if path.name == "__init__.py" and "_core" not in path.parts
    ]


def test_no_function_shadows_a_module():
    shadowed = [
        f"{package.__name__}.{name}"
        for package in packages()
        for name in package.__all__
        if f"{package.__name__}.{name}" in MODULES and not inspect.ismodule(getattr(package, name))
    ]
    assert shadowed == []


def test_a_public_name_has_one_meaning():
    homes = {}
    for package in packages():
        for name in package.__all__:
            homes.setdefault(name, {}).setdefault(id(getattr(package, name)), []).append(package.__name__)
    twice = {name: list(meanings.values()) for name, meanings in homes.items() if len(meanings) > 1}
    assert twice == {}


def test_a_star_import_brings_no_everyday_name():
    assert not {"data", "tree", "numerics"} & set(regopt.__all__)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_the_package_knows_nothing_of_experiments_and_only_the_command_line_prints(path):
    tree = ast.parse(path.read_text())
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert "print" not in names or path.name == "_cli.py"
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            assert "experiments" not in ast.unparse(node)


def test_experiments_import_only_regopt_of_this_repository():
    for path in (ROOT / "experiments").rglob("*.py"):
        source = path.read_text()
        assert "from tests" not in source
        assert "from support" not in source
        assert "from experiments" not in source
