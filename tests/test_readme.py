"""The README's code runs as printed, and its two set-up commands are what a new user types."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^## (\w[\w ]*)$|^```python\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
CODE = {}
for heading, code in BLOCKS:
    section = heading or section  # noqa: F821 - the heading comes first
    if code:
        CODE[section] = code


def test_each_use_has_a_code_block():
    assert list(CODE) == [
        "Compose",
        "Penalties",
        "Optimizers",
        "Sweep",
        "Long sweeps",
        "Replicas",
        "Hypergradients",
        "Understand",
    ]


@pytest.mark.parametrize("section", CODE)
def test_the_code_runs_as_printed(section, tmp_path):
    for folder in ("experiments", "configs"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    script = tmp_path / "pasted.py"
    script.write_text(CODE[section])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error::DeprecationWarning:__main__"}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    expected = {
        "Compose": r"\[\[ 1\. +-2\. +3\. ",  # without a penalty the true weights
        "Penalties": r"exact zeros of 50: \[ *0 +4\d +4\d\] as the optimizer counts them: \[ *0 +4\d +4\d\]",
        "Long sweeps": r"'pruned': [67]\d",
        "Optimizers": r"\[(3\.0|2\.9)\d* (3\.0|2\.9)\d*\] 1",
        "Sweep": r"validation_accuracy",
        "Replicas": r"strength 0\.1: bias\^2 0\.\d+ \+ variance",
        "Hypergradients": r"strengths: 0\.\d+ where it matters, [1-9]",
        "Understand": r"holds: test accuracy",
    }[section]
    assert re.search(expected, done.stdout), done.stdout


def test_the_set_up_commands_are_two_and_install_what_they_run():
    commands = re.findall(r"^python3 -m venv .*$", TEXT, flags=re.MULTILINE)
    assert [command.split(" && ")[-1] for command in commands] == [
        ".venv/bin/regopt run sweep_digits default",
        ".venv/bin/pytest -n 2",
    ]
    assert all("-c constraints.txt" in command for command in commands)


def test_what_the_readme_links_to_exists():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", TEXT)
    assert links
    assert all((ROOT / link).is_file() for link in links)


def test_constraints_are_names_and_versions_alone():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+", pin) for pin in pins)
    assert {"jax", "optax", "flax", "chex", "numpy"} <= {pin.split("==")[0] for pin in pins}
