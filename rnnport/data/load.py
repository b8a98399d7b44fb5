"""Data by built-in name or by path, split for its task."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from rnnport.data.archive import read_archive
from rnnport.data.blocks import CSV, PARQUET, is_table
from rnnport.data.builtin import CLASSIFY, FORECAST
from rnnport.data.sequences import is_ts, read_npz, sequences
from rnnport.data.splits import chronological, hold_out
from rnnport.data.tables import read_table
from rnnport.data.types import PARTS, Array, ClassifyData, ForecastData, Sequences, Series
from rnnport.errors import DataError

TEST_SHARE = 0.2
VALIDATION_SHARE = 0.125  # of what is not the test: a tenth of all


def load_classify(source: str, *, seed: int = 0, validation: float | None = None) -> ClassifyData:
    """Load labelled sequences: a built-in set, an ``.npz`` or a ``.ts`` file.

    An ``.npz`` has ``x``, ``y`` and may have ``lengths`` and ``classes`` (names); it is split
    70/10/20, each class alike. Or it has parts of its own: ``x_train``, ``y_train``, ``x_test``,
    ``y_test``, perhaps ``x_validation``, ``y_validation``, and ``lengths_…`` beside each.

    A ``.ts`` file is split likewise, unless its name says its part: ``X_TRAIN.ts`` has its test in
    ``X_TEST.ts`` beside it, and ``X_TEST.ts`` by itself is all test.

    ``validation`` is the share of what is not the test that is held out; None is the set's own:
    0 for mnist, 1/8 otherwise, nothing more where the file has its own validation part. ``seed``
    draws the split and nothing else: keep it, whatever seed the training has, and every model
    is evaluated on the same rows.

    Raises:
        DataError: there is no such set or file, or the file does not fit the task.
        FetchError: a built-in set is neither here nor can it be downloaded.
        MissingExtraError: a package for reading it is not installed.
    """
    if source in CLASSIFY:
        load, usual = CLASSIFY[source]
        return load(seed, usual if validation is None else validation)
    path = _path_of(source, "classify")
    if is_ts(path):
        return _load_ts(path, seed, validation)
    if path.suffix.lower() != ".npz":
        raise DataError(
            f"{source} cannot be classified: sequences with labels are .ts files, .npz files with "
            f"x, y and perhaps lengths, or one of {', '.join(CLASSIFY)}"
        )
    return _load_npz(path, seed, validation)


def load_forecast(
    source: str,
    *,
    time_column: str | None = None,
    columns: Sequence[str] | None = None,
) -> ForecastData:
    """Load a series: ``mackey-glass``, ``etth1``, ``ettm1``, or a CSV or Parquet file.

    A file is split in time, 70/10/20; the ETT sets into 12, 4 and 4 months of 30 days.
    ``columns`` are taken by name, in this order; None takes all but the time.

    Raises:
        DataError: there is no such set, file or column, or a value is not a finite number.
        FetchError: a built-in set is neither here nor can it be downloaded.
        MissingExtraError: a package for reading it is not installed.
    """
    if source in FORECAST:
        data = FORECAST[source]()
        if time_column not in (None, data.series.time_column):
            raise DataError(f"{source} has no time column '{time_column}'")
        return data if columns is None else replace(data, series=_choose(data, columns))
    path = _path_of(source, "forecast")
    if not is_table(path):
        raise DataError(
            f"{source} cannot be forecast: series are tables ({', '.join(CSV + PARQUET)}) with a "
            f"column of numbers for each variable, or one of {', '.join(FORECAST)}"
        )
    series = read_table(path, columns, time_column)
    return ForecastData(path.name, file_sha256(path), series, *chronological(len(series)))


def file_sha256(path: Path) -> str:
    """The sha256 of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _path_of(source: str, task: str) -> Path:
    """The path that is meant, or the error that says which built-in set may have been."""
    path = Path(source)
    if path.is_file():
        return path
    if source in CLASSIFY or source in FORECAST:
        other = "classify" if source in CLASSIFY else "forecast"
        raise DataError(f"{source} is a set to {other}, and the task is to {task}")
    if path.suffix or len(path.parts) > 1:
        raise DataError(f"the data file {source} does not exist")
    there = list(CLASSIFY) if task == "classify" else list(FORECAST)
    near = get_close_matches(source.lower(), [*CLASSIFY, *FORECAST], n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise DataError(
        f"there is no data set or file '{source}'{hint} To {task} there are {', '.join(there)}, "
        "or give the path of a file"
    )


def _choose(data: ForecastData, columns: Sequence[str]) -> Series:
    there = data.series.columns
    missing = [name for name in columns if name not in there]
    if missing:
        raise DataError(f"{data.name} has no column '{missing[0]}'; it has {', '.join(there)}")
    order = [there.index(name) for name in columns]
    return replace(data.series, columns=tuple(columns), values=data.series.values[:, order])


def _load_npz(path: Path, seed: int, validation: float | None) -> ClassifyData:
    arrays = read_npz(path)
    where = str(path)
    own_parts = "x" not in arrays and "x_train" in arrays
    labels = {name: arrays[name] for name in arrays if name == "y" or name.startswith("y_")}
    classes, labels = _number_labels(labels, arrays.get("classes"), where)
    arrays |= labels
    if own_parts:
        train, test = (_part(arrays, f"_{name}", where) for name in ("train", "test"))
        if "x_validation" in arrays and validation is None:
            parts = (train, _part(arrays, "_validation", where), test)
        else:
            share = VALIDATION_SHARE if validation is None else validation
            parts = (*hold_out(train, share, seed), test)
    else:
        rest, test = hold_out(_part(arrays, "", where), TEST_SHARE, seed)
        share = VALIDATION_SHARE if validation is None else validation
        parts = (*hold_out(rest, share, seed), test)
    return ClassifyData(path.name, file_sha256(path), classes, *_alike(parts, where))


def _load_ts(path: Path, seed: int, validation: float | None) -> ClassifyData:
    found = read_archive(path)
    rest, test = found.train, found.test
    if test is None:
        rest, test = hold_out(rest, TEST_SHARE, seed)
    share = VALIDATION_SHARE if validation is None else validation
    parts = _alike((*hold_out(rest, share, seed), test), str(path))
    return ClassifyData(path.name, found.sha256, found.classes, *parts)


def _alike(parts: Sequence[Sequences], where: str) -> list[Sequences]:
    """Parts of one width; where one of them has lengths, all have.

    Raises:
        DataError: the parts differ in width.
    """
    widths = [part.x.shape[2] for part in parts]
    for name, width in zip(PARTS, widths, strict=True):
        if width != widths[0]:
            raise DataError(
                f"{where}: x of the {name} part has {width} features a step, "
                f"that of the {PARTS[0]} part has {widths[0]}"
            )
    if all(part.lengths is None for part in parts):
        return list(parts)
    return [
        part
        if part.lengths is not None
        else replace(part, lengths=np.full(len(part), part.x.shape[1], np.int64))
        for part in parts
    ]


def _part(arrays: dict[str, Array], suffix: str, where: str) -> Sequences:
    missing = [name for name in (f"x{suffix}", f"y{suffix}") if name not in arrays]
    if missing:
        raise DataError(
            f"{where} has no array '{missing[0]}'; it has {', '.join(sorted(arrays)) or 'none'}. "
            "To classify it needs x and y, or x_train, y_train, x_test and y_test"
        )
    lengths = arrays.get(f"lengths{suffix}")
    return sequences(arrays[f"x{suffix}"], arrays[f"y{suffix}"], lengths, where)


def _number_labels(
    labels: dict[str, Array], names: Array | None, where: str
) -> tuple[tuple[str, ...], dict[str, Array]]:
    """Labels as indices into the classes: those the file names, else the sorted labels."""
    for name, label in labels.items():
        if label.ndim != 1 or label.dtype.kind not in "iubU":
            raise DataError(
                f"{where}: {name} is {label.dtype.name} {list(label.shape)}; labels are whole "
                "numbers or text, [n]"
            )
    if not labels:
        return (), {}
    values = np.unique(np.concatenate(list(labels.values())))
    classes = tuple(str(value) for value in (values if names is None else names))
    if names is not None and values.dtype.kind in "iu":
        position = {str(index): index for index in range(len(classes))}
    else:
        position = {name: index for index, name in enumerate(classes)}
    unknown = [value for value in values if str(value) not in position]
    if unknown:
        raise DataError(
            f"{where}: label {unknown[0]} is none of the {len(classes)} classes that the file names"
        )
    return classes, {name: _positions(y, position) for name, y in labels.items()}


def _positions(y: Array, position: dict[str, int]) -> Array:
    values, places = np.unique(y, return_inverse=True)
    numbers = np.array([position[str(value)] for value in values], dtype=np.int64)
    return numbers[places]
