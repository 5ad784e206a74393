"""A type checker accepts right uses of the public functions and rejects wrong ones, each at its line."""

import json
import re
import subprocess
import sys
from pathlib import Path

import regopt

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
    "sweep.run(task, settings, data, steps=10, eval_every=5, executor=ThreadPoolExecutor(2), out='folder')",
    "sweep.run(task, settings, data, steps=10, eval_every=5, executor=sweep.Ray(), patience=lambda h: h['patience'])",
    "sweep.run(task, settings, data, steps=10, eval_every=5, executor='ray', callbacks=[tell, tracker])",
    "sweep.run(task, settings, data, steps=10, eval_every=5).best().setting['rate'] * 2",
    "sweep.supervised(nnx_model, losses.squared_error, optimizer, metrics=metrics, trainable='head/**')",
    "sweep.supervised(nnx_model, losses.squared_error, optimizer, trainable=nnx.LoRAParam)",
    "sweep.supervised(linen.Dense(3), losses.squared_error, optimizer, inputs=x, trainable={'**/bias': True})",
    "sweep.supervised(lambda h: linen.Dense(h['width']), losses.squared_error, optimizer, inputs=x)",
    "sweep.grid({'rate': sweep.choice([0.1, 0.2]), 'activation': sweep.choice([jnp.tanh, 'relu'])})",
    "sweep.tune(lambda h: sweep.hypergradient(task, h, data, steps=9), {'rate': 0.1}, regopt.sgd(0.1), rounds=3)",
    "solvers.minimize(solvers.LinearModel(solvers.gaussian()), penalties.l1(0.1), {'w': x[0]}, x, x[:, 0], None)",
    "losses.from_means(lambda outputs, y: jnp.mean(outputs - y), jnp.sqrt)(x, x).sum()",
    "schedules.steps_from_epochs(3, 100, 32).bit_length()",
    "ensembles.from_estimator(Lasso(alpha=0.1))",
    "Lasso(alpha=0.1).fit(x, x[:, 0]).predict([[1.0, 2.0]])",
    "layers.Dropout(jnp.float32(0.5), deterministic=True, rngs=nnx.Rngs(0))",
    "layers.DropConnect(4, 2, 0.5, rngs=nnx.Rngs(0), use_bias=False)",
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
    "sweep.run(task, settings, data, steps=10, eval_every=5, executor='dask')",
    "sweep.run(task, settings, data, steps=10, eval_every=5, callbacks=[3])",
    "sweep.run(task, settings, data, steps=10, eval_every=5, mode='minimum')",
    "sweep.supervised(nnx_model, losses.squared_error, regopt.sgd(0.1))",
    "sweep.supervised(lambda h, rngs: 3, losses.squared_error, optimizer)",
    "sweep.supervised(nnx_model, losses.squared_error, optimizer, trainable=0.5)",
    "sweep.tune(lambda h: 0.1, {'rate': 0.1}, regopt.sgd(0.1), rounds=3)",
    "solvers.minimize(0.1, penalties.l1(0.1), {'w': x[0]})",
    "losses.metric(mode='largest')",
    "ensembles.from_estimator(0.1)",
    "layers.Dropout(0.5, deterministc=True)",
    "layers.DropConnect(4, 2, 0.5, rngs=nnx.Rngs(0), features=3)",
    "report.track_tensorboard('runs', every='10')",
]
HEAD = """from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen, nnx

import regopt
from regopt import ensembles, layers, losses, penalties, report, schedules, solvers, sweep
from regopt.data import Splits
from regopt.sklearn import Lasso


def nnx_model(h: Mapping[str, float], rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(1, 1, rngs=rngs)


def optimizer(h: dict[str, float]) -> optax.GradientTransformation:
    return regopt.sgd(h["rate"])


def tell(step: int, settings: Mapping[int, Mapping[str, float]], metrics: dict[str, np.ndarray]) -> None:
    print(step, settings, metrics)


metrics = {"accuracy": losses.accuracy}


def check(
    task: sweep.Task, settings: sweep.Settings, data: Splits, tracker: report.Tracker, x: jax.Array
) -> None:
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


def test_any_is_rare():
    lines = [line for file in Path(regopt.__file__).parent.rglob("*.py") for line in file.read_text().splitlines()]
    found = [line for line in lines if re.search(r"\bAny\b", line) and "import" not in line]
    assert len(found) <= 80, found  # each stands where a library or a user decides about the type
