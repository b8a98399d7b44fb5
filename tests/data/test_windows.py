"""Windows cover a range's rows once for each place in the horizon, without copying the series."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnport.data.windows import gather, window_starts
from rnnport.errors import DataError

SMALL = st.integers(1, 8)


@given(first=st.integers(0, 20), rows=st.integers(0, 20), lookback=SMALL, horizon=SMALL)
def test_every_window_s_horizon_lies_in_the_range_and_none_is_left_out(
    first, rows, lookback, horizon
):
    targets = range(first, first + rows)
    every = [
        start
        for start in range(first + rows)
        if start + lookback >= first and start + lookback + horizon <= first + rows
    ]
    if every:
        assert window_starts(targets, lookback, horizon).tolist() == every
    else:
        with pytest.raises(DataError, match="too few for one window"):
            window_starts(targets, lookback, horizon)


def test_too_few_rows_say_how_many_are_needed():
    with pytest.raises(DataError) as refused:
        window_starts(range(50), 48, 12)
    assert "lookback 48 + horizon 12 = 60 rows, and 50 are there" in str(refused.value)


def test_the_lookback_reaches_back_into_the_part_before():
    starts = window_starts(range(100, 110), 48, 4)
    assert (starts[0], starts[-1], len(starts)) == (52, 58, 7)


@pytest.mark.parametrize(("lookback", "horizon"), [(0, 1), (1, 0), (-1, 3)])
def test_lookback_and_horizon_are_at_least_one(lookback, horizon):
    with pytest.raises(DataError, match="both are at least 1"):
        window_starts(range(9), lookback, horizon)


@given(starts=st.lists(st.integers(0, 12), min_size=1, max_size=9), lookback=SMALL, horizon=SMALL)
def test_gather_gives_the_rows_that_slicing_gives(starts, lookback, horizon):
    values = np.arange(60.0).reshape(30, 2)
    x, y = gather(values, np.array(starts), lookback, horizon)
    for i, start in enumerate(starts):
        assert np.array_equal(x[i], values[start : start + lookback])
        assert np.array_equal(y[i], values[start + lookback : start + lookback + horizon])


def test_gather_copies_no_more_than_its_windows():
    values = np.zeros((1_000_000, 3))
    x, y = gather(values, np.array([0, 999_000]), 96, 24)
    assert x.base.nbytes == 2 * 120 * 3 * 8
    assert y.base is x.base
