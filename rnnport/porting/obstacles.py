"""Saying what stops a trace, in one sentence that points at the user's own line."""

from __future__ import annotations

import linecache
import re
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from rnnport.porting.axes import BATCH, TIME
from rnnport.spec import Dim

_WRAPPER = (
    "a Python loop over time would be unrolled: give its step to the wrapper, "
    "`self.loop = rnnport.Recurrent(cell)`, and call `y, state = self.loop(x, state)`"
)
_PACK = (
    "pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False) takes the padded "
    "rows and a tensor of lengths, and pad_packed_sequence(y, batch_first=True) pads them again"
)
_ROWS = re.compile(r"\b(?:un)?pa(?:ck|d)_sequence\(")
_OURS = (str(Path(torch.__file__).parent), str(Path(__file__).parent), "<")


class AxisWatch:
    """Notices when a symbolic axis loses its freedom, and where in the user's code it did.

    Reads the ranges that torch's tracer keeps of every symbol; they are private, so where they
    are not found nothing is noticed, and messages lack the line.
    """

    def __init__(self, shapes: Sequence[Sequence[Dim]]) -> None:
        self.fixed: dict[str, str] = {}  # axis → where
        self._shapes = shapes
        self._ranges: Mapping[Any, Any] = {}
        self._symbols: dict[Any, str] = {}

    def sizes(self, batch: int, time: int, other: int) -> dict[Any, int]:
        """The values of torch's symbols for these sizes."""
        known = {BATCH: batch, TIME: time}
        return {symbol: known.get(axis, other) for symbol, axis in self._symbols.items()}

    def begin(self, tensors: Sequence[Tensor]) -> None:
        """Follow the axes of these inputs, forgetting those of an earlier trace."""
        self.fixed, self._symbols = {}, {}
        for tensor, shape in zip(tensors, self._shapes, strict=True):
            for size, axis in zip(tensor.shape, shape, strict=True):
                if isinstance(axis, str) and isinstance(size, torch.SymInt):
                    self._follow(size, axis)

    def _follow(self, size: torch.SymInt, axis: str) -> None:
        environment = getattr(size.node, "shape_env", None)
        self._ranges = getattr(environment, "var_to_range", {})
        self._symbols[size.node.expr] = axis

    def look(self) -> None:
        """Note the axes that are fixed since the last look, with the line that runs now."""
        for symbol, axis in self._symbols.items():
            known = self._ranges.get(symbol)
            if axis not in self.fixed and known is not None and known.is_singleton():
                self.fixed[axis] = _running_line()


def explain(error: BaseException, fixed: Mapping[str, str]) -> str:
    """One sentence for whatever torch's exporter raised; ``fixed`` is what ``AxisWatch`` saw."""
    text = str(error)
    frozen = re.findall(r"^  (\w+) = (\d+)\s*$", text, re.MULTILINE)
    rows = [where for where in fixed.values() if _ROWS.search(where)]
    if frozen and rows:
        return _rows_apart(rows[0])
    if frozen:
        return "; ".join(_frozen(axis, size, fixed.get(axis, "")) for axis, size in frozen)
    line = _raising_line(error)
    if _ROWS.search(line):
        return _rows_apart(line)
    if "data-dependent" in text or "DataDependent" in type(error).__name__:
        return (
            f"forward decides by the values of a tensor{line}, and a file cannot; use torch.where, "
            "or pass lengths as a tensor instead of numbers"
        )
    missing = re.search(r"No ONNX function found for <OpOverload\(op='([\w.]+)'", text)
    if missing:
        return f"torch's operator {missing[1]} has no translation to ONNX{line}"
    first = next((each.strip() for each in text.splitlines() if each.strip()), "")
    return f"torch cannot trace this module{line}: {type(error).__name__}: {first}"


def nothing_recurrent(module: nn.Module) -> str:
    """One sentence for a module in which no recurrent call was seen."""
    name = type(module).__name__
    cells = [
        f"{type(each).__name__} {path}".strip()
        for path, each in module.named_modules()
        if isinstance(each, nn.RNNCellBase)
    ]
    if cells:
        return f"{name} runs {', '.join(cells)} step by step in Python; {_WRAPPER}"
    return (
        f"there is no recurrent layer in {name}: no call of nn.LSTM, nn.GRU or nn.RNN was seen; "
        f"{_WRAPPER}; where forward itself is one step, name the states that it takes and gives: "
        "states={'h': 'h_out'}"
    )


def _rows_apart(line: str) -> str:
    return f"forward takes the rows of the batch apart{line}, and a file cannot; {_PACK}"


def unrolled(label: str, operator: str) -> str:
    """One sentence for a layer that a Python loop calls once for each row or step."""
    return (
        f"forward calls the {operator} of {label} in a Python loop, once for each row or step of "
        f"an input, which would be unrolled: give it the whole batch and time at once; {_PACK}"
    )


def _frozen(axis: str, size: str, where: str) -> str:
    loops = f" ({_WRAPPER})" if axis == "time" else ""
    return (
        f"the {axis} can only be {size}, the example's{where}; let it follow the input's size "
        f"there{loops}"
    )


def refined(error: BaseException) -> dict[str, tuple[int, int]]:
    """What torch asks of axes that may stay symbolic: axis → (smallest size, multiple)."""
    text = str(error)
    if re.search(r"^  \w+ = \d+\s*$", text, re.MULTILINE):
        return {}
    found = {
        axis: (int(least), 1)
        for axis, least in re.findall(r"^  (\w+) = Dim\('\w+', min=(\d+)", text, re.MULTILINE)
    }
    multiples = re.findall(r"^  (\w+) = (\d+)\*_\w+\s*$", text, re.MULTILINE)
    return found | {axis: (int(factor), int(factor)) for axis, factor in multiples}


def _running_line() -> str:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if is_users(frame.f_code.co_filename):
            return line_of(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return ""


def _raising_line(error: BaseException) -> str:
    found = ""
    for raised in _causes(error):
        for entry in traceback.extract_tb(raised.__traceback__):
            if is_users(entry.filename) and entry.lineno is not None:
                found = line_of(entry.filename, entry.lineno)
    return found


def _causes(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def is_users(filename: str) -> bool:
    """Whether a file is neither torch's nor ours."""
    return not filename.startswith(_OURS) and "threading.py" not in filename


def line_of(filename: str, number: int) -> str:
    """`` at model.py:7 `…```, or nothing where the source is not at hand."""
    source = linecache.getline(filename, number).strip()
    return f" at {Path(filename).name}:{number} `{source}`" if source else ""
