"""What each task minimises, what it shows while it learns, how its answers are measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from rnnport.data.metrics import (
    classification_metrics,
    confusion_counts,
    forecast_metrics,
    forecast_sums,
)
from rnnport.errors import DataError
from rnnport.spec import ModelSpec
from rnnport.training.model import Network, RawUnits
from rnnport.training.parts import Batch, Part

EVALUATION_BATCH = 512


@dataclass(frozen=True)
class Objective:
    """The functions of one task.

    ``losses`` gives, for one batch, the mean loss to minimise and the mean of ``metric``;
    ``evaluate`` gives the metrics of a whole part, the same that ``rnnport evaluate`` gives.
    """

    metric: str
    losses: Callable[[Network, Batch], tuple[Tensor, Tensor]]
    evaluate: Callable[[Network, Part, ModelSpec], dict[str, Any]]


def _classify_losses(network: Network, batch: Batch) -> tuple[Tensor, Tensor]:
    logits = network.scores(batch.x, batch.lengths)  # [batch, classes]
    right = (logits.detach().argmax(-1) == batch.y).float().mean()
    return functional.cross_entropy(logits, batch.y), right


def _forecast_losses(network: Network, batch: Batch) -> tuple[Tensor, Tensor]:
    if not isinstance(network.answer, RawUnits):
        raise TypeError("a forecaster answers in raw units")
    scores = network.scores(batch.x, batch.lengths)  # [batch, horizon × targets], scaled
    truth = network.answer.scores(batch.y)
    return functional.mse_loss(scores, truth), functional.l1_loss(scores.detach(), truth)


def _answers(network: Network, part: Part, rows: Tensor) -> Any:
    x, lengths, _ = part.batch(rows)
    device = network.offset.device
    lengths = None if lengths is None else lengths.to(device)
    return network(x.to(device), lengths).float().cpu().numpy()


def _chunks(part: Part) -> tuple[Tensor, ...]:
    return torch.split(torch.arange(len(part)), EVALUATION_BATCH)


@torch.inference_mode()
def _evaluate_classify(network: Network, part: Part, spec: ModelSpec) -> dict[str, Any]:
    counts = [
        confusion_counts(part.truth(rows), _answers(network, part, rows), spec.classes)
        for rows in _chunks(part)
    ]
    return classification_metrics(sum(counts[1:], start=counts[0]))


@torch.inference_mode()
def _evaluate_forecast(network: Network, part: Part, spec: ModelSpec) -> dict[str, Any]:
    if spec.series is None:
        raise DataError("a forecaster's spec describes its series, and this one does not")
    sums = [
        forecast_sums(part.truth(rows), _answers(network, part, rows)) for rows in _chunks(part)
    ]
    return forecast_metrics(sum(sums[1:], start=sums[0]), spec.series)


OBJECTIVES: dict[str, Objective] = {
    "classify": Objective("accuracy", _classify_losses, _evaluate_classify),
    "forecast": Objective("mae", _forecast_losses, _evaluate_forecast),
}
