"""A Scan or Loop seen as a step over time: what it carries, what it reads, what it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from rnnport.graph.fold import Constants
from rnnport.graph.scopes import Node, Scope

MOST_NODES = 400  # of a body that may still be a plain cell
PLAIN = {  # what a plain cell is made of; nothing here makes more than it is given
    *("MatMul", "Gemm", "Add", "Sub", "Mul", "Sigmoid", "Tanh", "Relu", "Split", "Slice", "Concat"),
    *("Squeeze", "Unsqueeze", "Gather", "Identity", "Transpose", "Reshape", "Constant", "Neg"),
    *("Cast", "Less", "And", "Not", "Greater", "Equal", "Sum", "Min", "Max"),
}
INDEX_MOVES = ("Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape")


@dataclass(frozen=True)
class Carried:
    """A state: its name in the body, its successor there, its start and its end outside."""

    name: str
    successor: str
    start: str
    end: str  # empty where nobody reads it


@dataclass(frozen=True)
class Step:
    """A recurrent step. ``x`` is the body's piece of the outer ``sequence`` along ``axis``."""

    node: Node
    body: Scope
    states: tuple[Carried, ...]
    x: str
    x_rank: int
    sequence: str
    axis: int
    reverse: bool
    answers: tuple[tuple[str, str, int], ...]  # body's value, outer sequence, its time axis
    constants: Constants

    def run(
        self, feeds: Mapping[str, np.ndarray], wanted: Sequence[str]
    ) -> list[np.ndarray] | None:
        """Run one step by the standard's evaluator; ``None`` where it needs more than the feeds."""
        nodes = _needed(self.body, set(feeds), wanted)
        given = dict(feeds)
        for node in nodes:
            for name in filter(None, node.input):
                if name in self.body.makers or name in given:
                    continue
                value = self.constants.value(self.body, name)
                if value is None:
                    return None
                given[name] = value
        graph = helper.make_graph(nodes, "step", _infos(given), [_output(name) for name in wanted])
        imports = [helper.make_opsetid("", self.body.opset)]
        try:
            evaluator = ReferenceEvaluator(helper.make_model(graph, opset_imports=imports))
            return [np.asarray(a) for a in evaluator.run(None, given)]
        except Exception:  # noqa: BLE001 - a body that the evaluator refuses is no plain cell
            return None


def step_of(node: Node) -> Step | None:
    """A Scan's or Loop's step, where it reads one sequence and its body is made of plain parts."""
    bodies = [child for child in node.scope.children if child.owner is node]
    if node.op not in ("Scan", "Loop") or len(bodies) != 1 or not node.scope.opset >= 9:
        return None
    body = bodies[0]
    if len(body.nodes) > MOST_NODES or any(inner.op not in PLAIN for inner in body.nodes):
        return None
    return _scan(node, body) if node.op == "Scan" else _loop(node, body)


def _scan(node: Node, body: Scope) -> Step | None:
    inputs, outputs = body.input_names, body.output_names
    carried = len(inputs) - int(node.attribute("num_scan_inputs", 0))
    if carried < 1 or len(inputs) != carried + 1 or len(node.proto.input) != len(inputs):
        return None
    reverse = bool((node.attribute("scan_input_directions") or [0])[0])
    scanned = len(outputs) - carried
    directions = node.attribute("scan_output_directions") or [0] * scanned
    axes = node.attribute("scan_output_axes") or [0] * scanned
    if any(bool(direction) != reverse for direction in directions):
        return None
    states = tuple(
        Carried(inputs[i], outputs[i], node.input(i), _read(node, i)) for i in range(carried)
    )
    answers = tuple(
        (outputs[carried + i], _read(node, carried + i), int(axes[i])) for i in range(scanned)
    )
    axis = int((node.attribute("scan_input_axes") or [0])[0])
    return Step(
        node, body, states, inputs[-1], 2, node.input(carried), axis, reverse, answers, Constants()
    )


def _loop(node: Node, body: Scope) -> Step | None:
    inputs, outputs = body.input_names, body.output_names
    carried = len(inputs) - 2
    if carried < 1 or len(node.proto.input) != carried + 2:
        return None
    counters = {inputs[0]}
    states = []
    for index in range(carried):
        name, outside = inputs[index + 2], node.input(index + 2)
        one = Carried(name, outputs[index + 1], outside, _read(node, index))
        start = node.scope.array(outside, largest=1)
        if start is not None and start.dtype.kind == "i" and not start.any():
            if one.end:
                return None  # the counter itself is asked for
            counters.add(name)
        else:
            states.append(one)
    gather = _reads_at(body, counters)
    if gather is None:
        return None
    answers = tuple(
        (outputs[1 + carried + i], _read(node, carried + i), 0)
        for i in range(len(outputs) - 1 - carried)
    )
    rank = len(body.shape(gather.output(0)) or (0, 0))
    return Step(
        node, body, tuple(states), gather.output(0), rank, gather.input(0), 0, False, answers,
        Constants(),
    )  # fmt: skip


def _reads_at(body: Scope, counters: set[str]) -> Node | None:
    """The one Gather that takes the present piece of a sequence from outside the body."""
    found = []
    for node in body.nodes:
        if node.op == "Gather" and not node.attribute("axis", 0):
            index = node.input(1)
            while (maker := body.makers.get(index)) is not None and maker.op in INDEX_MOVES:
                index = maker.input(0)
            if index in counters and body.home(node.input(0)) is not body:
                found.append(node)
    return found[0] if len(found) == 1 else None


def _read(node: Node, index: int) -> str:
    """The name of a node's output where anybody reads it."""
    name = node.output(index)
    scope = node.scope
    return name if scope.takers.get(name) or name in scope.output_names else ""


def _needed(body: Scope, given: set[str], wanted: Sequence[str]) -> list[onnx.NodeProto]:
    waiting, needed = [name for name in wanted if name not in given], set()
    while waiting:
        maker = body.makers.get(waiting.pop())
        if maker is not None and maker not in needed:
            needed.add(maker)
            waiting += [name for name in maker.proto.input if name and name not in given]
    return [node.proto for node in body.nodes if node in needed]


def _infos(given: Mapping[str, np.ndarray]) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in given.items()
    ]


def _output(name: str) -> onnx.ValueInfoProto:
    return onnx.ValueInfoProto(name=name)
