"""Write a recipe's card: train, export, verify, evaluate and time it, then say what came out."""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import rnnport
from rnnport.runtime.cpu import this_cpu
from rnnport.training.folder import METRICS
from rnnport.training.run import load_run

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = Path(sys.executable).parent / "rnnport"
SHOWN = ("accuracy", "f1", "mse_scaled", "mae_scaled", "mse", "mae", "smape", "mase")


def program(*arguments: object) -> dict[str, Any]:
    """Run one command of the program with ``--json`` and read its answer."""
    command = [str(PROGRAM), *(str(argument) for argument in arguments), "--json"]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(json.loads(text))


def latency(model: Path, batch: int, steps: int, rounds: int = 300) -> float:
    """Median microseconds of one call."""
    session = rnnport.load(model, device="cpu", threads=1)
    (tensor,) = session.spec.data_inputs()
    x = np.random.default_rng(0).normal(size=(batch, steps, int(tensor.shape[-1])))
    x = x.astype(np.float32)
    session(x)
    samples = []
    for _ in range(rounds):
        start = time.perf_counter()
        session(x)
        samples.append(time.perf_counter() - start)
    return statistics.median(samples) * 1e6


def introduction(recipe: Path) -> str:
    """The comment lines that open a recipe."""
    lines = (recipe / "recipe.toml").read_text().splitlines()
    return " ".join(line.removeprefix("# ") for line in lines if line.startswith("# "))


def card(name: str, run: Path, model: Path) -> str:
    """The card's text for a finished run and its model file."""
    metrics = json.loads((run / METRICS).read_text())
    verified = program("verify", model, "--against", run)
    tested = program("evaluate", model, "--data", metrics["data"])
    steps = load_run(run).example["x"].shape[1]
    figures = [
        (f"test {key.replace('_', ' ')}", f"{tested['metrics'][key]:.4f}")
        for key in SHOWN
        if key in tested["metrics"]
    ]
    figures += [
        (_counted(tested["task"]), f"{tested['metrics']['count']:,}"),
        ("parameters", f"{metrics['parameters']:,}"),
        ("epoch kept", f"{metrics['epoch_kept']} of {metrics['epochs']}"),
        ("training", f"{metrics['seconds']:.0f} s"),
        ("largest error against PyTorch", f"{verified['reports'][0]['largest_error']:.1e}"),
        ("file", f"{model.stat().st_size:,} bytes"),
    ]
    figures += [
        (f"{steps} steps, batch {batch}", f"{latency(model, batch, steps):.0f} µs")
        for batch in (1, 32)
    ]
    lines = [f"# {name}", "", introduction(ROOT / "models" / name), ""]
    lines += [f"Data: `{metrics['data']}`, test part, seed 0.", "", "| measure | value |"]
    lines += ["| --- | --- |", *(f"| {measure} | {value} |" for measure, value in figures), ""]
    if tested["metrics"].get("mase", 0) > 1:
        lines += [
            "A MASE above 1 says that the seasonal naive forecast, repeating the last season,"
        ]
        lines += ["errs less on its own training part than this model does on the test part.", ""]
    versions = metrics["versions"]
    lines += [
        f"Measured by `./scripts/card {name}` on an {this_cpu().name} with {this_cpu().threads} "
        f"cores, torch {versions['torch'].split('+')[0]}; latency is the median of 300 calls on "
        "one thread.",
        "",
        "```sh",
        f"rnnport train models/{name} -o runs/{name}",
        f"rnnport export runs/{name} -o {name}.onnx",
        f"rnnport evaluate models/{name}/model.onnx --data {metrics['data']}",
        "```",
        "",
    ]
    return "\n".join(lines)


def _counted(task: str) -> str:
    return "test sequences" if task == "classify" else "test values (window × step × column)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", help="the name of a folder under models/")
    parser.add_argument("--run", type=Path, help="a run of this recipe that is finished already")
    options = parser.parse_args()
    folder = ROOT / "models" / options.recipe
    run = options.run or ROOT / "runs" / "cards" / options.recipe
    if options.run is None:
        command = [PROGRAM, "train", folder, "-o", run, "--overwrite", "--seed", "0"]
        subprocess.run([str(word) for word in command], check=True)
    program("export", run, "-o", run / "model.onnx", "--overwrite")
    text = card(options.recipe, run, run / "model.onnx")
    shutil.copyfile(run / "model.onnx", folder / "model.onnx")
    (folder / "README.md").write_text(text)


if __name__ == "__main__":
    main()
