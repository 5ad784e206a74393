"""Every public docstring says what it raises, where its formula is printed, and how it is called."""

import doctest
import importlib
import inspect
from collections.abc import Callable
from typing import NamedTuple

import pytest

import regopt
from regopt import report


class Required(NamedTuple):
    """The least share of a package's public functions and classes whose docstring has each part, in [0, 1]."""

    raises: float = 0.85
    references: float = 0.8
    examples: float = 1.0


PACKAGES = {
    "regopt": Required(),
    "regopt.analysis": Required(),
    "regopt.analysis.bias_variance": Required(),
    "regopt.analysis.critical_points": Required(),
    "regopt.analysis.quadratic": Required(),
    "regopt.augment": Required(),
    "regopt.curvature": Required(),
    "regopt.data": Required(),
    "regopt.ensembles": Required(),
    "regopt.experiment": Required(raises=0.5, references=0),  # its records and its command line raise nothing
    "regopt.initializers": Required(),
    "regopt.layers": Required(),
    "regopt.losses": Required(references=0.75),
    "regopt.noise": Required(),
    "regopt.optimizers": Required(),
    "regopt.penalties": Required(),
    "regopt.projections": Required(),
    "regopt.regularization": Required(),
    "regopt.report": Required(references=0.0),  # tables, pages and files: no method of a paper
    "regopt.schedules": Required(),
    "regopt.sklearn": Required(),
    "regopt.solvers": Required(raises=0.6),  # most of its families take no argument
    "regopt.sweep": Required(references=0.7),  # tables, plans and files have no paper
    "regopt.testing": Required(raises=0.75, references=0.0),  # its points raise nothing, and no law is of a paper
    "regopt.training": Required(references=1.0),
    "regopt.transforms": Required(),
}


def _has_section(name: str) -> Callable[[str], bool]:
    return lambda text: any(line.startswith(f"{name}:") for line in text.splitlines())


def _has_example(text: str) -> bool:
    return any(example.source.strip() for example in doctest.DocTestParser().get_examples(text))


PARTS = {
    "raises": _has_section("Raises"),
    "references": _has_section("References"),
    "examples": _has_example,
}


def public_docstrings(package: str) -> dict[str, str]:
    """The docstrings of regopt's functions and classes, without tuples of results, type aliases and re-exports."""
    module = importlib.import_module(package)
    symbols = {name: getattr(module, name) for name in module.__all__}
    called = {
        name: symbol
        for name, symbol in symbols.items()
        if (inspect.isfunction(symbol) or (inspect.isclass(symbol) and not issubclass(symbol, tuple)))
        and symbol.__module__.startswith("regopt.")
    }
    return {name: inspect.getdoc(symbol) or "" for name, symbol in called.items()}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("package", PACKAGES)
def test_docstrings_have_the_part(package, part):
    docstrings = public_docstrings(package)
    missing = [name for name, text in docstrings.items() if not PARTS[part](text)]
    share = 1 - len(missing) / len(docstrings)
    required = getattr(PACKAGES[package], part)
    assert share >= required, f"{package}: {share:.0%} have {part}, {required:.0%} required; not {', '.join(missing)}"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the libraries below the clients
@pytest.mark.parametrize(("name", "client"), [("to_mlflow", "mlflow"), ("to_tensorboard", "tensorboardX")])
def test_the_example_of_an_exporter_runs_where_its_client_is_installed(name, client):
    pytest.importorskip(client, reason=f"{client} is not installed")
    (test,) = doctest.DocTestFinder(recurse=False).find(getattr(report, name), name)
    skipped = [example for example in test.examples if example.options.pop(doctest.SKIP, False)]
    assert skipped
    assert doctest.DocTestRunner().run(test).failed == 0


def test_a_part_is_found_only_where_it_stands():
    sections = "Summary.\n\nRaises:\n    ValueError: always.\n\nReferences: none.\n"
    assert {part: found(sections) for part, found in PARTS.items()} == {
        "raises": True,
        "references": True,
        "examples": False,
    }
    example = "It Raises: an error. References: here.\n\n    >>> 1 + 1\n    2\n"
    assert {part: found(example) for part, found in PARTS.items()} == {
        "raises": False,
        "references": False,
        "examples": True,
    }


def test_help_prints_the_names_of_types_and_not_what_they_stand_for():
    for factory in (regopt.adamw, regopt.penalties.group_lasso, regopt.projections.projection_max_norm):
        signature = str(inspect.signature(factory))
        assert "mask: Mask" in signature
        assert "numpy.bool" not in signature
        assert len(signature) < 500, signature
