"""Recurrent layers as calls of rnnport's functions, and what they must answer."""

from dataclasses import dataclass, replace

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from rnnport.graph.quantize.functions import DOMAIN, FUNCTIONS, VERSION, function_proto
from rnnport.graph.quantize.small import to_int8
from rnnport.native.library import library_path

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
WEIGHTS = {"int8": "Int8", "bf16": "BFloat16", "fp32": "Float32"}
OPTIONAL = ("sequence_lens", "initial_h", "initial_c")


@dataclass(frozen=True)
class Layer:
    """What a layer is; its weights are drawn from ``seed``."""

    op: str = "LSTM"
    precision: str = "int8"
    input: int = 5
    hidden: int = 7
    direction: str = "forward"
    linear_before_reset: int = 1
    activation: str = "Tanh"
    bias: bool = True
    seed: int = 0

    @property
    def directions(self):
        return 2 if self.direction == "bidirectional" else 1

    @property
    def rows(self):
        return GATES[self.op] * self.hidden

    def weights(self):
        """W, R and B as a trained layer has them, in float32."""
        draw = np.random.default_rng(self.seed)
        bound = 1 / np.sqrt(max(self.hidden, self.input))
        shapes = {
            "W": (self.rows, self.input),
            "R": (self.rows, self.hidden),
            "B": (2 * self.rows,),
        }
        return {
            name: draw.uniform(-bound, bound, (self.directions, *shape)).astype(np.float32)
            for name, shape in shapes.items()
            if name != "B" or self.bias
        }

    def stored(self):
        """The inputs of the function's call that hold the weights."""
        weights = self.weights()
        stored = {"B": weights["B"]} if self.bias else {}
        for role in ("W", "R"):
            if self.precision == "int8":
                small = to_int8(weights[role], (2,))
                stored |= {role: small.values, f"{role}_scale": small.scale}
            elif self.precision == "bf16":
                stored[role] = weights[role].astype(ml_dtypes.bfloat16)
            else:
                stored[role] = weights[role]
        return stored

    def meant(self):
        """The weights that the stored ones stand for, in float64."""
        stored = {name: array.astype(np.float64) for name, array in self.stored().items()}
        for role in ("W", "R"):
            stored[role] = stored[role] * stored.pop(f"{role}_scale", 1.0)
        return stored


def random_call(layer, time, batch, *, lengths=False, states=False, size=1.0, seed=1):
    """x and, as asked, lengths and states of that size, by name."""
    draw = np.random.default_rng(seed)
    feeds = {"X": draw.standard_normal((time, batch, layer.input)).astype(np.float32)}
    if lengths:
        feeds["sequence_lens"] = draw.integers(0, time + 1, batch).astype(np.int32)
    if states:
        shape = (layer.directions, batch, layer.hidden)
        for name in OPTIONAL[1:] if layer.op == "LSTM" else OPTIONAL[1:2]:
            feeds[name] = (size * draw.uniform(-1, 1, shape)).astype(np.float32)
    return feeds


def model_of(layer, given=("X",), *, body=True):
    """A model of one call; ``given`` are the inputs that a run feeds."""
    name = f"{layer.op}{WEIGHTS[layer.precision]}"
    stored = layer.stored()
    order = ["X", "W", "W_scale", "R", "R_scale", "B", *OPTIONAL]
    if layer.precision != "int8":
        order = [role for role in order if not role.endswith("scale")]
    if layer.op != "LSTM":
        order.remove("initial_c")
    names = [role if role in stored or role in given else "" for role in order]
    while not names[-1]:
        names.pop()
    outputs = ["Y", "Y_h", "Y_c"] if layer.op == "LSTM" else ["Y", "Y_h"]
    attributes = {"hidden_size": layer.hidden, "direction": layer.direction}
    if layer.op == "GRU":
        attributes["linear_before_reset"] = layer.linear_before_reset
    if layer.op == "RNN":
        activations = [layer.activation] * layer.directions
        attributes |= {"activations": activations, "activation": layer.activation}
    node = helper.make_node(name, names, outputs, domain=DOMAIN, name="layer", **attributes)
    inputs = [
        helper.make_tensor_value_info(
            role,
            onnx.TensorProto.INT32 if role == "sequence_lens" else onnx.TensorProto.FLOAT,
            [None] * (1 if role == "sequence_lens" else 3),
        )
        for role in given
    ]
    results = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in outputs]
    graph = helper.make_graph(
        [node], "layer", inputs, results,
        [numpy_helper.from_array(array, role) for role, array in stored.items() if role in names],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, VERSION)]
    bodies = [
        function_proto(function, 18)
        for function in FUNCTIONS.values()
        if body and function.name == name
    ]
    return helper.make_model(graph, opset_imports=opsets, functions=bodies, ir_version=9)


def session_of(model, *, native=True, threads=1):
    """The model in ONNX Runtime, with the kernels or without."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if native:
        options.register_custom_ops_library(str(library_path()))
    source = model if isinstance(model, bytes) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run(layer, feeds, **how):
    """What the kernel answers, by output name."""
    session = session_of(model_of(layer, tuple(feeds)), **how)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def sigmoid(x):
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def expected(layer, feeds):
    """What the equations of ONNX's operators give in float64 with the weights that are meant."""
    weights = layer.meant()
    x = feeds["X"].astype(np.float64)
    time, batch, _ = x.shape
    shape = (layer.directions, batch, layer.hidden)
    lengths = feeds.get("sequence_lens", np.full(batch, time))
    answers = {
        "Y": np.zeros((time, *shape)),
        "Y_h": feeds.get("initial_h", np.zeros(shape)).astype(np.float64),
    }
    if layer.op == "LSTM":
        answers["Y_c"] = feeds.get("initial_c", np.zeros(shape)).astype(np.float64)
    for d in range(layer.directions):
        part = {name: array[d] for name, array in weights.items()}
        part.setdefault("B", np.zeros(2 * layer.rows))
        backwards = layer.direction == "reverse" or d == 1
        for b in range(batch):
            steps = range(lengths[b])
            for t in reversed(steps) if backwards else steps:
                state = {name: answers[name][d, b] for name in answers if name != "Y"}
                for name, value in STEPS[layer.op](layer, part, x[t, b], state).items():
                    answers[name][d, b] = value
                answers["Y"][t, d, b] = answers["Y_h"][d, b]
    return answers


def lstm_step(layer, part, x, state):
    W, R, B = part["W"], part["R"], part["B"]
    i, o, f, g = np.split(W @ x + R @ state["Y_h"] + B[: layer.rows] + B[layer.rows :], 4)
    c = sigmoid(f) * state["Y_c"] + sigmoid(i) * np.tanh(g)
    return {"Y_h": sigmoid(o) * np.tanh(c), "Y_c": c}


def gru_step(layer, part, x, state):
    h, two = state["Y_h"], 2 * layer.hidden
    xz, xr, xg = np.split(part["W"] @ x + part["B"][: layer.rows], 3)
    Rb = part["B"][layer.rows :]
    hz, hr = np.split(part["R"][:two] @ h + Rb[:two], 2)
    z, r = sigmoid(xz + hz), sigmoid(xr + hr)
    Rh, Rbh = part["R"][two:], Rb[two:]
    inner = r * (Rh @ h + Rbh) if layer.linear_before_reset else Rh @ (r * h) + Rbh
    return {"Y_h": (1 - z) * np.tanh(xg + inner) + z * h}


def rnn_step(layer, part, x, state):
    B = part["B"][: layer.rows] + part["B"][layer.rows :]
    total = part["W"] @ x + part["R"] @ state["Y_h"] + B
    return {"Y_h": np.tanh(total) if layer.activation == "Tanh" else np.maximum(total, 0)}


STEPS = {"LSTM": lstm_step, "GRU": gru_step, "RNN": rnn_step}


def kinds(precision="int8"):
    """Every cell in every form."""
    base = Layer(precision=precision)
    return [
        base,
        replace(base, op="GRU"),
        replace(base, op="GRU", linear_before_reset=0),
        replace(base, op="RNN"),
        replace(base, op="RNN", activation="Relu"),
    ]


def name_of(layer):
    """The layer in a test's name."""
    form = {"GRU": str(layer.linear_before_reset), "RNN": layer.activation}.get(layer.op, "")
    return f"{layer.op}{form}-{layer.precision}"
