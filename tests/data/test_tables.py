"""Tables become series, or say which row and column is wrong."""

import gzip
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnport.data.tables import pieces, read_table, read_tail
from rnnport.errors import DataError

STATUS = Path("/proc/self/status")  # its peak is this program's alone, unlike getrusage's
HOURLY = "date,load,wind\n2020-01-01 00:00:00,1.5,10\n2020-01-01 01:00:00,2.5,20\n"


@pytest.fixture
def table(tmp_path):
    def write(text, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    return write


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """200,000 hours: several blocks of CSV, several row groups of Parquet."""
    folder = tmp_path_factory.mktemp("long")
    rows = 200_000
    times = np.datetime64("2000-01-01T00", "us") + np.arange(rows) * np.timedelta64(1, "h")
    values = np.random.default_rng(0).normal(size=(rows, 2))
    frame = pa.table({"date": times, "a": values[:, 0], "b": values[:, 1]})
    pa.csv.write_csv(frame, folder / "long.csv")
    pa.parquet.write_table(frame, folder / "long.parquet", row_group_size=30_000)
    return folder, times, values


def test_a_csv_is_read_with_its_times_and_their_frequency(table):
    series = read_table(table(HOURLY))
    assert series.columns == ("load", "wind")
    assert series.values.tolist() == [[1.5, 10], [2.5, 20]]
    assert series.values.dtype == np.float64
    assert series.times.tolist() == [
        np.datetime64("2020-01-01T00", "us").item(),
        np.datetime64("2020-01-01T01", "us").item(),
    ]
    assert (series.time_column, series.frequency) == ("date", "1h")


@pytest.mark.parametrize("name", ["t.csv.gz", "t.tsv", "t.CSV"])
def test_packed_and_tab_separated_tables_give_the_same(table, name):
    text = HOURLY.replace(",", "\t") if "tsv" in name else HOURLY
    series = read_table(table(text, name))
    assert series.values.tolist() == [[1.5, 10], [2.5, 20]]


def test_columns_are_found_by_name_in_any_order(table):
    series = read_table(table(HOURLY), columns=["wind", "load"])
    assert series.columns == ("wind", "load")
    assert series.values.tolist() == [[10, 1.5], [20, 2.5]]


def test_a_text_column_that_is_not_asked_for_is_no_trouble(table):
    path = table("date,city,load\n2020-01-01,Oslo,1\n2020-01-02,Oslo,2\n")
    assert read_table(path, columns=["load"]).values.tolist() == [[1], [2]]
    with pytest.raises(DataError, match="row 1 below the header, column 'city': 'Oslo'"):
        read_table(path)


@pytest.mark.parametrize(
    ("text", "time_column"),
    [
        ("load,when\n1,2020-01-01\n2,2020-01-02\n", None),  # neither a usual name nor first
        ("when,load\n2020-01-01,1\n2020-01-02,2\n", "when"),  # first
        ("load,Timestamp\n1,2020-01-01\n2,2020-01-02\n", "Timestamp"),  # a usual name
        ("load,wind\n1,5\n2,6\n", None),
        ("step,load\n1,5\n2,6\n", None),  # whole numbers are no sign of time
        ("time,load\n1,5\n2,6\n", "time"),  # but for the name
        (",load\n0,5\n1,6\n", ""),  # the index that pandas writes
        ("time,load\n0.5,5\n0.6,6\n", None),  # no rule continues these: a column like others
    ],
)
def test_the_time_column_is_found(table, text, time_column):
    path = table(text)
    if time_column is None and "when" in text:
        with pytest.raises(DataError, match="'2020-01-01' is not a finite number"):
            read_table(path)
        assert read_table(path, time_column="when").frequency == "1d"
    else:
        assert read_table(path).time_column == time_column


def test_whole_numbers_are_times_too(table):
    series = read_table(table("load,t\n5,10\n6,20\n"), time_column="t")
    assert series.times.tolist() == [10, 20]
    assert series.frequency == "10i"


def test_parquet_keeps_its_types(tmp_path):
    path = tmp_path / "t.parquet"
    made = pa.table(
        {
            "day": [date(2020, 1, 1), date(2020, 1, 2)],
            "on": [True, False],
            "count": [3, 4],
            "load": pa.array([1.5, 2.5], pa.float32()),
        }
    )
    pa.parquet.write_table(made, path)
    series = read_table(path)
    assert series.values.tolist() == [[1, 3, 1.5], [0, 4, 2.5]]
    assert (series.time_column, series.frequency) == ("day", "1d")


@pytest.mark.parametrize(
    ("cell", "found"),
    [("n/a", "'n/a'"), ("", "an empty cell"), ("NaN", "'NaN'"), ("inf", "'inf'"), ("1,5", None)],
)
def test_what_is_not_a_finite_number_is_named_with_row_and_column(table, cell, found):
    mark = ";" if found is None else ","
    path = table(HOURLY.replace("20\n", f"{cell}\n").replace(",", mark).replace("1;5", "1,5"))
    if found is None:
        path.write_text("date;load;wind\n2020-01-01;1;2\n2020-01-02;1;1,5\n")
        found = "'1,5'"
    with pytest.raises(DataError) as refused:
        read_table(path)
    message = str(refused.value)
    assert (
        f"{path}, row 2 below the header, column 'wind': {found} is not a finite number" in message
    )


def test_a_missing_value_in_parquet_is_named(tmp_path):
    path = tmp_path / "t.parquet"
    pa.parquet.write_table(pa.table({"t": [1, 2, 3], "load": [1.0, None, 2.0]}), path)
    with pytest.raises(DataError, match="row 2 below the header, column 'load': an empty cell"):
        read_table(path, time_column="t")


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (("2020-01-02", "2020-01-01"), "row 2.*2020-01-01 00:00:00 comes after 2020-01-02"),
        (("2020-01-02", "2020-01-02"), "row 2.*2020-01-02 00:00:00 comes twice"),
        (("2020-01-02", "soon"), "row 2 .*time column 'date': 'soon' is not a time.*ISO 8601"),
        (("07/01/2016", "07/02/2016"), "row 1 .*time column 'date': '07/01/2016' is not a time"),
    ],
)
def test_times_must_be_readable_and_rise(table, times, words):
    path = table(f"date,load\n{times[0]},1\n{times[1]},2\n")
    with pytest.raises(DataError, match=words):
        read_table(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot be read as a table: Empty CSV file"),
        ("date,load\n", "has a header and no rows"),
        ("date\n2020-01-01\n", "has no column but 'date'"),
        ("date,load,load\n2020-01-01,1,2\n", "two columns named 'load'"),
        ("date,load\n2020-01-01,1\n2020-01-02,1,9\n", "Expected 2 columns, got 3"),
    ],
)
def test_a_table_that_is_none_is_refused(table, text, words):
    with pytest.raises(DataError, match=words):
        read_table(table(text))


def test_missing_columns_and_files_are_named(table, tmp_path):
    path = table(HOURLY)
    with pytest.raises(DataError, match="has no column 'sun'; it has date, load, wind"):
        read_table(path, columns=["load", "sun"])
    with pytest.raises(DataError, match="has no column 'when'"):
        read_table(path, time_column="when")
    with pytest.raises(DataError, match=r"none.csv does not exist"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"is not a table by its name; tables end in \.csv"):
        read_table(tmp_path / "table.xls")


def test_truncated_files_are_refused(long, tmp_path):
    folder, _, _ = long
    cut = tmp_path / "cut.parquet"
    cut.write_bytes((folder / "long.parquet").read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"cut.parquet cannot be read"):
        read_table(cut)
    packed = tmp_path / "cut.csv.gz"
    packed.write_bytes(gzip.compress((folder / "long.csv").read_bytes()[:3_000_000])[:-100])
    with pytest.raises(DataError, match=r"cut.csv.gz cannot be read: .*[Tt]runcated"):
        read_table(packed)


@pytest.mark.parametrize("name", ["long.csv", "long.parquet"])
def test_a_long_table_is_read_whole(long, name):
    folder, times, values = long
    series = read_table(folder / name)
    assert np.array_equal(series.values, values)
    assert np.array_equal(series.times, times)
    assert series.frequency == "1h"


@given(rows=st.integers(1, 70))
def test_pieces_are_the_table_whatever_their_size(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("pieces") / "t.csv"
    path.write_text("a,b\n" + "".join(f"{i},{-i}\n" for i in range(53)))
    parts = list(pieces(path, rows=rows))
    assert [len(part) for part in parts[:-1]] == [rows] * (len(parts) - 1)
    whole = np.concatenate([part.values for part in parts])
    assert whole.tolist() == [[i, -i] for i in range(53)]


@pytest.mark.parametrize("name", ["long.csv", "long.parquet"])
def test_pieces_count_rows_across_blocks(long, name):
    folder, times, values = long
    parts = list(pieces(folder / name, ["b"], rows=70_000))
    assert [len(part) for part in parts] == [70_000, 70_000, 60_000]
    assert np.array_equal(np.concatenate([part.values for part in parts])[:, 0], values[:, 1])
    assert np.array_equal(np.concatenate([part.times for part in parts]), times)


@pytest.mark.parametrize("wrong_row", [16_384, 16_385, 50_000])
def test_a_wrong_row_far_down_is_named_by_its_number(tmp_path, wrong_row):
    lines = [f"{i},1.0" for i in range(60_000)]
    lines[wrong_row - 1] = f"{wrong_row - 1},?"
    path = tmp_path / "t.csv"
    path.write_text("time,a\n" + "\n".join(lines))
    with pytest.raises(DataError, match=f"row {wrong_row} below the header, column 'a'"):
        read_table(path)
    lines[wrong_row - 1] = f"{wrong_row - 2},1.0"
    path.write_text("time,a\n" + "\n".join(lines))
    with pytest.raises(DataError, match=f"row {wrong_row} below .* {wrong_row - 2} comes twice"):
        read_table(path)


@pytest.mark.parametrize("name", ["long.csv", "long.parquet"])
@pytest.mark.parametrize("rows", [1, 96, 30_001, 199_999, 200_000, 300_000])
def test_the_tail_is_the_last_rows_with_the_frequency_of_all(long, name, rows):
    folder, times, values = long
    passed = []
    tail = read_tail(folder / name, ["b", "a"], rows=rows, progress=passed.append)
    assert np.array_equal(tail.values, values[-rows:, ::-1])
    assert np.array_equal(tail.times, times[-rows:])
    assert (tail.columns, tail.frequency) == (("b", "a"), "1h")
    assert passed == sorted(passed)
    assert passed[-1] == 200_000


def test_the_tail_is_not_troubled_by_what_lies_before_it(table):
    path = table("time,a\n1,?\n2,5\n3,6\n")
    assert read_tail(path, rows=2).values.tolist() == [[5], [6]]
    with pytest.raises(DataError, match="row 1 below the header, column 'a'"):
        read_tail(path, rows=3)


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="the peak memory is read from Linux's /proc")
@pytest.mark.parametrize(
    "call", ["sum(len(p) for p in pieces(path))", "len(read_tail(path, rows=96))"]
)
def test_memory_does_not_grow_with_the_table(tmp_path, call):
    """Peak memory of a process that reads 128 MB, against one that reads 26 MB."""
    line = ",".join(["1.2345678901234"] * 8) + "\n"
    peaks = []
    for rows in (200_000, 1_000_000):
        path = tmp_path / f"{rows}.csv"
        path.write_text(",".join("abcdefgh") + "\n" + line * rows)
        program = (
            "import re; from rnnport.data.tables import pieces, read_tail\n"
            f"path = {str(path)!r}; {call}\n"
            f"print(re.search(r'VmHWM:\\s+(\\d+)', open({str(STATUS)!r}).read())[1])"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] - peaks[0] < 40  # MiB; the larger table is 100 MiB larger


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_header_in_another_encoding_is_named(tmp_path, encoding):
    path = tmp_path / "t.csv"
    path.write_text("date,pr\u00efce\n2024-01-01,1\n2024-01-02,2\n", encoding=encoding)
    with pytest.raises(DataError, match=r"not UTF-8|cannot be read as a table"):
        read_table(path)


def test_spaces_around_names_are_not_part_of_them(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("time, price ,b\n1,2.5,3\n2,3.5,4\n")
    series = read_table(path, ["price"])
    assert series.columns == ("price",)
    assert series.values[:, 0].tolist() == [2.5, 3.5]


def test_a_decimal_comma_is_named(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("time;price\n1;2,5\n")
    with pytest.raises(DataError, match="write decimals with a point"):
        read_table(path)
