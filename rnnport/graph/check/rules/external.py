"""RNN203: weights in a second file where one would do."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import external_data_helper

from rnnport.graph.check.rule import Fault, Rule, Severity, Targets
from rnnport.graph.scopes import Reading

LIMIT = 2_000_000_000  # bytes; one ONNX file holds no more


def find(reading: Reading, targets: Targets) -> Iterator[Fault]:
    """External data that would fit into the file, or that are not where the file says."""
    outside = [t for s in reading.scopes for t in s.initializers.values() if _is_outside(t)]
    if not outside:
        return
    places = {external_data_helper.ExternalDataInfo(tensor).location for tensor in outside}
    missing = sorted(place for place in places if not _is_there(reading, place))
    if missing:
        yield Fault("", f"the weights lie in {', '.join(missing)}, which is not beside the file")
        return
    size = sum(_bytes(reading, place) for place in places)
    if size < LIMIT:
        yield Fault(
            "",
            f"{len(outside)} tensors ({size / 1e6:.3g} MB) lie in {', '.join(sorted(places))}; "
            "the model fits one file, and a second one gets lost",
            fixable=True,
        )


def repair(reading: Reading) -> onnx.ModelProto:
    """Nothing is left to do: a model that was read for repair has its data inside."""
    return reading.model


def _is_outside(tensor: onnx.TensorProto) -> bool:
    return bool(external_data_helper.uses_external_data(tensor))


def _is_there(reading: Reading, place: str) -> bool:
    if reading.folder is None:
        return False
    path = (reading.folder / place).resolve()
    return path.is_relative_to(reading.folder.resolve()) and path.is_file()


def _bytes(reading: Reading, place: str) -> int:
    return 0 if reading.folder is None else (reading.folder / place).stat().st_size


RULE = Rule(
    id="RNN203",
    title="External data for a small model",
    severity=Severity.WARNING,
    why=(
        "PyTorch's exporter writes weights to a second file even for tiny models; whoever moves "
        "the .onnx alone is left with a file that does not load. External data are needed only "
        "beyond 2 GB."
    ),
    remedy="--fix writes one file.",
    find=find,
    repair=repair,
)
