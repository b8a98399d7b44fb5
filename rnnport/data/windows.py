"""Windows over a series: where they start, and the rows of a batch of them."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from rnnport.data.types import Array
from rnnport.errors import DataError


def window_starts(targets: range, lookback: int, horizon: int) -> Array:
    """The first row of every window whose whole horizon lies in ``targets``: int64 ``[windows]``.

    A window is ``lookback`` rows, which may lie before the range, and the ``horizon`` after them.

    Raises:
        DataError: there is no room for one window.
    """
    if lookback < 1 or horizon < 1:
        raise DataError(f"lookback is {lookback} and horizon {horizon}; both are at least 1")
    first = max(0, targets.start - lookback)
    last = targets.stop - horizon - lookback
    if last < first:
        raise DataError(
            f"rows {targets.start} to {targets.stop} are too few for one window: it needs "
            f"lookback {lookback} + horizon {horizon} = {lookback + horizon} rows, and "
            f"{targets.stop - first} are there; shorten lookback or horizon, or bring more rows"
        )
    return np.arange(first, last + 1, dtype=np.int64)


def gather(values: Array, starts: Array, lookback: int, horizon: int) -> tuple[Array, Array]:
    """The windows at ``starts``: their lookback and their horizon.

    The series is ``[time, columns]``, the answer ``[windows, lookback, columns]`` and
    ``[windows, horizon, columns]``. Only these windows are copied, nothing of the rest of the
    series.
    """
    view = sliding_window_view(values, lookback + horizon, axis=0)  # [rows, columns, window]
    windows = np.moveaxis(view[starts], -1, 1)
    return windows[:, :lookback], windows[:, lookback:]
