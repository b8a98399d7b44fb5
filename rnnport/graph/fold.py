"""Doing what a graph does with constants alone, once and for all, within a bound of size."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from rnnport.graph.rewrite import add_constant, drop_unused, keep_nodes
from rnnport.graph.scopes import Node, Reading, Scope
from rnnport.graph.stored import HALF, WHOLE

LARGEST = 1 << 24  # elements of one constant: 64 MB of float32
BUDGET = 1 << 27  # elements of all constants that one look at a model may compute
MOVING = {
    *("Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Concat", "Split"),
    *("Slice", "Cast", "Shape", "Size", "Neg", "Abs", "Sqrt", "Reciprocal", "Exp", "Tanh", "Floor"),
    *("Sigmoid", "Relu", "Not", "ReduceProd", "ReduceSum", "ReduceMax", "ReduceMin", "Squeeze"),
}
BROADCASTING = {
    *("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Min", "Max", "Equal", "Less", "Greater", "And"),
    *("Or", "Where"),
}


class Constants:
    """The values that need nothing but constants, each computed once, all within a budget.

    ``in_loops`` follows what a Loop carries round unchanged to the constant outside it.
    """

    def __init__(self, in_loops: bool = False) -> None:
        self._in_loops = in_loops
        self._made: dict[Node, list[np.ndarray] | None] = {}
        self._left = BUDGET

    def value(self, scope: Scope, name: str) -> np.ndarray | None:
        """A constant's value; ``None`` where it needs more than constants, or too much."""
        home = scope.home(name)
        if self._in_loops and home.owner is not None and (outside := home.unchanged(name)):
            return self.value(home.owner.scope, outside)
        array = scope.array(name, LARGEST)
        maker = scope.maker(name)
        if array is not None or maker is None:
            return array
        values = self.outputs(maker)
        return None if values is None else values[list(maker.proto.output).index(name)]

    def outputs(self, node: Node) -> list[np.ndarray] | None:
        """What a node gives where it needs only constants; chains are walked, not recursed."""
        waiting = [node]
        while waiting:
            current = waiting[-1]
            makers = self._unmade(current) if current.op in _KNOWN else []
            if current not in self._made and makers:
                waiting += makers
                continue
            if current not in self._made:
                self._made[current] = self._evaluated(current)
            waiting.pop()
        return self._made[node]

    def _unmade(self, node: Node) -> list[Node]:
        makers = (node.scope.maker(name) for name in node.proto.input if name)
        return [m for m in makers if m is not None and m.op != "Constant" and m not in self._made]

    def _evaluated(self, node: Node) -> list[np.ndarray] | None:
        if node.op not in _KNOWN or not node.proto.input:
            return None
        arrays: list[np.ndarray | None] = []
        for name in node.proto.input:
            array = self.value(node.scope, name) if name else None
            if name and array is None:
                return None
            arrays.append(array)
        if _is_dequantization(node, arrays):
            return None
        try:
            size = _KNOWN[node.op](node, arrays)
            if size > min(LARGEST, self._left):
                return None
            self._left -= size
            return _run(node, arrays)
        except Exception:  # noqa: BLE001 - what the evaluator cannot do is not constant
            return None


def constant_value(scope: Scope, name: str) -> np.ndarray | None:
    """A value that needs nothing but constants, computed; ``None`` where it needs more."""
    return Constants().value(scope, name)


def foldable(reading: Reading) -> list[Node]:
    """The nodes that compute the same from constants in every run.

    Weights that are kept small on purpose (quantized ones, dequantized when the model runs) are
    not counted, nor are Constant nodes themselves.
    """
    constants = Constants()
    return [
        node
        for scope in reading.scopes
        if not scope.is_function
        for node in scope.nodes
        if node.op in _KNOWN and constants.outputs(node) is not None
    ]


def fold(reading: Reading) -> onnx.ModelProto:
    """Replace what :func:`foldable` names by initializers, in the reading's own model."""
    nodes = set(foldable(reading))
    constants = Constants()
    for scope in reading.scopes:
        own = [node for node in scope.nodes if node in nodes]
        for node in own:
            values = constants.outputs(node) or []
            for name, value in zip(node.proto.output, values, strict=False):
                if _needed(scope, name, nodes):
                    add_constant(scope, name, value)
    # Inner graphs first: an outer node is copied with what its graphs have become.
    for scope in reversed(reading.scopes):
        keep_nodes(scope.body, [node.proto for node in scope.nodes if node not in nodes])
    drop_unused(reading.model)
    return reading.model


def folded(reading: Reading) -> Reading:
    """The same model with its constants folded, the given one untouched."""
    if not foldable(reading):
        return reading
    copy = onnx.ModelProto()
    copy.CopyFrom(reading.model)
    return Reading(fold(Reading(copy)), reading.folder)


def _needed(scope: Scope, name: str, folded: set[Node]) -> bool:
    takers = scope.takers.get(name, ())
    return name in scope.output_names or any(taker not in folded for taker in takers)


def _is_dequantization(node: Node, arrays: list[np.ndarray | None]) -> bool:
    array = arrays[0]
    if array is None or node.op != "Cast":
        return False
    kind = str(array.dtype)
    if kind not in WHOLE and not (kind in HALF and array.ndim >= 2):
        return False  # a single number in half precision saves nothing
    return bool(node.attribute("to") in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16))


def _run(node: Node, arrays: list[np.ndarray | None]) -> list[np.ndarray]:
    """One operator by the standard's own evaluator."""
    given = {name: a for name, a in zip(node.proto.input, arrays, strict=True) if a is not None}
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in given.items()
    ]
    names = [name for name in node.proto.output if name]
    outputs = [onnx.ValueInfoProto(name=name) for name in names]
    graph = helper.make_graph([node.proto], "one", inputs, outputs)
    imports = [helper.make_opsetid("", node.scope.opset)]
    model = helper.make_model(graph, opset_imports=imports)
    results = ReferenceEvaluator(model).run(None, given)
    found = dict(zip(names, map(np.asarray, results), strict=True))
    return [found.get(name, np.empty(0)) for name in node.proto.output]


def _moved(node: Node, arrays: list[np.ndarray | None]) -> int:
    return int(sum(array.size for array in arrays if array is not None))


def _broadcast(node: Node, arrays: list[np.ndarray | None]) -> int:
    shapes = [array.shape for array in arrays if array is not None]
    return int(math.prod(np.broadcast_shapes(*shapes)))


def _asked(node: Node, arrays: list[np.ndarray | None]) -> int:
    """Expand and ConstantOfShape: what the constant shape asks for."""
    shape = arrays[-1]
    sizes = [] if shape is None else [max(1, int(size)) for size in shape.reshape(-1)]
    own = 1 if node.op == "ConstantOfShape" or arrays[0] is None else arrays[0].size
    return int(math.prod(sizes) * max(1, own))


def _gathered(node: Node, arrays: list[np.ndarray | None]) -> int:
    data, indices = arrays[0], arrays[1]
    if data is None or indices is None:
        return LARGEST + 1
    axis = int(node.attribute("axis", 0))
    return int(data.size // max(1, data.shape[axis]) * indices.size)


_KNOWN: dict[str, Callable[[Node, list[np.ndarray | None]], int]] = {
    **dict.fromkeys(MOVING, _moved),
    **dict.fromkeys(BROADCASTING, _broadcast),
    **dict.fromkeys(("Expand", "ConstantOfShape"), _asked),
    "Gather": _gathered,
}
