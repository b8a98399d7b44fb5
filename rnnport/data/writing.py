"""Columns written as a table: CSV, Parquet or JSON lines, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rnnport.data.times import time_text
from rnnport.data.types import Array
from rnnport.errors import MissingExtraError, RequestError, WriteError
from rnnport.files import replacing

_WRITERS = {
    ".csv": "write_csv",
    ".parquet": "write_parquet",
    ".pq": "write_parquet",
    ".jsonl": "write_ndjson",
}


def writable_tables() -> tuple[str, ...]:
    """The suffixes that ``write_table`` knows."""
    return tuple(_WRITERS)


def write_table(path: str | Path, columns: Mapping[str, Array], overwrite: bool = False) -> None:
    """Write columns of equal length ``[rows]`` under their names; the suffix chooses the format.

    datetime64[D] is written as dates; finer times as "2016-07-01 13:00:00", with a fraction only
    where there is one.

    Raises:
        RequestError: the suffix is none of ``writable_tables``.
        OutputExistsError: the file exists and ``overwrite`` is false.
        WriteError: the disk is full, or the folder cannot be written.
        MissingExtraError: the writer is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in _WRITERS:
        raise RequestError(
            f"{path} is not a table by its name; tables end in {', '.join(_WRITERS)}"
        )
    try:
        import polars as pl
    except ImportError as error:
        raise MissingExtraError("polars", "data", f"writing {path.name}") from error
    frame = pl.DataFrame({name: pl.Series(name, values) for name, values in columns.items()})
    if _WRITERS[path.suffix.lower()] != "write_parquet":
        frame = frame.with_columns(
            pl.Series(name, [time_text(time) for time in values])
            for name, values in columns.items()
            if values.dtype.kind == "M"
        )
    with replacing(path, overwrite) as temporary:
        try:
            getattr(frame, _WRITERS[path.suffix.lower()])(temporary)
        except pl.exceptions.PolarsError as error:
            raise WriteError(f"{path} could not be written: {error}") from error
