"""Answers to files of sequences, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rnnport.data.sequences import is_ts, read_npy, read_npz, read_sequences
from rnnport.data.types import Array
from rnnport.errors import DataError
from rnnport.pipeline.answers import Answers, Progress, as_task
from rnnport.pipeline.layout import answer_rows, rows_at_once
from rnnport.runtime.session import Session
from rnnport.spec import TensorSpec


def answer_sequences(session: Session, path: Path, batch_size: int, progress: Progress) -> Answers:
    """Answer every sequence of an ``.npy``, ``.npz``, ``.ts`` or idx file.

    Raises:
        DataError: the file cannot be read, or its sequences do not fit the model.
    """
    spec = session.spec
    (tensor,) = spec.data_inputs()
    x, lengths = _read(path, tensor)
    if lengths is not None and spec.lengths is None and not spec.streaming:
        _refuse_shorter(lengths, x, path)
        lengths = None
    if x.ndim == 0 or len(x) == 0:
        raise DataError(f"{path} holds no sequence")
    values = np.concatenate(list(_batches(session, x, lengths, batch_size, progress)))
    return as_task(values, spec)


def _read(path: Path, tensor: TensorSpec) -> tuple[Array, Array | None]:
    """The array ``[n, …]`` as the model takes it, and the lengths ``[n]`` if the file has them."""
    if is_ts(path) or (len(tensor.shape) == 3 and tensor.dtype.startswith("float")):
        data = read_sequences(path)
        return data.x, data.lengths
    if path.suffix.lower() == ".npz":  # ids, frames of images, …: as they are
        arrays = read_npz(path)
        if "x" not in arrays:
            raise DataError(f"{path} has no array 'x'; it has {', '.join(arrays) or 'none'}")
        return _finite(arrays["x"], path), arrays.get("lengths")
    return _finite(read_npy(path), path), None


def _finite(x: Array, path: Path) -> Array:
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        where = [int(i) for i in np.argwhere(~np.isfinite(x))[0]]
        raise DataError(f"{path}: the value at {where} is not a finite number")
    return x


def _refuse_shorter(lengths: Array, x: Array, path: Path) -> None:
    shorter = np.flatnonzero(lengths != x.shape[1])
    if shorter.size:
        row = int(shorter[0])
        raise DataError(
            f"{path}: sequence {row} has length {lengths[row]} of {x.shape[1]}, but the model "
            "takes no lengths and would read the padding; cut the sequences to one length"
        )


def _batches(
    session: Session, x: Array, lengths: Array | None, batch_size: int, progress: Progress
) -> Iterator[Array]:
    step = rows_at_once(session.spec, len(x), batch_size)
    for start in range(0, len(x), step):
        some = slice(start, start + step)
        yield answer_rows(session, x[some], None if lengths is None else lengths[some])
        progress(min(start + step, len(x)), len(x))
