"""Timestamps: parsing them, finding the rule they follow, and continuing it past their end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnport.data.types import Array

if TYPE_CHECKING:
    import polars as pl

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
_FORMATS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")
_ZONED = ("%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M%z")


def parse_times(column: pl.Series) -> pl.Series:
    """Whole numbers become Int64, everything else Datetime("us"); what is neither becomes null.

    Text is read as ISO 8601: a date or a date and time, with "T" or a space between, with "-" or
    "/" in the date, or a month alone ("1949-01"). A time with an offset becomes UTC.
    """
    import polars as pl

    if column.dtype.is_integer():
        return column.cast(pl.Int64)
    if column.dtype.is_temporal():
        return _naive(column.cast(pl.Datetime("us", getattr(column.dtype, "time_zone", None))))
    text = column.cast(pl.String).str.strip_chars()
    if text.str.contains(r"^-?\d+$").all():
        return text.cast(pl.Int64, strict=False)
    return _parse_text(text)


def _parse_text(text: pl.Series) -> pl.Series:
    import polars as pl

    text = (
        text.str.replace_all("/", "-", literal=True)
        .str.replace(r"^(\d{4}-\d{2})$", "${1}-01")
        .str.replace("T", " ", literal=True)
        .str.replace(r"Z$", "+00:00")
    )
    zoned = bool(text.str.contains(r":\d.*[+-]\d{2}:?\d{2}$").any())
    parsed = pl.Series(text.name, [None] * len(text), dtype=pl.Datetime("us"))
    for form in _ZONED + _FORMATS if zoned else _FORMATS:
        parsed = parsed.zip_with(parsed.is_not_null(), _naive(_to_datetime(text, form)))
        if parsed.null_count() == 0:
            break
    return parsed


def _to_datetime(text: pl.Series, form: str) -> pl.Series:
    return text.str.to_datetime(form, time_unit="us", strict=False)


def _naive(column: pl.Series) -> pl.Series:
    zone = getattr(column.dtype, "time_zone", None)
    return column if zone is None else column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)


def time_text(time: Any) -> str:
    """A time as people write it in tables: "2016-07-01", "2016-07-01 13:00:00"; a whole number."""
    return re.sub(r"\.0+$", "", str(time).replace("T", " "))


def find_frequency(times: Array) -> str | None:
    """The rule of increasing times, as polars' duration text, or None where they follow none.

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
