"""Measure quantized layers and files: error, invariance, speed, loading, and the recipes."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import onnxruntime
from layer_files import Rows
from quantize_error import error_table, errors, move_table, moves
from quantize_loading import loading_table, loadings
from quantize_recipes import cost_table, costs
from quantize_speed import speed_table, speeds

from rnnport.runtime.cpu import this_cpu

CELLS = ("LSTM", "GRU", "RNN")
TITLES = {
    "error": "RMS error over {time} steps, as a part of the answer's own RMS; medians of {seeds} "
    "seeds. DynamicQuantizeLSTM with the best of its options for each seed",
    "invariance": "largest change of an answer whose input is the same, as a part of the answer",
    "speed": "processor time over fp32's, stock ONNX Runtime, one thread, interleaved rounds; "
    "folds: ONNX Runtime makes the same graph of all forms as it loads them",
    "loading": "opening a file in a fresh process, medians; memory is what the process grew by",
    "recipes": "the recipes on their test data; over the bound: lost more than 0.2 points or 1%",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(TITLES)}; all by default")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=CELLS)
    parser.add_argument(
        "--hidden",
        nargs="+",
        type=int,
        help="sizes of single layers; invariance and loading take the largest",
    )
    parser.add_argument("--time", type=int, default=1000, help="steps of error and invariance")
    parser.add_argument("--seeds", type=int, default=10, help="of weights and inputs, for error")
    parser.add_argument(
        "--budget", type=float, default=1.0, help="seconds for each shape that is timed"
    )
    parser.add_argument("--recipes", nargs="+", default=[], help="names of some; all by default")
    parser.add_argument("--markdown", action="store_true", help="tables to paste into a page")
    parser.add_argument("--json", action="store_true", help="one JSON document, no tables")
    options = parser.parse_args()
    unknown = set(options.parts) - set(TITLES)
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(TITLES)}")
    document: dict[str, Any] = {"cpu": asdict(this_cpu()), "onnxruntime": onnxruntime.__version__}
    for part in options.parts or TITLES:
        found, rows = measure(part, options)
        document[part] = [asdict(each) for each in found]
        if not options.json:
            title = TITLES[part].format(time=options.time, seeds=options.seeds)
            show(title, rows, options.markdown)
    if options.json:
        print(json.dumps(document, ensure_ascii=False, indent=2))


def measure(part: str, options: argparse.Namespace) -> tuple[list[Any], Rows]:
    """What one part found, and its table."""
    cells, asked = tuple(options.cells), tuple(options.hidden or ())
    if part == "error":
        sizes = asked or (256,)
        return _told(errors(cells, sizes, options.time, options.seeds), error_table)
    if part == "invariance":
        return _told(moves(cells, max(asked, default=256), options.time), move_table)
    if part == "speed":
        return _told(speeds(cells, asked or (64, 128, 256), options.budget), speed_table)
    if part == "loading":
        return _told(loadings(cells, max(asked, default=512)), loading_table)
    return _told(costs(tuple(options.recipes)), cost_table)


def _told(measuring: Iterable[Any], table: Callable[[list[Any]], Rows]) -> tuple[list[Any], Rows]:
    """Everything measured; each goes to stderr as it comes."""
    found = []
    for each in measuring:
        print(json.dumps(asdict(each), ensure_ascii=False), file=sys.stderr)
        found.append(each)
    return found, table(found)


def show(title: str, rows: Rows, markdown: bool) -> None:
    """Print one table."""
    print(f"\n{title}\n")
    if markdown:
        lines = [f"| {' | '.join(row)} |" for row in rows]
        lines.insert(1, "|" + " --- |" * len(rows[0]))
    else:
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
    print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
