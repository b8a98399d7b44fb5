"""The raw rows of a CSV or Parquet file, block by block: CSV as text, Parquet as it is typed."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rnnport.errors import DataError, MissingExtraError

CSV = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
PARQUET = (".parquet", ".pq")
ROWS = 16_384
_BYTES = 1 << 20  # of CSV parsed at a time: a hundredth of a second, and little memory

Block = tuple[int, Any]  # the number of its first row, from 0, and a pyarrow.RecordBatch


def is_table(path: str | Path) -> bool:
    """Whether the file's name says CSV or Parquet."""
    return str(path).lower().endswith(CSV + PARQUET)


def column_names(path: Path) -> tuple[str, ...]:
    """The names in the header, as they stand there.

    Raises:
        DataError: the file is not there, is not a table, or has a name twice.
        MissingExtraError: the readers are not installed.
    """
    if not is_table(path):
        raise DataError(
            f"{path} is not a table by its name; tables end in {', '.join(CSV + PARQUET)}"
        )
    with _errors_of(path):
        names = tuple(_schema(path))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path} has two columns named '{twice[0]}'; every name must be unique")
    return names


def blocks(path: Path, columns: Sequence[str], last: int | None = None) -> Iterator[Block]:
    """The rows of these columns, in this order, none of the blocks empty.

    ``last`` promises that only so many rows at the end matter: Parquet then skips what it can.

    Raises:
        DataError: the file is damaged; raised when the damage is reached.
    """
    raw = _parquet_blocks if str(path).lower().endswith(PARQUET) else _csv_blocks
    with _errors_of(path):
        for offset, batch in raw(path, list(columns), last):
            if batch.num_rows:
                yield offset, batch.select(columns)


def _schema(path: Path) -> list[str]:
    if str(path).lower().endswith(PARQUET):
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(path) as file:
            return list(file.schema_arrow.names)
    import pyarrow.csv

    with pyarrow.csv.open_csv(path, parse_options=_csv_form(path)) as reader:
        return [name.strip() for name in reader.schema.names]  # "time, price" means "price"


def _csv_blocks(path: Path, columns: list[str], last: int | None) -> Iterator[tuple[int, Any]]:
    import pyarrow
    import pyarrow.csv

    offset = 0
    with pyarrow.csv.open_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(
            block_size=_BYTES, use_threads=False, column_names=_schema(path), skip_rows=1
        ),
        parse_options=_csv_form(path),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=columns,
            column_types=dict.fromkeys(columns, pyarrow.string()),
            strings_can_be_null=False,
        ),
    ) as reader:
        for batch in reader:
            yield offset, batch
            offset += batch.num_rows


def _parquet_blocks(path: Path, columns: list[str], last: int | None) -> Iterator[tuple[int, Any]]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        groups = list(range(file.num_row_groups))
        sizes = [file.metadata.row_group(group).num_rows for group in groups]
        while last is not None and len(groups) > 1 and sum(sizes[i] for i in groups[1:]) >= last:
            groups = groups[1:]
        offset = sum(sizes[: groups[0]]) if groups else 0
        for batch in file.iter_batches(batch_size=ROWS, row_groups=groups, columns=columns):
            yield offset, batch
            offset += batch.num_rows


def _csv_form(path: Path) -> Any:
    """The delimiter that the header uses most: comma, semicolon or tab."""
    import pyarrow.csv

    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rb") as file:
        header = file.readline(_BYTES)
    delimiter = max(",;\t", key=lambda mark: header.count(mark.encode()))
    return pyarrow.csv.ParseOptions(delimiter=delimiter)


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Turn what the readers raise into errors of this package, each naming the file."""
    try:
        import pyarrow as arrow
    except ImportError as error:
        raise MissingExtraError("pyarrow", "data", f"reading {path.name}") from error
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8: save it as UTF-8 text (in a spreadsheet, 'CSV UTF-8')"
        ) from error
    except (arrow.ArrowInvalid, arrow.ArrowException, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} cannot be read as a table: {reason}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
