"""One opaque torch operator per recurrent layer, with its translation to one ONNX recurrent node.

The operators have no kernel: they exist in a trace only, where a fake implementation keeps batch
and time symbolic. Shapes are ONNX's (https://onnx.ai/onnx/operators/onnx__LSTM.html): x is
[time, batch, features], w [directions, gates × hidden, features], r [directions, gates × hidden,
hidden], b [directions, 2 × gates × hidden], states [directions, batch, hidden]. The answer is
[time, batch, directions × hidden], which is what the next layer takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from onnxscript import opset18 as op
from torch import Tensor

NAMESPACE = "rnnport"
BOTH = "bidirectional"

# torch's function → its gates' places in ONNX's order (LSTM: i o f c from i f g o; GRU: z r h)
GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn_tanh": (0,), "rnn_relu": (0,)}
ONNX_NAME = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN", "loop": "Scan"}

_OPERANDS = "Tensor x, Tensor w, Tensor r, Tensor? b, Tensor? lengths, Tensor? h"
_SETTINGS = "str direction, int hidden"
_SCHEMAS = {
    "lstm": f"({_OPERANDS}, Tensor? c, {_SETTINGS}) -> (Tensor, Tensor, Tensor)",
    "gru": f"({_OPERANDS}, {_SETTINGS}) -> (Tensor, Tensor)",
    "rnn": f"({_OPERANDS}, {_SETTINGS}, str activation) -> (Tensor, Tensor)",
}


def _answer_and_state(x: Tensor, w: Tensor, hidden: int) -> tuple[Tensor, Tensor]:
    time, batch, directions = x.shape[0], x.shape[1], w.shape[0]
    y = x.new_empty(time, batch, directions * hidden)
    return y, x.new_empty(directions, batch, hidden)


def _fake_lstm(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None,
    lengths: Tensor | None,
    h: Tensor | None,
    c: Tensor | None,
    direction: str,
    hidden: int,
) -> tuple[Tensor, Tensor, Tensor]:
    y, state = _answer_and_state(x, w, hidden)
    return y, state, torch.empty_like(state)


def _fake_gru(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None,
    lengths: Tensor | None,
    h: Tensor | None,
    direction: str,
    hidden: int,
) -> tuple[Tensor, Tensor]:
    return _answer_and_state(x, w, hidden)


def _fake_rnn(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None,
    lengths: Tensor | None,
    h: Tensor | None,
    direction: str,
    hidden: int,
    activation: str,
) -> tuple[Tensor, Tensor]:
    return _answer_and_state(x, w, hidden)


def _register(name: str, fake: Callable[..., Any]) -> Callable[..., Any]:
    torch.library.define(f"{NAMESPACE}::{name}", _SCHEMAS[name])
    torch.library.register_fake(f"{NAMESPACE}::{name}", fake)
    return cast(Callable[..., Any], getattr(getattr(torch.ops, NAMESPACE), name).default)


LSTM = _register("lstm", _fake_lstm)
GRU = _register("gru", _fake_gru)
RNN = _register("rnn", _fake_rnn)


def _side_by_side(y: Any, direction: str) -> Any:
    """[time, directions, batch, hidden] → [time, batch, directions × hidden]."""
    if direction != BOTH:
        return op.Squeeze(y, op.Constant(value_ints=[1]))
    return op.Reshape(op.Transpose(y, perm=[0, 2, 1, 3]), op.Constant(value_ints=[0, 0, -1]))


def _translate_lstm(
    x: Any, w: Any, r: Any, b: Any, lengths: Any, h: Any, c: Any, direction: str, hidden: int
) -> Any:
    y, h_n, c_n = op.LSTM(x, w, r, b, lengths, h, c, direction=direction, hidden_size=hidden)
    return _side_by_side(y, direction), h_n, c_n


def _translate_gru(
    x: Any, w: Any, r: Any, b: Any, lengths: Any, h: Any, direction: str, hidden: int
) -> Any:
    # torch applies the reset gate after the recurrent product: linear_before_reset=1
    y, h_n = op.GRU(
        x, w, r, b, lengths, h, direction=direction, hidden_size=hidden, linear_before_reset=1
    )
    return _side_by_side(y, direction), h_n


def _translate_rnn(
    x: Any,
    w: Any,
    r: Any,
    b: Any,
    lengths: Any,
    h: Any,
    direction: str,
    hidden: int,
    activation: str,
) -> Any:
    both = [activation] * (2 if direction == BOTH else 1)
    y, h_n = op.RNN(
        x, w, r, b, lengths, h, direction=direction, hidden_size=hidden, activations=both
    )
    return _side_by_side(y, direction), h_n


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    LSTM: _translate_lstm,
    GRU: _translate_gru,
    RNN: _translate_rnn,
}


def run_layer(
    kind: str,
    x: Tensor,
    weights: Sequence[Sequence[Tensor]],
    lengths: Tensor | None,
    states: Sequence[Tensor | None],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Emit one layer; ``weights`` holds torch's tensors of each direction.

    Returns:
        The answer [time, batch, directions × hidden] and the final states
        [directions, batch, hidden], one for GRU and RNN, two for LSTM.
    """
    hidden = int(weights[0][1].shape[1])
    direction = BOTH if len(weights) == 2 else "forward"
    w = torch.stack([_in_onnx_order(each[0], kind) for each in weights])
    r = torch.stack([_in_onnx_order(each[1], kind) for each in weights])
    b = None
    if len(weights[0]) > 2:
        biases = [[_in_onnx_order(bias, kind) for bias in each[2:]] for each in weights]
        b = torch.stack([torch.cat(pair) for pair in biases])
    if kind == "lstm":
        y, *final = LSTM(x, w, r, b, lengths, *states, direction, hidden)
    elif kind == "gru":
        y, *final = GRU(x, w, r, b, lengths, *states, direction, hidden)
    else:
        activation = "Tanh" if kind == "rnn_tanh" else "Relu"
        y, *final = RNN(x, w, r, b, lengths, *states, direction, hidden, activation)
    return y, tuple(final)


def _in_onnx_order(weight: Tensor, kind: str) -> Tensor:
    """Reorder gates along axis 0; narrow and cat fold into one initializer, chunk would not."""
    places = GATES[kind]
    if len(places) == 1:
        return weight
    size = weight.shape[0] // len(places)
    return torch.cat([weight.narrow(0, place * size, size) for place in places])
