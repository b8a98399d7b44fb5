"""What an export says of itself: the file, what it promises, and what proves it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rnnport.parity.report import ParityReport
from rnnport.spec import ModelSpec, TensorSpec, TimeSpec

SCHEMA_VERSION = 1
_RECURRENT = ("LSTM", "GRU", "RNN", "Scan")


@dataclass(frozen=True)
class ExportReport:
    """What was written, and what proves it; ``parity`` is None where the proof was left out."""

    path: Path
    spec: ModelSpec
    opset: int
    size: int  # bytes
    sha256: str
    nodes: Mapping[str, int]  # operator → how many
    seconds: float
    parity: ParityReport | None

    def lines(self) -> Iterator[str]:
        """The report for a terminal."""
        states = {name for state in self.spec.states for name in (state.input, state.output)}
        recurrent = ", ".join(
            f"{self.nodes[name]} {name}" for name in _RECURRENT if name in self.nodes
        )
        yield f"{self.path}  {self.size:,} bytes, opset {self.opset}, {self.seconds:.1f} s"
        for title, tensors in (("inputs", self.spec.inputs), ("outputs", self.spec.outputs)):
            shown = [_shown(tensor) for tensor in tensors if tensor.name not in states]
            yield f"  {title:<8} {', '.join(shown)}"
        for state in self.spec.states:
            axes = ", ".join(map(str, state.shape))
            yield f"  state    {state.input} → {state.output} [{axes}]"
        if self.spec.time != TimeSpec():
            yield f"  time     {_times(self.spec.time)}"
        yield f"  nodes    {sum(self.nodes.values())}, of them {recurrent}"
        if self.parity is None:
            yield "  parity   not checked"
        else:
            yield f"  parity   {self.parity.summary()}"
            yield from (f"  note     {note}" for note in self.parity.remarks())

    def to_json(self) -> str:
        """The report as one JSON document."""
        document = {
            "schema_version": SCHEMA_VERSION,
            "path": str(self.path),
            "bytes": self.size,
            "sha256": self.sha256,
            "opset": self.opset,
            "seconds": round(self.seconds, 3),
            "inputs": [asdict(tensor) for tensor in self.spec.inputs],
            "outputs": [asdict(tensor) for tensor in self.spec.outputs],
            "states": [asdict(state) for state in self.spec.states],
            "nodes": dict(self.nodes),
            "parity": None if self.parity is None else json.loads(self.parity.to_json()),
        }
        return json.dumps(document, ensure_ascii=False, allow_nan=False)


def _shown(tensor: TensorSpec) -> str:
    return f"{tensor.name}: {tensor.dtype}[{', '.join(map(str, tensor.shape))}]"


def _times(time: TimeSpec) -> str:
    """The numbers of steps that a call accepts, where they are not all."""
    most = "or more" if time.max is None else f"to {time.max}"
    multiple = f", multiples of {time.multiple}" if time.multiple > 1 else ""
    return f"{time.min} {most} steps{multiple}; the file is proved for these alone"
