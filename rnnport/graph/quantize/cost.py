"""What a small twin costs: how far it strays from its parent, and which layer strays most."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rnnport.errors import CheckFailedError
from rnnport.graph.quantize.report import Sensitivity
from rnnport.graph.quantize.rewriting import prepared, recurrent_layers, with_small_weights
from rnnport.parity.cases import drift_cases
from rnnport.parity.drift import Drift, measure_drift
from rnnport.runtime import cuda
from rnnport.runtime.engine import open_engine
from rnnport.runtime.model_proto import load_proto
from rnnport.spec import ModelSpec


def drift_of(parent: Path, made: Path, spec: ModelSpec, precision: str) -> dict[str, Drift]:
    """The drift of every output and state, float16 on a GPU where there is one.

    Raises:
        CheckFailedError: the twin gives NaN, or other outputs than its parent.
        RnnportError: one of the two does not run.
    """
    on_gpu = precision == "fp16" and cuda.obstacle() is None
    reference = open_engine("ort-cpu", str(parent))  # first: what it refuses is no fault of ours
    candidate = open_engine("ort-cuda" if on_gpu else "ort-cpu", str(made))
    return measure_drift(reference, candidate, drift_cases(spec), spec)


def sensitivity(
    parent: Path, spec: ModelSpec, precision: str, kept: Iterable[str], folder: Path
) -> tuple[Sensitivity, ...]:
    """The drift with each recurrent layer quantized alone, the largest first.

    Args:
        parent: the model file.
        spec: what it takes and gives.
        precision: as of :func:`with_small_weights`.
        kept: labels of nodes that are not asked about.
        folder: where the files to be compared are written.
    """
    model = load_proto(parent)
    reading, kept = prepared(model), set(kept)
    everything = {node.label for node in reading.nodes()}
    found = []
    for number, (label, nodes) in enumerate(recurrent_layers(reading).items()):
        if label in kept or nodes <= kept:
            continue
        try:
            small, _ = with_small_weights(model, precision, everything - nodes - {label})
        except CheckFailedError:
            continue  # the account says why this layer was kept
        alone = folder / f"alone.{number}.onnx"
        alone.write_bytes(small.SerializeToString())
        drift = drift_of(parent, alone, spec, precision)
        output = max(drift, key=lambda name: drift[name].relative)
        found.append(Sensitivity(label, output, drift[output].relative))
        alone.unlink()
    return tuple(sorted(found, key=lambda each: -each.relative))
