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

GRAPH, OPSET_IMPORT, METADATA_PROPS = 7, 8, 14  # field numbers of onnx.ModelProto
KEY, VALUE = 1, 2  # field numbers of onnx.StringStringEntryProto
DOMAIN, VERSION = 1, 2  # field numbers of onnx.OperatorSetIdProto
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
    return _read(path)[0]


def read_domains(path: str | os.PathLike[str]) -> dict[str, int]:
    """The domains of the operators and functions that an ONNX file imports, and their versions.

    Raises:
        RequestError, ModelFileError: as for :func:`read_metadata`.
    """
    return _read(path)[1]


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, str], dict[str, int]]:
    """The metadata by key, and the versions by domain."""
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise RequestError(f"the model file {path} {what}; expected an ONNX file (.onnx)")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise ModelFileError(f"{path} is empty; expected an ONNX model: export it again")
            return _top_level(file, size)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}") from error
    except _NotAModelError as error:
        raise ModelFileError(
            f"{path} is not an ONNX model, or was cut off: {error}; copy or export it again"
        ) from error


class _NotAModelError(Exception):
    """The bytes are not those of an ONNX model."""


def _top_level(file: BinaryIO, size: int) -> tuple[dict[str, str], dict[str, int]]:
    found: dict[str, str] = {}
    domains: dict[str, int] = {}
    has_graph = False
    for field, length, _ in _fields(file, size):
        has_graph = has_graph or field == GRAPH
        if field == METADATA_PROPS:
            texts, _ = _entry(file, file.tell() + length)
            found[texts.get(KEY, "")] = texts.get(VALUE, "")
        elif field == OPSET_IMPORT:
            texts, numbers = _entry(file, file.tell() + length)
            domains[texts.get(DOMAIN, "")] = numbers.get(VERSION, 0)
    if not has_graph:
        raise _NotAModelError("it holds no graph")
    return found, domains


def _entry(file: BinaryIO, end: int) -> tuple[dict[int, str], dict[int, int]]:
    """A short message's texts and numbers, by field."""
    texts: dict[int, str] = {}
    numbers: dict[int, int] = {}
    for field, length, number in _fields(file, end):
        if number is not None:
            numbers[field] = number
        elif field in (KEY, VALUE, DOMAIN):
            try:
                texts[field] = file.read(length).decode()
            except UnicodeDecodeError as error:
                raise _NotAModelError("a name or metadata entry is not text") from error
    return texts, numbers


def _fields(file: BinaryIO, end: int) -> Iterator[tuple[int, int, int | None]]:
    """Each field's number, the length of its content where the file then stands, and its value.

    Only a whole number has a value; content that is not read is skipped.
    """
    while file.tell() < end:
        tag = _varint(file)
        field, kind = tag >> 3, tag & 7
        number, length = None, 0
        if kind == VARINT:
            number = _varint(file)
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
        elif kind == BYTES:
            length = _varint(file)
        else:
            raise _NotAModelError(f"an unknown kind of field at byte {file.tell() - 1}")
        after = file.tell() + length
        if after > end or field == 0:
            raise _NotAModelError(f"a field at byte {file.tell()} reaches past the end")
        yield field, length, number
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
