"""The values that data arrives in: labelled sequences to classify, series to forecast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Sequences:
    """Sequences of one batchable array, one label each.

    ``x`` is ``[n, time, features]``, float32 or uint8, padded with zeros; ``y`` is int64 ``[n]``,
    an index into the classes, or None where there are no labels; ``lengths`` is int64 ``[n]``, or
    None where every sequence is as long as the array.
    """

    x: Array
    y: Array | None = None
    lengths: Array | None = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Array | slice) -> Sequences:
        """The sequences at these rows, in this order."""
        y = None if self.y is None else self.y[rows]
        lengths = None if self.lengths is None else self.lengths[rows]
        return Sequences(self.x[rows], y, lengths)


def joined(*parts: Sequences) -> Sequences:
    """All rows of parts of one data set; where they were padded differently, to the longest."""
    longest = max(part.x.shape[1] for part in parts)
    padded = [np.pad(part.x, ((0, 0), (0, longest - part.x.shape[1]), (0, 0))) for part in parts]
    lengths = [
        np.full(len(part), part.x.shape[1]) if part.lengths is None else part.lengths
        for part in parts
    ]
    labels = [part.y for part in parts if part.y is not None]
    varying = any(part.lengths is not None or part.x.shape[1] < longest for part in parts)
    return Sequences(
        x=np.concatenate(padded),
        y=np.concatenate(labels) if len(labels) == len(parts) else None,
        lengths=np.concatenate(lengths) if varying else None,
    )


@dataclass(frozen=True)
class ClassifyData:
    """Labelled sequences in their three parts; a part that was not asked for has no rows."""

    name: str
    sha256: str
    classes: tuple[str, ...]
    train: Sequences
    validation: Sequences
    test: Sequences

    def part(self, name: str) -> Sequences:
        """The part of that name, one of ``PARTS``."""
        return cast(Sequences, getattr(self, name))


@dataclass(frozen=True)
class Series:
    """Columns of numbers along one time axis, oldest row first.

    ``values`` is float64 ``[time, columns]``; ``times`` is datetime64[us] or int64 ``[time]``,
    strictly increasing, or None; ``frequency`` is duration text ("1h", "15m", "1mo"),
    or "1bd" for business days, or None where the steps follow no rule. ``utc`` says that the times
    were written with an offset, and are in UTC here.
    """

    values: Array
    columns: tuple[str, ...]
    times: Array | None = None
    time_column: str | None = None
    frequency: str | None = None
    utc: bool = False

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class ForecastData:
    """A series with the row ranges whose values are to be forecast in each part.

    The lookback of a part's first windows may reach back into the part before it, so that every
    row of the range is forecast; nothing of a range is ever a target of another part.
    """

    name: str
    sha256: str
    series: Series
    train: range
    validation: range
    test: range

    def part(self, name: str) -> range:
        """The row range of that name, one of ``PARTS``."""
        return cast(range, getattr(self, name))
