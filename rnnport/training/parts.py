"""The rows of one part of the data (train, validation or test), in memory, a batch at a time."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from rnnport.data.types import Array, Sequences
from rnnport.data.windows import gather, window_starts


class Batch(NamedTuple):
    """What one step of training sees; x is raw values."""

    x: Tensor  # float32 [batch, time, features]
    lengths: Tensor | None  # int64 [batch], or None: all are as long as the time axis
    y: Tensor  # classify: int64 [batch]; forecast: float32 [batch, horizon, targets]


class Part(Protocol):
    """Rows that can be had in any order."""

    def __len__(self) -> int: ...

    def batch(self, rows: Tensor) -> Batch:
        """These rows (int64 ``[batch]``), in this order."""

    def truth(self, rows: Tensor) -> Array:
        """What the answers are measured against, as exact as the data has it."""


class SequencePart:
    """Labelled sequences; a batch of variable length is cut to its own longest sequence."""

    def __init__(self, sequences: Sequences) -> None:
        if sequences.y is None:
            raise TypeError("sequences without labels cannot be trained on")
        self.x = torch.from_numpy(sequences.x)  # [n, time, features], uint8 stays so until used
        self.y = torch.from_numpy(sequences.y)
        known = sequences.lengths
        self.lengths = None if known is None else torch.from_numpy(known)

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, rows: Tensor) -> Batch:
        x = self.x[rows].float()
        if self.lengths is None:
            return Batch(x, None, self.y[rows])
        lengths = self.lengths[rows]
        return Batch(x[:, : int(lengths.max())], lengths, self.y[rows])

    def truth(self, rows: Tensor) -> Array:
        """Labels, int64 ``[batch]``."""
        return self.y[rows].numpy()


class WindowPart:
    """Every window of a series whose horizon lies in a range of rows; none is copied before use."""

    def __init__(
        self, values: Array, rows: range, lookback: int, horizon: int, targets: list[int]
    ) -> None:
        self.values = values  # float64 [time, columns]
        self.inputs = torch.from_numpy(values.astype("float32"))
        self.starts = torch.from_numpy(window_starts(rows, lookback, horizon))
        self.lookback, self.horizon, self.targets = lookback, horizon, targets
        self.steps = torch.arange(lookback + horizon)

    def __len__(self) -> int:
        return len(self.starts)

    def batch(self, rows: Tensor) -> Batch:
        windows = self.inputs[self.starts[rows, None] + self.steps]  # [batch, steps, columns]
        y = windows[:, self.lookback :, self.targets]
        return Batch(windows[:, : self.lookback], None, y)

    def truth(self, rows: Tensor) -> Array:
        """Raw values, float64 ``[batch, horizon, targets]``."""
        starts = self.starts[rows].numpy()
        _, y = gather(self.values, starts, self.lookback, self.horizon)
        return y[:, :, self.targets]
