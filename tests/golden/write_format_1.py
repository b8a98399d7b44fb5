"""Writes ``format_1.onnx`` with whole-number weights, so that its answers are exact everywhere.

It was run once. The file is never written again: it stands for every file of format version 1 that
is out there.
"""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# h(t) = relu(W x(t) + R h(t-1) + b); scores(t) = h(t) head
WEIGHTS = {
    "W": np.array([[[1, 0], [0, 1]]], np.float32),
    "R": np.array([[[0, 1], [2, 0]]], np.float32),
    "B": np.array([[1, 0, 0, -3]], np.float32),
    "head": np.array([[1, 0, -1], [1, 2, 0]], np.float32),
}
STATE = ["batch", 1, 2]
SPEC = {
    "format_version": 1,
    "inputs": [
        {
            "name": "x",
            "dtype": "float32",
            "shape": ["batch", "time", 2],
            "batch_axis": 0,
            "time_axis": 1,
            "mean": [1.0, 2.0],
            "std": [0.5, 3.0],
            "high": None,
        },
        {"name": "lengths", "dtype": "int64", "shape": ["batch"], "batch_axis": 0},
        {"name": "state.rnn.h", "dtype": "float32", "shape": STATE, "batch_axis": 0},
    ],
    "outputs": [
        {
            "name": "scores",
            "dtype": "float32",
            "shape": ["batch", "time", 3],
            "batch_axis": 0,
            "time_axis": 1,
        },
        {"name": "next.rnn.h", "dtype": "float32", "shape": STATE, "batch_axis": 0},
    ],
    "states": [
        {
            "input": "state.rnn.h",
            "output": "next.rnn.h",
            "dtype": "float32",
            "shape": STATE,
            "initial": [[1.0, 2.0]],
        }
    ],
    "task": "classify",
    "lengths": "lengths",
    "time": {"min": 1, "multiple": 1, "max": 100},
    "classes": ["low", "mid", "high"],
    "series": None,
    "quantization": None,
    "provenance": {"rnnport": "0.1.0", "data": {"name": "by hand", "sha256": ""}},
    "a key of a later release": "is ignored",
}


def model() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Transpose", ["x"], ["seq"], perm=[1, 0, 2]),
        helper.make_node("Cast", ["lengths"], ["lens"], to=TensorProto.INT32),
        helper.make_node("Transpose", ["state.rnn.h"], ["h0"], perm=[1, 0, 2]),
        helper.make_node(
            "RNN",
            ["seq", "W", "R", "B", "lens", "h0"],
            ["y", "h"],
            name="rnn",
            hidden_size=2,
            activations=["Relu"],
        ),
        helper.make_node("Squeeze", ["y", "one"], ["steps"]),
        helper.make_node("Transpose", ["steps"], ["rows"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["rows", "head"], ["scores"]),
        helper.make_node("Transpose", ["h"], ["last"], perm=[1, 0, 2]),
        helper.make_node("Equal", ["lengths", "zero"], ["empty"]),
        helper.make_node("Reshape", ["empty", "column"], ["ended"]),
        helper.make_node("Where", ["ended", "state.rnn.h", "last"], ["next.rnn.h"]),
    ]
    constants = {"one": np.array([1]), "zero": np.array(0), "column": np.array([-1, 1, 1])}
    tensors = [numpy_helper.from_array(v, k) for k, v in (WEIGHTS | constants).items()]
    values = {
        side: [
            helper.make_tensor_value_info(
                each["name"],
                helper.np_dtype_to_tensor_dtype(np.dtype(each["dtype"])),
                each["shape"],
            )
            for each in SPEC[side]
        ]
        for side in ("inputs", "outputs")
    }
    graph = helper.make_graph(nodes, "golden", values["inputs"], values["outputs"], tensors)
    opsets = [helper.make_opsetid("", 18)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="rnnport")
    helper.set_model_props(made, {"rnnport": json.dumps(SPEC)})
    onnx.checker.check_model(made, full_check=True)
    return made


if __name__ == "__main__":
    with Path(__file__).with_name("format_1.onnx").open("xb") as file:
        file.write(model().SerializeToString())
