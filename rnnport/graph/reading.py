"""Opening a model file to read its graph, and the sizes of what it holds."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import TensorProto, external_data_helper, helper

from rnnport.errors import ModelFileError
from rnnport.graph.scopes import Reading
from rnnport.graph.sound import require_sound
from rnnport.runtime.model_proto import load_proto

EXTERNAL = TensorProto.EXTERNAL


def open_reading(path: str | os.PathLike[str]) -> Reading:
    """A file's graph, its weights left where they are.

    Raises:
        RequestError: there is no file of that name.
        ModelFileError: the file is not an ONNX model, or makes no sense.
    """
    model = load_proto(path, weights=False)
    require_sound(model, os.fspath(path))
    return Reading(model, Path(path).absolute().parent)


def initializers(reading: Reading) -> Iterator[onnx.TensorProto]:
    """The weights of every graph in the file."""
    for scope in reading.scopes:
        yield from scope.initializers.values()


def declared_bytes(tensor: onnx.TensorProto) -> int:
    """The size that the dimensions declare, which a hostile file may choose at will."""
    try:
        bits = round(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * 8)
    except (KeyError, TypeError):
        bits = 0
    return math.prod(max(0, int(size)) for size in tensor.dims) * bits // 8


def external_files(path: str | os.PathLike[str], reading: Reading) -> dict[str, int]:
    """The files beside the model that hold its weights, and their sizes.

    Raises:
        ModelFileError: one of them is missing, or lies outside the model's folder.
    """
    folder = Path(path).absolute().parent
    found: dict[str, int] = {}
    for tensor in initializers(reading):
        if not external_data_helper.uses_external_data(tensor):
            continue
        location = next((each.value for each in tensor.external_data if each.key == "location"), "")
        file = folder / location
        if Path(location).is_absolute() or ".." in Path(location).parts:
            raise ModelFileError(f"{path}: the weights '{tensor.name}' lie outside its folder")
        if not location or not file.is_file():
            raise ModelFileError(
                f"{path}: the file '{location}' with the weights '{tensor.name}' is missing"
            )
        found[location] = file.stat().st_size
    return found


def frozen_axes(reading: Reading) -> list[tuple[str, int, int]]:
    """Leading axes of float inputs with a fixed size: (input, axis, size), the last axis left out.

    An axis of size 1 or more here is what an exporter bakes in when it loses a dynamic axis.
    """
    found = []
    for name in reading.main.input_names:
        shape = reading.main.shape(name) or ()
        found += [(name, i, size) for i, size in enumerate(shape[:-1]) if isinstance(size, int)]
    return found
