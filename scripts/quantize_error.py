"""How far int8 layers stray from fp32, and what else than the input moves their answers."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from layer_files import (
    Array,
    Layer,
    Rows,
    dynamically_quantized,
    open_model,
    ours,
    run_layer,
    signal,
    trained_layers,
    uniform_layer,
)

MODELS = Path(__file__).resolve().parent.parent / "models"
TRAINED = ("mnist-lstm", "mnist-gru", "mnist-rnn")
FEATURES = 128
LOUD = 100  # times as large as the row that is looked at
PIECE = 7  # steps
OPTIONS = tuple(product((False, True), (False, True)))  # per channel, reduced range


@dataclass(frozen=True)
class Errors:
    """RMS errors of one layer as parts of fp32's own RMS, medians over seeds.

    ``dynamic`` is the best that any options of ONNX Runtime's quantizer gave, chosen for every
    seed; it and ``ratio`` are None for cells that it does not quantize.
    """

    layer: str
    seeds: int
    int8: float
    bf16: float
    dynamic: float | None
    ratio: float | None  # of int8 to dynamic
    by_options: dict[str, float] | None


def errors(
    cells: tuple[str, ...], sizes: tuple[int, ...], time: int, seeds: int
) -> Iterator[Errors]:
    """The errors of layers of every size, then those of trained ones."""
    for op, hidden in product(cells, sizes):
        yield _errors([uniform_layer(op, FEATURES, hidden, seed) for seed in range(seeds)], time)
    for name in TRAINED:
        for layer in trained_layers(MODELS / name / "model.onnx"):
            if layer.op in cells:
                yield _errors([layer] * seeds, time)


def _errors(layers: list[Layer], time: int) -> Errors:
    found = [_once(layer, time, seed) for seed, layer in enumerate(layers)]
    best = [min(each["dynamic"].values()) for each in found if each["dynamic"]]
    return Errors(
        layer=layers[0].name,
        seeds=len(layers),
        int8=statistics.median(each["int8"] for each in found),
        bf16=statistics.median(each["bf16"] for each in found),
        dynamic=statistics.median(best) if best else None,
        ratio=statistics.median(
            each["int8"] / rival for each, rival in zip(found, best, strict=True)
        )
        if best
        else None,
        by_options={
            name: statistics.median(each["dynamic"][name] for each in found)
            for name in found[0]["dynamic"]
        }
        or None,
    )


def _once(layer: Layer, time: int, seed: int) -> dict[str, Any]:
    """The errors for one seed; "dynamic" holds one for each choice of the rival's options."""
    model, x = layer.model(), signal(layer, time, 1, seed)
    reference = run_layer(open_model(model), x)

    def error(made: onnx.ModelProto) -> float:
        strayed = run_layer(open_model(made), x) - reference
        return float(np.sqrt(np.mean(strayed**2) / np.mean(reference**2)))

    rivals = OPTIONS if layer.op == "LSTM" else ()
    return {
        "int8": error(ours(model, "int8")),
        "bf16": error(ours(model, "bf16")),
        "dynamic": {
            _named(*options): error(dynamically_quantized(model, *options)) for options in rivals
        },
    }


def _named(per_channel: bool, reduce_range: bool) -> str:
    """The options of ONNX Runtime's quantizer in words."""
    return ("per channel" if per_channel else "per matrix") + (", 7 bits" if reduce_range else "")


@dataclass(frozen=True)
class Moves:
    """Largest differences of answers to one input, as parts of the largest answer."""

    layer: str
    file: str  # fp32, int8, bf16 or DynamicQuantizeLSTM
    neighbour: float  # alone and beside a row that is 100 times as loud
    chunks: float  # whole and in pieces
    threads: float  # on one and on two


def moves(cells: tuple[str, ...], hidden: int, time: int) -> Iterator[Moves]:
    """What moves an answer beside its own input, in every kind of file."""
    for op in cells:
        layer = uniform_layer(op, FEATURES, hidden, 0)
        model = layer.model()
        files = {"fp32": model, "int8": ours(model, "int8"), "bf16": ours(model, "bf16")}
        if op == "LSTM":
            files["DynamicQuantizeLSTM"] = dynamically_quantized(model, True, True)
        for name, made in files.items():
            yield _moves(layer, name, made, time)


def _moves(layer: Layer, name: str, model: onnx.ModelProto, time: int) -> Moves:
    one, two = open_model(model, 1), open_model(model, 2)
    x = signal(layer, time, 2, 0)
    quiet, both = x[:, :1], x * np.array([1, LOUD], np.float32)[:, None]
    alone, beside = run_layer(one, quiet), run_layer(one, both)[:, :, :1]

    def apart(answer: Array, reference: Array) -> float:
        return float(np.abs(answer - reference).max() / np.abs(reference).max())

    return Moves(
        layer=layer.name,
        file=name,
        neighbour=apart(beside, alone),
        chunks=apart(run_layer(one, quiet, PIECE), alone),
        threads=max(
            apart(run_layer(two, quiet), alone), apart(run_layer(two, both)[:, :, :1], beside)
        ),
    )


def error_table(found: list[Errors]) -> Rows:
    """Rows for a terminal, the head first."""
    rows: Rows = [("layer", "int8", "bf16", "DynamicQuantizeLSTM", "int8 / it", "its options")]
    for each in found:
        rival = ("no such operator", "", "")
        if each.dynamic is not None and each.ratio is not None and each.by_options:
            options = ", ".join(f"{name}: {e:.2g}" for name, e in each.by_options.items())
            rival = (f"{each.dynamic:.2g}", f"{each.ratio:.2f}", options)
        rows.append((each.layer, f"{each.int8:.2g}", f"{each.bf16:.2g}", *rival))
    return rows


def move_table(found: list[Moves]) -> Rows:
    """Rows for a terminal, the head first."""
    rows: Rows = [
        ("layer", "file", f"beside a row ×{LOUD}", f"in pieces of {PIECE}", "two threads")
    ]
    for each in found:
        row = asdict(each)
        rows.append((each.layer, each.file, *(f"{row[key]:.1g}" for key in list(row)[2:])))
    return rows
