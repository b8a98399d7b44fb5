"""The networks that recipes train: scaling, a recurrent stack, a linear head, the answer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnnport.spec import ModelSpec
from rnnport.training.recipe import Model
from rnnport.training.scaling import Scaling

CELLS: dict[str, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class Probabilities(nn.Module):
    """Scores ``[…, classes]`` → probabilities of the same shape."""

    def forward(self, scores: Tensor) -> Tensor:
        return scores.softmax(-1)


class RawUnits(nn.Module):
    """Scores ``[…, horizon × targets]`` → forecast ``[…, horizon, targets]`` in raw units."""

    mean: Tensor
    std: Tensor

    def __init__(self, horizon: int, targets: int) -> None:
        super().__init__()
        self.shape = (horizon, targets)
        self.register_buffer("mean", torch.zeros(targets))
        self.register_buffer("std", torch.ones(targets))

    def forward(self, scores: Tensor) -> Tensor:
        scaled = scores.reshape(*scores.shape[:-1], *self.shape)
        return scaled * self.std + self.mean

    def scores(self, values: Tensor) -> Tensor:
        """Raw values ``[…, horizon, targets]`` → the scores that would answer them."""
        return ((values - self.mean) / self.std).flatten(-2)


class Network(nn.Module):
    """A sequence in raw units → one answer, read off the last valid step.

    ``forward`` takes x ``[batch, time, features]`` and, for padded sequences, lengths int64
    ``[batch]``; it gives probabilities ``[batch, classes]`` or a forecast
    ``[batch, horizon, targets]`` in raw units. A bidirectional stack is read at both its ends:
    the forward direction's last valid step and the backward direction's first.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, model: Model, features: int, outputs: int, answer: nn.Module) -> None:
        super().__init__()
        self.register_buffer("offset", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        options = {"nonlinearity": model.nonlinearity} if model.cell == "rnn" else {}
        self.recurrent = CELLS[model.cell](
            features,
            model.hidden,
            model.layers,
            batch_first=True,
            # torch warns where there is no second layer to drop out before
            dropout=model.dropout if model.layers > 1 else 0.0,
            bidirectional=model.bidirectional,
            **options,
        )
        self.noise = model.noise
        self.dropout = nn.Dropout(model.dropout)
        self.head = nn.Linear(model.hidden * (2 if model.bidirectional else 1), outputs)
        self.answer = answer

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        answer: Tensor = self.answer(self.scores(x, lengths))
        return answer

    def scores(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """What the loss is taken of, ``[batch, outputs]``: logits, or the scaled forecast."""
        _, state = self.recurrent(self._scaled(x, lengths))
        hidden = state[0] if isinstance(state, tuple) else state  # [layers × directions, batch, H]
        last = hidden[-1]
        if self.recurrent.bidirectional:
            last = torch.cat([hidden[-2], hidden[-1]], dim=-1)
        scores: Tensor = self.head(self.dropout(last))
        return scores

    def _scaled(self, x: Tensor, lengths: Tensor | None) -> Tensor | PackedSequence:
        scaled = (x - self.offset) / self.scale
        if self.training and self.noise > 0:
            scaled = scaled + self.noise * torch.randn_like(scaled)
        if lengths is None:
            return scaled
        return pack_padded_sequence(scaled, lengths.cpu(), batch_first=True, enforce_sorted=False)


class EveryStep(Network):
    """The same weights with an answer at every step: ``[batch, time, …]``, for streaming.

    The last valid step's answer is :class:`Network`'s.
    """

    def scores(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """``[batch, time, outputs]``."""
        output, _ = self.recurrent(self._scaled(x, lengths))
        if isinstance(output, PackedSequence):
            output, _ = pad_packed_sequence(output, batch_first=True, total_length=x.shape[1])
        scores: Tensor = self.head(self.dropout(output))  # [batch, time, outputs]
        return scores


def build_network(model: Model, spec: ModelSpec, *, every_step: bool = False) -> Network:
    """The untrained network that keeps a spec's promises."""
    features = spec.data_inputs()[0].shape[-1]
    if not isinstance(features, int):
        raise TypeError(f"the features of {spec.inputs[0].name} are symbolic: {features!r}")
    kind = EveryStep if every_step else Network
    if spec.series is None:
        return kind(model, features, len(spec.classes), Probabilities())
    horizon, targets = spec.series.horizon, len(spec.series.targets)
    return kind(model, features, horizon * targets, RawUnits(horizon, targets))


def set_scaling(network: Network, inputs: Scaling, targets: Scaling | None) -> None:
    """Set how the inputs are scaled and, for a forecast, how the targets are."""
    network.offset.copy_(torch.tensor(inputs.offset))
    network.scale.copy_(torch.tensor(inputs.scale))
    if targets is not None and isinstance(network.answer, RawUnits):
        network.answer.mean.copy_(torch.tensor(targets.offset))
        network.answer.std.copy_(torch.tensor(targets.scale))
