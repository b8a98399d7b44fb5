"""A PyTorch module becomes one ONNX file, and the file is proven before it takes its name."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn

from rnnport import __version__
from rnnport.errors import ParityError, RequestError, UnsupportedModelError
from rnnport.files import refuse_existing, replacing
from rnnport.parity.cases import grid
from rnnport.parity.compare import compare
from rnnport.parity.report import ParityReport
from rnnport.porting import states as lifting
from rnnport.porting.axes import BATCH, LONGEST, TIME, lengths_input, place, read_axes, tensor_spec
from rnnport.porting.cleaning import clean
from rnnport.porting.keeping import MODULE_LOCK, borrowed
from rnnport.porting.oracle import TorchEngine
from rnnport.porting.postconditions import check_file
from rnnport.porting.probe import ProbedCall, probe
from rnnport.porting.recurrent_ops import ONNX_NAME
from rnnport.porting.report import ExportReport
from rnnport.porting.signature import Signature, name_answers, read_arguments
from rnnport.porting.trace import Traced, trace
from rnnport.porting.writing import write_model
from rnnport.runtime.engine import open_engine
from rnnport.spec import Dim, ModelSpec, StateSpec, TensorSpec, TimeSpec

OPSET = 18  # the newest that every execution provider runs, and the exporter's lowest
HIGHEST_OPSET = 24
_LOOKS_AHEAD = (
    "the module cannot stream: its answers in pieces are not those to the whole sequence, so "
    "something in it looks ahead in time or over all of it"
)
Inputs = Sequence[str] | Mapping[str, Sequence[Dim]]


@dataclass(frozen=True)
class _Request:
    """A module with everything that is known of it before the trace."""

    module: nn.Module
    signature: Signature
    example: Mapping[str, Tensor]
    calls: tuple[ProbedCall, ...]
    spec: ModelSpec  # outputs and provenance still to come
    answers: tuple[str, ...]
    stream: bool


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
            request = _read(module, (args, kwargs), (inputs, outputs), lengths, stream, facts)
            model, time_spec = _graph(request, opset)
        spec = _complete(request, model, time_spec, facts)
        with replacing(path, overwrite) as temporary:
            write_model(model, spec, temporary)
            check_file(temporary, spec, opset, _recurrent(request.calls))
            parity = _prove(request, spec, temporary) if verify else None
    return ExportReport(
        path=path,
        spec=spec,
        opset=opset,
        size=path.stat().st_size,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        nodes=_count(model),
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


def _read(
    module: nn.Module,
    arguments: tuple[Any, Mapping[str, Any] | None],
    names: tuple[Inputs | None, Sequence[str] | None],
    lengths: str | None,
    stream: bool,
    facts: ModelSpec | None,
) -> _Request:
    inputs, outputs = names
    known = {} if facts is None else {tensor.name: tensor for tensor in facts.inputs}
    wanted = inputs if inputs is not None and not isinstance(inputs, Mapping) else None
    signature, example = read_arguments(module, *arguments, wanted)
    answer, calls = probe(module, signature, example)
    if not calls:
        raise UnsupportedModelError(
            f"there is no recurrent layer in {type(module).__name__}: no call of nn.LSTM, nn.GRU "
            "or nn.RNN was seen"
        )
    if outputs is None and facts is not None and facts.outputs:
        outputs = [tensor.name for tensor in facts.outputs]
    found = name_answers(answer, outputs)
    given: dict[str, Sequence[Dim]] = {name: tensor.shape for name, tensor in known.items()}
    given |= inputs if isinstance(inputs, Mapping) else {}
    shapes = read_axes(example, calls, given)
    tensors = [
        known.get(name) or tensor_spec(name, tensor, shapes[name])
        for name, tensor in example.items()
    ]
    if lengths is None and facts is not None:
        lengths = facts.lengths
    states = _lifted(calls) if stream else ()
    if stream:
        signature = replace(signature, carried=_carried(calls))
        tensors = [tensor for tensor in tensors if tensor.name in signature.free]
        example = {name: example[name] for name in signature.free}
    spec = ModelSpec(
        inputs=(*tensors, *(_state_input(state) for state in states)),
        outputs=(),
        states=states,
        lengths=lengths_input(example, lengths),
    )
    answers = tuple(f"{name}_out" if name in example else name for name in found)
    return _Request(module, signature, example, calls, spec, answers, stream)


def _lifted(calls: Sequence[ProbedCall]) -> tuple[StateSpec, ...]:
    """The states of every call that does not take them from an input already."""
    states = []
    for call in calls:
        if call.bidirectional:
            raise UnsupportedModelError(
                f"the bidirectional {ONNX_NAME[call.kind]} of {call.label} cannot stream: its "
                "backward direction needs the whole sequence; export it without streaming"
            )
        if call.given and not call.taken:
            continue  # computed in forward: from another layer, say
        names = zip(lifting.input_names(call.names), lifting.output_names(call.names), strict=True)
        for (taken, left), size, initial in zip(names, call.sizes, call.initials, strict=True):
            shape: tuple[Dim, ...] = (BATCH if call.batched else 1, *size)
            states.append(
                StateSpec(taken, left, "float32", shape, 0.0 if initial is None else initial)
            )
    if not states:
        raise UnsupportedModelError(
            "every recurrent state is computed in forward, so there is none to carry from call to "
            "call; export it without streaming"
        )
    return tuple(states)


def _carried(calls: Sequence[ProbedCall]) -> dict[str, str]:
    """The inputs that are a call's initial states, with the names under which they are lifted."""
    taken = (zip(call.taken_from, call.names, strict=True) for call in calls if call.taken)
    pairs = (pair for pairs in taken for pair in pairs)
    return {given: lifting.input_names([name])[0] for given, name in pairs}


def _state_input(state: StateSpec) -> TensorSpec:
    return TensorSpec(state.input, state.dtype, state.shape, place(state.shape, BATCH))


def _graph(request: _Request, opset: int) -> tuple[ir.Model, TimeSpec]:
    """The clean graph, and the times it accepts."""
    shapes = [tensor.shape for tensor in request.spec.inputs]
    states = request.spec.states
    traced = Traced(request.module, request.signature, request.answers, states, shapes)
    batch = request.calls[0].batch
    tensors = [*request.example.values(), *(torch.zeros(batch, *_sizes(each)) for each in states)]
    traces = trace(traced, [_roomy(*pair) for pair in zip(tensors, shapes, strict=True)], opset)
    return clean(traces.model, shapes), TimeSpec(*traces.asked.get(TIME, (1, 1)))


def _roomy(tensor: Tensor, shape: Sequence[Dim]) -> Tensor:
    """The tensor with two of everything where the example has one: torch takes a one for fixed."""
    for axis, name in enumerate(shape):
        if isinstance(name, str) and tensor.shape[axis] == 1:
            tensor = torch.cat([tensor, tensor], axis)
    return tensor


def _sizes(state: StateSpec) -> list[int]:
    return [int(size) for size in state.shape[1:]]


def _complete(
    request: _Request, model: ir.Model, accepted: TimeSpec, facts: ModelSpec | None
) -> ModelSpec:
    """The spec with the outputs as the graph has them, and what ``facts`` knows beyond."""
    known = {} if facts is None else {tensor.name: tensor for tensor in facts.outputs}
    outputs = tuple(_output(value, known.get(str(value.name))) for value in model.graph.outputs)
    spec = replace(facts or request.spec, inputs=request.spec.inputs, outputs=outputs)
    return replace(
        spec,
        states=request.spec.states,
        lengths=request.spec.lengths,
        time=accepted if request.stream or facts is None else facts.time,
        provenance=_provenance(spec.provenance),
    )


def _output(value: ir.Value, known: TensorSpec | None) -> TensorSpec:
    assert value.shape is not None
    assert value.dtype is not None
    axes = tuple(axis if isinstance(axis, int) else str(axis.value) for axis in value.shape)
    found = TensorSpec(
        name=str(value.name),
        dtype=value.dtype.numpy().name,
        shape=axes,
        batch_axis=place(axes, BATCH),
        time_axis=place(axes, TIME, LONGEST),
    )
    return found if known is None else replace(found, mean=known.mean, std=known.std)


def _provenance(known: Mapping[str, Any]) -> dict[str, Any]:
    """What is known, and the versions that wrote the file; no time, so that files repeat."""
    packages = {name: version(name) for name in ("onnx", "onnxscript")}
    exporter = {"rnnport": __version__, "torch": torch.__version__, **packages}
    trained = {"trained_with": known["versions"]} if "versions" in known else {}
    return {**known, **trained, "versions": exporter}


def _recurrent(calls: Sequence[ProbedCall]) -> list[str]:
    return [ONNX_NAME[call.kind] for call in calls for _ in range(call.layers)]


def _prove(request: _Request, spec: ModelSpec, path: Path) -> ParityReport:
    """Compare the written file with PyTorch over the seeded grid.

    Raises:
        ParityError: an answer or a final state is not within its bound.
    """
    reference, precise = (
        TorchEngine(
            request.module,
            spec,
            stream=request.stream,
            dtype=dtype,
            signature=request.signature,
        )
        for dtype in (torch.float32, torch.float64)
    )
    candidate = open_engine("ort-cpu", str(path))
    report = compare(reference, candidate, grid(spec), precise=precise)
    if not report.ok:
        only_pieces = all(failure.way == "chunked" for failure in report.failures)
        what = _LOOKS_AHEAD if report.failures and only_pieces else "the file differs from PyTorch"
        raise ParityError("\n".join([f"{what}:", *report.lines()]))
    return report


def _count(model: ir.Model) -> dict[str, int]:
    counts: dict[str, int] = {}
    for node in model.graph:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items()))
