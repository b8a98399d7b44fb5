"""Training end to end: the run folder, its figures, which weights are kept, what is refused."""

import csv
import json

import numpy as np
import pytest
import torch
from training_data import classify_document, forecast_document, write_sequences, write_series

from rnnport.data.load import load_classify, load_forecast
from rnnport.data.metrics import classification, forecasting
from rnnport.data.windows import gather, window_starts
from rnnport.errors import (
    CheckFailedError,
    DataError,
    DeviceError,
    OutputExistsError,
    RequestError,
)
from rnnport.training.folder import FILES
from rnnport.training.recipe import build
from rnnport.training.run import load_run
from rnnport.training.train import train


@pytest.fixture(scope="module")
def series_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    path = write_series(folder / "my.csv")
    return train(build(forecast_document(path, epochs=12), "waves"), folder / "run"), path


@pytest.fixture(scope="module")
def sequences_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequences")
    path = write_sequences(folder / "x.npz", variable=True)
    return train(build(classify_document(path, epochs=6), "slopes"), folder / "run"), path


def history(folder):
    with (folder / "history.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_a_run_folder_has_everything_and_nothing_else(series_run, sequences_run):
    for report, plot in ((series_run[0], "confusion.png"), (sequences_run[0], "forecast.png")):
        names = {path.name for path in report.folder.iterdir()}
        assert names == set(FILES) - {plot}
        assert json.loads((report.folder / "metrics.json").read_text()) == report.metrics


def test_it_learns(series_run, sequences_run):
    assert sequences_run[0].metrics["test"]["accuracy"] > 0.9
    assert series_run[0].metrics["test"]["mase"] < 1.0  # beats the naive forecast


def test_the_figures_of_a_forecast_are_those_of_the_saved_model(series_run):
    report, path = series_run
    run, data = load_run(report.folder), load_forecast(str(path))
    starts = window_starts(data.test, 12, 4)
    x, y = gather(data.series.values, starts, 12, 4)
    forecast = run.module(torch.from_numpy(x.astype(np.float32))).numpy()
    expected = forecasting(y[:, :, :1], forecast, run.spec.series)
    measured = dict(report.metrics["test"])
    by_target = expected.pop("targets")
    assert measured.pop("targets")["price"] == pytest.approx(by_target["price"], rel=1e-5)
    assert measured == pytest.approx(expected, rel=1e-5)


def test_the_figures_of_a_classifier_are_those_of_the_saved_model(sequences_run):
    report, path = sequences_run
    run, test = load_run(report.folder), load_classify(str(path)).test
    x, lengths = torch.from_numpy(test.x), torch.from_numpy(test.lengths)
    probabilities = run.module(x, lengths).numpy()
    assert report.metrics["test"] == classification(test.y, probabilities, run.spec.classes)


def test_the_best_epoch_by_validation_is_kept(series_run):
    report, _ = series_run
    losses = [row["validation_loss"] for row in history(report.folder)]
    assert report.metrics["epoch_kept"] == 1 + int(np.argmin(losses))
    # and the weights are that epoch's: their scaled error is the loss
    mse = report.metrics["validation"]["mse_scaled"]
    assert mse == pytest.approx(min(losses), rel=1e-3)


def test_the_last_epoch_is_kept_where_the_recipe_says_so(tmp_path):
    path = write_series(tmp_path / "my.csv", rows=150)
    document = forecast_document(path, epochs=3, checkpoint="last", learning_rate=0.5)
    report = train(build(document, "x"), tmp_path / "run")
    last = history(tmp_path / "run")[-1]["validation_loss"]
    assert report.metrics["epoch_kept"] == 3
    assert report.metrics["validation"]["mse_scaled"] == pytest.approx(last, rel=1e-3)


def test_history_has_one_row_an_epoch(series_run):
    rows = history(series_run[0].folder)
    assert [row["epoch"] for row in rows] == list(range(1, 13))
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]


def test_a_run_says_where_it_comes_from(series_run):
    report, path = series_run
    spec = load_run(report.folder).spec
    origin = spec.provenance
    assert origin["data"]["name"] == "my.csv"
    assert origin["recipe"]["data"]["source"] == "my.csv"  # no place of this machine travels
    assert str(path.parent) not in spec.to_json()
    assert origin["recipe"]["train"]["epochs"] == 12
    assert origin["versions"]["torch"] == torch.__version__


def test_patience_ends_a_training_that_does_not_improve(tmp_path):
    path = write_series(tmp_path / "my.csv", rows=150)
    document = forecast_document(path, epochs=30, patience=2, learning_rate=1.0)
    report = train(build(document, "x"), tmp_path / "run")
    assert report.metrics["epochs"] < 30
    assert report.metrics["epochs"] == report.metrics["epoch_kept"] + 2


@pytest.mark.parametrize(("optimizer", "rate"), [("adamw", 0.01), ("sgd", 0.1), ("rmsprop", 0.01)])
def test_every_optimizer_learns(tmp_path, optimizer, rate):
    path = write_sequences(tmp_path / "x.npz")
    document = classify_document(
        path, optimizer=optimizer, learning_rate=rate, clip=1.0, epochs=8, batch_size=16
    )
    report = train(build(document, "x"), tmp_path / "run")
    assert report.metrics["train"]["accuracy"] > 0.85


@pytest.mark.parametrize("cell", ["rnn", "gru"])
def test_other_cells_both_ways_and_half_precision_learn(tmp_path, cell):
    path = write_sequences(tmp_path / "x.npz")
    document = classify_document(path, precision="bf16-mixed", epochs=6)
    document["model"] |= {"cell": cell, "bidirectional": True}
    report = train(build(document, "x"), tmp_path / "run")
    assert report.metrics["train"]["accuracy"] > 0.85
    assert load_run(tmp_path / "run").module.offset.dtype == torch.float32


def test_the_seed_decides_the_weights(tmp_path):
    path = write_sequences(tmp_path / "x.npz")
    runs = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(build(classify_document(path, seed=seed, epochs=1), "x"), tmp_path / name)
        runs.append(load_run(tmp_path / name).module.head.weight)
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_training_leaves_the_callers_random_numbers_alone(tmp_path):
    path = write_sequences(tmp_path / "x.npz")
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    train(build(classify_document(path, epochs=1), "x"), tmp_path / "run")
    assert torch.equal(torch.rand(1), expected)


def test_a_divergence_stops_with_the_last_good_checkpoint(tmp_path):
    path = write_series(tmp_path / "my.csv", rows=150)
    document = forecast_document(path, optimizer="sgd", learning_rate=1e30)
    document["model"] = {"cell": "rnn", "nonlinearity": "relu", "hidden": 8}
    with pytest.raises(CheckFailedError, match=r"epoch 1: .*train\.learning_rate.*train\.clip"):
        train(build(document, "x"), tmp_path / "run")
    with pytest.raises(RequestError, match=r"model\.safetensors is missing"):
        load_run(tmp_path / "run")


def test_a_folder_with_files_is_refused_before_any_work(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    document = classify_document("no-such-file.npz")
    with pytest.raises(OutputExistsError, match=r"--resume.*--overwrite"):
        train(build(document, "x"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_overwriting_replaces_a_run_and_no_file_of_others(tmp_path):
    path = write_sequences(tmp_path / "x.npz")
    folder = tmp_path / "run"
    train(build(classify_document(path, epochs=2), "x"), folder)
    (folder / "notes.txt").write_text("mine")
    train(build(classify_document(path, epochs=1), "x"), folder, overwrite=True)
    assert (folder / "notes.txt").read_text() == "mine"
    assert len(history(folder)) == 1


def test_overwriting_removes_the_models_that_were_exported_from_the_former_weights(tmp_path):
    path = write_sequences(tmp_path / "x.npz")
    folder = tmp_path / "run"
    folder.mkdir()
    recipe = build(classify_document(path, epochs=1), "x")
    (folder / "model.onnx").write_text("mine: there was no run here")
    train(recipe, folder, overwrite=True)
    assert (folder / "model.onnx").exists()
    (folder / "model.stream.onnx").write_text("of the former weights")
    train(recipe, folder, overwrite=True)
    assert not list(folder.glob("*.onnx"))


def test_data_that_does_not_fit_leaves_no_folder(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        train(build(classify_document(tmp_path / "none.npz"), "x"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_that_is_not_there_is_refused_and_leaves_nothing(tmp_path):
    path = write_sequences(tmp_path / "x.npz")
    with pytest.raises(DeviceError, match="--device cuda"):
        train(build(classify_document(path), "x"), tmp_path / "run", device="cuda")
    assert not (tmp_path / "run").exists()
