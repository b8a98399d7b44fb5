"""Which rows are for training, for validation and for the test; the same on every machine."""

from __future__ import annotations

import numpy as np

from rnnport.data.types import Array, Sequences
from rnnport.errors import DataError

TRAIN_SHARE = 0.7
VALIDATION_SHARE = 0.1  # the rest is the test


def chronological(
    rows: int, train: float = TRAIN_SHARE, validation: float = VALIDATION_SHARE
) -> tuple[range, range, range]:
    """Cut a series in time: the first part trains, the last one tests."""
    first = round(rows * train)
    second = round(rows * (train + validation))
    return range(first), range(first, second), range(second, rows)


def month_borders(steps_per_hour: int) -> tuple[range, range, range]:
    """12, 4 and 4 months of 30 days, as the ETT literature splits (Zhou et al., AAAI 2021)."""
    month = 30 * 24 * steps_per_hour
    return range(12 * month), range(12 * month, 16 * month), range(16 * month, 20 * month)


def stratified(y: Array, share: float, seed: int) -> tuple[Array, Array]:
    """Rows kept and rows set aside, about ``share`` of every class set aside; both ascending.

    A class of at least two rows leaves at least one on each side, so long as ``share`` is neither
    0 nor 1.

    Raises:
        DataError: ``share`` is below 0, or 1 or more.
    """
    if not 0 <= share < 1:
        raise DataError(f"a share of {share} cannot be set aside: it is at least 0 and below 1")
    # A bit generator's raw stream is promised to stay as it is for ever; a Generator's is not.
    keys = np.random.PCG64(seed).random_raw(len(y))
    aside = np.zeros(len(y), dtype=bool)
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        count = round(len(rows) * share)
        if share > 0 and len(rows) > 1:
            count = min(max(count, 1), len(rows) - 1)
        aside[rows[np.argsort(keys[rows], kind="stable")[:count]]] = True
    return np.flatnonzero(~aside), np.flatnonzero(aside)


def hold_out(data: Sequences, share: float, seed: int) -> tuple[Sequences, Sequences]:
    """Labelled sequences without, and those of, a stratified share; a share of 0 copies nothing.

    Raises:
        DataError: ``share`` is below 0, or 1 or more.
    """
    assert data.y is not None  # only labelled data is split by label
    if share == 0:
        return data, data.take(slice(0, 0))
    kept, aside = stratified(data.y, share, seed)
    return data.take(kept), data.take(aside)
