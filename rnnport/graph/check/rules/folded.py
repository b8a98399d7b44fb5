"""RNN202: constants that are computed anew in every run."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from rnnport.graph.check.rule import Effect, Fault, Rule, Severity, Targets
from rnnport.graph.fold import fold, foldable
from rnnport.graph.scopes import Reading


def find(reading: Reading, targets: Targets) -> Iterator[Fault]:
    """Nodes that need nothing but constants."""
    nodes = foldable(reading)
    if nodes:
        kinds = ", ".join(sorted({node.op for node in nodes}))
        count = f"{len(nodes)} nodes compute" if len(nodes) > 1 else "this node computes"
        yield Fault(nodes[0].label, f"{count} constants that could be stored ({kinds})", True)


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
