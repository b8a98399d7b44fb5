"""The network as Lightning trains it: its steps, its figures, what a resumed run remembers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from rnnport.errors import CheckFailedError
from rnnport.training.batches import epoch_seed, evaluation_batches, training_batches
from rnnport.training.model import Network
from rnnport.training.objective import Objective
from rnnport.training.parts import Batch
from rnnport.training.problem import Problem
from rnnport.training.recipe import Train

Row = dict[str, float]  # one epoch of history.csv
VALIDATION_LOSS = "validation_loss"


def _sgd(parameters: Iterable[nn.Parameter], lr: float) -> Optimizer:
    return SGD(parameters, lr=lr, momentum=0.9, nesterov=True)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": Adam,
    "adamw": AdamW,
    "sgd": _sgd,
    "rmsprop": RMSprop,
}


class _Mean:
    """A running mean that stays on the device: reading it is the only synchronisation."""

    def __init__(self) -> None:
        self.sum: Tensor | float = 0.0
        self.count = 0

    def add(self, value: Tensor, count: int) -> None:
        self.sum = self.sum + value.detach() * count
        self.count += count

    def value(self) -> float:
        return float(self.sum) / max(self.count, 1)


class Lesson(LightningModule):
    """Trains a network; ``history`` has one row for every completed epoch.

    The order of rows and the draws of dropout depend on the seed and the epoch alone, and the
    history and the best weights travel in the checkpoint: a run that was killed and resumed ends
    where an uninterrupted one does.
    """

    def __init__(
        self,
        network: Network,
        objective: Objective,
        problem: Problem,
        train: Train,
        on_epoch: Callable[[list[Row]], None],
    ) -> None:
        super().__init__()
        self.network, self.objective, self.problem, self.train_ = network, objective, problem, train
        self.on_epoch = on_epoch
        self.history: list[Row] = []
        self.best: dict[str, Tensor] = {}
        self.best_epoch = 0  # the first epoch is 1
        self._means: dict[str, _Mean] = {}
        self._start = time.perf_counter()

    # -- what Lightning asks for

    def configure_optimizers(self) -> Optimizer:
        build = OPTIMIZERS[self.train_.optimizer]
        return build(self.network.parameters(), lr=self.train_.learning_rate)

    def train_dataloader(self) -> Any:
        return training_batches(
            self.problem.parts["train"],
            self.train_.batch_size,
            self.train_.seed,
            self.trainer.global_rank,
            self.trainer.world_size,
        )

    def val_dataloader(self) -> Any:
        part = self.problem.parts.get("validation")
        return [] if part is None else evaluation_batches(part)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        if batch_idx == 0:
            epoch = len(self.history)
            # not the seed of the order of rows: their draws must not go together
            torch.manual_seed(epoch_seed(self.train_.seed, epoch, 1 + self.trainer.global_rank))
            self._means = {}
            self._start = time.perf_counter()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step("train", batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._step("validation", batch)

    def on_validation_epoch_end(self) -> None:
        loss = self._means[VALIDATION_LOSS].value()
        self.log(VALIDATION_LOSS, loss)

    def on_train_epoch_end(self) -> None:
        row = {"epoch": float(len(self.history) + 1)}
        row |= {name: self._over_devices(mean.value()) for name, mean in self._means.items()}
        row["seconds"] = time.perf_counter() - self._start
        self._refuse_divergence(row)
        self.history.append(row)
        self._remember_best()
        if self.trainer.is_global_zero:
            self.on_epoch(self.history)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["lesson"] = {
            "history": self.history,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "stopped": self.trainer.should_stop,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        lesson = checkpoint["lesson"]
        self.history = lesson["history"]
        self.best, self.best_epoch = lesson["best"], lesson["best_epoch"]

    # -- figures

    def running(self, name: str) -> float:
        """The mean so far in this epoch of "train_loss", or of another figure."""
        return self._means[name].value() if name in self._means else float("nan")

    def finished_weights(self) -> tuple[dict[str, Tensor], int]:
        """The weights that the recipe asks for, and the epoch they are of."""
        if self.best and self.train_.checkpoint == "best":
            return self.best, self.best_epoch
        return dict(self.network.state_dict()), len(self.history)

    def _step(self, part: str, batch: Batch) -> Tensor:
        loss, metric = self.objective.losses(self.network, batch)
        for name, value in ((f"{part}_loss", loss), (f"{part}_{self.objective.metric}", metric)):
            self._means.setdefault(name, _Mean()).add(value, len(batch.y))
        return loss

    def _over_devices(self, value: float) -> float:
        if self.trainer.world_size == 1:
            return value
        own = torch.tensor(value, device=self.device)
        return float(self.trainer.strategy.reduce(own, reduce_op="mean"))

    def _refuse_divergence(self, row: Row) -> None:
        if all(abs(value) != float("inf") and value == value for value in row.values()):
            return
        kept = f"the checkpoint of epoch {len(self.history)} is kept" if self.history else ""
        raise CheckFailedError(
            f"the loss is not a number any more in epoch {int(row['epoch'])}: training diverged; "
            "lower train.learning_rate, or bound the gradient with train.clip"
            + (f" ({kept})" if kept else "")
        )

    def _remember_best(self) -> None:
        losses = [row.get(VALIDATION_LOSS) for row in self.history]
        newest = losses[-1]
        if newest is None:
            return
        if not self.best or newest < min(loss for loss in losses[:-1] if loss is not None):
            weights = self.network.state_dict()
            self.best = {name: value.detach().cpu().clone() for name, value in weights.items()}
            self.best_epoch = len(self.history)
