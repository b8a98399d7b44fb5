"""The recurrent nodes of a model by the names of their operands, wherever they stand.

A call of one of rnnport's own functions is the recurrent node that its body computes; the body
itself is passed over.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from rnnport.graph.operands import GATES, INPUTS, OUTPUTS, STATES, USUAL_ACTIVATIONS
from rnnport.graph.quantize.functions import CALLED, Function
from rnnport.graph.scopes import Node, Reading, Scope
from rnnport.graph.stored import is_small, stored_parts

__all__ = [
    "GATES",
    "INPUTS",
    "OUTPUTS",
    "STATES",
    "USUAL_ACTIVATIONS",
    "Recurrent",
    "as_recurrent",
    "recurrent_nodes",
]


@dataclass(frozen=True, eq=False)
class Recurrent:
    """One LSTM, GRU or RNN: a node, or the call of a function that stands for one."""

    node: Node
    function: Function | None = None

    @property
    def op(self) -> str:
        """The standard operator that it computes."""
        return self.node.op if self.function is None else self.function.op

    @property
    def label(self) -> str:
        return self.node.label

    @property
    def inputs(self) -> tuple[str, ...]:
        """The roles of its inputs, in their order."""
        return INPUTS[self.op] if self.function is None else self.function.inputs

    def input(self, role: str) -> str:
        """The name of the value that plays the role ("X", "W", …), empty where there is none."""
        return self.node.input(self.inputs.index(role)) if role in self.inputs else ""

    def place(self, role: str) -> int:
        """The index of the role among the inputs."""
        return self.inputs.index(role)

    def output(self, role: str) -> str:
        """The name of the value that plays the role ("Y", "Y_h", "Y_c"), empty for none."""
        roles = OUTPUTS[self.op]
        return self.node.output(roles.index(role)) if role in roles else ""

    @property
    def layout(self) -> int:
        return int(self.node.attribute("layout", 0))

    @property
    def directions(self) -> int:
        return 2 if self.node.attribute("direction", b"forward") == b"bidirectional" else 1

    @property
    def linear_before_reset(self) -> bool:
        return bool(self.node.attribute("linear_before_reset", 0))

    @property
    def activations(self) -> tuple[str, ...]:
        """The activations in lower case, as many as the directions need."""
        given = self.node.attribute("activations")
        if given:
            return tuple(name.decode(errors="replace").lower() for name in given)
        return USUAL_ACTIVATIONS[self.op] * self.directions

    @property
    def dtype(self) -> str:
        """NumPy's name of the type that it computes in, empty where it is not known."""
        if self.function is not None:
            return "float32"
        scope = self.node.scope
        return scope.dtype(self.input("R")) or scope.dtype(self.input("X"))

    @property
    def stored(self) -> str:
        """NumPy's name of the type that its weights are kept in, empty where it is not known."""
        scope = self.node.scope
        parts = [scope.dtype(name) for name in stored_parts(scope, self.input("R")) or ()]
        return next((kind for kind in parts if is_small(kind)), self.dtype)


def as_recurrent(node: Node) -> Recurrent | None:
    """The node as a recurrent one, where it is that."""
    if node.op in INPUTS:
        return None if _in_own_function(node.scope) else Recurrent(node)
    function = CALLED.get((node.proto.domain, node.proto.op_type))
    return None if function is None else Recurrent(node, function)


def recurrent_nodes(reading: Reading) -> list[Recurrent]:
    """Every recurrent node, also those inside If, Loop, Scan and functions."""
    if Recurrent not in reading.found:
        found = (as_recurrent(node) for node in reading.nodes())
        reading.found[Recurrent] = [node for node in found if node is not None]
    return list(reading.found[Recurrent])


def _in_own_function(scope: Scope) -> bool:
    body = scope.body
    return isinstance(body, onnx.FunctionProto) and (body.domain, body.name) in CALLED
