"""What opening a model file takes in a fresh process: seconds and memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

MIB = 1 << 20
RUNS = 5


@dataclass(frozen=True)
class Loading:
    """Medians over fresh processes; resident memory is what the process grew by."""

    model: str
    form: str  # fp32, int8 or bf16
    file_bytes: int
    seconds: float
    resident_mib: float


def loadings(cells: tuple[str, ...], hidden: int) -> Iterator[Loading]:
    """A single layer of each cell, in fp32 and stored small."""
    import onnx
    from layer_files import ours, uniform_layer

    with tempfile.TemporaryDirectory() as folder:
        for op in cells:
            model = uniform_layer(op, hidden, hidden, 0).model()
            for form in ("fp32", "int8", "bf16"):
                path = Path(folder) / f"{op}.{form}.onnx"
                onnx.save(model if form == "fp32" else ours(model, form), path)
                found = [_in_fresh_process(path) for _ in range(RUNS)]
                seconds, resident = (
                    statistics.median(column) for column in zip(*found, strict=True)
                )
                size = path.stat().st_size
                yield Loading(f"{op} {hidden}→{hidden}", form, size, seconds, resident)


def loading_table(found: list[Loading]) -> list[tuple[str, ...]]:
    """Rows for a terminal, the head first."""
    rows: list[tuple[str, ...]] = [("model", "file", "bytes", "load ms", "resident MiB")]
    for each in found:
        figures = (f"{1e3 * each.seconds:.0f}", f"{each.resident_mib:.1f}")
        rows.append((each.model, each.form, f"{each.file_bytes:,}", *figures))
    return rows


def _in_fresh_process(path: Path) -> tuple[float, float]:
    command = [sys.executable, __file__, str(path)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, resident = json.loads(text)
    return seconds, resident


def open_once(path: str) -> tuple[float, float]:
    """Seconds, and the MiB that the process grew by."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    process = psutil.Process()
    before = process.memory_info().rss
    start = time.perf_counter()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    seconds = time.perf_counter() - start
    grown = process.memory_info().rss - before
    del session
    return seconds, grown / MIB


if __name__ == "__main__":
    print(json.dumps(open_once(sys.argv[1])))
