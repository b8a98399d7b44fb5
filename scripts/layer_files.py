"""One-layer recurrent models for measuring: in fp32, quantized by us, and by ONNX Runtime."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from rnnport.graph.quantize.rewriting import with_small_weights
from rnnport.graph.recurrent import GATES, OUTPUTS, STATES, recurrent_nodes
from rnnport.graph.scopes import Reading

OPSET = 17
Array = np.ndarray
Rows = list[tuple[str, ...]]  # of a table, the head first


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer, forward in time, with the weights of its ONNX operator."""

    op: str  # LSTM, GRU or RNN
    W: Array  # [1, gates·hidden, input]
    R: Array  # [1, gates·hidden, hidden]
    B: Array  # [1, 2·gates·hidden]
    origin: str = "uniform weights"

    @property
    def features(self) -> int:
        return int(self.W.shape[2])

    @property
    def hidden(self) -> int:
        return int(self.R.shape[2])

    @property
    def name(self) -> str:
        return f"{self.op} {self.features}→{self.hidden}, {self.origin}"

    def model(self) -> onnx.ModelProto:
        """The model: X [time, batch, input] and states → Y [time, 1, batch, hidden] and states.

        Weights are initializers: ONNX Runtime's quantizer leaves others as they are.
        """
        outputs = OUTPUTS[self.op]
        states = [name for name, successor in STATES.items() if successor in outputs]
        node = helper.make_node(
            self.op,
            ["X", "W", "R", "B", "", *states],
            list(outputs),
            name="layer",
            hidden_size=self.hidden,
        )
        if self.op == "GRU":  # as PyTorch computes it
            node.attribute.append(helper.make_attribute("linear_before_reset", 1))
        shapes: dict[str, list[str | int]] = {
            "X": ["time", "batch", self.features],
            "Y": ["time", 1, "batch", self.hidden],
        }
        inputs, answers = (
            [
                helper.make_tensor_value_info(
                    name, TensorProto.FLOAT, shapes.get(name, [1, "batch", self.hidden])
                )
                for name in names
            ]
            for names in (("X", *states), outputs)
        )
        weights = [numpy_helper.from_array(getattr(self, role), role) for role in ("W", "R", "B")]
        graph = helper.make_graph([node], "layer", inputs, answers, weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = 8
        return model


def uniform_layer(op: str, features: int, hidden: int, seed: int) -> Layer:
    """A layer as PyTorch makes it: every weight uniform in ±1/√hidden."""
    draw, most = np.random.default_rng(seed), hidden**-0.5
    rows = GATES[op] * hidden
    W, R, B = (
        draw.uniform(-most, most, shape).astype(np.float32)
        for shape in ((1, rows, features), (1, rows, hidden), (1, 2 * rows))
    )
    return Layer(op, W, R, B)


def trained_layers(path: Path) -> list[Layer]:
    """The layers of a trained model file that run forward only."""
    found: list[Layer] = []
    for node in recurrent_nodes(Reading(onnx.load(path))):
        arrays = [node.node.scope.array(node.input(role)) for role in ("W", "R", "B")]
        W, R, B = arrays
        if W is None or R is None or B is None or node.directions == 2:
            continue
        found.append(Layer(node.op, W, R, B, f"{path.parent.name} layer {len(found)}"))
    return found


def ours(model: onnx.ModelProto, precision: str, inline: bool = False) -> onnx.ModelProto:
    """The model with small weights, as ``rnnport quantize`` writes it."""
    return with_small_weights(model, precision, inline=inline)[0]


def dynamically_quantized(
    model: onnx.ModelProto, per_channel: bool, reduce_range: bool
) -> onnx.ModelProto:
    """The model after ONNX Runtime's ``quantize_dynamic``.

    Args:
        model: its LSTM's weights are initializers.
        per_channel: one scale for each row of the weights, not one for each matrix.
        reduce_range: seven bits of eight: without VNNI a CPU adds pairs of products in sixteen
            bits, which the eighth bit overflows.

    Raises:
        RuntimeError: it has no DynamicQuantizeLSTM afterwards, and there is nothing to measure.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises pre-processing, which a model of one node needs not
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "model.onnx", Path(folder) / "dynamic.onnx"
        onnx.save(model, source)
        try:
            quantize_dynamic(
                source,
                made,
                per_channel=per_channel,
                reduce_range=reduce_range,
                weight_type=QuantType.QInt8,
            )
        finally:
            root.setLevel(level)
        quantized = onnx.load(made)
    if not any(node.op_type == "DynamicQuantizeLSTM" for node in quantized.graph.node):
        raise RuntimeError("ONNX Runtime's quantizer left the LSTM as it was")
    return quantized


def open_model(model: onnx.ModelProto | Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """A stock session on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run_layer(session: onnxruntime.InferenceSession, x: Array, chunk: int | None = None) -> Array:
    """Y [time, 1, batch, hidden] from zero states, whole or in pieces that pass the states on."""
    states = {
        tensor.name: np.zeros((1, x.shape[1], tensor.shape[2]), np.float32)
        for tensor in session.get_inputs()
        if tensor.name != "X"
    }
    pieces = []
    for start in range(0, len(x), chunk or len(x)):
        y, *ended = session.run(None, {"X": x[start : start + (chunk or len(x))], **states})
        states = dict(zip(states, ended, strict=True))
        pieces.append(y)
    return np.concatenate(pieces)


def signal(layer: Layer, time: int, batch: int, seed: int) -> Array:
    """Unit normal inputs [time, batch, input]."""
    x = np.random.default_rng([seed, 1]).standard_normal((time, batch, layer.features))
    return x.astype(np.float32)
