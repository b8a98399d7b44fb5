"""The demo: from data to verified model files, their int8 twin and their answers."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import rnnport
from rnnport.data.load import load_classify, load_forecast

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = Path(sys.executable).parent / "rnnport"


@dataclass(frozen=True)
class Row:
    """One line of the closing table."""

    model: str
    quality: str
    parity: str
    size: str
    latency: str
    files: Path


def rnnport_(*arguments: object, quiet: bool = False) -> str:
    """Show and run one command of the program; what it printed on stdout comes back."""
    words = [str(argument) for argument in arguments]
    print("\n$ rnnport " + " ".join(words), flush=True)
    done = subprocess.run([PROGRAM, *words], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        print(done.stdout)
        sys.exit(done.returncode)
    if not quiet:
        print(done.stdout, end="", flush=True)
    return done.stdout


def latency(path: Path, x: np.ndarray, rounds: int = 200) -> str:
    """Median time of one call with one sequence, as text."""
    session = rnnport.load(path, device="cpu")
    session(x)
    samples = []
    for _ in range(rounds):
        start = time.perf_counter()
        session(x)
        samples.append(time.perf_counter() - start)
    return f"{statistics.median(samples) * 1e6:.0f} µs for {x.shape[1]} steps"


def carry(recipe: str, folder: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Train, export and verify one recipe; evaluate the file.

    Returns:
        the model file, the verify report, the evaluation.
    """
    run = folder / recipe
    model = run / "model.onnx"
    rnnport_("train", ROOT / "models" / recipe, "-o", run, "--overwrite")
    rnnport_("export", run, "-o", model, "--overwrite")
    report = run / "parity.html"
    verified = rnnport_(
        *("verify", model, "--against", run, "--report", report),
        *("--json", "--overwrite"),
        quiet=True,
    )
    evaluated = rnnport_("evaluate", model, "--data", source(run), "--json", quiet=True)
    return model, json.loads(verified), json.loads(evaluated)


def source(run: Path) -> str:
    """The name of the built-in data set that a run was trained on."""
    metrics = json.loads((run / "metrics.json").read_text())
    return str(metrics["data"])


def classifier(folder: Path) -> list[Row]:
    """Handwritten digits, one row of pixels a step; and the twin in int8."""
    model, verified, evaluated = carry("digits-lstm", folder)
    images = load_classify("digits").test.x.astype(np.float32)
    some = folder / "digits.npy"
    np.save(some, images[:3])
    rnnport_("infer", model, "--input", some)
    quality = f"accuracy {evaluated['metrics']['accuracy']:.4f}"
    parity = f"max error {verified['reports'][0]['largest_error']:.1e}"
    plain = row("digits-lstm", model, quality, parity, images[:1])
    return [plain, quantized("digits-lstm", model, images[:1])]


def quantized(name: str, model: Path, x: np.ndarray) -> Row:
    """The twin of a classifier in int8: what it saves, and what that costs."""
    twin = model.with_name("model.int8.onnx")
    page = model.with_name("quantize.html")
    told = rnnport_(
        *("quantize", model, "-o", twin, "--evaluate", source(model.parent), "--max-drop", "0.5%"),
        *("--report", page, "--json", "--overwrite"),
        quiet=True,
    )
    rnnport_("verify", twin, "--against", model)
    account = json.loads(told)["evaluation"]
    quality = f"accuracy {account['after']['accuracy']:.4f}"
    return row(f"{name} int8", twin, quality, f"decisions {account['agreement']:.1%}", x)


def forecaster(folder: Path) -> Row:
    """The Mackey–Glass series, also step by step through a streaming file."""
    model, verified, evaluated = carry("mackey-glass-gru", folder)
    series = load_forecast("mackey-glass").series
    table = folder / "mackey-glass.csv"
    np.savetxt(table, series.values, header=",".join(series.columns), comments="")
    rnnport_("infer", model, "--input", table, "-o", folder / "forecast.csv", "--overwrite")
    streaming = model.with_name("model.stream.onnx")
    rnnport_("export", model.parent, "--stream", "-o", streaming, "--overwrite")
    quality = f"MASE {evaluated['metrics']['mase']:.3f}"
    window = series.values[None, -100:].astype(np.float32)
    parity = f"max error {verified['reports'][0]['largest_error']:.1e}"
    return row("mackey-glass-gru", model, quality, parity, window)


def row(name: str, model: Path, quality: str, parity: str, x: np.ndarray) -> Row:
    """Gather one line of the table."""
    return Row(
        model=name,
        quality=quality,
        parity=parity,
        size=f"{model.stat().st_size / 1024:.0f} KiB",
        latency=latency(model, x),
        files=model.parent,
    )


def show(rows: list[Row]) -> None:
    """Print the closing table."""
    head = Row("model", "quality", "parity", "size", "latency", Path("files"))
    cells = [[str(value) for value in vars(line).values()] for line in (head, *rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    print()
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "runs" / "demo")
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    rows = [*classifier(folder), forecaster(folder)]
    show(rows)
    print(f"\ndone in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
