"""From a module to an ONNX graph: torch's non-strict export around our function mode."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn

from rnnport.errors import RnnportError, UnsupportedModelError
from rnnport.porting.capture import CaptureMode, unchecked_packing
from rnnport.porting.keeping import untouched
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
    ) -> None:
        super().__init__()
        self.module = module
        self.signature = signature
        self.answers = tuple(answers)
        self.states = tuple(states)
        self.training = False

    @property
    def inputs(self) -> list[str]:
        """The names of the graph's inputs."""
        return [*self.signature.names, *(state.input for state in self.states)]

    @property
    def outputs(self) -> list[str]:
        """The names of the graph's outputs."""
        return [*self.answers, *(state.output for state in self.states)]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(self.inputs, tensors, strict=True))
        args, kwargs = self.signature.build(given)
        mode = CaptureMode(self.module, {state.input: given[state.input] for state in self.states})
        with untouched(self.module), mode:
            answer = self.module(*args, **kwargs)
        named = name_answers(answer, self.answers) | mode.successors
        return _distinct([named[name] for name in self.outputs], tensors)


def _distinct(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Copies where one tensor leaves twice or is an input: every ONNX output is its own value."""
    seen = {id(tensor) for tensor in inputs}
    distinct = []
    for tensor in outputs:
        distinct.append(tensor.clone() if id(tensor) in seen else tensor)
        seen.add(id(tensor))
    return tuple(distinct)


def trace(
    traced: Traced,
    example: Sequence[Tensor],
    shapes: Sequence[Sequence[Dim]],
    opset: int,
) -> ir.Model:
    """The ONNX graph of a module, as torch's exporter leaves it.

    ``shapes`` gives each input's axes; a named one stays symbolic. The caller holds
    ``MODULE_LOCK``: torch's exporter breaks in two threads.

    Raises:
        UnsupportedModelError: the module needs an axis to be fixed, or uses what ONNX lacks.
    """
    names = {axis for shape in shapes for axis in shape if isinstance(axis, str)}
    dims = {name: torch.export.Dim(name) for name in sorted(names)}
    dynamic = [
        {i: dims[axis] for i, axis in enumerate(shape) if isinstance(axis, str)} for shape in shapes
    ]
    with _silence(), unchecked_packing():
        program = _export(traced, tuple(example), tuple(dynamic))
        return _translate(program, traced, opset)


def _export(
    traced: Traced, example: tuple[Tensor, ...], dynamic: tuple[Mapping[int, Any], ...]
) -> torch.export.ExportedProgram:
    # sizes 0 and 1 of the example are sizes like any other
    patched = torch.fx.experimental._config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    try:
        with patched:
            return torch.export.export(
                traced,
                example,
                dynamic_shapes={"tensors": dynamic},
                strict=False,
                prefer_deferred_runtime_asserts_over_guards=True,
            )
    except RnnportError:
        raise
    except Exception as error:
        raise UnsupportedModelError(explain(error)) from error


def _translate(program: torch.export.ExportedProgram, traced: Traced, opset: int) -> ir.Model:
    try:
        exported = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            opset_version=opset,
            custom_translation_table=dict(TRANSLATIONS),
            input_names=traced.inputs,
            output_names=traced.outputs,
        )
    except Exception as error:
        raise UnsupportedModelError(explain(error)) from error
    assert exported is not None  # a program is always given back when no file is named
    return exported.model


def explain(error: BaseException) -> str:
    """One sentence that names what is in the way."""
    return f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep torch's exporter from talking; only while it works, and only its own loggers."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
