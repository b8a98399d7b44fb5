"""Model files on their way into quantization and out of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import onnx

from rnnport import __version__
from rnnport.errors import RequestError, WriteError
from rnnport.graph.annotate import LARGEST_FILE, annotation_of, write_spec
from rnnport.graph.quantize.account import NodeAccount
from rnnport.graph.quantize.already import quantized_already
from rnnport.graph.quantize.functions import DOMAIN, VERSION
from rnnport.graph.quantize.projected import projection_notes
from rnnport.graph.quantize.report import Cost
from rnnport.graph.quantize.rewriting import prepared
from rnnport.graph.reading import external_files, open_reading
from rnnport.graph.scopes import Reading
from rnnport.graph.sound import require_sound
from rnnport.parity.drift import to_record
from rnnport.runtime import cuda
from rnnport.runtime.model_proto import load_proto
from rnnport.spec import METADATA_KEY, ModelSpec, parse

KERNELS_WITHIN = {"int8": 1e-3, "bf16": 1e-2}  # of the bodies, over 1,000 steps; tests/native
ITEM_BYTES = {"int8": 1, "bf16": 2, "fp16": 2}


@dataclass(frozen=True)
class Parent:
    """A file that is to be quantized; ``reading`` has its functions inlined, constants folded."""

    model: onnx.ModelProto
    reading: Reading
    spec: ModelSpec
    sha256: str
    nbytes: int  # external data included
    notes: tuple[str, ...] = ()

    def described(self) -> bytes:
        """The file with its spec inside, for engines that know a model by that."""
        content: bytes = with_spec(self.model, self.spec).SerializeToString()
        return content


def outside_files(path: Path) -> list[Path]:
    """The files beside a model that hold its weights: an output must be none of them."""
    return [path.parent / location for location in external_files(path, open_reading(path))]


def read_parent(path: Path) -> Parent:
    """Read a file; what a foreign one promises is recognised as ``annotate`` does it.

    Raises:
        RequestError: there is no such file, it is quantized already, or it is over 2 GB.
        UnsupportedModelError: it is unclear which output a state's successor is.
        ModelFileError: the file is not an ONNX model, or makes no sense.
        SpecVersionError: the file was written for a newer rnnport.
    """
    if sum(file.stat().st_size for file in outside_files(path)) > LARGEST_FILE:
        raise RequestError(f"{path} has over 2 GB of weights; quantize takes models up to 2 GB")
    model = load_proto(path)
    require_sound(model, str(path))
    reading = Reading(model)
    text = reading.metadata.get(METADATA_KEY)
    told = None if text is None else parse(text, str(path))
    if said := quantized_already(reading, told):
        raise RequestError(
            f"{path} is quantized already: {said}; quantize the file that it was made from"
        )
    notes: tuple[str, ...] = ()
    if told is not None:
        spec = told
    else:
        annotation = annotation_of(reading, {})
        spec = annotation.spec
        pairs = [f"{pair.input} → {pair.output}" for pair in annotation.recognised]
        notes = (
            f"the file had no rnnport metadata; states recognised: {', '.join(pairs) or 'none'}",
        )
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Parent(model, prepared(model), spec, sha256, model.ByteSize(), notes)


def notes_on(
    parent: Parent, precision: str, accounts: Sequence[NodeAccount], nbytes: int
) -> Iterator[str]:
    """What a person should know of the twin, a file of ``nbytes``, beside its figures."""
    yield from parent.notes
    if nbytes >= parent.nbytes:
        yield (
            "the twin is larger than its parent: so few weights save less than their scales, the "
            "functions and this account take"
        )
    if _calls_functions(accounts):
        yield (
            "a stock ONNX Runtime runs the functions as their bodies, in float32; rnnport's "
            "kernels, where they run instead, differ from that by at most "
            f"{KERNELS_WITHIN[precision]:g}"
        )
    yield from projection_notes(parent.reading, ITEM_BYTES[precision])
    if precision == "fp16" and (reason := cuda.obstacle()) is not None:
        yield (
            "the drift is that of the CPU, which computes in float32 between casts to float16; a "
            f"GPU may stray further ({reason})"
        )


def with_spec(model: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """A copy of a model that promises ``spec``."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    write_spec(copy, spec)
    return copy


def twin_spec(
    parent: Parent,
    precision: str,
    accounts: Sequence[NodeAccount],
    cost: Cost,
    calibrated_on: Mapping[str, str] | None,
) -> ModelSpec:
    """The parent's promises, with what was made small and what that cost."""
    quantization = {
        "precision": precision,
        "nodes": [asdict(account) for account in accounts],
        "bytes_before": sum(account.bytes_before for account in accounts),
        "bytes_after": sum(account.bytes_after for account in accounts),
        "drift": to_record(cost.drift),
        "sensitivity": [asdict(each) for each in cost.sensitivity],
        "evaluation": None if cost.judgement is None else cost.judgement.to_record(),
        "functions_version": VERSION if _calls_functions(accounts) else None,
        "calibrated_on": calibrated_on,
    }
    provenance = {**parent.spec.provenance, "parent_sha256": parent.sha256}
    return replace(parent.spec, quantization=quantization, provenance=provenance)


def _calls_functions(accounts: Sequence[NodeAccount]) -> bool:
    return any(DOMAIN in account.form for account in accounts)


def finished(model: onnx.ModelProto, spec: ModelSpec) -> bytes:
    """The bytes of the twin's file; the same for the same model.

    Raises:
        WriteError: it is larger than one file can be.
    """
    twin = with_spec(model, spec)
    twin.producer_name, twin.producer_version = "rnnport", __version__
    if twin.ByteSize() > LARGEST_FILE:
        raise WriteError("the quantized model is over 2 GB and does not fit one file")
    content: bytes = twin.SerializeToString(deterministic=True)
    return content
