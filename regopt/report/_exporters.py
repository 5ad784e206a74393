"""A sweep for other tools: TensorBoard's HParams, MLflow, and the tables that Weights & Biases reads.

Each writes through the tool's own client, imported only here and only when asked for. A metric that is not finite is
left out, since none of them compares it.
"""

import importlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from regopt._core.io import replacing, write_json
from regopt.report._findings import Findings, plain


def to_tensorboard(findings: Findings, folder: str | Path) -> None:
    """Write event files, one folder for each setting, that ``tensorboard --logdir`` shows with its HParams.

    Args:
        findings: the sweep.
        folder: where to; made where there is none.

    Raises:
        ImportError: tensorboard is not installed (``pip install 'regopt[tensorboard]'``).
    """
    summary_v2 = _client("tensorboard.plugins.hparams.summary_v2")
    scalar_pb = _client("tensorboard.plugins.scalar.summary_v2").scalar_pb
    folder = Path(folder)
    _events(
        folder,
        [
            summary_v2.hparams_config_pb(
                [summary_v2.HParam(name) for name in findings.names],
                [summary_v2.Metric(metric) for metric in findings.metrics],
            )
        ],
    )
    for row, status in enumerate(findings.table["status"]):
        numbers = {name: _scalar(value) for name, value in findings.setting(row).items()}
        curves = ((step, scalar_pb(metric, value)) for metric, step, value in _measured(findings, row))
        ended = _ended(failed=status == "diverged")
        _events(folder / _name(row, findings), [summary_v2.hparams_pb(numbers, trial_id=str(row)), *curves, ended])


def to_mlflow(findings: Findings, tracking_uri: str, experiment: str = "sweep") -> str:
    """Write one run for each setting, with its numbers as parameters and its curves as metrics.

    Args:
        findings: the sweep.
        tracking_uri: such as ``sqlite:///mlflow.db``.
        experiment: its name; the runs are added to one that is there.

    Returns:
        The experiment's id.

    Raises:
        ImportError: mlflow is not installed (``pip install 'regopt[mlflow]'``).
    """
    entities = _client("mlflow.entities")
    client = _client("mlflow.tracking").MlflowClient(tracking_uri=tracking_uri)
    known = client.get_experiment_by_name(experiment)
    number = known.experiment_id if known else client.create_experiment(experiment)
    for row, status in enumerate(findings.table["status"]):
        run = client.create_run(number, run_name=_name(row, findings), tags={"status": str(status)})
        begun = run.info.start_time
        metrics = [entities.Metric(metric, value, begun, step) for metric, step, value in _measured(findings, row)]
        params = [entities.Param(name, str(value)) for name, value in findings.setting(row).items()]
        client.log_batch(run.info.run_id, params=params)
        for first in range(0, len(metrics), 1000):  # as many as a batch may hold
            client.log_batch(run.info.run_id, metrics=metrics[first : first + 1000])
        client.set_terminated(run.info.run_id, "FAILED" if status == "diverged" else "FINISHED")
    return number


def to_wandb(findings: Findings, folder: str | Path) -> None:
    """Write ``runs.csv`` and ``history.csv`` as Weights & Biases exports them, and ``runs.table.json`` as it logs them.

    Nothing of theirs is needed; their client reads the table back with ``wandb.Table.from_json``.

    Args:
        findings: the sweep.
        folder: where to; made where there is none.
    """
    import pandas

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table = findings.table
    states = {"diverged": "failed", "cut": "killed", "unfinished": "running"}
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
            frame.to_csv(temporary, index=False)
    text = str(runs.to_json(orient="values", double_precision=15))  # what is not finite becomes null
    whole = {"columns": list(runs), "data": json.loads(text), "ncols": runs.shape[1], "nrows": len(runs)}
    write_json(folder / "runs.table.json", whole)


def _client(module: str) -> Any:
    """A module of an extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        extra = module.split(".")[0]
        raise ImportError(f"this needs {extra}: pip install 'regopt[{extra}]'") from error


def _name(row: int, findings: Findings) -> str:
    return f"setting-{row:0{len(str(len(findings.table) - 1))}d}"


def _measured(findings: Findings, row: int) -> Iterator[tuple[str, int, float]]:
    """The finite points of a setting's curves: metric, step and value."""
    steps = findings.curves["step"].to_numpy()
    for metric in findings.metrics:
        values = findings.curves[metric].to_numpy()[row]
        yield from ((metric, int(steps[at]), float(values[at])) for at in np.flatnonzero(np.isfinite(values)))


def _scalar(value: Any) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else str(value)


def _ended(*, failed: bool) -> Any:
    """The summary that ends a session; TensorBoard's own function for it needs TensorFlow."""
    hparams = "tensorboard.plugins.hparams"
    api_pb2, metadata, data = (_client(f"{hparams}.{name}") for name in ("api_pb2", "metadata", "plugin_data_pb2"))
    summary = _client("tensorboard.compat.proto.summary_pb2").Summary
    status = api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS
    content = data.HParamsPluginData(session_end_info=data.SessionEndInfo(status=status))
    described = metadata.create_summary_metadata(content)
    value = summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=described, tensor=metadata.NULL_TENSOR)
    return summary(value=[value])


def _events(folder: Path, summaries: list[Any]) -> None:
    """One event file with summaries, each alone or as a pair of a step and a summary."""
    event = _client("tensorboard.compat.proto.event_pb2").Event
    writer = _client("tensorboard.summary.writer.event_file_writer").EventFileWriter(str(folder))
    for entry in summaries:
        step, summary = entry if isinstance(entry, tuple) else (0, entry)
        writer.add_event(event(wall_time=time.time(), step=step, summary=summary))
    writer.close()
