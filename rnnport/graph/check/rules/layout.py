"""RNN002: recurrent nodes with ``layout=1``."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import helper

from rnnport.graph.check.rule import Effect, Fault, Rule, Severity, Targets
from rnnport.graph.recurrent import INPUTS, OUTPUTS, Recurrent, recurrent_nodes
from rnnport.graph.rewrite import (
    Names,
    forget_shapes,
    insert_after,
    insert_before,
    set_attribute,
    set_input,
    set_output,
)
from rnnport.graph.scopes import Reading

SWAP = [1, 0, 2]  # [batch, time or directions, features] ↔ [time or directions, batch, features]
Y_TO_LAYOUT_1 = [2, 0, 1, 3]  # [time, directions, batch, hidden] → [batch, time, directions, …]


def find(reading: Reading, targets: Targets) -> Iterator[Fault]:
    """Nodes whose batch comes first."""
    for node in recurrent_nodes(reading):
        if node.layout:
            yield Fault(
                node.label,
                f"this {node.op} has layout=1, which ONNX Runtime refuses to load and OpenVINO "
                "computes wrongly without a word",
                fixable=True,
            )


def repair(reading: Reading) -> onnx.ModelProto:
    """Transpose around the node instead."""
    names = Names(reading)
    for node in recurrent_nodes(reading):
        if node.layout:
            _transpose_around(node, names)
    forget_shapes(reading.model)
    return reading.model


def _transpose_around(node: Recurrent, names: Names) -> None:
    before, after = [], []
    for role in ("X", "initial_h", "initial_c"):
        if old := node.input(role):
            new = names.fresh(f"{old}.time_first")
            before.append(helper.make_node("Transpose", [old], [new], perm=SWAP))
            set_input(node.node, INPUTS[node.op].index(role), new)
    for role in OUTPUTS[node.op]:
        if old := node.output(role):
            new = names.fresh(f"{old}.time_first")
            perm = Y_TO_LAYOUT_1 if role == "Y" else SWAP
            after.append(helper.make_node("Transpose", [new], [old], perm=perm))
            set_output(node.node, OUTPUTS[node.op].index(role), new)
    set_attribute(node.node, "layout", None)
    insert_before(node.node, before)
    insert_after(node.node, after)


RULE = Rule(
    id="RNN002",
    title="Recurrent node with layout=1",
    severity=Severity.ERROR,
    why=(
        "layout=1 (batch first) is in the ONNX standard since opset 14, but ONNX Runtime refuses "
        "to load such a node, and OpenVINO reads it as if it were layout=0."
    ),
    remedy="--fix puts Transpose nodes around the node and removes the attribute.",
    find=find,
    repair=repair,
    effect=Effect.EXACT,
)
