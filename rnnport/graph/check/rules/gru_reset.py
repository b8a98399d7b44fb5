"""RNN001: a GRU that an exporter wrote with the wrong reset."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from rnnport.graph.check.rule import Effect, Fault, Rule, Severity, Targets
from rnnport.graph.recurrent import USUAL_ACTIVATIONS, Recurrent, recurrent_nodes
from rnnport.graph.rewrite import set_attribute
from rnnport.graph.scopes import Reading

FIRST_FAULTY_TORCH = (2, 5)  # the first whose dynamo exporter takes any later onnxscript


def find(reading: Reading, targets: Targets) -> Iterator[Fault]:
    """GRUs without ``linear_before_reset`` of which the file shows that PyTorch made them."""
    for gru in _faulty(reading):
        yield Fault(
            gru.label,
            f"PyTorch's exporter ({_writer(reading)}) wrote this GRU without "
            "linear_before_reset=1, which PyTorch's GRU needs: its answers are wrong",
            fixable=True,
        )


def repair(reading: Reading) -> onnx.ModelProto:
    """Set the attribute; the weights are right as they are."""
    for gru in _faulty(reading):
        set_attribute(gru.node, "linear_before_reset", 1)
    return reading.model


def _faulty(reading: Reading) -> list[Recurrent]:
    return [
        node
        for node in recurrent_nodes(reading)
        if node.op == "GRU" and not node.linear_before_reset and _by_torch(reading, node)
    ]


def _by_torch(reading: Reading, gru: Recurrent) -> bool:
    """Whether the file says that the node came from torch's own GRU.

    The dynamo exporter notes the PyTorch call on each node. A tool in between may have dropped
    the notes; then the producer stands for it, unless the node has what PyTorch's GRU cannot.
    """
    notes = {entry.key: entry.value for entry in gru.node.proto.metadata_props}
    if any("gru" in notes.get(key, "").lower() for key in ("namespace", "pkg.torch.onnx.fx_node")):
        return True
    if gru.activations[:2] != USUAL_ACTIVATIONS["GRU"] or gru.node.attribute("clip"):
        return False
    return reading.model.producer_name == "pytorch" and _version(reading) >= FIRST_FAULTY_TORCH


def _version(reading: Reading) -> tuple[int, ...]:
    digits = reading.model.producer_version.split(".")[:2]
    return tuple(int(part) for part in digits) if all(p.isdigit() for p in digits) else ()


def _writer(reading: Reading) -> str:
    return f"{reading.model.producer_name} {reading.model.producer_version}".strip() or "unnamed"


RULE = Rule(
    id="RNN001",
    title="GRU with the wrong reset",
    severity=Severity.ERROR,
    why=(
        "PyTorch's GRU applies the reset gate after the recurrent product "
        "(linear_before_reset=1). The exporter of onnxscript 0.5.7 to 0.7.0 left the attribute "
        "out, so ONNX runtimes compute another cell: typical errors are about 0.1. A GRU "
        "without the attribute from another producer (Keras with reset_after=False) is right "
        "and is not reported."
    ),
    remedy=(
        "--fix sets linear_before_reset=1, which changes the answers to PyTorch's; or export "
        "again with `rnnport export`."
    ),
    find=find,
    repair=repair,
    effect=Effect.CHANGES,
)
