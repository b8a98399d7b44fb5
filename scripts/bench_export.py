"""How many recurrent modules come out right at other shapes: rnnport beside torch's exporters."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnnport
from rnnport.errors import RnnportError

FEATURES, HIDDEN = 8, 16
SHAPES = ((1, 1), (1, 7), (2, 6), (3, 50), (7, 2), (64, 300))  # batch, time
CELLS: dict[str, Callable[..., nn.RNNBase]] = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}


class Plain(nn.Module):
    """A recurrent stack and a linear head at every step."""

    def __init__(self, cell: str, layers: int, bidirectional: bool) -> None:
        super().__init__()
        self.recurrent = CELLS[cell](
            FEATURES, HIDDEN, layers, batch_first=True, bidirectional=bidirectional
        )
        self.head = nn.Linear(HIDDEN * (2 if bidirectional else 1), 3)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.recurrent(x)[0])
        return answer


class Packed(Plain):
    """The same on packed sequences, in any order of lengths."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:  # type: ignore[override]
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        padded, _ = pad_packed_sequence(
            self.recurrent(packed)[0], batch_first=True, total_length=x.shape[1]
        )
        answer: Tensor = self.head(padded)
        return answer


class Attended(Plain):
    """Multi-head attention after the recurrent stack."""

    def __init__(self, cell: str, layers: int, bidirectional: bool) -> None:
        super().__init__(cell, layers, bidirectional)
        width = HIDDEN * (2 if bidirectional else 1)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.recurrent(x)[0]
        answer: Tensor = self.head(self.attention(y, y, y)[0])
        return answer


Arguments = tuple[Tensor, ...]
Exporter = Callable[[nn.Module, Arguments, Path], None]


def draw(module: nn.Module, batch: int, time: int) -> Arguments:
    """Random arguments for a module."""
    x = torch.randn(batch, time, FEATURES)
    if isinstance(module, Packed):
        return x, torch.randint(1, time + 1, (batch,))
    return (x,)


def by_rnnport(module: nn.Module, arguments: Arguments, path: Path) -> None:
    rnnport.export(module, arguments, path)


def by_dynamo(module: nn.Module, arguments: Arguments, path: Path) -> None:
    batch, time = torch.export.Dim("batch"), torch.export.Dim("time")
    shapes = ({0: batch, 1: time}, {0: batch})[: len(arguments)]
    torch.onnx.export(
        module, arguments, path, dynamo=True, dynamic_shapes=shapes, external_data=False
    )


def by_torchscript(module: nn.Module, arguments: Arguments, path: Path) -> None:
    names = ["x", "lengths"][: len(arguments)]
    axes = {"x": {0: "batch", 1: "time"}, "lengths": {0: "batch"}}
    torch.onnx.export(
        module,
        arguments,
        path,
        dynamo=False,
        input_names=names,
        dynamic_axes={name: axes[name] for name in names},
    )


EXPORTERS: dict[str, Exporter] = {
    "rnnport": by_rnnport,
    "torch, dynamo=True": by_dynamo,
    "torch, dynamo=False": by_torchscript,
}


def verdict(export: Exporter, module: nn.Module, path: Path) -> str:
    """``right`` at every shape, ``wrong`` at one, or ``refused`` by the exporter or the runtime."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch's exporter talks on stdout
            export(module, draw(module, 2, 6), path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except RnnportError:
        return "refused"
    except Exception:  # noqa: BLE001 - whatever an exporter raises is its refusal
        return "refused"
    names = [tensor.name for tensor in session.get_inputs()]
    for batch, time in SHAPES:
        arguments = draw(module, batch, time)
        with torch.inference_mode():
            expected = module(*arguments).numpy()
        feeds = {name: value.numpy() for name, value in zip(names, arguments, strict=True)}
        try:
            given = session.run(None, feeds)[0]
        except Exception:  # noqa: BLE001 - the file does not run at this shape
            return "wrong"
        if given.shape != expected.shape or not np.allclose(given, expected, 1e-5, 1e-5):
            return "wrong"
    return "right"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    counts = {name: {"right": 0, "wrong": 0, "refused": 0} for name in EXPORTERS}
    rows: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, cell, layers, both in product(
            (Plain, Packed, Attended), CELLS, (1, 2), (False, True)
        ):
            torch.manual_seed(0)
            module = kind(cell, layers, both).eval()
            row = {"module": f"{kind.__name__} {cell}, layers {layers}, bidirectional {both}"}
            for number, (name, export) in enumerate(EXPORTERS.items()):
                path = Path(folder) / f"{len(rows)}-{number}.onnx"
                row[name] = verdict(export, module, path)
                counts[name][row[name]] += 1
            rows.append(row)
    print(json.dumps({"shapes": SHAPES, "modules": rows, "counts": counts}, indent=2))


if __name__ == "__main__":
    main()
