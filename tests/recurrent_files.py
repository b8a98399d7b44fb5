"""Small recurrent ONNX files, written with onnx alone from seeded weights."""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rnnport.spec import METADATA_KEY, ModelSpec, StateSpec, TensorSpec

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@dataclass(frozen=True)
class Shape:
    """What to build; the file takes ``x`` and gives ``scores`` (and ``last`` unless it streams)."""

    kind: str = "LSTM"
    layers: int = 1
    direction: str = "forward"
    lengths: bool = False
    stream: bool = False
    features: int = 3
    hidden: int = 4
    classes: int = 2
    linear_before_reset: int = 1
    activations: tuple[str, ...] = ()
    seed: int = 0

    @property
    def directions(self) -> int:
        return 2 if self.direction == "bidirectional" else 1

    @property
    def states(self) -> tuple[str, ...]:
        letters = "hc" if self.kind == "LSTM" else "h"
        return tuple(f"rnn.{layer}.{c}" for layer in range(self.layers) for c in letters)


def build(shape: Shape = Shape(), *, metadata: bool = True) -> onnx.ModelProto:
    """The model in memory; ``scores`` are ``[batch, time, classes]``."""
    draw = np.random.default_rng(shape.seed)
    weights: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def node(op, inputs, outputs, **attributes):
        nodes.append(helper.make_node(op, inputs, outputs, name=f"{op}_{len(nodes)}", **attributes))

    def weight(name, *sizes):
        values = draw.uniform(-0.6, 0.6, sizes).astype(np.float32)
        weights.append(numpy_helper.from_array(values, name))
        return name

    def constant(name, values):
        weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    node("Transpose", ["x"], ["seq.0"], perm=[1, 0, 2])
    if shape.lengths:
        node("Cast", ["lengths"], ["lens"], to=TensorProto.INT32)
    if shape.lengths and shape.stream:
        node("Equal", ["lengths", constant("zero", np.array(0))], ["empty"])
        node("Reshape", ["empty", constant("column", np.array([-1, 1, 1]))], ["ended"])
    lens = "lens" if shape.lengths else ""
    flat = constant("flat", np.array([0, 0, -1]))
    for layer in range(shape.layers):
        gates, d, h = GATES[shape.kind], shape.directions, shape.hidden
        width = shape.features if layer == 0 else h * d
        w = weight(f"W.{layer}", d, gates * h, width)
        r = weight(f"R.{layer}", d, gates * h, h)
        b = weight(f"B.{layer}", d, 2 * gates * h)
        inputs, outputs = [f"seq.{layer}", w, r, b, lens], [f"y4.{layer}"]
        for name in (s for s in shape.states if s.split(".")[1] == str(layer)):
            if shape.stream:
                node("Transpose", [f"state.{name}"], [f"in.{name}"], perm=[1, 0, 2])
            inputs.append(f"in.{name}" if shape.stream else "")
            outputs.append(f"out.{name}")
        attributes = {"hidden_size": h, "direction": shape.direction}
        if shape.kind == "GRU" and shape.linear_before_reset:
            attributes["linear_before_reset"] = 1
        if shape.activations:
            attributes["activations"] = list(shape.activations)
        node(shape.kind, inputs, outputs, **attributes)
        node("Transpose", [f"y4.{layer}"], [f"y.{layer}"], perm=[0, 2, 1, 3])
        node("Reshape", [f"y.{layer}", flat], [f"seq.{layer + 1}"])
        if shape.stream:
            for name in (s for s in shape.states if s.split(".")[1] == str(layer)):
                node("Transpose", [f"out.{name}"], [f"raw.{name}"], perm=[1, 0, 2])
                if shape.lengths:  # ONNX Runtime answers zeros for a row of length 0
                    node("Where", ["ended", f"state.{name}", f"raw.{name}"], [f"next.{name}"])
                else:
                    node("Identity", [f"raw.{name}"], [f"next.{name}"])
    node("Transpose", [f"seq.{shape.layers}"], ["rows"], perm=[1, 0, 2])
    node(
        "MatMul",
        ["rows", weight("head", shape.hidden * shape.directions, shape.classes)],
        ["scores"],
    )
    if not shape.stream:
        node("Transpose", [f"out.{shape.states[-1]}"], ["last"], perm=[1, 0, 2])
    spec = spec_of(shape)
    graph = helper.make_graph(
        nodes,
        "recurrent",
        [_value(t) for t in spec.inputs],
        [_value(t) for t in spec.outputs],
        weights,
    )
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9, producer_name="tests")
    if metadata:
        helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.checker.check_model(model, full_check=True)
    return model


def spec_of(shape: Shape) -> ModelSpec:
    """The spec that the file carries."""
    state = ("batch", shape.directions, shape.hidden)
    tensors = [TensorSpec("x", "float32", ("batch", "time", shape.features), 0, 1)]
    if shape.lengths:
        tensors.append(TensorSpec("lengths", "int64", ("batch",), 0))
    answers = [TensorSpec("scores", "float32", ("batch", "time", shape.classes), 0, 1)]
    if shape.stream:
        tensors += [TensorSpec(f"state.{name}", "float32", state, 0) for name in shape.states]
        answers += [TensorSpec(f"next.{name}", "float32", state, 0) for name in shape.states]
    else:
        answers.append(TensorSpec("last", "float32", state, 0))
    return ModelSpec(
        inputs=tuple(tensors),
        outputs=tuple(answers),
        states=tuple(
            StateSpec(f"state.{name}", f"next.{name}", "float32", state)
            for name in (shape.states if shape.stream else ())
        ),
        lengths="lengths" if shape.lengths else None,
    )


def _value(tensor: TensorSpec) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
    return helper.make_tensor_value_info(tensor.name, kind, list(tensor.shape))
