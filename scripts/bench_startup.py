"""What it costs to begin: importing rnnport, ``--help``, and one answer as a whole process."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import rnnport

IMPORT = "import time; s = time.perf_counter(); import {0}; print(time.perf_counter() - s)"


def import_seconds(module: str) -> float:
    """Seconds that a fresh interpreter takes for ``import module``."""
    command = [sys.executable, "-c", IMPORT.format(module)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def process_seconds(*arguments: str) -> float:
    """Seconds that the rnnport program takes as a whole process."""
    start = time.perf_counter()
    subprocess.run(
        [Path(sys.executable).parent / "rnnport", *arguments], check=True, capture_output=True
    )
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a whole-sequence model file")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    (tensor,) = rnnport.load(options.model, device="cpu").spec.data_inputs()
    with tempfile.TemporaryDirectory() as folder:
        window = Path(folder) / "window.npy"
        np.save(window, np.zeros((1, 50, int(tensor.shape[-1])), np.float32))
        rounds = [
            (
                import_seconds("numpy"),
                import_seconds("rnnport"),
                process_seconds("--help"),
                process_seconds("infer", options.model, "--input", str(window)),
            )
            for _ in range(options.rounds)
        ]
    numpy, package, help_text, infer = (
        statistics.median(column) for column in zip(*rounds, strict=True)
    )
    report = {
        "import_numpy_ms": numpy * 1e3,
        "import_rnnport_above_numpy_ms": (package - numpy) * 1e3,
        "help_s": help_text,
        "infer_one_window_s": infer,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
