"""Tables as series: CSV and Parquet, whole, piece by piece, or their last rows."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rnnport.data.blocks import ROWS, Block, blocks, column_names
from rnnport.data.times import find_frequency, has_offset, parse_times, time_text
from rnnport.data.types import Array, Series
from rnnport.errors import DataError

_TIME_NAMES = ("date", "datetime", "time", "timestamp", "ds", "index", "", "unnamed: 0")
_FREQUENCY_ROWS = 1000  # the frequency shows better in these than in a short lookback
_SHOWN = 12  # column names that a message lists


@dataclass(frozen=True)
class _Layout:
    path: Path
    columns: tuple[str, ...]
    time_column: str | None

    @property
    def names(self) -> tuple[str, ...]:
        return self.columns if self.time_column is None else (self.time_column, *self.columns)


def read_table(
    path: str | Path, columns: Sequence[str] | None = None, time_column: str | None = None
) -> Series:
    """Read a whole table.

    ``columns`` are found by name, in any order; None takes every column but the time's.
    ``time_column`` None looks for one: a column with a usual name ("date", "timestamp", "ds", …)
    that holds timestamps or whole numbers, or else a first column that holds timestamps.

    Raises:
        DataError: the file cannot be read, a column is not there, a value is not a finite number,
            or the times do not rise; the message names row and column.
        MissingExtraError: the readers are not installed.
    """
    return _join(pieces(path, columns, time_column=time_column))


def pieces(
    path: str | Path,
    columns: Sequence[str] | None = None,
    rows: int = ROWS,
    *,
    time_column: str | None = None,
) -> Iterator[Series]:
    """Read a table of any size as consecutive series of ``rows`` rows; the last may be shorter.

    Memory holds a few pieces, however large the file. The pieces carry no frequency. Raises what
    ``read_table`` raises, when the row in question is reached.
    """
    layout = _layout(Path(path), columns, time_column)
    yield from _parsed(_cut(blocks(layout.path, layout.names), rows), layout)


def read_tail(
    path: str | Path,
    columns: Sequence[str] | None = None,
    time_column: str | None = None,
    rows: int = ROWS,
    progress: Callable[[int], None] | None = None,
) -> Series:
    """The last ``rows`` rows of a table of any size; fewer where it has fewer.

    Only the end of the table is checked and kept in memory; ``progress`` is told the number of
    rows passed so far. Raises what ``read_table`` raises.
    """
    layout = _layout(Path(path), columns, time_column)
    enough = max(rows, _FREQUENCY_ROWS)
    kept: deque[Block] = deque()
    end = 0
    for offset, batch in blocks(layout.path, layout.names, last=enough):
        kept.append((offset, batch))
        end = offset + batch.num_rows
        while end - (kept[0][0] + kept[0][1].num_rows) >= enough:
            kept.popleft()
        if progress is not None:
            progress(end)
    # values are checked only where they are asked for; the times before them show the frequency
    cut = (_from(block, end - rows) for block in kept if block[0] + block[1].num_rows > end - rows)
    series = _join(_parsed(cut, layout))
    if layout.time_column is None or len(series) >= enough:
        return series
    first_column = ((offset, batch.select([0])) for offset, batch in kept)
    times = _join(_parsed(first_column, replace(layout, columns=()))).times
    assert times is not None  # the layout has a time column
    return replace(series, frequency=find_frequency(times[-enough:]))


def _from(block: Block, first: int) -> Block:
    offset, batch = block
    skip = max(0, first - offset)
    return offset + skip, batch.slice(skip)


def _join(parts: Iterable[Series]) -> Series:
    series = list(parts)
    values = np.concatenate([part.values for part in series])
    times = [part.times for part in series if part.times is not None]
    if not times:
        return replace(series[0], values=values)
    joined = np.concatenate(times)
    return replace(series[0], values=values, times=joined, frequency=find_frequency(joined))


def _layout(path: Path, columns: Sequence[str] | None, time_column: str | None) -> _Layout:
    """Find the columns in the file, before the first row is parsed."""
    names = column_names(path)
    missing = [name for name in (time_column, *(columns or ())) if name not in (None, *names)]
    if missing:
        raise DataError(f"{path} has no column '{missing[0]}'; it has {_listed(names)}")
    first = next(blocks(path, names), None)
    if first is None:
        raise DataError(f"{path} has a header and no rows")
    if time_column is None:
        free = [name for name in names if name not in (columns or ())]
        time_column = _find_time_column(first[1].slice(0, 1), names, free)
    chosen = columns if columns is not None else [name for name in names if name != time_column]
    if not chosen:
        raise DataError(f"{path} has no column but '{time_column}', the time; there are no values")
    return _Layout(path, tuple(chosen), time_column)


def _find_time_column(row: Any, names: Sequence[str], free: Sequence[str]) -> str | None:
    """Judged by the first row alone, so that a wrong time further down is named as such."""
    for place, name in enumerate(names):
        usual = name.strip().lower() in _TIME_NAMES
        if name not in free or not (usual or place == 0):
            continue
        times = parse_times(row.column(place))
        readable = not np.isnat(times).any() if times.dtype.kind == "M" else usual
        if readable or (usual and np.isnan(_as_numbers(row.column(place))).any()):
            return name
    return None


def _cut(source: Iterable[Block], rows: int) -> Iterator[Block]:
    """The same rows in blocks of exactly ``rows``; only the last may be smaller."""
    import pyarrow

    start, held, waiting = 0, 0, []
    for _, batch in source:
        waiting.append(batch)
        held += batch.num_rows
        while held >= rows:
            whole = pyarrow.concat_batches(waiting)
            yield start, whole.slice(0, rows)
            start, held, waiting = start + rows, held - rows, [whole.slice(rows)]
    if held:
        yield start, pyarrow.concat_batches(waiting)


def _parsed(source: Iterable[Block], layout: _Layout) -> Iterator[Series]:
    before: Any = None  # the last time of the piece before
    for offset, batch in source:
        columns = dict(zip(layout.names, batch.columns, strict=True))
        times, utc = None, False
        if layout.time_column is not None:
            utc = has_offset(columns[layout.time_column])
            times = _times(columns[layout.time_column], offset, layout, before)
            before = times[-1]
        values = np.empty((batch.num_rows, len(layout.columns)))
        for i, name in enumerate(layout.columns):
            values[:, i] = _numbers(columns[name], name, offset, layout)
        yield Series(values, layout.columns, times, layout.time_column, utc=utc)


def _numbers(column: Any, name: str, offset: int, layout: _Layout) -> Array:
    values = _as_numbers(column)
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        row = int(wrong[0])
        comma = re.fullmatch(r"\s*[+-]?\d+,\d+\s*", str(column[row].as_py())) is not None
        what_helps = (
            "write decimals with a point"
            if comma
            else "fill or drop such rows, or choose other columns"
        )
        raise DataError(
            f"{_at(layout, offset + row)}, column '{name}': {_found(column[row])} is not a finite "
            f"number; {what_helps}"
        )
    return values


def _as_numbers(column: Any) -> Array:
    """A pyarrow array as float64; NaN for what is no number."""
    import pyarrow

    if pyarrow.types.is_temporal(column.type):
        return np.full(len(column), np.nan)
    try:
        values: Array = column.cast(pyarrow.float64(), safe=False).to_numpy(zero_copy_only=False)
        return values
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
        return np.array([_number(cell) for cell in column.to_pylist()])


def _number(cell: object) -> float:
    try:
        return float(cell)  # type: ignore[arg-type]  # whatever it is, it is a number or it is not
    except (TypeError, ValueError):
        return float("nan")


def _times(column: Any, offset: int, layout: _Layout, before: Any) -> Array:
    times = parse_times(column)
    wrong = np.flatnonzero(times.dtype.kind == "M" and np.isnat(times))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{_at(layout, offset + row)}, time column '{layout.time_column}': "
            f"{_found(column[row])} is not a time; write ISO 8601 such as 2016-07-01 13:00:00, "
            "or whole numbers"
        )
    if before is not None and before.dtype != times.dtype:
        raise DataError(
            f"{_at(layout, offset)}: the time column '{layout.time_column}' changes between whole "
            "numbers and timestamps"
        )
    chain = times if before is None else np.concatenate([np.atleast_1d(before), times])
    wrong = np.flatnonzero(chain[1:] <= chain[:-1])
    if len(wrong):
        later = int(wrong[0]) + 1
        now, last = time_text(chain[later]), time_text(chain[later - 1])
        comes = "comes twice" if now == last else f"comes after {last}"
        raise DataError(
            f"{_at(layout, offset + later - (before is not None))}: time {now} {comes}; "
            f"sort the rows by '{layout.time_column}' and keep one row a time"
        )
    return times


def _at(layout: _Layout, row: int) -> str:
    return f"{layout.path}, row {row + 1} below the header"


def _found(cell: Any) -> str:
    value = cell.as_py()
    return "an empty cell" if value is None or value == "" else f"'{value}'"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
