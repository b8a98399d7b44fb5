"""What an exported file promises: the outputs that its graph has, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import onnx_ir as ir
import torch

from rnnport import __version__
from rnnport.porting.axes import BATCH, LONGEST, TIME, place
from rnnport.porting.request import Request
from rnnport.spec import ModelSpec, TensorSpec, TimeSpec


def complete_spec(
    request: Request, model: ir.Model, accepted: TimeSpec, facts: ModelSpec | None
) -> ModelSpec:
    """The spec with the outputs as the graph has them, and what ``facts`` knows beyond.

    ``accepted`` is what the trace found of the times; for a whole-sequence file of a run the
    run knows better.
    """
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
