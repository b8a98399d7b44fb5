"""Tables are written whole or not at all, and read back as they were."""

import numpy as np
import pyarrow.parquet
import pytest

from rnnport.data.tables import read_table
from rnnport.data.writing import write_table
from rnnport.errors import OutputExistsError, RequestError, WriteError

TIMES = np.datetime64("2018-06-26T20", "us") + np.arange(3) * np.timedelta64(1, "h")
COLUMNS = {"date": TIMES, "OT": np.array([1.5, 0.1, -3.0]), "label": np.array(["a", "b", "c"])}


def test_what_is_written_is_read_back(tmp_path):
    write_table(tmp_path / "out.parquet", COLUMNS)
    series = read_table(tmp_path / "out.parquet", columns=["OT"])
    assert np.array_equal(series.values[:, 0], COLUMNS["OT"])
    assert np.array_equal(series.times, TIMES)
    assert series.frequency == "1h"


def test_times_stay_typed_dates_dates_and_text_text(tmp_path):
    write_table(tmp_path / "out.parquet", {**COLUMNS, "day": TIMES.astype("datetime64[D]")})
    schema = pyarrow.parquet.read_schema(tmp_path / "out.parquet")
    kinds = {name: str(schema.field(name).type) for name in schema.names}
    assert kinds == {
        "date": "timestamp[us]",
        "OT": "double",
        "label": "string",
        "day": "date32[day]",
    }


def test_an_existing_file_is_kept_unless_asked(tmp_path):
    path = tmp_path / "out.parquet"
    path.write_text("mine")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        write_table(path, COLUMNS)
    assert path.read_text() == "mine"
    write_table(path, COLUMNS, overwrite=True)
    assert len(read_table(path, columns=["OT"])) == 3


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(RequestError, match="does not exist"):
        write_table(tmp_path / "no" / "out.parquet", COLUMNS)


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), None])
def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch, failure):
    def full(table, path, *args, **kwargs):
        path.write_text("half")
        raise failure or pyarrow.ArrowInvalid("No space left on device")

    monkeypatch.setattr(pyarrow.parquet, "write_table", full)
    with pytest.raises(WriteError, match="could not be written: No space left on device"):
        write_table(tmp_path / "out.parquet", COLUMNS)
    assert list(tmp_path.iterdir()) == []
