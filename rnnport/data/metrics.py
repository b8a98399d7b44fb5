"""The metrics of both tasks, from sums that batches add up to and that training shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnport.data.types import Array
from rnnport.errors import DataError
from rnnport.spec import SeriesSpec


def confusion_counts(y: Array, probabilities: Array, classes: Sequence[str]) -> Array:
    """How often each class (row) was taken for each class (column): int64 ``[classes, classes]``.

    ``y`` is ``[n]``, ``probabilities`` ``[n, classes]`` (any scores will do: the largest decides,
    the first of equals). The counts of batches add up to the counts of all.

    Raises:
        DataError: the shapes or the labels do not fit the classes.
    """
    size = len(classes)
    if probabilities.shape != (len(y), size):
        raise DataError(
            f"probabilities are {list(probabilities.shape)}; {len(y)} labels of {size} classes "
            f"need [{len(y)}, {size}]"
        )
    if len(y) and (y.min() < 0 or y.max() >= size):
        raise DataError(f"labels run from {y.min()} to {y.max()}; there are {size} classes")
    if not np.isfinite(probabilities).all():
        raise DataError("the probabilities are not all finite: the model diverged")
    cells = y.astype(np.int64) * size + probabilities.argmax(axis=1)
    return np.bincount(cells, minlength=size * size).reshape(size, size)


def classification_metrics(confusion: Array) -> dict[str, Any]:
    """Accuracy, macro F1 and the confusion matrix, from its counts ``[classes, classes]``.

    F1 of a class is 2TP / (2TP + FP + FN) (van Rijsbergen, Information Retrieval, 1979), averaged
    over the classes that occur, as a label or as an answer.

    Raises:
        DataError: nothing was counted.
    """
    total = int(confusion.sum())
    if total == 0:
        raise DataError("there is nothing to evaluate: the part has no rows")
    right = np.diagonal(confusion)
    either = confusion.sum(axis=0) + confusion.sum(axis=1)  # TP + FP + TP + FN
    f1 = 2 * right[either > 0] / either[either > 0]
    return {
        "count": total,
        "accuracy": float(right.sum() / total),
        "f1": float(f1.mean()),
        "confusion": confusion.tolist(),
    }


def classification(y: Array, probabilities: Array, classes: Sequence[str]) -> dict[str, Any]:
    """The metrics of labels ``[n]`` against probabilities ``[n, classes]`` in one call."""
    return classification_metrics(confusion_counts(y, probabilities, classes))


@dataclass(frozen=True)
class ForecastSums:
    """Sums over forecasts, one entry a target; the sums of batches add up to the sums of all."""

    count: int  # values per target: windows × horizon
    absolute: Array
    squared: Array
    relative: Array  # of 2|y − f| / (|y| + |f|)

    def __add__(self, other: ForecastSums) -> ForecastSums:
        return ForecastSums(
            self.count + other.count,
            self.absolute + other.absolute,
            self.squared + other.squared,
            self.relative + other.relative,
        )


def forecast_sums(truth: Array, forecast: Array) -> ForecastSums:
    """Add up the errors of forecasts in raw units; both arrays are ``[windows, horizon, targets]``.

    Raises:
        DataError: the shapes differ, or a forecast is not finite.
    """
    if truth.shape != forecast.shape:
        raise DataError(f"the forecast is {list(forecast.shape)}, the truth {list(truth.shape)}")
    if not np.isfinite(forecast).all():
        raise DataError("the forecasts are not all finite: the model diverged")
    y = truth.astype(np.float64)
    f = forecast.astype(np.float64)
    error = np.abs(y - f)
    scale = np.abs(y) + np.abs(f)
    relative = np.divide(2 * error, scale, out=np.zeros_like(error), where=scale > 0)
    over = tuple(range(y.ndim - 1))
    return ForecastSums(
        count=error.size // error.shape[-1],
        absolute=error.sum(axis=over),
        squared=(error**2).sum(axis=over),
        relative=relative.sum(axis=over),
    )


def forecast_metrics(sums: ForecastSums, series: SeriesSpec) -> dict[str, Any]:
    """MSE and MAE in original and in scaled units, sMAPE in percent, MASE; means over the targets.

    sMAPE is Makridakis' ("Accuracy measures", International Journal of Forecasting 9, 1993): 200
    |y − f| / (|y| + |f|), and 0 where both are 0. MASE is MAE over the training part's seasonal
    naive MAE (Hyndman & Koehler, 2006); a target whose naive error is 0 has none. Scaled units are
    those of ``series.target_std``. ``targets`` repeats everything for each target.

    Raises:
        DataError: nothing was added up.
    """
    if sums.count == 0:
        raise DataError("there is nothing to evaluate: the part has no windows")
    mae, mse = sums.absolute / sums.count, sums.squared / sums.count
    rows = {"mse": mse, "mae": mae}
    if series.target_std:
        std = np.asarray(series.target_std)
        rows |= {"mse_scaled": mse / std**2, "mae_scaled": mae / std}
    rows["smape"] = 100 * sums.relative / sums.count
    if series.naive_mae:
        naive = np.asarray(series.naive_mae)
        rows["mase"] = np.divide(mae, naive, out=np.full_like(mae, np.nan), where=naive > 0)
    return {
        "count": sums.count,
        **_finite({name: _mean(values) for name, values in rows.items()}),
        "targets": {
            target: _finite({name: float(values[i]) for name, values in rows.items()})
            for i, target in enumerate(series.targets)
        },
    }


def forecasting(truth: Array, forecast: Array, series: SeriesSpec) -> dict[str, Any]:
    """The metrics of forecasts ``[windows, horizon, targets]`` in raw units in one call."""
    return forecast_metrics(forecast_sums(truth, forecast), series)


def _mean(values: Array) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _finite(values: dict[str, float]) -> dict[str, float]:
    """Without the figures that do not exist: JSON has no NaN."""
    return {name: value for name, value in values.items() if np.isfinite(value)}
