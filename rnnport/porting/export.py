"""A PyTorch module becomes one ONNX file, and the file is proven before it takes its name."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn

from rnnport.errors import ParityError, RequestError, UnsupportedModelError
from rnnport.files import refuse_existing, replacing
from rnnport.parity.cases import grid
from rnnport.parity.compare import compare
from rnnport.parity.report import ParityReport
from rnnport.porting.axes import TIME
from rnnport.porting.branches import Decisions
from rnnport.porting.cleaning import clean
from rnnport.porting.keeping import MODULE_LOCK, borrowed
from rnnport.porting.oracle import TorchEngine
from rnnport.porting.postconditions import check_file
from rnnport.porting.promise import complete_spec
from rnnport.porting.report import ExportReport
from rnnport.porting.request import Inputs, Request, Wishes, read_request
from rnnport.porting.trace import Traced, silence, trace
from rnnport.porting.writing import write_model
from rnnport.runtime.engine import open_engine
from rnnport.spec import Dim, ModelSpec, StateSpec, TimeSpec

OPSET = 18  # the newest that every execution provider runs, and the exporter's lowest
HIGHEST_OPSET = 24
LONGEST_PROOF = 100  # steps; the grid takes three times as many, for seven rows, in float64 as well
_LOOKS_AHEAD = (
    "the module cannot stream: its answers in pieces are not those to the whole sequence, so "
    "something in it looks ahead in time or over all of it, or back further than its states go"
)


def export_module(
    module: nn.Module,
    args: Any,
    path: str | Path,
    *,
    kwargs: Mapping[str, Any] | None = None,
    inputs: Inputs | None = None,
    outputs: Sequence[str] | None = None,
    lengths: str | None = None,
    stream: bool = False,
    states: Mapping[str, str] | None = None,
    opset: int = OPSET,
    verify: bool = True,
    overwrite: bool = False,
    facts: ModelSpec | None = None,
) -> ExportReport:
    """Write ``module`` to the model file ``path``; the module itself is not changed.

    Args:
        module: any module with recurrent layers, in any mode; it is exported for evaluation.
        args: example arguments of forward: a tensor, a tuple, or a dictionary by name.
        path: the file to write.
        kwargs: further example arguments by name.
        inputs: names of the inputs in order, or each input's axes: ``{"x": ("batch", "time", 8)}``.
        outputs: names of the outputs in order.
        lengths: the input that holds each row's true length.
        stream: make every recurrent state an input and an output.
        states: those that forward itself takes and gives, input name → output name; the file's
            description names them, so that it streams.
        opset: of the file; 18 or more.
        verify: compare the file with PyTorch over a grid of shapes before it is kept.
        overwrite: replace a file that is there.
        facts: what is known beyond the module: names, task, classes, series, provenance.

    Raises:
        RequestError: the example, the names or the opset do not fit.
        UnsupportedModelError: something in the module cannot be carried; the message names it.
        CheckFailedError: the written file broke a promise; ParityError: it differs from PyTorch.
        OutputExistsError: ``path`` exists and ``overwrite`` is false.
    """
    started = time.perf_counter()
    path = Path(path)
    refuse_existing(path, overwrite)
    _check_opset(opset)
    with MODULE_LOCK:  # the proof too: torch's exporter and another thread's forward do not mix
        with borrowed(module):
            wishes = Wishes(inputs, outputs, lengths, stream, facts, states)
            request = read_request(module, args, kwargs, wishes)
            model, accepted, decisions = _graph(request, opset)
        spec = complete_spec(request, model, accepted, facts)
        with replacing(path, overwrite) as temporary:
            write_model(model, spec, temporary)
            check_file(temporary, spec, opset, request.recurrent_nodes())
            parity = _prove(request, spec, temporary, decisions) if verify else None
    return ExportReport(
        path=path,
        spec=spec,
        opset=opset,
        size=path.stat().st_size,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        nodes=dict(sorted(Counter(node.op_type for node in model.graph).items())),
        seconds=time.perf_counter() - started,
        parity=parity,
    )


def _check_opset(opset: int) -> None:
    if opset < OPSET:
        raise RequestError(
            f"opset {opset} is below {OPSET}, the lowest that PyTorch's exporter writes correctly; "
            f"--opset {OPSET} runs on every engine"
        )
    if opset > HIGHEST_OPSET:
        raise RequestError(
            f"opset {opset} is above {HIGHEST_OPSET}, the highest that was proven; "
            f"--opset {OPSET} runs on every engine"
        )


def _graph(request: Request, opset: int) -> tuple[ir.Model, TimeSpec, Decisions]:
    """The clean graph, the times it accepts, and what forward decided by sizes."""
    shapes = [tensor.shape for tensor in request.spec.inputs]
    states = request.lifted()
    inverses = {c.names[0]: c.inverse for c in request.calls if c.inverse is not None}
    traced = Traced(
        request.module,
        request.signature,
        request.answers,
        states,
        shapes,
        inverses,
        request.carried,
        request.spec.lengths,
    )
    batch = request.batch()
    zeros = (torch.zeros(batch, *_sizes(s), dtype=getattr(torch, s.dtype)) for s in states)
    tensors = [*request.example.values(), *zeros]
    traces = trace(traced, [_roomy(*pair) for pair in zip(tensors, shapes, strict=True)], opset)
    least, multiple = traces.asked.get(TIME, (1, 1))
    with silence():
        model = clean(traces.model, shapes)
    return model, TimeSpec(max(least, request.least), multiple), traces.decisions


def _roomy(tensor: Tensor, shape: Sequence[Dim]) -> Tensor:
    """The tensor with two of everything where the example has one: torch takes a one for fixed."""
    for axis, name in enumerate(shape):
        if isinstance(name, str) and tensor.shape[axis] == 1:
            tensor = torch.cat([tensor, tensor], axis)
    return tensor


def _sizes(state: StateSpec) -> list[int]:
    return [int(size) for size in state.shape[1:]]


def _torch(request: Request, spec: ModelSpec, dtype: torch.dtype = torch.float32) -> TorchEngine:
    """The module as the reference for its file."""
    return TorchEngine(
        request.module,
        spec,
        stream=request.stream,
        dtype=dtype,
        signature=request.signature,
        carried=request.carried,
    )


def _prove(request: Request, spec: ModelSpec, path: Path, decisions: Decisions) -> ParityReport:
    """Compare the written file with PyTorch over the seeded grid.

    Raises:
        ParityError: an answer or a final state is not within its bound.
    """
    reference, precise = _torch(request, spec), _torch(request, spec, torch.float64)
    candidate = open_engine("ort-cpu", str(path))
    cases = grid(spec, time=_typical_time(request))
    report = compare(reference, candidate, cases, precise=precise)
    if not report.ok:
        blamed = decisions.blamed(failure.case for failure in report.failures)
        if blamed:
            raise UnsupportedModelError(blamed)
        _refuse_pooling(request, report)
        only_pieces = all(failure.way == "chunked" for failure in report.failures)
        what = _LOOKS_AHEAD if report.failures and only_pieces else "the file differs from PyTorch"
        raise ParityError("\n".join([f"{what}:", *report.lines()]))
    for refusal in report.refusals:
        if spec.time.accepts(refusal.case.time):
            raise ParityError(
                f"nothing proves the file at {refusal.case}, which it would accept, because "
                f"{refusal.engine} does not run there: {refusal.reason}; make forward take every "
                "batch and time, by padding for example"
            )
    return report


def _refuse_pooling(request: Request, report: ParityReport) -> None:
    """Name what runs over all of the time, where only answers in pieces are wrong."""
    pieces = bool(report.failures) and all(each.way == "chunked" for each in report.failures)
    if pieces and request.pooling:
        raise UnsupportedModelError(
            f"the module cannot stream: {request.pooling} runs over all of the time, and a piece "
            "is not all of it; export it without streaming"
        )


def _typical_time(request: Request) -> int | None:
    """The example's number of steps, as far as a proof can wait; None where the spec knows."""
    time = _time(request)
    known = request.spec.series is not None or time == 0
    return None if known else min(time, LONGEST_PROOF)


def _time(request: Request) -> int:
    """The example's number of steps; 0 where no input has a time axis."""
    times = (
        request.example[tensor.name].shape[tensor.time_axis]
        for tensor in request.spec.data_inputs()
        if tensor.time_axis is not None
    )
    return max(times, default=0)
