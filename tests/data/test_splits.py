"""Splits are the same on every machine, and leave nothing out and nothing twice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnport.data.splits import chronological, hold_out, month_borders, stratified
from rnnport.data.types import Sequences
from rnnport.errors import DataError


@given(rows=st.integers(0, 5000))
def test_a_series_is_cut_in_time_without_gap_or_overlap(rows):
    train, validation, test = chronological(rows)
    assert [*train, *validation, *test] == list(range(rows))
    assert abs(len(train) - 0.7 * rows) <= 1
    assert abs(len(validation) - 0.1 * rows) <= 1


def test_the_ett_borders_are_12_4_and_4_months_of_30_days():
    assert month_borders(1) == (range(8640), range(8640, 11520), range(11520, 14400))
    assert month_borders(4) == (range(34560), range(34560, 46080), range(46080, 57600))


@given(
    y=st.lists(st.integers(0, 3), max_size=60),
    share=st.floats(0, 0.95),
    seed=st.integers(0, 2**32),
)
def test_a_stratified_split_takes_its_share_of_every_class(y, share, seed):
    labels = np.array(y, dtype=np.int64)
    kept, aside = stratified(labels, share, seed)
    assert sorted([*kept, *aside]) == list(range(len(y)))
    for label in set(y):
        count = (labels[aside] == label).sum()
        rows = y.count(label)
        assert abs(count - share * rows) <= 1
        if share > 0 and rows > 1:
            assert 1 <= count < rows


def test_the_draw_is_pinned():
    """These rows are what every model was ever evaluated on: they may never change."""
    y = np.repeat([0, 1, 2], 10)
    assert stratified(y, 0.2, seed=0)[1].tolist() == [2, 3, 11, 13, 20, 21]
    assert stratified(y, 0.2, seed=1)[1].tolist() == [2, 9, 16, 18, 27, 28]


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(DataError, match="cannot be set aside"):
        stratified(np.zeros(3), share, 0)


def test_holding_nothing_out_copies_nothing():
    data = Sequences(np.zeros((4, 2, 1)), np.zeros(4, np.int64))
    train, held_out = hold_out(data, 0, seed=0)
    assert train is data
    assert held_out.x.shape == (0, 2, 1)


def test_rows_keep_their_labels_and_lengths():
    n = 20
    data = Sequences(np.arange(n)[:, None, None], np.arange(n) % 2, np.arange(n))
    for part in hold_out(data, 0.3, seed=5):
        assert (part.x[:, 0, 0] == part.lengths).all()
        assert (part.x[:, 0, 0] % 2 == part.y).all()
