"""Writing a graph with its spec: one file, the same bytes for the same model."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir

from rnnport import __version__
from rnnport.errors import UnsupportedModelError
from rnnport.spec import METADATA_KEY, ModelSpec

LARGEST = 2**31 - 1  # protobuf's own limit on one message


def write_model(model: ir.Model, spec: ModelSpec, path: Path) -> None:
    """Write ``model`` with ``spec`` inside to ``path``.

    Raises:
        UnsupportedModelError: the model is larger than one ONNX file can be.
    """
    model.producer_name, model.producer_version = "rnnport", __version__
    model.metadata_props[METADATA_KEY] = spec.to_json()
    weights = sum(
        value.const_value.nbytes
        for value in model.graph.initializers.values()
        if value.const_value is not None
    )
    if weights > LARGEST:
        raise UnsupportedModelError(
            f"the weights take {weights / 2**30:.1f} GiB, and one ONNX file holds 2 GiB at most"
        )
    proto: onnx.ModelProto = ir.serde.serialize_model(model)
    path.write_bytes(proto.SerializeToString(deterministic=True))
