"""Exports are read back by the clients they are for."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas
import pytest

from regopt import report, sweep
from regopt.report import _exporters as exporters
from regopt.testing import MEAN_DATA, MEAN_TASK
from support.saved_sweeps import findings

FOUND = findings(settings=12, seeds=1)
FOUND.table.loc[FOUND.order[-1], "status"] = "pruned"
FAILURE = 2  # the number of STATUS_FAILURE in TensorBoard's enumeration


def measured(metric):
    """The finite points of each setting's curve: by row, step -> value."""
    curves = FOUND.curves[metric].to_numpy()
    steps = FOUND.curves["step"].to_numpy()
    return [{int(s): v for s, v in zip(steps, row, strict=True) if np.isfinite(v)} for row in curves]


def test_the_tables_for_weights_and_biases_hold_every_number(tmp_path):
    exporters.to_wandb(FOUND, tmp_path)
    runs = pandas.read_csv(tmp_path / "runs.csv")
    np.testing.assert_array_equal(runs["learning_rate"], FOUND.table["learning_rate"])
    assert list(runs["State"] == "failed") == list(FOUND.diverged)
    assert list(runs["State"] == "killed") == list(FOUND.table["status"] == "pruned")
    history = pandas.read_csv(tmp_path / "history.csv")
    for row, expected in enumerate(measured("validation_loss")):
        part = history[history["Name"] == runs["Name"][row]].dropna(subset=["validation_loss"])
        assert dict(zip(part["_step"], part["validation_loss"], strict=True)) == expected


def test_no_cell_of_a_csv_file_is_a_formula(tmp_path):
    texts = ("=HYPERLINK(1)", "+1", "-1", "@sum", "\t=1", "plain")
    exporters.to_wandb(findings(settings=12, seeds=1, names=("=name",), texts=texts), tmp_path)
    with (tmp_path / "runs.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    column = [row[head.index("'=name")] for row in rows]
    assert set(column) <= {*(f"'{text}" for text in texts[:-1]), "plain"}
    assert len(set(column)) > 3
    assert all(float(cell) for row in rows for cell in row if cell.startswith("-"))  # numbers stay as they are


def test_weights_and_biases_reads_its_table(tmp_path):
    wandb = pytest.importorskip("wandb", reason="the client of Weights & Biases is not installed")
    exporters.to_wandb(FOUND, tmp_path)
    table = wandb.Table.from_json(json.loads((tmp_path / "runs.table.json").read_text()), None)
    assert table.columns[:3] == ["Name", "State", "learning_rate"]
    losses = np.array(table.get_column("validation_loss"), float)
    np.testing.assert_allclose(losses, FOUND.table["validation_loss"], rtol=1e-14)  # JSON with 15 digits


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the libraries below mlflow
def test_mlflow_finds_parameters_metrics_and_the_best_run(tmp_path):
    pytest.importorskip("mlflow", reason="mlflow is not installed (the extra mlflow)")
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    number = exporters.to_mlflow(FOUND, uri)
    client = MlflowClient(tracking_uri=uri)
    runs = {run.info.run_name: run for run in client.search_runs([number])}
    assert len(runs) == len(FOUND.table)
    for row, expected in enumerate(measured("validation_loss")):
        run = runs[f"setting-{row:02d}"]
        assert float(run.data.params["learning_rate"]) == FOUND.table["learning_rate"][row]
        history = client.get_metric_history(run.info.run_id, "validation_loss")
        assert {point.step: point.value for point in history} == expected
        assert run.info.status == ("FAILED" if FOUND.diverged[row] else "FINISHED")


def test_tensorboard_lists_the_settings_with_their_numbers_and_metrics(tmp_path):
    for package in ("tensorboardX", "tensorboard"):
        pytest.importorskip(package, reason=f"{package} is not installed (the extra tensorboard)")
    groups = session_groups(tmp_path)
    assert len(groups) == len(FOUND.table)
    for group in groups:
        (session,) = group.sessions
        row = int(Path(session.name).name.removeprefix("setting-"))
        numbers = {name: value.number_value or value.string_value for name, value in group.hparams.items()}
        assert numbers == FOUND.setting(row)
        assert (session.status == FAILURE) == FOUND.diverged[row]
        last = max(measured("validation_loss")[row].items(), default=None)
        metrics = {
            value.name.tag or value.name.group: (value.training_step, value.value) for value in session.metric_values
        }
        if last is None:
            assert "validation_loss" not in metrics
        else:
            step, value = metrics["validation_loss"]
            assert step == last[0]
            assert value == pytest.approx(last[1], rel=1e-6)  # TensorBoard keeps float32


def session_groups(folder):
    """What TensorBoard's HParams page asks its backend for."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    exporters.to_tensorboard(FOUND, folder)
    multiplexer = EventMultiplexer(tensor_size_guidance={"scalars": 0, "tensors": 0})
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    backend = backend_context.Context(TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(folder))))
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0, slice_size=100, allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE]
    )
    handler = list_session_groups.Handler(RequestContext(), backend, "", request)
    return handler.run().session_groups


def test_an_export_takes_a_result(tmp_path):
    result = sweep.run(
        MEAN_TASK, sweep.from_columns({"rate": [0.1, 0.5]}), MEAN_DATA, steps=4, eval_every=2, out=tmp_path / "sweep"
    )
    for name, source in (("trained", result), ("loaded", sweep.load(tmp_path / "sweep"))):
        exporters.to_wandb(source, tmp_path / name)
        report.write_page(tmp_path / f"{name}.html", source)
        assert "<title>Sweep" in (tmp_path / f"{name}.html").read_text(encoding="utf-8")
        assert report.summary(source).row_count == 2
    trained, loaded = (pandas.read_csv(tmp_path / name / "runs.csv") for name in ("trained", "loaded"))
    pandas.testing.assert_frame_equal(trained, loaded)
    assert trained["rate"].tolist() == [0.1, 0.5]
