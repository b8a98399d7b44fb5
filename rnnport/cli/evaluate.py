"""``rnnport evaluate``: the task's metrics of a model file, on a part of a data set."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from rnnport.cli.ending import ends_well
from rnnport.cli.progress import progress

_SHOWN = 20  # classes up to which the confusion matrix is printed


@ends_well
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The .onnx file.")],
    data: Annotated[
        str,
        typer.Option(
            "--data",
            help="A built-in set such as digits or etth1, or a CSV, Parquet, .npz or .ts file.",
        ),
    ],
    split: Annotated[
        str,
        typer.Option("--split", help="train, validation or test, as for training; or all rows."),
    ] = "test",
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    batch_size: Annotated[
        int, typer.Option("--batch-size", help="Sequences or windows in one call.")
    ] = 256,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure a model file: accuracy, F1 and confusion, or MSE, MAE, sMAPE and MASE."""
    from rnnport.pipeline.evaluate import evaluate as measure

    with progress(f"{data} {split}") as tell:
        result = measure(
            model,
            data,
            split=split,
            device=device,
            batch_size=batch_size,
            note=lambda text: print(f"rnnport: {text}", file=sys.stderr),
            progress=tell,
        )
    if as_json:
        print(json.dumps(result.document(), ensure_ascii=False, allow_nan=False))
        return
    print(f"{result.model} on {result.data}, {result.split}")
    for line in _lines(result.metrics, result.classes):
        print(line)


def _lines(metrics: Mapping[str, Any], classes: Sequence[str]) -> Iterator[str]:
    figures = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    for name, value in figures.items():
        yield f"  {name:<11} {value:.6g}" if isinstance(value, float) else f"  {name:<11} {value}"
    targets = metrics.get("targets", {})
    if len(targets) > 1:
        names = [name for name in figures if any(name in own for own in targets.values())]
        yield from _table(
            ["target", *names],
            [
                [key, *(f"{own[name]:.6g}" if name in own else "" for name in names)]
                for key, own in targets.items()
            ],
        )
    if "confusion" in metrics and len(classes) <= _SHOWN:
        yield "  rows: the true class; columns: the model's answer"
        rows = zip(classes, metrics["confusion"], strict=True)
        yield from _table(["", *classes], [[name, *map(str, counts)] for name, counts in rows])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        yield "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
