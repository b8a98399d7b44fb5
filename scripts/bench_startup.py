"""What it costs to begin: importing rnnport, ``--help``, and one answer as a whole process."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import rnnport

# a user's Python keeps compiled modules; a shell that forbids it would measure the compiler
ENVIRONMENT = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
IMPORTS = """
import time
start = time.perf_counter()
import numpy
between = time.perf_counter()
import rnnport
print(between - start, time.perf_counter() - between)
"""


def import_seconds() -> tuple[float, float]:
    """Seconds for ``import numpy`` in a fresh interpreter, and then for ``import rnnport``."""
    command = [sys.executable, "-c", IMPORTS]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=ENVIRONMENT)
    first, second = done.stdout.split()
    return float(first), float(second)


def process_seconds(*arguments: str) -> float:
    """Seconds that the rnnport program takes as a whole process."""
    start = time.perf_counter()
    program = Path(sys.executable).parent / "rnnport"
    subprocess.run([program, *arguments], check=True, capture_output=True, env=ENVIRONMENT)
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
                *import_seconds(),
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
        "import_rnnport_above_numpy_ms": package * 1e3,
        "help_s": help_text,
        "infer_one_window_s": infer,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
