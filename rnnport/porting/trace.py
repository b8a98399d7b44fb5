"""From a module to an ONNX graph: torch's non-strict export around our function mode."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import onnx_ir as ir
import torch
from torch import Tensor, nn

from rnnport.errors import RnnportError, UnsupportedModelError
from rnnport.porting.axes import BATCH
from rnnport.porting.branches import Decisions, noted_branches
from rnnport.porting.capture import CaptureMode, unchecked_states
from rnnport.porting.carried import NOTHING, Carried
from rnnport.porting.keeping import untouched
from rnnport.porting.kept import put_kept, read_kept
from rnnport.porting.obstacles import AxisWatch, explain, refined
from rnnport.porting.packed import lengths_as_numbers
from rnnport.porting.recurrent_ops import TRANSLATIONS
from rnnport.porting.signature import Signature, name_answers
from rnnport.spec import Dim, StateSpec

_CHATTY = ("torch.onnx", "torch.export", "torch._export", "torch.fx", "onnxscript", "onnx_ir")


class Traced(nn.Module):
    """A module whose inputs and outputs are flat named tensors, states among them."""

    def __init__(
        self,
        module: nn.Module,
        signature: Signature,
        answers: Sequence[str],
        states: Sequence[StateSpec],
        shapes: Sequence[Sequence[Dim]],
        inverses: Mapping[str, Tensor] | None = None,
        carried: Carried = NOTHING,
        lengths: str | None = None,
    ) -> None:
        super().__init__()
        self.carried = carried
        self.lengths = lengths
        self.module = module
        self.inverses = dict(inverses or {})
        self.signature = signature
        self.answers = tuple(answers)
        self.states = tuple(states)
        self.shapes = tuple(tuple(shape) for shape in shapes)
        self.watch = AxisWatch(self.shapes)
        self.training = False

    @property
    def inputs(self) -> list[str]:
        """The names of the graph's inputs."""
        return [*self.signature.free, *(state.input for state in self.states)]

    @property
    def outputs(self) -> list[str]:
        """The names of the graph's outputs."""
        return [*self.answers, *(state.output for state in self.states)]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(self.inputs, tensors, strict=True))
        args, kwargs = self.signature.build(given)
        self.watch.begin(tensors)
        states = {state.input: given[state.input] for state in self.states}
        lifted = {name: states[name] for name in states.keys() - self.carried.inputs()}
        table = self.carried.table(states, given.get(self.lengths or ""))
        mode = CaptureMode(
            self.module,
            lifted,
            self.watch,
            self.inverses,
            table,
            bool(states),
            self.carried.rows,
        )
        with untouched(self.module), mode:
            put_kept(self.module, self.carried.kept, states, self._batch(tensors))
            answer = self.module(*args, **kwargs)
            left = read_kept(self.module, self.carried.kept) if states else {}
        named = name_answers(answer, self.answers) | mode.successors | table.successors | left
        return _distinct([named[name] for name in self.outputs], tensors)

    def _batch(self, tensors: Sequence[Tensor]) -> Any:
        """The batch of the inputs, symbolic in a trace; 1 where they have none."""
        for tensor, shape in zip(tensors, self.shapes, strict=True):
            if BATCH in shape:
                return tensor.shape[shape.index(BATCH)]
        return 1


def _distinct(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Copies where one tensor leaves twice or is an input: every ONNX output is its own value."""
    seen = {id(tensor) for tensor in inputs}
    distinct = []
    for tensor in outputs:
        distinct.append(tensor.clone() if id(tensor) in seen else tensor)
        seen.add(id(tensor))
    return tuple(distinct)


@dataclass(frozen=True)
class Trace:
    """A graph as torch's exporter leaves it, with what it asks of its symbolic axes."""

    model: ir.Model
    asked: Mapping[str, tuple[int, int]]  # axis → (smallest size, multiple)
    decisions: Decisions


def trace(traced: Traced, example: Sequence[Tensor], opset: int) -> Trace:
    """The ONNX graph of a module. The caller holds ``MODULE_LOCK``.

    An axis that torch finds to have a smallest size, or to be a multiple of a number, is traced
    again with that promise.

    Raises:
        UnsupportedModelError: the module needs an axis to be fixed, or uses what ONNX lacks.
    """
    asked: dict[str, tuple[int, int]] = {}
    with silence(), unchecked_states(), lengths_as_numbers():
        while True:
            try:
                with noted_branches() as branches:
                    program = _export(traced, tuple(example), asked)
                decisions = Decisions(tuple(branches), traced.watch)
                return Trace(_translate(program, traced, opset), asked, decisions)
            except RnnportError:
                raise
            except Exception as error:  # torch.export raises whatever the module raises
                more = refined(error)
                if not more or set(more) <= set(asked):
                    raise UnsupportedModelError(explain(error, traced.watch.fixed)) from error
                asked |= more


def _export(
    traced: Traced, example: tuple[Tensor, ...], asked: Mapping[str, tuple[int, int]]
) -> torch.export.ExportedProgram:
    names = {axis for shape in traced.shapes for axis in shape if isinstance(axis, str)}
    dims = {name: _dim(name, *asked.get(name, (0, 1))) for name in sorted(names)}
    dynamic = tuple(
        {i: dims[axis] for i, axis in enumerate(shape) if isinstance(axis, str)}
        for shape in traced.shapes
    )
    # sizes 0 and 1 of the example are sizes like any other
    config = cast(Any, torch.fx.experimental)._config
    with config.patch(backed_size_oblivious=True):
        return torch.export.export(
            traced,
            example,
            dynamic_shapes={"tensors": dynamic},
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )


def _dim(name: str, least: int, multiple: int) -> Any:
    if multiple > 1:
        return multiple * torch.export.Dim(f"_{name}")
    return torch.export.Dim(name, min=least) if least > 1 else torch.export.Dim(name)


def _translate(program: torch.export.ExportedProgram, traced: Traced, opset: int) -> ir.Model:
    exported = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        opset_version=opset,
        custom_translation_table=dict(TRANSLATIONS),
        input_names=traced.inputs,
        output_names=traced.outputs,
    )
    assert exported is not None  # a program is always given back when no file is named
    return exported.model


class _Muted:
    """A stream that drops what one thread writes, and passes on what the others do."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._thread = threading.get_ident()

    def write(self, text: str) -> int:
        if threading.get_ident() == self._thread:
            return len(text)
        return int(self._stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep torch's exporter from talking; only while it works, and only its own loggers."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stderr(_Muted(sys.stderr)),
        contextlib.redirect_stdout(_Muted(sys.stdout)),
    ):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
