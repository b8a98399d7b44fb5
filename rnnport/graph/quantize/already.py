"""Whether a model was quantized before: quantizing twice would add one loss to another."""

from __future__ import annotations

from collections.abc import Iterator

from rnnport.graph.quantize.functions import DOMAIN
from rnnport.graph.quantize.others import OPERANDS
from rnnport.graph.recurrent import recurrent_nodes
from rnnport.graph.scopes import Node, Reading, Scope
from rnnport.graph.stored import is_small, stored_parts
from rnnport.spec import ModelSpec

# What quantizers write, by the standard and by ONNX Runtime.
QUANTIZING = {
    *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger"),
    *("ConvInteger", "QLinearMatMul", "QLinearConv", "DynamicQuantizeMatMul", "MatMulNBits"),
    *("DynamicQuantizeLSTM", "MatMulIntegerToFloat", "QAttention", "QGemm"),
}


def quantized_already(reading: Reading, spec: ModelSpec | None) -> str | None:
    """What shows that a model was quantized, as the end of a sentence; ``None`` where nothing does.

    Args:
        reading: the model as it lies in its file, functions not inlined.
        spec: what its metadata promise, where it has any.
    """
    if spec is not None and spec.quantization is not None:
        precision = spec.quantization.get("precision", "a smaller type")
        return f"its metadata say that it was quantized to {precision}"
    for node in reading.nodes():
        if node.proto.domain == DOMAIN:
            return f"'{node.label}' calls the function {DOMAIN}.{node.proto.op_type}"
        if node.proto.op_type in QUANTIZING or node.proto.op_type.startswith("QLinear"):
            return f"'{node.label}' is a {node.proto.op_type}"
    for node, scope, weight in _weights(reading):
        kinds = [scope.dtype(part) for part in stored_parts(scope, weight) or ()]
        small = next((kind for kind in kinds if is_small(kind)), None)
        if small is not None:
            return f"the weights of '{node.label}' are stored in {small}"
    return None


def _weights(reading: Reading) -> Iterator[tuple[Node, Scope, str]]:
    for layer in recurrent_nodes(reading):
        yield from ((layer.node, layer.node.scope, layer.input(role)) for role in ("W", "R"))
    for node in reading.nodes():
        for index in OPERANDS.get(node.op, ()):
            # a table that is looked up may hold whole numbers for their own sake
            if node.op != "Gather" or node.scope.dtype(node.input(index)).endswith("float16"):
                yield node, node.scope, node.input(index)
