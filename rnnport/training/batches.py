"""The order in which rows are learned: a function of the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from rnnport.training.parts import Batch, Part

_EVALUATION_BATCH = 512


def epoch_seed(*numbers: int) -> int:
    """One well-mixed seed from several numbers such as (seed, epoch)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


class EpochOrder(Sampler[Tensor]):
    """Gives the rows of one batch at a time; Lightning calls ``set_epoch`` before each epoch.

    A batch is shared out between ``world`` devices; what is left over for fewer devices than
    there are is left out, so that all take the same number of steps.
    """

    def __init__(self, rows: int, batch_size: int, seed: int, rank: int, world: int) -> None:
        self.rows, self.batch_size, self.seed = rows, batch_size, seed
        self.rank, self.world = rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; an epoch's order does not depend on the epochs before it."""
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(self.rows, self.batch_size)
        return full + int(rest >= self.world)

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch))
        order = torch.randperm(self.rows, generator=generator)
        for rows in torch.split(order, self.batch_size)[: len(self)]:
            yield rows[self.rank :: self.world]


class _Batches(Dataset[Batch]):
    """A part, indexed by the rows of a whole batch: nothing is collated row by row."""

    def __init__(self, part: Part) -> None:
        self.part = part

    def __getitem__(self, rows: Tensor) -> Batch:
        return self.part.batch(rows)


def _as_it_is(batch: Any) -> Any:
    return batch


def training_batches(
    part: Part, batch_size: int, seed: int, rank: int = 0, world: int = 1
) -> DataLoader[Batch]:
    """Shuffled batches of the training part."""
    order = EpochOrder(len(part), batch_size, seed, rank, world)
    return DataLoader(_Batches(part), batch_size=None, sampler=order, collate_fn=_as_it_is)


def evaluation_batches(part: Part) -> DataLoader[Batch]:
    """All rows in order, in large batches."""
    chunks = torch.split(torch.arange(len(part)), _EVALUATION_BATCH)
    return DataLoader(_Batches(part), batch_size=None, sampler=chunks, collate_fn=_as_it_is)
