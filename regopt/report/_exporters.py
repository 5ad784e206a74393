"""Exports of a sweep: TensorBoard's HParams, MLflow, and the tables that Weights & Biases reads.

Each export writes through a client of the tool, which is imported only when the export is called. Values that are not
finite are left out, since none of the tools can compare them.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from regopt._core.imports import optional
from regopt._core.io import replacing, write_json
from regopt.report._findings import Findings, Reportable, as_findings, plain


def to_tensorboard(findings: Findings | Reportable, folder: str | Path) -> None:
    """Write event files, one folder for each setting, that ``tensorboard --logdir`` shows with its HParams.

    Args:
        findings: the sweep, or its ``Result``.
        folder: the log directory, created if it does not exist.

    Raises:
        ImportError: tensorboardX is not installed (``pip install 'regopt[tensorboard]'``).

    Example:
        >>> import os, tempfile
        >>> from regopt import report, sweep
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> settings = sweep.from_columns({"rate": [0.1, 0.5]})
        >>> result = sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=2)
        >>> found = report.Findings(
        ...     "Two rates", result.to_pandas(), result.curves(), ("rate",), monitor="validation_loss", mode="min"
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report.to_tensorboard(found, folder)  # doctest: +SKIP
        ...     sorted(name for name in os.listdir(folder) if "setting" in name)
        ['setting-0', 'setting-1']
    """
    findings = as_findings(findings)
    writers, summary = optional("tensorboardX", "tensorboard"), optional("tensorboardX.summary", "tensorboard")
    tags = {metric: summary.scalar(metric, 0.0).value[0].tag for metric in findings.metrics}
    # a value of no known type leaves the type of a column open: static choices may mix numbers and texts
    experiment, _, _ = summary.hparams(dict.fromkeys(findings.names, ()), dict.fromkeys(tags.values(), 0.0))
    with contextlib.closing(writers.FileWriter(str(folder))) as writer:
        writer.add_summary(experiment)
    for row, status in enumerate(findings.table["status"]):
        setting = {name: _scalar(value) for name, value in findings.setting(row).items()}
        _, start, end = summary.hparams(setting, {})
        if status == "diverged":
            _set_failed(end)
        with contextlib.closing(writers.FileWriter(str(Path(folder) / _name(row, findings)))) as writer:
            writer.add_summary(start)
            for metric, step, value in _measured(findings, row):
                writer.add_summary(summary.scalar(metric, value), step)
            writer.add_summary(end)


def to_mlflow(findings: Findings | Reportable, tracking_uri: str, experiment: str = "sweep") -> str:
    """Write one run for each setting, with its numbers as parameters and its curves as metrics.

    Args:
        findings: the sweep, or its ``Result``.
        tracking_uri: the address of the tracking store, such as ``sqlite:///mlflow.db``.
        experiment: the name of the experiment; the runs are added if it exists.

    Returns:
        The id of the experiment.

    Raises:
        ImportError: mlflow is not installed (``pip install 'regopt[mlflow]'``).

    Example:
        >>> import tempfile
        >>> from regopt import report, sweep
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> settings = sweep.from_columns({"rate": [0.1, 0.5]})
        >>> result = sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=2)
        >>> found = report.Findings(
        ...     "Two rates", result.to_pandas(), result.curves(), ("rate",), monitor="validation_loss", mode="min"
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     number = report.to_mlflow(found, f"sqlite:///{folder}/mlflow.db")  # doctest: +SKIP
    """
    findings = as_findings(findings)
    entities = optional("mlflow.entities", "mlflow")
    client = optional("mlflow.tracking", "mlflow").MlflowClient(tracking_uri=tracking_uri)
    known = client.get_experiment_by_name(experiment)
    number = known.experiment_id if known else client.create_experiment(experiment)
    for row, status in enumerate(findings.table["status"]):
        run = client.create_run(number, run_name=_name(row, findings), tags={"status": str(status)})
        begun = run.info.start_time
        metrics = [entities.Metric(metric, value, begun, step) for metric, step, value in _measured(findings, row)]
        params = [entities.Param(name, str(value)) for name, value in findings.setting(row).items()]
        client.log_batch(run.info.run_id, params=params)
        for first in range(0, len(metrics), 1000):  # the most that one batch may hold
            client.log_batch(run.info.run_id, metrics=metrics[first : first + 1000])
        client.set_terminated(run.info.run_id, "FAILED" if status == "diverged" else "FINISHED")
    return number


def to_wandb(findings: Findings | Reportable, folder: str | Path) -> None:
    """Write ``runs.csv`` and ``history.csv`` as Weights & Biases exports them, and ``runs.table.json`` as it logs them.

    The client of Weights & Biases is not needed to write; it reads the table back with ``wandb.Table.from_json``. In
    the CSV files, a text that a spreadsheet would take for a formula has an apostrophe before it.

    Args:
        findings: the sweep, or its ``Result``.
        folder: the folder for the three files, created if it does not exist.

    Raises:
        ImportError: pandas is not installed (``pip install 'regopt[experiments]'``).
        OSError: a file cannot be written.

    Example:
        >>> import os, tempfile
        >>> from regopt import report, sweep
        >>> from regopt.testing import MEAN_DATA, MEAN_TASK
        >>> settings = sweep.from_columns({"rate": [0.1, 0.5]})
        >>> result = sweep.run(MEAN_TASK, settings, MEAN_DATA, steps=4, eval_every=2)
        >>> found = report.Findings(
        ...     "Two rates", result.to_pandas(), result.curves(), ("rate",), monitor="validation_loss", mode="min"
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report.to_wandb(found, folder)
        ...     sorted(os.listdir(folder))
        ['history.csv', 'runs.csv', 'runs.table.json']
    """
    import pandas

    findings = as_findings(findings)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table = findings.table
    states = {"diverged": "failed", "pruned": "killed", "unfinished": "running"}
    runs = pandas.DataFrame(
        {
            "Name": [_name(row, findings) for row in range(len(table))],
            "State": [states.get(str(status), "finished") for status in table["status"]],
            **{name: [_scalar(plain(value)) for value in table[name]] for name in findings.names},
            **{name: table[name] for name in ("last_step", "kept_step", *findings.metrics)},
        }
    )
    history = pandas.DataFrame(
        [(_name(row, findings), *point) for row in range(len(table)) for point in _measured(findings, row)],
        columns=["Name", "metric", "_step", "value"],
    )
    wide = history.pivot(index=["Name", "_step"], columns="metric", values="value").reset_index()
    for name, frame in (("runs", runs), ("history", wide)):
        with replacing(folder / f"{name}.csv") as temporary:
            frame.map(_no_formula).rename(columns=_no_formula).to_csv(temporary, index=False)
    text = str(runs.to_json(orient="values", double_precision=15))  # what is not finite becomes null
    whole = {"columns": list(runs), "data": json.loads(text), "ncols": runs.shape[1], "nrows": len(runs)}
    write_json(folder / "runs.table.json", whole)


def _set_failed(end: Any) -> None:
    """Change the summary that ends a session from success, the only status that tensorboardX writes, to failure."""
    status = optional("tensorboardX.proto.api_pb2", "tensorboard").Status
    messages = optional("tensorboardX.proto.plugin_hparams_pb2", "tensorboard")
    plugin = end.value[0].metadata.plugin_data
    content = messages.HParamsPluginData.FromString(plugin.content)
    content.session_end_info.status = status.Value("STATUS_FAILURE")
    plugin.content = content.SerializeToString()


def _name(row: int, findings: Findings) -> str:
    return f"setting-{row:0{len(str(len(findings.table) - 1))}d}"


def _measured(findings: Findings, row: int) -> Iterator[tuple[str, int, float]]:
    """The finite points of a setting's curves: metric, step and value."""
    steps = findings.curves["step"].to_numpy()
    for metric in findings.metrics:
        values = findings.curves[metric].to_numpy()[row]
        yield from ((metric, int(steps[at]), float(values[at])) for at in np.flatnonzero(np.isfinite(values)))


def _no_formula(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _scalar(value: object) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else str(value)
