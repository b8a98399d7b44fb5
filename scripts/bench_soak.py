"""Resident memory over a million pushes and a hundred thousand calls of random lengths."""

from __future__ import annotations

import argparse
import json

import numpy as np
import psutil

import rnnport

MIB = 1 << 20


def resident() -> float:
    """MiB of this process that are in memory now."""
    return float(psutil.Process().memory_info().rss) / MIB


def push(path: str, pushes: int) -> dict[str, float]:
    """Push single steps into one stream; memory is read after a tenth and at the end."""
    session = rnnport.load(path)
    (tensor,) = session.spec.data_inputs()
    step = np.zeros((1, 1, int(tensor.shape[-1])), np.float32)
    stream = session.stream()
    for _ in range(pushes // 10):
        stream.push(step)
    early = resident()
    for _ in range(pushes - pushes // 10):
        stream.push(step)
    return {"pushes": pushes, "early_mib": early, "late_mib": resident()}


def call(path: str, calls: int, seed: int, longest: int) -> dict[str, float]:
    """Call a whole-sequence file with 1 to 4 rows of 1 to ``longest`` steps."""
    session = rnnport.load(path, device="cpu")
    (tensor,) = session.spec.data_inputs()
    draw = np.random.default_rng(seed)

    def once() -> None:
        batch, time = int(draw.integers(1, 5)), int(draw.integers(1, longest + 1))
        x = np.zeros((batch, time, int(tensor.shape[-1])), np.float32)
        lengths = draw.integers(1, time + 1, batch) if session.spec.lengths else None
        session(x, lengths)

    for _ in range(calls // 10):
        once()
    early = resident()
    for _ in range(calls - calls // 10):
        once()
    return {"calls": calls, "early_mib": early, "late_mib": resident()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stream", required=True, help="a streaming model file")
    parser.add_argument("--whole", required=True, help="a whole-sequence model file")
    parser.add_argument("--pushes", type=int, default=1_000_000)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--longest", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    report = [
        push(options.stream, options.pushes),
        call(options.whole, options.calls, options.seed, options.longest),
    ]
    for part in report:
        part["growth_mib"] = part["late_mib"] - part["early_mib"]
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
