"""Reading a whole ONNX model, for engines that must know what their framework would get wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from rnnport.errors import MissingExtraError, ModelFileError, RequestError
from rnnport.spec import ModelSpec, TensorSpec

try:
    import onnx
    from onnx import helper
except ImportError as missing:
    raise MissingExtraError("onnx", "onnx", "reading a model's graph") from missing

RECURRENT = ("LSTM", "GRU", "RNN")
STANDARD = ("", "ai.onnx")
SEQUENCE_LENS, PEEPHOLES = 4, 7  # positions among a recurrent node's inputs


def load_proto(path: str | os.PathLike[str], *, weights: bool = True) -> onnx.ModelProto:
    """The model in memory; without ``weights`` data outside the file is not read.

    Raises:
        RequestError: there is no file of that name.
        ModelFileError: the file is not an ONNX model, or its external data are missing.
    """
    path = os.fspath(path)
    try:
        model = onnx.load(path, load_external_data=weights)
    except FileNotFoundError as error:
        if error.filename == path:
            raise RequestError(f"the model file {path} does not exist") from error
        raise ModelFileError(f"{path}: its external data are missing: {error}") from error
    except IsADirectoryError as error:
        raise RequestError(f"{path} is a folder; expected an ONNX file (.onnx)") from error
    except Exception as error:  # protobuf's errors have no base class of their own
        raise ModelFileError(
            f"{path} is not an ONNX model, or was cut off: {error}; copy or export it again"
        ) from error
    if not model.graph.output:
        raise ModelFileError(f"{path} is not an ONNX model: its graph has no outputs")
    return model


def all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node in the file's order, those of bodies and of local functions included."""
    yield from _walk(model.graph.node)
    for function in model.functions:
        yield from _walk(function.node)


def _walk(nodes: Any) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _walk(attribute.g.node)
            for graph in attribute.graphs:
                yield from _walk(graph.node)


def recurrent_protos(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The standard LSTM, GRU and RNN nodes."""
    for node in all_nodes(model):
        if node.op_type in RECURRENT and node.domain in STANDARD:
            yield node


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name; one that a function passes on has no value and is left out."""
    return {
        each.name: helper.get_attribute_value(each)
        for each in node.attribute
        if not each.ref_attr_name
    }


def takes_input(node: onnx.NodeProto, position: int) -> bool:
    """Whether an optional input is given."""
    return len(node.input) > position and node.input[position] != ""


def activations(node: onnx.NodeProto) -> list[str]:
    """The activations that a node names, in lower case; empty where it names none."""
    return [each.decode().lower() for each in attributes(node).get("activations", [])]


def bare_spec(model: onnx.ModelProto) -> ModelSpec:
    """What the graph alone says: names, dtypes and shapes."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return ModelSpec(
        inputs=tuple(_tensor(each) for each in model.graph.input if each.name not in weights),
        outputs=tuple(_tensor(each) for each in model.graph.output),
    )


def _tensor(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or f"{value.name}.{axis}"
        for axis, dim in enumerate(tensor.shape.dim)
    )
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    except (KeyError, TypeError, ValueError):
        dtype = "unknown"
    return TensorSpec(
        name=value.name,
        dtype=dtype,
        shape=shape,
        batch_axis=shape.index("batch") if "batch" in shape else None,
        time_axis=shape.index("time") if "time" in shape else None,
    )
