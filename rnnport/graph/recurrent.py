"""The recurrent operators by the names of their operands, wherever in a model they stand."""

from __future__ import annotations

from dataclasses import dataclass

from rnnport.graph.scopes import Node, Reading

INPUTS = {
    "LSTM": ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"),
    "GRU": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "RNN": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
}
OUTPUTS = {"LSTM": ("Y", "Y_h", "Y_c"), "GRU": ("Y", "Y_h"), "RNN": ("Y", "Y_h")}
STATES = {"initial_h": "Y_h", "initial_c": "Y_c"}  # the state that enters → its successor
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
USUAL_ACTIVATIONS = {
    "LSTM": ("sigmoid", "tanh", "tanh"),
    "GRU": ("sigmoid", "tanh"),
    "RNN": ("tanh",),
}


@dataclass(frozen=True, eq=False)
class Recurrent:
    """One LSTM, GRU or RNN node."""

    node: Node

    @property
    def op(self) -> str:
        return self.node.op

    @property
    def label(self) -> str:
        return self.node.label

    def input(self, role: str) -> str:
        """The name of the value that plays the role ("X", "W", …), empty where there is none."""
        roles = INPUTS[self.op]
        return self.node.input(roles.index(role)) if role in roles else ""

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
        scope = self.node.scope
        return scope.dtype(self.input("R")) or scope.dtype(self.input("X"))


def recurrent_nodes(reading: Reading) -> list[Recurrent]:
    """Every recurrent node, also those inside If, Loop, Scan and functions."""
    return [Recurrent(node) for node in reading.nodes() if node.op in INPUTS]
