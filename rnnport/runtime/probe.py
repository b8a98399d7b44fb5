"""A tiny ONNX model with one LSTM node, written byte by byte so that it needs no package.

Field numbers are those of onnx.proto; the encoding is that of protocol buffers
(protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

import numpy as np

from rnnport.runtime.engine import Array, Arrays

FLOAT = 1  # onnx.TensorProto.DataType
INT = 2  # onnx.AttributeProto.AttributeType
IR_VERSION, OPSET = 8, 18


def probe_model() -> bytes:
    """An LSTM of one feature and one hidden unit: x ``[2, 1, 1]`` → y ``[2, 1, 1, 1]``.

    Input weights are 1, everything else is 0, so that :func:`probe_answer` is short.
    """
    node = (
        _text(1, "x")
        + _text(1, "w")
        + _text(1, "r")
        + _text(2, "y")
        + _text(3, "probe")
        + _text(4, "LSTM")
        + _bytes(5, _text(1, "hidden_size") + _number(3, 1) + _number(20, INT))
    )
    graph = (
        _bytes(1, node)
        + _text(2, "probe")
        + _bytes(5, _tensor("w", np.ones((1, 4, 1), np.float32)))
        + _bytes(5, _tensor("r", np.zeros((1, 4, 1), np.float32)))
        + _bytes(11, _value("x", (2, 1, 1)))
        + _bytes(12, _value("y", (2, 1, 1, 1)))
    )
    opset = _text(1, "") + _number(2, OPSET)
    return _number(1, IR_VERSION) + _bytes(7, graph) + _bytes(8, opset)


def probe_feeds() -> Arrays:
    """What to feed the probe."""
    return {"x": np.array([0.5, -1.0], np.float32).reshape(2, 1, 1)}


def probe_answer() -> Array:
    """What the probe must answer, by the LSTM equations of ONNX's operator specification."""
    cell, answers = 0.0, []
    for x in probe_feeds()["x"].ravel().tolist():
        gate = 1 / (1 + np.exp(-x))  # input, output and forget gate alike
        cell = gate * cell + gate * np.tanh(x)
        answers.append(gate * np.tanh(cell))
    return np.array(answers, np.float32).reshape(2, 1, 1, 1)


def _varint(value: int) -> bytes:
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, content: str) -> bytes:
    return _bytes(field, content.encode())


def _tensor(name: str, array: Array) -> bytes:
    sizes = b"".join(_number(1, size) for size in array.shape)
    return sizes + _number(2, FLOAT) + _text(8, name) + _bytes(9, array.astype("<f4").tobytes())


def _value(name: str, shape: tuple[int, ...]) -> bytes:
    sizes = b"".join(_bytes(1, _number(1, size)) for size in shape)
    tensor = _number(1, FLOAT) + _bytes(2, sizes)
    return _text(1, name) + _bytes(2, _bytes(1, tensor))
