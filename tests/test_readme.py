"""The code in the README and in docs runs as printed, and the two set-up commands are what a new user types."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
WRITTEN = ("api/", "gallery/")  # by the build of the documentation; tests/test_docs_site.py checks these links
FRAGMENT = "<!-- fragment -->"  # before a block that is no whole program
PROGRAM = r"^(?:(" + re.escape(FRAGMENT) + r")\n+)?```python\n(.*?)^```"
PARTS = re.compile(r"^## ([^\n]*)$|" + PROGRAM, re.MULTILINE | re.DOTALL)


def blocks():
    """The programs of all pages by page and heading."""
    found = {}
    for page in PAGES:
        section = ""
        for heading, fragment, code in PARTS.findall(page.read_text()):
            section = heading or section
            if code and not fragment:
                name = f"{page.name}: {section}"
                assert name not in found, f"two programs under one heading: {name}"
                found[name] = code
    return found


CODE = blocks()
PRINTED = {
    "README.md: Compose": r"\[\[ 1\. +-2\. +3\. ",  # without a penalty the true weights
    "README.md: Sweep": r"validation_accuracy",
    "README.md: Understand": r"holds: test accuracy",
    "penalties.md: Proximal steps": r"exact zeros of 50: \[ *0 +4\d +4\d\] as .* counts them: \[ *0 +4\d +4\d\]",
    "penalties.md: Pruned units": r"^[2-4] units kept; outputs differ by (0\.0|\d\S*e-0[678])",
    "optimizers.md: Evaluation point and final model": r"\[(3\.0|2\.9)\d* (3\.0|2\.9)\d*\] 1",
    "sweeps.md: Long sweeps": r"'pruned': [67]\d",
    "sweeps.md: Tasks written by hand": r"^0\.(1|03) -0\.\d+",
    "sweeps.md: Search with Optuna": r"\{.*'optimizer': '(adam|sgd)'.*\} 0\.\d+",
    "sweeps.md: Replicas": r"strength 0\.1: bias\^2 0\.\d+ \+ variance",
    "finetuning.md: Adapters": r"768 parameters in a lane, beside a backbone of 16\d\d\d",
    "streaming.md: Text": r"bits a character: [3-6]\.\d",
    "sweeps.md: Hypergradients": r"strengths: 0\.\d+ where it matters, [1-9]",
}


def test_each_use_has_a_program():
    assert set(PRINTED) <= set(CODE)


EACH = [  # of the guides, whose code takes minutes, one in three is drawn for each run
    pytest.param(name, marks=() if name.startswith("README") else pytest.mark.sampled(3)) for name in CODE
]


@pytest.mark.parametrize("name", EACH)
def test_the_code_runs_as_printed(name, tmp_path):
    for folder in ("experiments", "configs"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    script = tmp_path / "pasted.py"
    script.write_text(CODE[name])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error::DeprecationWarning:__main__"}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert re.search(PRINTED.get(name, ""), done.stdout), done.stdout


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_the_set_up_commands_are_two_and_install_what_they_run():
    commands = re.findall(r"^python3 -m venv .*$", README, flags=re.MULTILINE)
    assert [command.split(" && ")[-1] for command in commands] == [
        ".venv/bin/regopt run sweep_digits default",
        ".venv/bin/pytest -n 2",
    ]
    assert all("-c constraints.txt" in command for command in commands)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_exists(page):
    links = re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text())
    missing = [link for link in links if not (page.parent / link).is_file() and not link.startswith(WRITTEN)]
    assert missing == []


def test_constraints_are_names_and_versions_alone():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+", pin) for pin in pins)
    assert {"jax", "optax", "flax", "chex", "numpy"} <= {pin.split("==")[0] for pin in pins}
