"""Timestamps: parsing them, finding the rule they follow, and continuing it past their end."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import numpy as np

from rnnport.data.types import Array

_DAY = 24 * 3600 * 10**6
_UNITS = {
    "w": 7 * _DAY,
    "d": _DAY,
    "h": 3600 * 10**6,
    "m": 60 * 10**6,
    "s": 10**6,
    "ms": 10**3,
    "us": 1,
}
_MONTHS = {"y": 12, "q": 3, "mo": 1}
_DATED = ("w", "d", "bd", *_MONTHS)  # whole days: what starts as dates stays dates


def parse_times(column: Any) -> Array:
    """A pyarrow array as int64 where all are whole numbers, else as datetime64[us].

    What is neither becomes NaT. Text is read as ISO 8601: a date or a date and time, with "T" or
    a space between, with "-" or "/" in the date, or a month alone ("1949-01"). A time with an
    offset becomes UTC.
    """
    import pyarrow as pa

    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        zone = getattr(column.type, "tz", None)
        column = column.cast(pa.timestamp("us", zone), safe=False)
    else:
        for kind in (pa.int64(), pa.timestamp("us")):
            try:
                column = column.cast(kind)
                break
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                continue
        else:
            cells = [_parse(cell) for cell in column.to_pylist()]
            return np.array(cells, dtype="datetime64[us]")
    if column.null_count and pa.types.is_integer(column.type):
        return np.full(len(column), np.datetime64("NaT", "us"))
    times: Array = column.to_numpy(zero_copy_only=False)
    return times


def _parse(cell: object) -> datetime | None:
    """The thorough and slow way, for what the fast one does not read."""
    text = str(cell).strip().replace("/", "-")
    try:
        time = datetime.fromisoformat(f"{text}-01" if re.fullmatch(r"\d{4}-\d\d", text) else text)
    except ValueError:
        return None
    return time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)


def has_offset(column: Any) -> bool:
    """Whether the times of a pyarrow array name their offset from UTC; judged by its last one."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        return column.type.tz is not None
    text = str(column[-1].as_py()).strip() if len(column) else ""
    return re.search(r":\d\d(\.\d+)?\s*(Z|[+-]\d\d(:?\d\d)?)$", text) is not None


def time_text(time: Any) -> str:
    """A time as people write it in tables: "2016-07-01", "2016-07-01 13:00:00"; a whole number."""
    return re.sub(r"\.0+$", "", str(time).replace("T", " "))


def find_frequency(times: Array) -> str | None:
    """The rule of increasing times, as duration text, or None where they follow none.

    Whole numbers that rise evenly give "1i" (one index step). Months and years are counted in the
    calendar. Weekdays without weekends give "1bd". Otherwise it is the step that more than half
    of the rows take, so that a gap does not hide it.
    """
    if len(times) < 2:
        return None
    steps = np.diff(times)
    values, counts = np.unique(steps, return_counts=True)
    if times.dtype.kind != "M":
        return f"{values[0]}i" if len(values) == 1 else None
    common = int(values[counts.argmax()].astype("timedelta64[us]").astype(np.int64))
    if steps.min() >= np.timedelta64(28, "D"):
        months = _month_step(times)
        if months is not None:
            unit, size = next(item for item in _MONTHS.items() if months % item[1] == 0)
            return f"{months // size}{unit}"
    if common == _DAY and len(values) > 1 and _midnights(times) and _weekdays(times):
        return "1bd"
    return _duration(common) if 2 * counts.max() > len(steps) else None


def continue_times(times: Array, frequency: str | None, steps: int) -> Array | None:
    """The ``steps`` times after the last of ``times``; None without a frequency.

    int64 for "i", datetime64[D] where dates are continued by days or more, else datetime64[us].
    """
    rule = re.fullmatch(r"(\d+)([a-z]+)", frequency or "")
    if rule is None or len(times) == 0:
        return None
    unit, ahead = rule[2], int(rule[1]) * np.arange(1, steps + 1, dtype=np.int64)
    if unit == "i":
        return np.asarray(times[-1] + ahead)
    if unit == "bd":
        new = np.busday_offset(times[-1].astype("datetime64[D]"), ahead, roll="backward")
    elif unit in _MONTHS:
        new = _months_ahead(times, ahead * _MONTHS[unit])
    else:
        new = times[-1] + (ahead * _UNITS[unit]).astype("timedelta64[us]")
    dates = unit in _DATED and _midnights(times)
    return new.astype("datetime64[D]" if dates else "datetime64[us]")


def _months_ahead(times: Array, months: Array) -> Array:
    """The same day of later months; a series of the 31st takes the last day of shorter months."""
    last = times[-1]
    clock = last - last.astype("datetime64[D]")
    month = last.astype("datetime64[M]") + months
    days: Array = np.minimum(_first(month) + _day_of_month(times).max(), _last(month))
    later: Array = days + clock
    return later


def _month_step(times: Array) -> int | None:
    """The constant number of months between the times, where the day of the month stays."""
    month = times.astype("datetime64[M]")
    steps = np.unique(np.diff(month).astype(np.int64))
    kept = np.minimum(_first(month) + _day_of_month(times).max(), _last(month))
    same = bool((kept == times.astype("datetime64[D]")).all())
    return int(steps[0]) if len(steps) == 1 and same else None


def _first(month: Array) -> Array:
    return month.astype("datetime64[D]")


def _last(month: Array) -> Array:
    return _first(month + 1) - 1


def _day_of_month(times: Array) -> Array:
    return times.astype("datetime64[D]") - _first(times.astype("datetime64[M]"))


def _midnights(times: Array) -> bool:
    return bool((times == times.astype("datetime64[D]")).all())


def _weekdays(times: Array) -> bool:
    return bool(np.is_busday(times.astype("datetime64[D]")).all())


def _duration(microseconds: int) -> str:
    unit, size = next(item for item in _UNITS.items() if microseconds % item[1] == 0)
    return f"{microseconds // size}{unit}"
