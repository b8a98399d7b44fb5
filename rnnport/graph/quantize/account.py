"""What quantization did: one line for each node that holds weights, and the bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NodeAccount:
    """One node with weights: what they are now, or why they stayed as they were."""

    node: str
    op: str
    stored: str  # "int8", "bfloat16", "float16", or the type that was kept: "float32"
    form: str  # "function rnnport.LSTMInt8", "weights", or empty where nothing changed
    reason: str  # why it was kept; empty where it was quantized
    bytes_before: int
    bytes_after: int

    @property
    def quantized(self) -> bool:
        return not self.reason
