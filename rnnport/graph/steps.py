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
    *("Cast", "Less", "And", "Not", "Greater", "Equal", "Sum", "Min", "Max", "Clip", "Div"),
    *("HardSigmoid", "Softsign"),
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
    counters, states = _counters(node, body), []
    for index, name in enumerate(inputs[2:]):
        one = Carried(name, outputs[index + 1], node.input(index + 2), _read(node, index))
        if name not in counters and body.unchanged(name) is None:
            states.append(one)
        elif one.end:
            return None  # the counter itself, or what is carried round unchanged, is asked for
    pieces = _pieces(body, counters)
    if len(pieces) != 1:
        return None
    (piece,) = pieces
    if _ends_by_what_it_reads(body, {piece.name, *(state.name for state in states)}):
        return None
    answers = tuple(
        (outputs[1 + carried + i], _read(node, carried + i), 0)
        for i in range(len(outputs) - 1 - carried)
    )
    rank = len(body.shape(piece.name) or (0, 0))
    return Step(
        node, body, tuple(states), piece.name, rank, piece.sequence, 0, False, answers,
        Constants(in_loops=True),
    )  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """What a body reads of a sequence in one step: its name there, the sequence's outside."""

    name: str
    sequence: str
    axis: int  # of the sequence, that the loop walks along


def pieces_of(node: Node) -> list[Piece]:
    """The sequences that a Scan or Loop walks along, one piece in each step."""
    bodies = [child for child in node.scope.children if child.owner is node]
    if len(bodies) != 1 or not node.scope.opset >= 9:
        return []
    (body,) = bodies
    if node.op == "Loop":
        return _pieces(body, _counters(node, body))
    scanned = int(node.attribute("num_scan_inputs", 0)) if node.op == "Scan" else 0
    if not 0 < scanned <= min(len(body.input_names), len(node.proto.input)):
        return []
    axes = node.attribute("scan_input_axes") or [0] * scanned
    names = zip(body.input_names[-scanned:], node.proto.input[-scanned:], axes, strict=False)
    return [Piece(name, sequence, int(axis)) for name, sequence, axis in names]


def _counters(node: Node, body: Scope) -> set[str]:
    """The iteration number, and whole numbers that begin at 0 and change."""
    counters = set(body.input_names[:1])
    for index, name in enumerate(body.input_names[2:]):
        start = node.scope.array(node.input(index + 2), largest=1)
        counts = start is not None and start.dtype.kind == "i" and not start.any()
        if counts and body.unchanged(name) is None:
            counters.add(name)
    return counters


def _pieces(body: Scope, counters: set[str]) -> list[Piece]:
    """What Gathers take from sequences outside the body, at the present place."""
    found = []
    for node in body.nodes:
        if node.op == "Gather" and not node.attribute("axis", 0):
            index, source = node.input(1), node.input(0)
            while (maker := body.makers.get(index)) is not None and maker.op in INDEX_MOVES:
                index = maker.input(0)
            outside = source if body.home(source) is not body else body.unchanged(source)
            if index in counters and outside:
                found.append(Piece(node.output(0), outside, 0))
    return found


def _ends_by_what_it_reads(body: Scope, values: set[str]) -> bool:
    """Whether a Loop goes on or ends by what it computes, and not by counting."""
    waiting, seen = [body.output_names[0]], set()
    while waiting:
        name = waiting.pop()
        if name in values:
            return True
        maker = body.makers.get(name)
        if maker is not None and name not in seen:
            seen.add(name)
            waiting += maker.proto.input
    return False


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
