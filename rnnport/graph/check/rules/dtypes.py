"""RNN304: a number type that a target's recurrent kernels do not have."""

from __future__ import annotations

from collections.abc import Iterator

from rnnport.graph.check.rule import Fault, Rule, Severity, Targets
from rnnport.graph.recurrent import recurrent_nodes
from rnnport.graph.scopes import Reading

# (target, type) → what happens; each was run on ONNX Runtime 1.31, or read in RTen's sources
WHAT_HAPPENS = {
    ("ort-cpu", "float64"): "ONNX Runtime's CPU has no kernel: it fails at load or when it runs",
    ("ort-cpu", "float16"): (
        "ONNX Runtime's CPU has no kernel: it runs in float32 between casts, slower than float32"
    ),
    ("ort-cpu", "bfloat16"): "ONNX Runtime's CPU has no kernel and refuses the file",
    ("ort-cuda", "bfloat16"): "ONNX Runtime's CUDA provider has no kernel for it",
    ("rten", "float64"): "RTen knows float32 only",
    ("rten", "float16"): "RTen knows float32 only",
    ("rten", "bfloat16"): "RTen knows float32 only",
}


def find(reading: Reading, targets: Targets) -> Iterator[Fault]:
    """Recurrent nodes that compute in a type without a kernel."""
    for node in recurrent_nodes(reading):
        for target in sorted(targets):
            what = WHAT_HAPPENS.get((target, node.dtype))
            if what:
                yield Fault(node.label, f"this {node.op} computes in {node.dtype}; {what}")


RULE = Rule(
    id="RNN304",
    title="No kernel for the number type",
    severity=Severity.ERROR,
    why=(
        "The operators' schema allows float16, float32 and float64, so such files are valid; the "
        "runtimes implement fewer. ONNX Runtime's CPU even declares float64 LSTM and GRU and "
        "fails only when they run (onnxruntime#28339)."
    ),
    remedy="not by --fix, as it would change the precision: export the module as float32.",
    find=find,
)
