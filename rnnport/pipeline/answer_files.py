"""Writing answers: the array as ``.npy``, the table as CSV, JSON lines or Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np

from rnnport.data.times import time_text
from rnnport.data.types import Array
from rnnport.errors import RequestError
from rnnport.files import refuse_existing, replacing
from rnnport.pipeline.answers import Answers


def write_array(answers: Answers, path: Path, overwrite: bool) -> None:
    """Write the values as the model gave them, ``.npy``."""
    with replacing(path, overwrite) as temporary, temporary.open("wb") as file:
        np.save(file, answers.values)


def write_csv_file(answers: Answers, path: Path, overwrite: bool) -> None:
    """Write the table as CSV."""
    with replacing(path, overwrite) as temporary, temporary.open("w", encoding="utf-8") as file:
        write_csv(answers, file)


def write_csv(answers: Answers, file: IO[str]) -> None:
    """Write the table as CSV to an open file, stdout for example."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(answers.columns)
    writer.writerows(zip(*(_texts(values) for values in answers.columns.values()), strict=True))


def write_json_lines(answers: Answers, path: Path, overwrite: bool) -> None:
    """Write the table as JSON lines, one object a row."""
    names = list(answers.columns)
    with replacing(path, overwrite) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row in zip(*(plain(values) for values in answers.columns.values()), strict=True):
            cells = dict(zip(names, row, strict=True))
            file.write(json.dumps(cells, ensure_ascii=False, allow_nan=False) + "\n")


def write_parquet(answers: Answers, path: Path, overwrite: bool) -> None:
    """Write the table as Parquet."""
    from rnnport.data.writing import write_table

    write_table(path, answers.columns, overwrite)


WRITERS: dict[str, Callable[[Answers, Path, bool], None]] = {
    ".npy": write_array,
    ".csv": write_csv_file,
    ".parquet": write_parquet,
    ".jsonl": write_json_lines,
}


def refuse_output(path: Path, overwrite: bool) -> None:
    """Refuse, before any work is done, an output that cannot be written.

    Raises:
        RequestError: its suffix is none that answers are written in.
        OutputExistsError: it is there already and ``overwrite`` is false.
        WriteError: its folder does not exist.
    """
    if path.suffix.lower() not in WRITERS:
        raise RequestError(
            f"answers cannot be written to {path}: its name must end in {', '.join(WRITERS)}"
        )
    refuse_existing(path, overwrite)


def write_answers(answers: Answers, path: Path, overwrite: bool = False) -> None:
    """Write answers, whole or not at all; the suffix chooses the format.

    Raises:
        RequestError, OutputExistsError, WriteError: as :func:`refuse_output`, or a full disk.
        MissingExtraError: Parquet needs the extra ``data``.
    """
    refuse_output(path, overwrite)
    WRITERS[path.suffix.lower()](answers, path, overwrite)


def plain(values: Array) -> Any:
    """An array as nested lists for JSON: a float as short as it reads back, None for no number."""
    if values.dtype.kind == "M":
        return [time_text(value) for value in values]
    if values.dtype.kind != "f":
        return values.tolist()
    short = values.astype(str).astype(np.float64)  # 0.1 in float32 is 0.1, not 0.10000000149…
    if np.isfinite(short).all():
        return short.tolist()
    numbers = short.astype(object)
    numbers[~np.isfinite(short)] = None
    return numbers.tolist()


def _texts(values: Array) -> Iterable[str]:
    if values.dtype.kind == "M":
        return [time_text(value) for value in values]
    return [_number_text(value) if values.dtype.kind == "f" else str(value) for value in values]


def _number_text(value: np.floating[Any]) -> str:
    """As short as it reads back; with an exponent only where it is very large or very small."""
    usual = value == 0 or 1e-4 <= abs(value) < 1e16
    return np.format_float_positional(value, unique=True, trim="0") if usual else str(value)
