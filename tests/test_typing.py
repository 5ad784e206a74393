"""A type checker accepts ten right uses of the public functions and rejects ten wrong ones, each at its line."""

import json
import subprocess
import sys
from pathlib import Path

RIGHT = [
    "regopt.adam(0.1)",
    "regopt.adam(schedules.cosine(0.1, 100))",
    "regopt.adam({'layer': 0.1, 'head': schedules.constant(0.2)})",
    "regopt.adam(jnp.float32(0.1), b1=jnp.asarray(0.9))",
    "penalties.l1(0.1).prox({'w': jnp.ones(2)}, 0.5)",
    "penalties.l1({'layer': 0.1, 'head': 0.0}, mask=lambda params: params)",
    "regopt.regularize(regopt.sgd(0.1), penalties.l1(0.1), 'proximal')",
    "optax.chain(regopt.adam(0.1), optax.identity())",
    "sweep.uniform(0.0, 1.0)",
    "penalties.l2(0.1).project({'w': jnp.ones(2)}, 1.0)",
]
WRONG = [
    "regopt.adam('0.1')",
    "penalties.l1('big')",
    "regopt.regularize(regopt.sgd(0.1), penalties.l1(0.1), 'proximately')",
    "regopt.regularize(penalties.l1(0.1), regopt.sgd(0.1))",
    "regopt.adam(lambda count: 'fast')",
    "penalties.l1(0.1, mask='biases')",
    "regopt.sgd()",
    "regopt.adam(0.1, beta1=0.9)",
    "sweep.run(task, settings, data)",
    "sweep.run(task, settings, data, steps=10, eval_every=5, batch_size='64')",
]
HEAD = """import jax.numpy as jnp
import optax

import regopt
from regopt import penalties, schedules, sweep
from regopt.data import Splits


def check(task: sweep.Task, settings: sweep.Settings, data: Splits) -> None:
"""


def test_a_type_checker_tells_right_from_wrong(tmp_path):
    source = tmp_path / "uses.py"
    source.write_text(HEAD + "".join(f"    {use}\n" for use in [*RIGHT, *WRONG]))
    ran = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", str(source)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        check=False,
    )
    found = [each for each in json.loads(ran.stdout)["generalDiagnostics"] if each["severity"] == "error"]
    lines = {each["range"]["start"]["line"] for each in found}
    first = len(HEAD.splitlines())
    uses = dict(enumerate([*RIGHT, *WRONG], first))
    assert [uses[line] for line in sorted(lines)] == WRONG, found
