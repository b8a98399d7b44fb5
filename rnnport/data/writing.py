"""Columns written as a Parquet table, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rnnport.data.types import Array
from rnnport.errors import MissingExtraError, WriteError
from rnnport.files import replacing


def write_table(path: str | Path, columns: Mapping[str, Array], overwrite: bool = False) -> None:
    """Write columns of equal length ``[rows]`` under their names, each as it is typed.

    Raises:
        OutputExistsError: the file exists and ``overwrite`` is false.
        WriteError: the disk is full, or the folder cannot be written.
        MissingExtraError: the writer is not installed.
    """
    path = Path(path)
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "data", f"writing {path.name}") from error
    table = pyarrow.table({name: pyarrow.array(values) for name, values in columns.items()})
    with replacing(path, overwrite) as temporary:
        try:
            pyarrow.parquet.write_table(table, temporary)
        except pyarrow.ArrowException as error:
            raise WriteError(f"{path} could not be written: {error}") from error
