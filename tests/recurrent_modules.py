"""The same small recurrent networks as PyTorch modules, their weights taken from the ONNX file."""

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from recurrent_files import GATES, Shape, build
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

# where torch's gates stand in ONNX's order: i f g o among i o f c; r z n among z r h
ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}


class Tagger(nn.Module):
    """Scores for every step: ``[batch, time, features]`` to ``[batch, time, classes]``."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        kind = getattr(nn, shape.kind)
        bidirectional = shape.direction == "bidirectional"
        self.rnn = kind(
            shape.features,
            shape.hidden,
            shape.layers,
            batch_first=True,
            bidirectional=bidirectional,
        )
        self.head = nn.Linear(shape.hidden * shape.directions, shape.classes, bias=False)
        self.shape = shape
        self._take_weights(build(shape))

    def forward(self, x, lengths=None):
        if lengths is None:
            y, state = self.rnn(x)
        else:
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            y, state = self.rnn(packed)
            y, _ = pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
        scores = self.head(y)
        if self.shape.stream:
            return scores
        last = state[1] if self.shape.kind == "LSTM" else state
        return scores, last[-self.shape.directions :].transpose(0, 1)

    def _take_weights(self, model: onnx.ModelProto) -> None:
        weights = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
        names = {"W": "weight_ih", "R": "weight_hh"}
        with torch.no_grad():
            for layer in range(self.shape.layers):
                for direction in range(self.shape.directions):
                    end = f"_l{layer}" + ("_reverse" if direction else "")
                    biases = np.split(weights[f"B.{layer}"][direction], 2)
                    values = {
                        f"{t}{end}": weights[f"{o}.{layer}"][direction] for o, t in names.items()
                    }
                    values |= {f"bias_ih{end}": biases[0], f"bias_hh{end}": biases[1]}
                    for name, value in values.items():
                        getattr(self.rnn, name).copy_(torch.from_numpy(self._reordered(value)))
            self.head.weight.copy_(torch.from_numpy(weights["head"].T.copy()))

    def _reordered(self, value: np.ndarray) -> np.ndarray:
        gates = np.split(value, GATES[self.shape.kind])
        return np.concatenate([gates[i] for i in ORDER[self.shape.kind]])
