"""Small model files with every trait that a runtime meets, built node by node with onnx."""

from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rnnport.spec import METADATA_KEY, ModelSpec, SeriesSpec, StateSpec, TensorSpec

FEATURES, HIDDEN, CLASSES = 3, 4, 5
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}


def classifier(path, cell="LSTM", *, streaming=False, lengths=False, seed=0, spec=True, edit=None):
    """x [batch, time, 3] → probabilities: [batch, 5], or [batch, time, 5] when it streams."""
    draw = Drawn(seed)
    nodes, states = _recurrent(draw, cell, streaming, lengths)
    if streaming:
        nodes += [node("Transpose", ["flat"], ["seen"], perm=[1, 0, 2])]
    else:
        nodes += [node("Squeeze", ["last_h", draw.axes("zero", [0])], ["seen"])]
    nodes += [
        node("MatMul", ["seen", draw("head", HIDDEN, CLASSES)], ["scores"]),
        node("Softmax", ["scores"], ["probabilities"], axis=-1),
    ]
    axes = ("batch", "time", CLASSES) if streaming else ("batch", CLASSES)
    answer = TensorSpec("probabilities", "float32", axes, 0, 1 if streaming else None)
    promised = ModelSpec(
        inputs=_inputs(states, lengths),
        outputs=(answer, *_successors(states)),
        states=states,
        task="classify",
        lengths="lengths" if lengths else None,
        classes=("zero", "one", "two", "three", "four"),
        provenance={"recipe": "small"},
    )
    return save(path, nodes, draw, replace(promised, **(edit or {})), spec)


def forecaster(path, columns=("a", "b"), *, lookback=6, horizon=2, streaming=False, **series):
    """Forecasts each column's last value plus 1, 2, … horizon: answers that a test can foresee."""
    draw = Drawn(0)
    width = len(columns)
    x = TensorSpec("x", "float32", ("batch", "time", width), 0, 1)
    steps = np.arange(1, horizon + 1, dtype=np.float32)[:, None] * np.ones((1, width), np.float32)
    draw.add("steps", steps)
    states: tuple[StateSpec, ...] = ()
    nodes = []
    if streaming:  # the state counts the steps seen; the answer is [batch, time, horizon, width]
        states = (StateSpec("state.seen.h", "next.seen.h", "float32", ("batch", 1)),)
        nodes += [
            node("Shape", ["x"], ["time"], start=1, end=2),
            node("Cast", ["time"], ["added"], to=TensorProto.FLOAT),
            node("Add", ["state.seen.h", "added"], ["next.seen.h"]),
            node("Unsqueeze", ["x", draw.axes("two", [2])], ["now"]),
        ]
        shape = ("batch", "time", horizon, width)
    else:
        last = node("Gather", ["x", draw.axes("end", -1)], ["row"], axis=1)
        nodes += [last, node("Unsqueeze", ["row", draw.axes("one", [1])], ["now"])]
        shape = ("batch", horizon, width)
    nodes += [node("Add", ["now", "steps"], ["forecast"])]
    answer = TensorSpec("forecast", "float32", shape, 0, 1 if streaming else None)
    promised = ModelSpec(
        inputs=(x, *_taken(states)),
        outputs=(answer, *_successors(states)),
        states=states,
        task="forecast",
        series=SeriesSpec(tuple(columns), tuple(columns), lookback, horizon, **series),
    )
    return save(path, nodes, draw, promised, True)


def relu_rnn(path):
    """A recurrent node that ONNX Runtime has no CUDA kernel for."""
    draw = Drawn(0)
    weights = [draw("W", 1, HIDDEN, FEATURES), draw("R", 1, HIDDEN, HIDDEN)]
    y = node("RNN", ["x", *weights], ["y"], hidden_size=HIDDEN, activations=["Relu"])
    promised = ModelSpec(
        inputs=(TensorSpec("x", "float32", ("time", "batch", FEATURES), 1, 0),),
        outputs=(TensorSpec("y", "float32", ("time", 1, "batch", HIDDEN), 2, 0),),
    )
    return save(path, [y], draw, promised, True)


def brittle(path):
    """A streaming file whose graph fails at any number of steps but four, after its state grew."""
    draw = Drawn(0)
    draw.add("four", np.zeros((1, 4, FEATURES), np.float32))
    states = (StateSpec("state.seen.h", "next.seen.h", "float32", ("batch", 1)),)
    nodes = [
        node("Shape", ["x"], ["time"], start=1, end=2),
        node("Cast", ["time"], ["added"], to=TensorProto.FLOAT),
        node("Add", ["state.seen.h", "added"], ["next.seen.h"]),
        node("Add", ["x", "four"], ["y"]),
    ]
    promised = ModelSpec(
        inputs=(TensorSpec("x", "float32", ("batch", "time", FEATURES), 0, 1), *_taken(states)),
        outputs=(
            TensorSpec("y", "float32", ("batch", "time", FEATURES), 0, 1),
            *_successors(states),
        ),
        states=states,
    )
    return save(path, nodes, draw, promised, True)


def embedding(path, *, streaming=False):
    """ids [batch, time] → a vector for each of three ids, [batch, time, 2]."""
    draw = Drawn(0)
    states = (StateSpec("state.h", "next.h", "float32", ("batch", 1)),) if streaming else ()
    promised = ModelSpec(
        inputs=(TensorSpec("ids", "int64", ("batch", "time"), 0, 1, high=2), *_taken(states)),
        outputs=(
            TensorSpec("vectors", "float32", ("batch", "time", 2), 0, 1),
            *_successors(states),
        ),
        states=states,
    )
    table = draw.add("table", np.arange(6, dtype=np.float32).reshape(3, 2))
    nodes = [node("Gather", [table, "ids"], ["vectors"])]
    nodes += [node("Identity", [state.input], [state.output]) for state in states]
    return save(path, nodes, draw, promised, True)


class Drawn:
    """Initializers drawn from one seed."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.initializers = []

    def __call__(self, name, *shape):
        return self.add(name, (self.random.standard_normal(shape) * 0.4).astype(np.float32))

    def axes(self, name, values):
        return self.add(name, np.array(values, np.int64))

    def add(self, name, array):
        self.initializers.append(numpy_helper.from_array(array, name))
        return name


def node(kind, inputs, outputs, **attributes):
    return helper.make_node(kind, inputs, outputs, name=f"{kind}_{outputs[0]}", **attributes)


def save(path, nodes, draw, spec, with_spec):
    def info(tensor):
        return helper.make_tensor_value_info(tensor.name, TYPES[tensor.dtype], tensor.shape)

    graph = helper.make_graph(
        nodes, "g", [*map(info, spec.inputs)], [*map(info, spec.outputs)], draw.initializers
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if with_spec:
        helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def _recurrent(draw, cell, streaming, lengths):
    gates = GATES[cell]
    kinds = ("h", "c") if cell == "LSTM" else ("h",)
    names = [f"state.rnn.{kind}" for kind in kinds] if streaming else []
    nodes = [node("Transpose", ["x"], ["by_time"], perm=[1, 0, 2])]
    zero = draw.axes("direction", [0])
    for name in names:
        nodes.append(node("Unsqueeze", [name, zero], [f"{name}.in"]))
    if lengths:
        nodes.append(node("Cast", ["lengths"], ["true"], to=TensorProto.INT32))
    weights = [
        draw("W", 1, gates * HIDDEN, FEATURES),
        draw("R", 1, gates * HIDDEN, HIDDEN),
        draw("B", 1, 2 * gates * HIDDEN),
        "true" if lengths else "",
        *(f"{name}.in" for name in names),
    ]
    outputs = ["y", "last_h"] + (["last_c"] if cell == "LSTM" else [])
    extra = {"linear_before_reset": 1} if cell == "GRU" else {}
    nodes.append(node(cell, ["by_time", *weights], outputs, hidden_size=HIDDEN, **extra))
    nodes.append(node("Squeeze", ["y", draw.axes("directions", [1])], ["flat"]))
    for name, kind in zip(names, kinds, strict=False):
        nodes += _successor(draw, name, f"last_{kind}", zero, lengths)
    states = tuple(
        StateSpec(name, name.replace("state", "next"), "float32", ("batch", HIDDEN), initial)
        for name, initial in zip(names, (0.25, [0.1, 0.2, 0.3, 0.4]), strict=False)
    )
    return nodes, states


def _successor(draw, name, last, zero, lengths):
    """The state after the steps: ONNX Runtime gives zeros for length 0, where it must stay."""
    after = name.replace("state", "next")
    if not lengths:
        return [node("Squeeze", [last, zero], [after])]
    column = draw.axes(f"{name}.column", [1])
    return [
        node("Squeeze", [last, zero], [f"{name}.last"]),
        node("Cast", ["lengths"], [f"{name}.moves"], to=TensorProto.BOOL),
        node("Unsqueeze", [f"{name}.moves", column], [f"{name}.rows"]),
        node("Where", [f"{name}.rows", f"{name}.last", name], [after]),
    ]


def _inputs(states, lengths):
    x = TensorSpec("x", "float32", ("batch", "time", FEATURES), 0, 1)
    given = (TensorSpec("lengths", "int64", ("batch",), 0),) if lengths else ()
    return (x, *given, *_taken(states))


def _taken(states):
    return tuple(TensorSpec(s.input, s.dtype, s.shape, 0) for s in states)


def _successors(states):
    return tuple(TensorSpec(s.output, s.dtype, s.shape, 0) for s in states)
