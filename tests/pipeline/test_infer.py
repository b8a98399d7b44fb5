"""Answers to files of data: every kind of input, and a clear error for each that does not fit."""

import gzip
import json
import struct

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import small_models

import rnnport
from rnnport.errors import DataError, OutputExistsError, RequestError
from rnnport.pipeline import table_answers
from rnnport.pipeline.answer_files import write_answers
from rnnport.pipeline.infer import infer


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    build = small_models
    return {
        "classifier": build.classifier(folder / "c.onnx"),
        "lengths": build.classifier(folder / "cl.onnx", lengths=True),
        "streaming": build.classifier(folder / "cs.onnx", streaming=True),
        "forecaster": build.forecaster(folder / "f.onnx", time_column="date"),
        "streaming forecaster": build.forecaster(folder / "fs.onnx", streaming=True),
        "ids": build.embedding(folder / "e.onnx"),
    }


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def table(path, times, **columns):
    return save(path, {"date": times, **columns})


def save(path, columns):
    write = pa.parquet.write_table if path.suffix == ".parquet" else pa.csv.write_csv
    write(pa.table(columns), path)
    return path


def months(count):
    return [f"20{20 + i // 12}-{i % 12 + 1:02d}-01" for i in range(count)]


# --- sequences


def test_a_classifier_gives_label_and_probability(models, tmp_path):
    x = draw(5, 8, 3)
    np.save(tmp_path / "x.npy", x)
    answers = infer(models["classifier"], tmp_path / "x.npy", batch_size=2)
    expected = rnnport.load(models["classifier"])(x)
    names = np.array(["zero", "one", "two", "three", "four"])
    assert [*answers.columns["label"]] == [*names[expected.argmax(1)]]
    np.testing.assert_allclose(answers.columns["probability"], expected.max(1), atol=1e-6)
    np.testing.assert_allclose(answers.columns["probability.two"], expected[:, 2], atol=1e-6)
    np.testing.assert_allclose(answers.values, expected, atol=1e-6)


def test_the_batch_size_does_not_change_answers_and_progress_is_told(models, tmp_path):
    np.save(tmp_path / "x.npy", draw(7, 8, 3))
    told = []
    answers = [
        infer(models["classifier"], tmp_path / "x.npy", batch_size=size, progress=progress).values
        for size, progress in ((3, lambda done, of: told.append((done, of))), (256, None))
    ]
    np.testing.assert_allclose(*answers, atol=1e-6)
    assert told == [(3, 7), (6, 7), (7, 7)]


@pytest.mark.parametrize("kind", ["lengths", "streaming"])
def test_lengths_of_an_npz_say_where_a_sequence_ends(models, tmp_path, kind):
    x, lengths = draw(3, 8, 3), np.array([8, 1, 5])
    np.savez(tmp_path / "x.npz", x=x, lengths=lengths)
    answers = infer(models[kind], tmp_path / "x.npz").values
    for row, length in enumerate(lengths):
        np.save(tmp_path / "one.npy", x[row : row + 1, :length])
        alone = infer(models[kind], tmp_path / "one.npy").values[0]
        np.testing.assert_allclose(answers[row], alone, rtol=1e-5, atol=1e-6)


def test_images_in_idx_are_sequences_of_their_rows(models, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    content = struct.pack(">HBB3i", 0, 8, 3, *pixels.shape) + pixels.tobytes()
    (tmp_path / "images.idx").write_bytes(content)
    (tmp_path / "images.idx.gz").write_bytes(gzip.compress(content))
    expected = rnnport.load(models["classifier"])(pixels)
    for name in ("images.idx", "images.idx.gz"):
        answers = infer(models["classifier"], tmp_path / name)
        np.testing.assert_array_equal(answers.values, expected)


def test_windows_in_an_npy_are_forecast_each(models, tmp_path):
    x = draw(3, 6, 2)
    np.save(tmp_path / "x.npy", x)
    answers = infer(models["forecaster"], tmp_path / "x.npy")
    np.testing.assert_allclose(answers.values, x[:, -1:] + np.array([[1], [2]]), atol=1e-6)
    assert [*answers.columns["sequence"]] == [0, 0, 1, 1, 2, 2]
    assert [*answers.columns["ahead"]] == [1, 2, 1, 2, 1, 2]
    np.testing.assert_allclose(answers.columns["b"], answers.values[:, :, 1].ravel())


def test_ids_go_in_as_they_are(models, tmp_path):
    np.save(tmp_path / "ids.npy", np.array([[2, 0], [1, 1]]))
    answers = infer(models["ids"], tmp_path / "ids.npy")
    assert answers.values.tolist() == [[[4, 5], [0, 1]], [[2, 3], [2, 3]]]
    assert [*answers.columns] == ["sequence", "step", "vectors.0", "vectors.1"]
    assert [*answers.columns["step"]] == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": draw(2, 5, 4)}, r"shape \[2, 5, 4\]; expected \[batch, time, 3\]"),
        ({"x": np.full((2, 5, 3), np.nan)}, "not a finite number"),
        ({"x": np.full((2, 5, 3), "a")}, "must be numbers"),
        ({"x": draw(2, 5, 3), "lengths": [0, 5]}, "it must be from 1 to 5"),
        ({"x": draw(2, 5, 3), "lengths": [6, 5]}, "it must be from 1 to 5"),
        ({"x": draw(2, 5, 3), "lengths": [3, 5]}, "sequence 0 has length 3 of 5.*no lengths"),
        ({"x": draw(0, 5, 3)}, "holds no sequence"),
        ({"z": draw(2, 5, 3)}, "no array 'x'"),
    ],
)
def test_sequences_that_do_not_fit_are_named(models, tmp_path, arrays, says):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=says):
        infer(models["classifier"], tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["x.txt", "x", "x.onnx"])
def test_a_file_of_another_kind_is_refused_by_its_name(models, tmp_path, name):
    with pytest.raises(DataError, match=r"sequences end in \.npy.*tables in \.csv"):
        infer(models["classifier"], tmp_path / name)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.idx", "x.csv", "x.parquet"])
def test_a_missing_or_damaged_input_is_named(models, tmp_path, name):
    path = tmp_path / name
    with pytest.raises(DataError, match="does not exist"):
        infer(models["classifier"], path)
    path.write_bytes(b"\x93NUM")
    with pytest.raises(DataError, match=path.name.replace(".", r"\.")):
        infer(models["classifier"], path)


def test_a_batch_size_of_zero_is_refused(models, tmp_path):
    with pytest.raises(RequestError, match="batch size is 0"):
        infer(models["classifier"], tmp_path / "x.npy", batch_size=0)


# --- tables


@pytest.mark.parametrize("model", ["forecaster", "streaming forecaster"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_is_continued_by_the_calendar(models, tmp_path, model, suffix):
    rows = range(1, 15)
    path = table(
        tmp_path / f"t{suffix}",
        months(14),
        other=["text"] * 14,  # a column that the model does not know is not read
        b=[float(i) for i in rows],
        a=[i * 10 for i in rows],
    )
    answers = infer(models[model], path)
    assert [*answers.columns] == ["date", "a", "b"]
    assert answers.columns["date"].astype(str).tolist() == ["2021-03-01", "2021-04-01"]
    assert answers.columns["a"].tolist() == [141, 142]
    assert answers.columns["b"].tolist() == [15, 16]


def test_month_ends_stay_month_ends(models, tmp_path):
    ends = ["2023-07-31", "2023-08-31", "2023-09-30", "2023-10-31", "2023-11-30", "2023-12-31"]
    path = table(tmp_path / "t.csv", ends, a=[1] * 6, b=[1] * 6)
    times = infer(models["forecaster"], path).columns["date"]
    assert times.astype(str).tolist() == ["2024-01-31", "2024-02-29"]


def test_a_table_without_times_counts_steps(models, tmp_path):
    path = tmp_path / "t.csv"
    save(path, {"a": [1.0] * 6, "b": [2.0] * 6})
    answers = infer(models["forecaster"], path)
    assert [*answers.columns] == ["step", "a", "b"]
    assert answers.columns["step"].tolist() == [1, 2]


def test_a_streaming_forecaster_reads_every_row_piece_by_piece(models, tmp_path, monkeypatch):
    monkeypatch.setattr(table_answers, "PIECE", 4)
    path = table(tmp_path / "t.csv", months(13), a=range(13), b=range(13))
    told = []
    answers = infer(
        models["streaming forecaster"], path, progress=lambda done, of: told.append((done, of))
    )
    assert told == [(4, None), (8, None), (12, None), (13, None)]
    assert answers.columns["a"].tolist() == [13, 14]
    assert answers.columns["date"].astype(str).tolist() == ["2021-02-01", "2021-03-01"]


def test_a_forecaster_needs_only_the_end_of_a_table_to_be_sound(models, tmp_path):
    path = table(tmp_path / "t.csv", months(14), a=["?"] * 5 + ["1"] * 9, b=[1.0] * 14)
    assert infer(models["forecaster"], path).columns["a"].tolist() == [2, 3]
    with pytest.raises(DataError, match="row 1 below the header, column 'a': '\\?'"):
        infer(models["streaming forecaster"], path)


@pytest.mark.parametrize("model", ["forecaster", "streaming forecaster"])
@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"a": [1.0] * 5, "b": [1.0] * 5}, r"has 5 rows; the model looks back over 6"),
        ({"A": [1.0] * 6, "b": [1.0] * 6}, "no column 'a'.*it has date, A, b"),
        ({"aa": [1.0] * 6, "b": [1.0] * 6}, "no column 'a'.*nearest is 'aa'"),
        ({"a": [1.0] * 5 + [float("nan")], "b": [1.0] * 6}, "column 'a'.*not a finite number"),
        ({"a": ["1"] * 5 + ["x"], "b": [1.0] * 6}, "column 'a': 'x' is not a finite number"),
        ({"a": [1.0] * 5 + [None], "b": [1.0] * 6}, "column 'a': an empty cell"),
    ],
)
def test_a_table_that_does_not_fit_is_named(models, tmp_path, model, columns, says):
    count = len(next(iter(columns.values())))
    path = table(tmp_path / "t.csv", months(count), **columns)
    with pytest.raises(DataError, match=says):
        infer(models[model], path)


@pytest.mark.parametrize("model", ["classifier", "streaming"])
def test_a_classifier_takes_a_tables_rows_as_steps(models, tmp_path, monkeypatch, model):
    monkeypatch.setattr(table_answers, "PIECE", 4)
    x = draw(10, 3)
    path = tmp_path / "t.csv"
    save(path, dict(zip("uvw", x.T, strict=True)))
    np.save(tmp_path / "x.npy", x[None])
    answers = infer(models[model], path)
    assert len(answers) == 1
    whole = infer(models[model], tmp_path / "x.npy")
    np.testing.assert_allclose(answers.values, whole.values, rtol=1e-5, atol=1e-6)


def test_a_classifier_refuses_a_table_of_another_width(models, tmp_path):
    path = table(tmp_path / "t.csv", months(6), a=[1] * 6, b=[1] * 6)
    with pytest.raises(DataError, match=r"2 columns of values \(a, b\).*\[batch, time, 3\]"):
        infer(models["classifier"], path)


# --- outputs


@pytest.fixture
def answers(models, tmp_path):
    path = table(tmp_path / "t.csv", months(8), a=[0.1] * 8, b=range(8))
    return infer(models["forecaster"], path)


def test_every_format_holds_the_same(answers, tmp_path):
    for suffix in (".csv", ".jsonl", ".parquet", ".npy"):
        write_answers(answers, tmp_path / f"o{suffix}")
    assert (tmp_path / "o.csv").read_text() == "date,a,b\n2020-09-01,1.1,8.0\n2020-10-01,2.1,9.0\n"
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert lines[1] == {"date": "2020-10-01", "a": 2.1, "b": 9.0}
    frame = pa.parquet.read_table(tmp_path / "o.parquet")
    assert frame["date"].type == pa.date32()
    assert frame["b"].to_pylist() == [8.0, 9.0]
    np.testing.assert_array_equal(np.load(tmp_path / "o.npy"), answers.values)


def test_an_output_is_not_replaced_unasked(answers, tmp_path):
    path = tmp_path / "o.csv"
    path.write_text("mine")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        write_answers(answers, path)
    assert path.read_text() == "mine"
    write_answers(answers, path, overwrite=True)
    assert path.read_text().startswith("date,a,b")


def test_an_unknown_format_lists_the_known(answers, tmp_path):
    with pytest.raises(RequestError, match=r"end in \.npy, \.csv, \.parquet, \.jsonl"):
        write_answers(answers, tmp_path / "o.xlsx")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_times_with_an_offset_are_continued_in_utc_and_say_so(models, tmp_path, suffix):
    hours = [f"2022-01-06T0{hour}:00:00+02:00" for hour in range(6)]
    answers = infer(models["forecaster"], table(tmp_path / "t.csv", hours, a=[1] * 6, b=[2] * 6))
    assert answers.columns["date"].tolist() == [
        "2022-01-06 04:00:00+00:00",
        "2022-01-06 05:00:00+00:00",
    ]
    write_answers(answers, tmp_path / f"o{suffix}")
    assert b"04:00:00+00:00" in (tmp_path / f"o{suffix}").read_bytes()


def test_large_numbers_are_written_without_an_exponent(models, tmp_path):
    path = table(tmp_path / "t.csv", months(6), a=[1e7] * 6, b=[0.5] * 6)
    write_answers(infer(models["forecaster"], path), tmp_path / "o.csv")
    assert "10000001.0" in (tmp_path / "o.csv").read_text()
