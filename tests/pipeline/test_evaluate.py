"""Metrics from a model file: those of its answers, whatever the batches; misfits are named."""

import json

import numpy as np
import pytest
from small_models import CLASSES, FEATURES, classifier, forecaster
from training_data import classify_document, forecast_document, write_sequences, write_series
from typer.testing import CliRunner

import rnnport
from rnnport.cli.main import app
from rnnport.data.load import load_classify
from rnnport.data.metrics import classification
from rnnport.errors import DataError, RequestError
from rnnport.pipeline.evaluate import evaluate

NAMES = np.array(["zero", "one", "two", "three", "four"])


@pytest.fixture
def sequences(tmp_path):
    """60 sequences of 3 to 7 steps with labels of five classes, in one file."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(3, 8, 60)
    x = draw.normal(size=(60, 7, FEATURES)) * (np.arange(7) < lengths[:, None])[:, :, None]
    arrays = {"x": x.astype(np.float32), "y": np.arange(60) % CLASSES, "classes": NAMES}

    def write(name="s.npz", **changed):
        np.savez(tmp_path / name, **{**arrays, "lengths": lengths, **changed})
        return str(tmp_path / name)

    return write


@pytest.fixture
def series(tmp_path):
    """100 hours of two columns that rise by 1 and by 2 an hour."""
    path = tmp_path / "series.csv"
    rows = (f"2020-01-{i // 24 + 1:02} {i % 24:02}:00:00,{i},{2 * i}" for i in range(100))
    path.write_text("\n".join(["date,a,b", *rows]))
    return path


def run(*arguments):
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    assert "Traceback" not in result.output
    return result


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("batch_size", [1, 5, 256])
def test_a_classifier_is_measured_row_by_row(tmp_path, sequences, cell, streaming, batch_size):
    """Against each sequence of the test alone, cut to its length: padding plays no part."""
    path = classifier(tmp_path / "m.onnx", cell, streaming=streaming, lengths=not streaming)
    source = sequences()
    session = rnnport.load(path, device="cpu")
    test = load_classify(source).test
    alone = [
        session(x[None, :length])[0, -1] if streaming else session(x[None, :length])[0]
        for x, length in zip(test.x, test.lengths, strict=True)
    ]
    result = evaluate(path, source, batch_size=batch_size, device="cpu")
    assert result.metrics == classification(test.y, np.array(alone), session.spec.classes)
    assert result.metrics["count"] == 10  # of 12 in each class, 2
    assert (result.task, result.split, result.data) == ("classify", "test", "s.npz")


def test_all_rows_are_measured_when_asked(tmp_path, sequences):
    path = classifier(tmp_path / "m.onnx", lengths=True)
    assert evaluate(path, sequences(), split="all").metrics["count"] == 60
    parts = [
        evaluate(path, sequences(), split=split).metrics["confusion"]
        for split in ("train", "validation", "test")
    ]
    everything = evaluate(path, sequences(), split="all").metrics["confusion"]
    assert np.sum(parts, axis=0).tolist() == everything


def test_classes_are_matched_by_name(tmp_path, sequences):
    """A file that numbers its classes otherwise, and has not all of them, gives the same."""
    path = classifier(tmp_path / "m.onnx", lengths=True)
    usual = evaluate(path, sequences(), split="all").metrics
    text = NAMES[np.arange(60) % CLASSES]  # as text they are sorted: four, one, three, …
    with np.load(sequences()) as file:
        arrays = {name: file[name] for name in ("x", "lengths")}
    np.savez(tmp_path / "text.npz", y=text, **arrays)
    assert evaluate(path, str(tmp_path / "text.npz"), split="all").metrics == usual


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, 256])
def test_a_forecaster_is_measured_in_both_units(tmp_path, series, streaming, batch_size):
    """The model adds 1 a step to both columns: right for a, and short by 1, 2, … for b."""
    path = forecaster(
        tmp_path / "m.onnx",
        ("a", "b"),
        lookback=6,
        horizon=2,
        streaming=streaming,
        time_column="date",
        target_std=(10.0, 5.0),
        naive_mae=(1.0, 2.0),
    )
    metrics = evaluate(path, str(series), batch_size=batch_size).metrics
    windows = 20 - 2 + 1
    assert metrics["count"] == 2 * windows
    assert metrics["targets"]["a"] == {
        "mse": 0,
        "mae": 0,
        "mse_scaled": 0,
        "mae_scaled": 0,
        "smape": 0,
        "mase": 0,
    }
    own = metrics["targets"]["b"]
    assert own["mae"] == pytest.approx((1 + 2) / 2)
    assert own["mse"] == pytest.approx((1 + 4) / 2)
    assert own["mae_scaled"] == pytest.approx(1.5 / 5)
    assert own["mse_scaled"] == pytest.approx(2.5 / 25)
    assert own["mase"] == pytest.approx(1.5 / 2)
    assert metrics["mae"] == pytest.approx(0.75)


def test_the_order_of_the_columns_does_not_matter(tmp_path, series):
    path = forecaster(tmp_path / "m.onnx", ("a", "b"), time_column="date")
    other = tmp_path / "other.csv"
    rows = [line.split(",") for line in series.read_text().splitlines()]
    other.write_text("\n".join(",".join((b, "x", date, a)) for date, a, b in rows))
    assert evaluate(path, str(other)).metrics == evaluate(path, str(series)).metrics


def test_other_data_than_trained_on_is_noted(tmp_path, sequences):
    source = sequences()
    known = {"data": {"name": "s.npz", "sha256": load_classify(source).sha256}}
    path = classifier(tmp_path / "m.onnx", lengths=True, edit={"provenance": known})
    notes = []
    assert evaluate(path, source, note=notes.append).notes == ()
    assert [note.split(":")[0] for note in notes] == ["running on cpu"]
    other = evaluate(path, sequences("t.npz", extra=np.ones(1)), note=notes.append)
    assert "not the data that the model was trained on" in other.notes[0]
    assert notes[-1] == other.notes[0]


def test_validation_is_the_share_that_training_held_out(tmp_path, sequences):
    recipe = {"recipe": {"data": {"validation": 0.5}}}
    path = classifier(tmp_path / "m.onnx", lengths=True, edit={"provenance": recipe})
    assert evaluate(path, sequences(), split="validation").metrics["count"] == 25
    none = {"recipe": {"data": {"validation": 0.0}}}
    path = classifier(tmp_path / "m.onnx", lengths=True, edit={"provenance": none})
    with pytest.raises(DataError, match=r"s.npz has no rows in its validation part"):
        evaluate(path, sequences(), split="validation")


def test_progress_counts_to_the_end(tmp_path, series):
    path = forecaster(tmp_path / "m.onnx", time_column="date")
    told = []
    evaluate(path, str(series), batch_size=8, progress=lambda done, of: told.append((done, of)))
    assert told == [(8, 19), (16, 19), (19, 19)]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"x": np.ones((60, 7, FEATURES + 1), np.float32)}, "has 4 features a step.* trained on 3"),
        ({"classes": np.array([*NAMES[:4], "nine"])}, "has the class 'nine', which the model does"),
        ({"x": np.full((60, 7, FEATURES), np.nan)}, "not a finite number"),
    ],
)
def test_sequences_that_do_not_fit_the_model_are_refused(tmp_path, sequences, changed, words):
    path = classifier(tmp_path / "m.onnx", lengths=True)
    result = run(path, "--data", sequences(**changed))
    assert result.exit_code == 2
    assert result.stdout == ""
    with pytest.raises(DataError, match=words):
        evaluate(path, sequences(**changed))


def test_a_model_that_would_read_the_padding_is_refused(tmp_path, sequences):
    path = classifier(tmp_path / "m.onnx", lengths=False)
    with pytest.raises(DataError, match="sequences of different lengths, and the model takes no"):
        evaluate(path, sequences())
    full = sequences(lengths=np.full(60, 7))
    assert evaluate(path, full).metrics["count"] > 0


def test_tables_that_do_not_fit_the_model_are_refused(tmp_path, series):
    path = forecaster(tmp_path / "m.onnx", ("a", "price"), time_column="date")
    result = run(path, "--data", series)
    assert result.exit_code == 2
    assert "has no column 'price'; it has date, a, b" in result.stderr
    long = forecaster(tmp_path / "long.onnx", lookback=200, horizon=24)
    result = run(long, "--data", series)
    assert result.exit_code == 2
    assert "lookback 200 + horizon 24 = 224 rows, and 100 are there" in result.stderr


def test_a_file_without_a_task_is_refused(tmp_path, sequences):
    path = classifier(tmp_path / "m.onnx", spec=False)
    with pytest.raises(DataError, match=r"m.onnx names no task with metrics"):
        evaluate(path, sequences())


def test_requests_that_are_wrong_are_refused(tmp_path, sequences):
    path = classifier(tmp_path / "m.onnx", lengths=True)
    with pytest.raises(RequestError, match="no split 'tset'; there are train, valid"):
        evaluate(path, sequences(), split="tset")
    with pytest.raises(RequestError, match="--batch-size is 0"):
        evaluate(path, sequences(), batch_size=0)
    result = run(path, "--data", "mnits")
    assert result.exit_code == 2
    assert "did you mean mnist?" in result.stderr
    assert run(tmp_path / "none.onnx", "--data", "digits").exit_code == 2
    (tmp_path / "cut.onnx").write_bytes(path.read_bytes()[:100])
    assert run(tmp_path / "cut.onnx", "--data", "digits").exit_code == 3


def test_the_command_prints_figures_and_the_confusion(tmp_path, sequences):
    path = classifier(tmp_path / "m.onnx", lengths=True)
    result = run(path, "--data", sequences())
    assert result.exit_code == 0
    metrics = evaluate(path, sequences()).metrics
    lines = result.stdout.splitlines()
    assert lines[0] == f"{path} on s.npz, test"
    assert f"  accuracy    {metrics['accuracy']:.6g}" in lines
    assert lines[-5].split() == ["zero", *map(str, metrics["confusion"][0])]
    assert "running on" in result.stderr


def test_the_command_prints_one_json_document(tmp_path, series):
    path = forecaster(tmp_path / "m.onnx", time_column="date")
    result = run(path, "--data", series, "--json", "--split", "all")
    document = json.loads(result.stdout)
    assert document["schema_version"] == 1
    assert (document["split"], document["task"], document["data"]) == (
        "all",
        "forecast",
        "series.csv",
    )
    assert document["metrics"] == evaluate(path, str(series), split="all").metrics
    assert set(document["metrics"]["targets"]) == {"a", "b"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "stream"), [("fixed", False), ("variable", True), ("forecast", True)]
)
def test_the_file_is_as_good_as_training_said(tmp_path, kind, stream):
    from rnnport.training.recipe import build
    from rnnport.training.train import train

    if kind == "forecast":
        data = write_series(tmp_path / "d.csv")
        document = forecast_document(data)
    else:
        data = write_sequences(tmp_path / "d.npz", variable=kind == "variable")
        document = classify_document(data)
    said = train(build(document, "small"), tmp_path / "run", device="cpu").metrics
    path = tmp_path / "m.onnx"
    rnnport.export(tmp_path / "run", path=path, stream=stream, verify=False)
    for split in ("train", "validation", "test"):
        found = evaluate(path, str(data), split=split, batch_size=7)
        assert found.notes == ()
        assert flat(found.metrics) == pytest.approx(flat(said[split]), rel=1e-4)


def flat(metrics):
    """The metrics without nesting, so that they can be compared within a tolerance."""
    targets = metrics.get("targets", {})
    single = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    nested = {f"{target}.{k}": v for target, own in targets.items() for k, v in own.items()}
    cells = {str(i): count for i, count in enumerate(np.ravel(metrics.get("confusion", ())))}
    return single | nested | cells
