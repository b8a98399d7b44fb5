"""The order of rows depends on the seed and the epoch alone, and devices share each batch."""

import numpy as np
import torch

from rnnport.data.types import Sequences
from rnnport.training.batches import EpochOrder, evaluation_batches, training_batches
from rnnport.training.parts import SequencePart, WindowPart


def rows_of(order, epoch):
    order.set_epoch(epoch)
    return [batch.tolist() for batch in order]


def test_an_epoch_has_every_row_once_in_an_order_of_its_own():
    order = EpochOrder(10, 4, seed=0, rank=0, world=1)
    first, second = rows_of(order, 0), rows_of(order, 1)
    assert [len(batch) for batch in first] == [4, 4, 2]
    for epoch in (first, second):
        assert sorted(row for batch in epoch for row in batch) == list(range(10))
    assert first != second


def test_an_epochs_order_does_not_depend_on_the_epochs_before():
    straight = EpochOrder(50, 8, seed=5, rank=0, world=1)
    for epoch in range(3):
        rows_of(straight, epoch)
    fresh = EpochOrder(50, 8, seed=5, rank=0, world=1)
    assert rows_of(straight, 3) == rows_of(fresh, 3)
    assert rows_of(EpochOrder(50, 8, seed=6, rank=0, world=1), 3) != rows_of(fresh, 3)


def test_devices_share_every_batch_in_the_same_number_of_steps():
    whole = rows_of(EpochOrder(9, 4, seed=0, rank=0, world=1), 2)
    shares = [rows_of(EpochOrder(9, 4, seed=0, rank=rank, world=2), 2) for rank in range(2)]
    assert [len(share) for share in shares] == [2, 2]  # the ninth row is not enough for both
    for batch, one, two in zip(whole, *shares, strict=False):
        assert sorted(one + two) == sorted(batch)


def test_batches_carry_raw_values_cut_to_their_longest_sequence():
    x = np.arange(24, dtype=np.uint8).reshape(3, 4, 2)
    part = SequencePart(Sequences(x, np.array([0, 1, 0]), np.array([1, 3, 2])))
    batch = part.batch(torch.tensor([2, 0]))
    assert batch.x.dtype == torch.float32
    assert batch.x.tolist() == x[[2, 0], :2].tolist()
    assert batch.lengths.tolist() == [2, 1]
    assert batch.y.tolist() == [0, 0]


def test_windows_hold_what_is_seen_and_what_follows():
    values = np.stack([np.arange(20.0), 100 + np.arange(20.0)], axis=1)
    part = WindowPart(values, range(10, 20), lookback=3, horizon=2, targets=[1])
    assert len(part) == 9
    batch = part.batch(torch.tensor([0, 8]))
    assert batch.x[:, :, 0].tolist() == [[7, 8, 9], [15, 16, 17]]
    assert batch.y[:, :, 0].tolist() == [[110, 111], [118, 119]]
    assert part.truth(torch.tensor([0, 8])).tolist() == [[[110], [111]], [[118], [119]]]


def test_loaders_give_batches_as_the_part_makes_them():
    part = SequencePart(Sequences(np.zeros((1100, 2, 1), np.float32), np.arange(1100)))
    shuffled = [batch.y for batch in training_batches(part, 300, seed=1)]
    assert [len(y) for y in shuffled] == [300, 300, 300, 200]
    assert torch.cat(shuffled).sort().values.tolist() == list(range(1100))
    assert torch.cat([batch.y for batch in evaluation_batches(part)]).tolist() == list(range(1100))
