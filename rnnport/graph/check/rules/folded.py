"""RNN202: constants that are computed anew in every run."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from rnnport.graph.check.rule import Effect, Fault, Rule, Severity, Targets
from rnnport.graph.check.rules.weights import WEIGHTS
from rnnport.graph.fold import fold, foldable
from rnnport.graph.recurrent import as_recurrent
from rnnport.graph.scopes import Node, Reading


def find(reading: Reading, targets: Targets) -> Iterator[Fault]:
    """Nodes that need nothing but constants."""
    nodes = _not_only_weights(foldable(reading))
    if nodes:
        kinds = ", ".join(sorted({node.op for node in nodes}))
        count = f"{len(nodes)} nodes compute" if len(nodes) > 1 else "this node computes"
        yield Fault(nodes[0].label, f"{count} constants that could be stored ({kinds})", True)


def _not_only_weights(nodes: list[Node]) -> list[Node]:
    """Without the nodes that lead to recurrent weights alone: RNN201 reports those layers."""
    weights: set[Node] = set()
    for node in reversed(nodes):
        takers = [
            (taker, name) for name in node.proto.output for taker in node.scope.takers.get(name, ())
        ]
        if takers and all(
            taker in weights or _takes_as_weight(taker, name) for taker, name in takers
        ):
            weights.add(node)
    return [node for node in nodes if node not in weights]


def _takes_as_weight(taker: Node, name: str) -> bool:
    node = as_recurrent(taker)
    return node is not None and all(
        role in WEIGHTS
        for role, taken in zip(node.inputs, taker.proto.input, strict=False)
        if taken == name
    )


def repair(reading: Reading) -> onnx.ModelProto:
    """Compute them now."""
    return fold(reading)


RULE = Rule(
    id="RNN202",
    title="Constants that should be folded",
    severity=Severity.WARNING,
    why=(
        "Runtimes that fold at load hide the cost; others pay it in every call, and tools that "
        "look for constant shapes and weights do not find them."
    ),
    remedy="--fix computes them once and stores the results, where they stay of sane size.",
    find=find,
    repair=repair,
    effect=Effect.CLOSE,
)
