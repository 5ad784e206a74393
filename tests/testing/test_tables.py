"""The tables of optimizers and penalties in the documents are those of the catalogue."""

import subprocess
import sys
from collections.abc import Hashable
from pathlib import Path

import pytest

import regopt
from regopt import penalties
from regopt.testing import CATALOGUE, table, tables_in, update_tables

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("name", ["optimizers", "penalties"])
def test_the_documents_have_the_table_of_the_catalogue(name):
    found = [(path, text) for path in DOCUMENTS for kind, text in tables_in(path.read_text()) if kind == name]
    assert found, f"no document has a line <!-- catalogue: {name} -->"
    for path, text in found:
        document = path.relative_to(ROOT)
        update = f"""python -c "from regopt.testing import update_tables; update_tables('{document}')" """
        assert text == table(name), f"{document} has another table of {name}; write it anew by: {update}"


def test_a_table_lists_every_named_optimizer_and_every_penalty():
    named = {name for name in regopt.__all__ if any(row.factory is getattr(regopt, name) for row in CATALOGUE)}
    assert {"sgd", "newton", "guard", "regularize"} <= named
    assert all(f"`{name}`" in table("optimizers") for name in named)
    of_catalogue = {row.factory for row in CATALOGUE}
    assert all(
        f"`{name}`" in table("penalties")
        for name in penalties.__all__
        if isinstance(factory := getattr(penalties, name), Hashable) and factory in of_catalogue
    )


def test_a_document_is_written_anew_between_its_marks_alone(tmp_path):
    document = tmp_path / "page.md"
    document.write_text("# A\n\n<!-- catalogue: penalties -->\nold\n<!-- /catalogue -->\n\nend\n")
    update_tables(document)
    expected = f"# A\n\n<!-- catalogue: penalties -->\n{table('penalties')}<!-- /catalogue -->\n\nend\n"
    assert document.read_text() == expected
    with pytest.raises(ValueError, match="name must be one of optimizers, penalties, got 'noise'"):
        table("noise")


def test_the_catalogue_costs_nothing_at_import_of_the_package():
    code = "import sys, regopt; sys.exit(any(name.startswith(('regopt.testing', 'chex.')) for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0
