"""Timestamps follow a rule, which goes on after their end."""

from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnport.data.times import continue_times, find_frequency, parse_times


def times(*texts):
    return np.array(texts, dtype="datetime64[us]")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2016-07-01 13:00:00", "2016-07-01T13:00:00"),
        ("2016-07-01T13:00:00", "2016-07-01T13:00:00"),
        (" 2016-07-01 13:00 ", "2016-07-01T13:00:00"),
        ("2016-07-01 13:00:00.250", "2016-07-01T13:00:00.250"),
        ("2016-07-01", "2016-07-01"),
        ("2016/07/01", "2016-07-01"),
        ("1949-01", "1949-01-01"),
        ("2016-07-01T13:00:00Z", "2016-07-01T13:00:00"),
        ("2016-07-01T13:00:00+02:00", "2016-07-01T11:00:00"),
        ("2016-07-01 13:00:00.5-0100", "2016-07-01T14:00:00.500"),
    ],
)
def test_iso_8601_is_read_and_offsets_become_utc(text, meant):
    assert parse_times(pa.array([text])).tolist() == times(meant).tolist()


@pytest.mark.parametrize("text", ["soon", "", "13:00", "2016-13-01", "1.5", "07/01/2016"])
def test_what_is_no_time_becomes_null(text):
    assert np.isnat(parse_times(pa.array([text, "2016-07-01"]))).tolist() == [True, False]


def test_whole_numbers_stay_whole_numbers():
    for column in (pa.array(["3", "5"]), pa.array([3, 5], pa.uint16())):
        read = parse_times(column)
        assert read.tolist() == [3, 5]
        assert read.dtype == np.int64
    assert np.isnat(parse_times(pa.array([3, None]))).all()


def test_typed_times_become_microseconds_in_utc():
    noon = datetime(2020, 1, 1, 12)
    for kind in (pa.timestamp("ns", "Europe/Berlin"), pa.timestamp("s"), pa.timestamp("ms")):
        read = parse_times(pa.array([noon], kind))
        assert read.dtype == "datetime64[us]"
        assert read.tolist() == [noon]
    for kind in (pa.date32(), pa.date64()):
        assert parse_times(pa.array([noon.date()], kind)).tolist() == [datetime(2020, 1, 1)]


@pytest.mark.parametrize(
    ("shown", "frequency", "following"),
    [
        (("2020-01-01T00", "2020-01-01T01"), "1h", ["2020-01-01T02", "2020-01-01T03"]),
        (("2020-01-01T00:00", "2020-01-01T00:15"), "15m", ["2020-01-01T00:30", "2020-01-01T00:45"]),
        (("2020-02-27", "2020-02-28"), "1d", ["2020-02-29", "2020-03-01"]),
        (("2020-01-01", "2020-01-08"), "1w", ["2020-01-15", "2020-01-22"]),
        (("1949-11-01", "1949-12-01"), "1mo", ["1950-01-01", "1950-02-01"]),
        (("2019-12-31", "2020-01-31", "2020-02-29"), "1mo", ["2020-03-31", "2020-04-30"]),
        (("2020-01-30", "2020-02-29", "2020-03-30"), "1mo", ["2020-04-30", "2020-05-30"]),
        (("2020-01-01", "2020-04-01", "2020-07-01"), "1q", ["2020-10-01", "2021-01-01"]),
        (("2019-02-28", "2020-02-28"), "1y", ["2021-02-28", "2022-02-28"]),
        (("2020-01-01T06", "2020-02-01T06"), "1mo", ["2020-03-01T06", "2020-04-01T06"]),
        (("2020-01-01", "2020-01-29", "2020-02-26"), "4w", ["2020-03-25", "2020-04-22"]),
        (
            ("2020-01-09", "2020-01-10", "2020-01-13", "2020-01-14", "2020-01-15", "2020-01-16"),
            "1bd",
            ["2020-01-17", "2020-01-20"],
        ),
        (("2020-01-01T00:00:00.1", "2020-01-01T00:00:00.3"), "200ms", None),
    ],
)
def test_a_rule_is_found_and_continued(shown, frequency, following):
    known = times(*shown)
    assert find_frequency(known) == frequency
    if following is not None:
        assert np.array_equal(continue_times(known, frequency, 2), times(*following))


def test_a_gap_does_not_hide_the_rule_but_chaos_has_none():
    assert find_frequency(times("2020-01-01", "2020-01-02", "2020-01-05", "2020-01-06")) == "1d"
    chaos = times("2020-01-01", "2020-01-02", "2020-01-05", "2020-01-09")
    assert find_frequency(chaos) is None
    assert continue_times(chaos, None, 3) is None


def test_one_row_shows_no_rule():
    assert find_frequency(times("2020-01-01")) is None


def test_whole_numbers_go_on():
    assert find_frequency(np.array([5, 8, 11])) == "3i"
    assert find_frequency(np.array([5, 8, 12])) is None
    assert continue_times(np.array([5, 8, 11]), "3i", 3).tolist() == [14, 17, 20]


def test_dates_stay_dates_and_hours_stay_hours():
    assert continue_times(times("2020-01-01", "2020-01-02"), "1d", 1).dtype == "datetime64[D]"
    assert (
        continue_times(times("2020-01-01T12", "2020-01-02T12"), "1d", 1).dtype == "datetime64[us]"
    )
    assert (
        continue_times(times("2020-01-01T22", "2020-01-01T23"), "1h", 1).dtype == "datetime64[us]"
    )


@given(
    start=st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),
    step=st.integers(1, 3600 * 24 * 40),
    rows=st.integers(3, 30),
)
def test_even_steps_continue_as_they_began(start, step, rows):
    everything = np.datetime64(start, "us") + np.arange(rows + 5) * np.timedelta64(step, "s")
    known = everything[:rows]
    assert np.array_equal(continue_times(known, find_frequency(known), 5), everything[rows:])
