"""A bare call of torch's LSTM, GRU or RNN cell, seen as a layer that runs over one step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

# torch's function → the layer whose one step it is
CELLS = {
    "lstm_cell": "lstm",
    "gru_cell": "gru",
    "rnn_tanh_cell": "rnn_tanh",
    "rnn_relu_cell": "rnn_relu",
}


def as_layer(cell: Callable[..., Any]) -> Callable[..., tuple[Tensor, ...]]:
    """Torch's cell function in the form of its layer's: x [1, batch, features], answer and states.

    The numbers are the cell's own.
    """

    def layer(
        x: Tensor, states: Any, weights: Sequence[Tensor], has_bias: bool, *_: Any
    ) -> tuple[Tensor, ...]:
        several = isinstance(states, tuple)
        before = [each.squeeze(0) for each in (states if several else (states,))]
        biases = () if has_bias else (None, None)
        after = cell(x.squeeze(0), before if several else before[0], *weights, *biases)
        finals = tuple(each.unsqueeze(0) for each in (after if several else (after,)))
        return (finals[0], *finals)

    return layer
