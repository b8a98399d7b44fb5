"""What is fitted on the training part alone: scaling, and the naive forecast's error."""

from __future__ import annotations

import numpy as np

from rnnport.data.types import Array
from rnnport.errors import DataError

_ROUNDING = 1e-12  # a spread this small beside the mean is rounding, not signal


def train_statistics(values: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of every column (the last axis), float64 ``[columns]``.

    The deviation is the population's, as scalers take it. A constant column has deviation 1, so
    that scaling makes it zero and not infinite.

    Raises:
        DataError: there are no rows.
    """
    rows = values.reshape(-1, values.shape[-1])
    if len(rows) == 0:
        raise DataError("there are no training rows to fit the scaling on")
    mean = rows.mean(axis=0, dtype=np.float64)
    std = rows.std(axis=0, dtype=np.float64)
    constant = std <= _ROUNDING * np.maximum(np.abs(mean), _ROUNDING)
    return mean, np.where(constant, 1.0, std)


def naive_mae(train: Array, season: int = 1) -> Array:
    """Mean absolute error of the seasonal naive forecast, ``[columns]``; MASE's denominator.

    The forecast of a row is the row one season before it (Hyndman & Koehler, "Another look at
    measures of forecast accuracy", International Journal of Forecasting 22, 2006).

    Raises:
        DataError: the training part ``[time, columns]`` is not longer than the season.
    """
    if not 1 <= season < len(train):
        raise DataError(
            f"a season of {season} rows does not fit the training part of {len(train)} rows: "
            "it is at least 1 and shorter than the part"
        )
    error: Array = np.abs(train[season:] - train[:-season]).mean(axis=0, dtype=np.float64)
    return error
