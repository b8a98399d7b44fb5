"""Data in a model's own axes, fed to it to find the ranges of its activations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnnport.data.blocks import is_table
from rnnport.data.load import file_sha256, load_classify, load_forecast
from rnnport.data.sequences import is_sequences, read_npz, read_sequences
from rnnport.data.tables import read_table
from rnnport.data.types import Array, Sequences
from rnnport.data.windows import gather, window_starts
from rnnport.errors import DataError
from rnnport.pipeline.layout import of_model, rows_at_once, step_shape
from rnnport.runtime.session import Session

MOST_ROWS, BATCH = 256, 32  # ranges settle within a few hundred sequences


@dataclass(frozen=True)
class Calibration:
    """Every graph input by name, for each call; and the data that it is from."""

    feeds: tuple[dict[str, Array], ...]
    name: str
    sha256: str


def calibration(session: Session, source: str) -> Calibration:
    """Up to 256 sequences or windows, evenly taken from the data, as the model takes them.

    Args:
        session: the model, for what it takes.
        source: a built-in set's name (its training part is taken), or the path of a CSV, Parquet,
            ``.npy``, ``.npz``, ``.ts`` or idx file; an ``.npz`` may name every input of the model.

    Raises:
        DataError: the data cannot be read, is empty or not finite, or does not fit the model.
    """
    path, spec = Path(source), session.spec
    if path.suffix.lower() == ".npz" and path.is_file():
        arrays = read_npz(path)
        if {tensor.name for tensor in spec.data_inputs()} <= set(arrays):
            return Calibration((_checked(session, arrays, source),), path.name, file_sha256(path))
    if len(spec.data_inputs()) != 1:
        names = ", ".join(tensor.name for tensor in spec.data_inputs())
        raise DataError(
            f"the model takes {names}: calibrate it with an .npz file of arrays with these names"
        )
    rows, name, sha256 = _rows(session, source)
    if not len(rows):
        raise DataError(f"{source} holds no sequence: there is nothing to calibrate with")
    return Calibration(tuple(_batches(session, rows)), name, sha256)


def _rows(session: Session, source: str) -> tuple[Sequences, str, str]:
    path, series = Path(source), session.spec.series
    if series is not None and (is_table(path) or not path.suffix):
        data = load_forecast(source, time_column=series.time_column, columns=series.columns)
        starts = window_starts(data.train, series.lookback, series.horizon)
        x, _ = gather(data.series.values, _some(starts), series.lookback, series.horizon)
        return Sequences(x.astype(np.float32)), data.name, data.sha256
    if is_table(path):
        values = read_table(path).values
        return Sequences(values[None].astype(np.float32)), path.name, file_sha256(path)
    if is_sequences(path):
        return read_sequences(path), path.name, file_sha256(path)
    labelled = load_classify(source)
    return labelled.train, labelled.name, labelled.sha256


def _some(rows: Array) -> Array:
    """At most ``MOST_ROWS``, evenly spread."""
    return rows[:: max(1, -(-len(rows) // MOST_ROWS))]


def _batches(session: Session, rows: Sequences) -> list[dict[str, Array]]:
    spec = session.spec
    (tensor,) = spec.data_inputs()
    some = rows.take(_some(np.arange(len(rows))))
    width, step = some.x.shape[2], step_shape(tensor)
    if len(step) == 1 and isinstance(step[0], int) and step[0] != width:
        raise DataError(
            f"the calibration data have {width} features a step; the model takes {step[0]}"
        )
    size = rows_at_once(spec, len(some), BATCH)
    feeds = []
    for start in range(0, len(some), size):
        batch = some.take(slice(start, start + size))
        arrays = {tensor.name: of_model(batch.x, tensor)}
        if spec.lengths is not None and batch.lengths is not None:
            arrays[spec.lengths] = batch.lengths
        feeds.append(_checked(session, arrays, "the calibration data"))
    return feeds


def _checked(session: Session, arrays: dict[str, Array], where: str) -> dict[str, Array]:
    """The arrays with states and lengths at their beginning, as a run of the model would have."""
    known = {tensor.name for tensor in session.spec.inputs}
    for name, array in arrays.items():
        if name in known and array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(f"{where}: '{name}' has a value that is not a finite number")
    return session.prepared({name: array for name, array in arrays.items() if name in known})
