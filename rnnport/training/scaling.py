"""How raw values are brought to a size that networks learn well from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnnport.data.statistics import train_statistics
from rnnport.data.types import Array


@dataclass(frozen=True)
class Scaling:
    """(raw − offset) / scale, one of each per feature."""

    offset: tuple[float, ...]
    scale: tuple[float, ...]


def fit_scaling(kind: str, values: Array, over: int | None) -> Scaling:
    """Fit on ``[steps, features]``; a range is taken ``over`` axis 0, or over everything."""
    features = values.shape[-1]
    if kind == "none":
        return Scaling((0.0,) * features, (1.0,) * features)
    if kind == "standard":
        mean, std = train_statistics(values)
        return Scaling(numbers(mean), numbers(std))
    low = np.broadcast_to(np.min(values, axis=over).astype(np.float64), features)
    high = np.broadcast_to(np.max(values, axis=over).astype(np.float64), features)
    spread = np.where(high > low, high - low, 1.0)
    return Scaling(numbers(low), numbers(spread))


def numbers(values: Array) -> tuple[float, ...]:
    """The values of an array as Python's own numbers."""
    return tuple(float(value) for value in values)
