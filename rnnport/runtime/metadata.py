"""Reading the metadata of an ONNX file without loading its graph, by walking the file's top level.

An ONNX file is one protocol buffer message; its top level is a short list of fields, of which the
graph is one that can be stepped over (protobuf.dev/programming-guides/encoding, onnx.proto3).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rnnport.errors import ModelFileError, RequestError
from rnnport.spec import METADATA_KEY, ModelSpec, parse

GRAPH, METADATA_PROPS = 7, 14  # field numbers of onnx.ModelProto
KEY, VALUE = 1, 2  # field numbers of onnx.StringStringEntryProto
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def read_spec(path: str | os.PathLike[str]) -> ModelSpec | None:
    """The spec that a model file carries, or None where it carries none.

    Raises:
        RequestError: there is no file of that name.
        ModelFileError: the file is empty, cut off, or not an ONNX model.
        SpecVersionError: the file was written for a newer rnnport.
    """
    text = read_metadata(path).get(METADATA_KEY)
    return None if text is None else parse(text, str(path))


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The ``metadata_props`` of an ONNX file by key.

    Raises:
        RequestError: there is no file of that name.
        ModelFileError: the file is empty, cut off, or not an ONNX model.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise RequestError(f"the model file {path} {what}; expected an ONNX file (.onnx)")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise ModelFileError(f"{path} is empty; expected an ONNX model: export it again")
            return _metadata(file, size)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}") from error
    except _NotAModelError as error:
        raise ModelFileError(
            f"{path} is not an ONNX model, or was cut off: {error}; copy or export it again"
        ) from error


class _NotAModelError(Exception):
    """The bytes are not those of an ONNX model."""


def _metadata(file: BinaryIO, size: int) -> dict[str, str]:
    found: dict[str, str] = {}
    has_graph = False
    for field, length in _fields(file, size):
        has_graph = has_graph or field == GRAPH
        if field == METADATA_PROPS:
            key, value = _entry(file, file.tell() + length)
            found[key] = value
    if not has_graph:
        raise _NotAModelError("it holds no graph")
    return found


def _entry(file: BinaryIO, end: int) -> tuple[str, str]:
    texts = {KEY: "", VALUE: ""}
    for field, length in _fields(file, end):
        if field in texts:
            try:
                texts[field] = file.read(length).decode()
            except UnicodeDecodeError as error:
                raise _NotAModelError("a metadata entry is not text") from error
    return texts[KEY], texts[VALUE]


def _fields(file: BinaryIO, end: int) -> Iterator[tuple[int, int]]:
    """Each field's number and length, the file standing at its content; skips what is not read."""
    while file.tell() < end:
        tag = _varint(file)
        field, kind = tag >> 3, tag & 7
        if kind == VARINT:
            _varint(file)
            length = 0
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
        elif kind == BYTES:
            length = _varint(file)
        else:
            raise _NotAModelError(f"an unknown kind of field at byte {file.tell() - 1}")
        after = file.tell() + length
        if after > end or field == 0:
            raise _NotAModelError(f"a field at byte {file.tell()} reaches past the end")
        yield field, length
        file.seek(after)


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise _NotAModelError(f"a number is cut off at byte {file.tell()}")
