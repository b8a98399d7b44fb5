"""RNN005: a recurrent node whose weights and states do not fit together."""

from __future__ import annotations

from collections.abc import Iterator

from rnnport.graph.check.rule import Fault, Rule, Severity, Targets
from rnnport.graph.recurrent import GATES, Recurrent, recurrent_nodes
from rnnport.graph.scopes import Reading


def find(reading: Reading, targets: Targets) -> Iterator[Fault]:
    """Operands whose fixed sizes contradict the hidden size."""
    for node in recurrent_nodes(reading):
        for role, axis, wanted in _wanted(node):
            shape = node.node.scope.shape(node.input(role)) if node.input(role) else None
            if shape is None or len(shape) <= axis:
                continue
            size = shape[axis]
            if isinstance(size, int) and size != wanted:
                yield Fault(
                    node.label,
                    f"axis {axis} of {role} is {size} where this {node.op} of {_hidden(node)} "
                    f"hidden units needs {wanted}: it fails when it runs",
                )
                break


def _wanted(node: Recurrent) -> Iterator[tuple[str, int, int]]:
    hidden, gates = _hidden(node), GATES[node.op]
    if not hidden:
        return
    yield "R", 2, hidden
    for role in ("W", "R"):
        yield role, 1, gates * hidden
    yield "B", 1, 2 * gates * hidden
    for role in ("W", "R", "B"):
        yield role, 0, node.directions
    for role in ("initial_h", "initial_c"):
        yield role, 2, hidden


def _hidden(node: Recurrent) -> int:
    """What the node says itself, else what its recurrent matrix has."""
    shape = node.node.scope.shape(node.input("R")) or ()
    own = shape[2] if len(shape) == 3 and isinstance(shape[2], int) else 0
    return int(node.node.attribute("hidden_size", own))


RULE = Rule(
    id="RNN005",
    title="Recurrent node whose sizes contradict each other",
    severity=Severity.ERROR,
    why=(
        "ONNX has no LSTM with a projection (proj_size). PyTorch's exporter writes one all the "
        "same, with the projection's weights lost: the file passes the ONNX checker, and ONNX "
        "Runtime fails when the node runs."
    ),
    remedy=(
        "not by --fix, as the weights are not in the file: export the module again with "
        "`rnnport export`, which carries a projection as standard operators."
    ),
    find=find,
)
