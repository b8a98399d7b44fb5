"""RNN302: recurrent nodes that leave the GPU."""

from __future__ import annotations

from collections.abc import Iterator

from rnnport.graph.check.rule import Fault, Rule, Severity, Targets
from rnnport.graph.recurrent import USUAL_ACTIVATIONS, Recurrent, recurrent_nodes
from rnnport.graph.scopes import Reading

UNSURE_OPSET = 22


def find(reading: Reading, targets: Targets) -> Iterator[Fault]:
    """Nodes that ONNX Runtime's CUDA provider has no kernel for, with the reasons."""
    for node in recurrent_nodes(reading):
        why = list(reasons(node))
        if why:
            yield Fault(
                node.label,
                f"ONNX Runtime moves this {node.op} from CUDA to the CPU: {' and '.join(why)}",
            )
        elif node.node.scope.opset >= UNSURE_OPSET:
            yield Fault(
                node.label,
                f"this {node.op} is of opset {node.node.scope.opset}, which ONNX Runtime's CUDA "
                "kernels may not match (onnxruntime#27729): export at opset 18",
            )


def reasons(node: Recurrent) -> Iterator[str]:
    """Why ONNX Runtime has no CUDA kernel for a node; nothing where it has one."""
    usual = USUAL_ACTIVATIONS[node.op]
    if any(name not in ("affine", *usual) for name in node.activations) or (
        node.activations[: len(usual)] != usual
    ):
        yield f"its activations are {', '.join(node.activations)}"
    if node.node.attribute("clip") is not None:
        yield "it clips"
    if node.node.attribute("input_forget", 0):
        yield "it couples input and forget gates (input_forget)"
    if node.input("P"):
        yield "it has peepholes"
    if node.op == "GRU" and not node.linear_before_reset:
        yield "linear_before_reset is 0"


RULE = Rule(
    id="RNN302",
    title="Recurrent node falls back from CUDA to the CPU",
    severity=Severity.WARNING,
    why=(
        "cuDNN knows the plain cells only. ONNX Runtime runs every other node on the CPU, copies "
        "its data there and back in each call, and says nothing."
    ),
    remedy=(
        "not by --fix (a GRU that PyTorch's exporter damaged excepted, see RNN001). Use the "
        "plain cell when the network is trained, or run the file on the CPU."
    ),
    find=find,
    targets=frozenset({"ort-cuda"}),
)
