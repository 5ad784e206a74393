"""docs/bibliography.md has every reference of the docstrings, pages and experiments, and nothing that nobody cites."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "bibliography.md").read_text()
ENTRIES = [line.removeprefix("- ") for line in PAGE.splitlines() if line.startswith("- ")]
PAPER = re.compile(r".+? \((19|20)\d\d\)\. .+\.")  # authors, year, title, venue
SHORT = re.compile(r"([A-Z][\w'-]+)(?:(?:, | & | and )[A-Z][\w'-]+)*(?: et al\.)?,? \(((?:19|20)\d\d)\)")
CITING = [
    *sorted((ROOT / "experiments").rglob("*.py")),
    *sorted((ROOT / "configs").rglob("*.toml")),
    *sorted((ROOT / "regopt").rglob("*.py")),
    *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "bibliography.md"),
    ROOT / "README.md",
]


def references_in(docstring):
    """The paragraphs of the section "References:", each as one line."""
    lines = iter(docstring.splitlines())
    for line in lines:
        if line.strip() == "References:":
            break
    block = []
    for line in lines:
        if line.strip() and not line.startswith(" "):
            break
        block.append(line.strip())
    return [" ".join(part.split()) for part in "\n".join(block).split("\n\n") if part.strip()]


def docstrings_of(path):
    """The docstrings of a file by the name of what they document."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            yield getattr(node, "name", path.stem), ast.get_docstring(node)


REFERENCES = {
    f"{path.relative_to(ROOT)}: {name}: {reference[:40]}": reference
    for path in sorted((ROOT / "regopt").rglob("*.py"))
    for name, docstring in docstrings_of(path)
    for reference in references_in(docstring)
}
SHORT_FORMS = sorted({found for path in CITING for found in SHORT.findall(path.read_text())})


def entry_of(reference):
    """The entry that a full reference begins with; None without one."""
    return next((entry for entry in ENTRIES if reference == entry or reference.startswith(f"{entry} ")), None)


def entries_of(surname, year):
    """The entries that a citation such as "Zou & Hastie (2005)" may mean."""
    return [entry for entry in ENTRIES if re.match(rf"(?:van )?{re.escape(surname)}\b.*? \({year}\)\. ", entry)]


def test_the_entries_are_sorted_and_each_is_there_once():
    papers = [entry for entry in ENTRIES if "documentation" not in entry]
    assert papers == sorted(set(papers), key=str.casefold)
    assert len(ENTRIES) == len(set(ENTRIES))
    titles = [re.split(r"\(\d{4}\)\. ", entry)[1].split(". ")[0].casefold() for entry in papers]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_has_authors_year_title_and_venue(entry):
    assert PAPER.fullmatch(entry) or entry.endswith(" documentation.")
    assert "documentation" in entry or len(re.split(r"[.?] (?=\S)", re.split(r"\(\d{4}\)\. ", entry)[1])) >= 2


def test_every_reference_of_a_docstring_begins_with_an_entry():
    unknown = [f"{where}..." for where, reference in REFERENCES.items() if entry_of(reference) is None]
    assert unknown == []


def test_a_reference_begins_its_section():
    inline = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted((ROOT / "regopt").rglob("*.py"))
        for name, docstring in docstrings_of(path)
        if re.search(r"^\s*References: *\S", docstring, re.MULTILINE)
    ]
    assert inline == []


def test_every_short_citation_means_an_entry():
    unknown = [f"{surname} ({year})" for surname, year in SHORT_FORMS if not entries_of(surname, year)]
    assert unknown == []


def test_every_entry_is_cited():
    cited = {entry_of(reference) for reference in REFERENCES.values()}
    cited |= {entry for surname, year in SHORT_FORMS for entry in entries_of(surname, year)}
    assert [entry for entry in ENTRIES if entry not in cited] == []


def test_the_checks_see_what_is_missing():
    made_up = "One.\n\nReferences:\n    Nobody, N. (1999). A title.\n    ICML. Section 2.\n\n    Huber (1964).\n\nEnd."
    assert references_in(made_up) == ["Nobody, N. (1999). A title. ICML. Section 2.", "Huber (1964)."]
    assert entry_of("Nobody, N. (1999). A title. ICML. Section 2.") is None
    assert entry_of(f"{ENTRIES[0]} Section 2.") == ENTRIES[0]
    assert SHORT.findall("as Zou & Hastie (2005), or Nobody et al. (1999)") == [("Zou", "2005"), ("Nobody", "1999")]
    assert entries_of("Zou", "2005")
    assert not entries_of("Nobody", "1999")
