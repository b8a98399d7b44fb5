"""Tables are written whole or not at all, and read back as they were."""

import json

import numpy as np
import polars as pl
import pytest

from rnnport.data.tables import read_table
from rnnport.data.writing import write_table
from rnnport.errors import OutputExistsError, RequestError, WriteError

TIMES = np.datetime64("2018-06-26T20", "us") + np.arange(3) * np.timedelta64(1, "h")
COLUMNS = {"date": TIMES, "OT": np.array([1.5, 0.1, -3.0]), "label": np.array(["a", "b", "c"])}


@pytest.mark.parametrize("name", ["out.csv", "out.parquet", "out.pq"])
def test_what_is_written_is_read_back(tmp_path, name):
    write_table(tmp_path / name, COLUMNS)
    series = read_table(tmp_path / name, columns=["OT"])
    assert np.array_equal(series.values[:, 0], COLUMNS["OT"])
    assert np.array_equal(series.times, TIMES)
    assert series.frequency == "1h"


def test_csv_has_the_times_as_people_write_them(tmp_path):
    write_table(tmp_path / "out.csv", COLUMNS)
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[:2] == ["date,OT,label", "2018-06-26 20:00:00,1.5,a"]
    days = {"date": TIMES.astype("datetime64[D]"), "half": TIMES + np.timedelta64(500, "ms")}
    write_table(tmp_path / "out.csv", days, overwrite=True)
    assert (tmp_path / "out.csv").read_text().splitlines()[
        1
    ] == "2018-06-26,2018-06-26 20:00:00.500000"


def test_json_lines_have_one_object_a_row(tmp_path):
    write_table(tmp_path / "out.jsonl", COLUMNS)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert rows[1] == {"date": "2018-06-26 21:00:00", "OT": 0.1, "label": "b"}


def test_parquet_keeps_times_typed_and_dates_dates(tmp_path):
    write_table(tmp_path / "out.parquet", {**COLUMNS, "day": TIMES.astype("datetime64[D]")})
    schema = pl.read_parquet_schema(tmp_path / "out.parquet")
    assert schema["date"] == pl.Datetime("us")
    assert schema["day"] == pl.Date


def test_an_existing_file_is_kept_unless_asked(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("mine")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        write_table(path, COLUMNS)
    assert path.read_text() == "mine"


def test_an_unknown_suffix_and_a_missing_folder_are_named(tmp_path):
    with pytest.raises(RequestError, match=r"tables end in \.csv, \.parquet"):
        write_table(tmp_path / "out.xls", COLUMNS)
    with pytest.raises(WriteError, match="does not exist"):
        write_table(tmp_path / "no" / "out.csv", COLUMNS)


@pytest.mark.parametrize("name", ["out.csv", "out.parquet", "out.jsonl"])
def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch, name):
    def full(self, path, *args, **kwargs):
        path.write_text("half")
        raise pl.exceptions.ComputeError("No space left on device")

    for writer in ("write_csv", "write_parquet", "write_ndjson"):
        monkeypatch.setattr(pl.DataFrame, writer, full)
    with pytest.raises(WriteError, match="could not be written: No space left"):
        write_table(tmp_path / name, COLUMNS)
    assert list(tmp_path.iterdir()) == []
