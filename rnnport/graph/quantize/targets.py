"""What a precision cannot do on the runtime that a file is meant for, told before any work."""

from __future__ import annotations

from collections.abc import Collection

from rnnport.errors import RequestError
from rnnport.graph.check.rules.cuda import reasons
from rnnport.graph.recurrent import recurrent_nodes
from rnnport.graph.scopes import Reading
from rnnport.graph.sound import standard_opset

TARGETS = ("ort-cpu", "ort-cuda")
BFLOAT16_OPSET = 13  # the first whose Cast knows it


def require_kernels(
    reading: Reading, precision: str, target: str | None, kept: Collection[str]
) -> None:
    """Refuse a precision without kernels on the target.

    int8 and bf16 are stored only: their bodies compute in float32 and run wherever the parent does.

    Raises:
        RequestError: an unknown target; bfloat16 for an opset that does not know it; float16 for
            the CPU, or for a node that leaves the GPU.
    """
    if target is not None and target not in TARGETS:
        raise RequestError(f"there is no target '{target}'; there are {', '.join(TARGETS)}")
    opset = standard_opset(reading.model.opset_import)
    if precision == "bf16" and opset < BFLOAT16_OPSET:
        raise RequestError(
            f"the file has opset {opset}, and bfloat16 came with opset {BFLOAT16_OPSET}: export it "
            "again with that or a newer one; --precision int8 needs none"
        )
    if precision != "fp16":
        return
    if target == "ort-cpu":
        raise RequestError(
            "ONNX Runtime's CPU has no float16 LSTM, GRU or RNN: it would compute in float32 "
            "between casts, slower than the file as it is; --precision bf16 stores as little, and "
            "int8 half of that"
        )
    for layer in recurrent_nodes(reading):
        why = [] if layer.label in kept else list(reasons(layer))
        if why:
            raise RequestError(
                f"ONNX Runtime has no CUDA kernel for the {layer.op} {layer.label}: "
                f"{' and '.join(why)}; on the CPU, where it goes, there is no float16: "
                f"--keep {layer.label} leaves it in float32"
            )
