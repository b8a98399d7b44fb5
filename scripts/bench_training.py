"""Accuracy and training time of mnist-lstm beside a bare PyTorch loop, seed by seed."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def bare(cell: str, seed: int, epochs: int) -> dict[str, Any]:
    """The bare loop in a fresh process."""
    command = [sys.executable, str(HERE / "bare_mnist.py"), "--cell", cell]
    command += ["--seed", str(seed), "--epochs", str(epochs)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(text))


def trained(cell: str, seed: int, epochs: int, folder: Path) -> dict[str, Any]:
    """``rnnport train`` in a fresh process, and what its run folder says."""
    run = folder / f"{cell}-{seed}"
    command = [
        str(Path(sys.executable).parent / "rnnport"),
        "train",
        f"{HERE.parent}/models/mnist-{cell}",
    ]
    command += ["--seed", str(seed), "--set", f"train.epochs={epochs}", "-o", str(run)]
    subprocess.run(command, check=True, capture_output=True)
    metrics = json.loads((run / "metrics.json").read_text())
    return {"accuracy": metrics["test"]["accuracy"], "seconds": metrics["seconds"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", default="lstm", choices=["lstm", "gru", "rnn"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--keep", type=Path, help="keep the run folders here")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        for seed in range(options.seeds):
            row: dict[str, Any] = {
                "seed": seed,
                "bare": bare(options.cell, seed, options.epochs),
                "rnnport": trained(options.cell, seed, options.epochs, folder),
            }
            row["time_ratio"] = row["rnnport"]["seconds"] / row["bare"]["seconds"]
            print(json.dumps(row), file=sys.stderr)
            rows.append(row)
    report = {
        "rows": rows,
        "mean_accuracy_bare": statistics.mean(row["bare"]["accuracy"] for row in rows),
        "mean_accuracy_rnnport": statistics.mean(row["rnnport"]["accuracy"] for row in rows),
        "median_time_ratio": statistics.median(row["time_ratio"] for row in rows),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
